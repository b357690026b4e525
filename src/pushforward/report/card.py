"""The model card: the README of a saved model, in the form that model hubs read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pushforward.report.evaluated import evaluation_markdown
from pushforward.report.material import able
from pushforward.report.measures import MEASURES, read_all, row_count
from pushforward.report.numbers import duration, people, shorten, words
from pushforward.report.sections import held_out_words, usage_lines, versions

if TYPE_CHECKING:
    from pushforward.evaluate import Evaluation
    from pushforward.method import Method

_LIMITS = (
    "It knows the training rows alone: what is rare or absent among them is rare or absent among its samples.",
    "Samples may be blurred, or may mix what does not occur together in real data.",
    "It gives no guarantee of privacy: samples can resemble training rows closely. Look at the numbers above and at "
    "the nearest training rows in the report before you share samples of confidential data.",
    "The numbers above hold for rows drawn like the training rows; they say nothing about other data.",
)


def model_card(method: Method, data_name: str, evaluation: Evaluation | None = None) -> str:
    """The model card of a fitted method, as Markdown with a YAML head.

    No licence is named: whoever publishes the model chooses it, with the licence of the data in mind.

    Args:
        method: A fitted method.
        data_name: What the data are called.
        evaluation: What `pushforward.evaluate` measured, where it did.

    Returns:
        The text of ``README.md``.
    """
    parts = [
        _head(method),
        _what(method, data_name),
        _data(method, data_name),
        _numbers(method),
        evaluation_markdown(evaluation, plain) if evaluation is not None else "",
        _use(method),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in _LIMITS),
        _how(method),
        f"## Citation\n\n```bibtex\n{method.paper.bibtex()}\n```",
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def plain(text: object) -> str:
    """``text`` as one line of Markdown that shows as written: no markup, no table border, no HTML."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~!&])", r"\\\1", line)


def _head(method: Method) -> str:
    import yaml

    tags = ["generative-model", "optimal-transport", "pushforward", type(method).__name__.lower(), method.schema_.kind]
    head = {"library_name": "pushforward", "tags": tags}
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _what(method: Method, data_name: str) -> str:
    paper = method.paper
    abilities = ", ".join(ability.replace("_", " ") for ability in sorted(able(method)))
    return (
        f"# {type(method).__name__} on {plain(data_name)}\n\n"
        f"A generative model of {plain(data_name)}, fitted with "
        "`pushforward` by the method of "
        f"{plain(people(paper.authors))}, *{plain(paper.title)}* ({paper.year}, arXiv {paper.arxiv}). "
        f"What it can do: {abilities}."
    )


def _data(method: Method, data_name: str) -> str:
    held, trained = len(method.held_rows_), len(method.train_rows_)
    kept = f"{held:,} more rows were held out and never trained on" if held else "no rows were held out"
    summary = "\n".join(f"    {line}" for line in method.schema_.summary().splitlines())
    return f"## Data\n\n{plain(data_name)}: {trained:,} training rows; {kept}.\n\n{summary}"


def _numbers(method: Method) -> str:
    readings = read_all(method.validation_)
    if not readings:
        return "## Numbers\n\nNothing was measured on held-out rows."
    rows = row_count(method.validation_)
    known = {key: measure for key, measure in MEASURES.items() if key in readings}
    lines = [f"| {m.title} | {readings[k].text()} | {m.verdict(readings[k], rows)[1]} |" for k, m in known.items()]
    lines += [f"| {plain(words(key))} | {found.text()} | |" for key, found in readings.items() if key not in known]
    shown = "\n".join(["| Measure | Value | What it says here |", "| --- | --- | --- |", *lines])
    meanings = "\n".join(f"- {m.title}: {m.meaning} Good is {m.good}." for m in known.values())
    return f"## Numbers\n\n{held_out_words(method)}\n\n{shown}\n\n{meanings}"


def _use(method: Method) -> str:
    python, shell = usage_lines("path/to/this/folder", method.schema_.kind)
    law = getattr(method, "law_", None)
    remark = plain(law.remark()) if law is not None else ""
    return f"## Use\n\n```python\n{python}\n```\n\n```sh\n{shell}\n```\n\n{remark}"


def _how(method: Method) -> str:
    run = {key: value for key, value in method.run_.items() if value is not None and key != "fingerprint"}
    told = {words(key): duration(float(value)) if key == "seconds" else value for key, value in run.items()}
    params = {name: shorten(repr(value).partition("\n")[0], 80) for name, value in method.params_.items()}
    rows = {**params, **told, **versions()}
    lines = "\n".join(f"| {plain(name)} | {plain(value)} |" for name, value in rows.items())
    return f"## How it was fitted\n\n| Setting | Value |\n| --- | --- |\n{lines}"
