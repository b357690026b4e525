"""An evaluation for readers: sentences and rows that the page, the model card and the terminal share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from pushforward.report.measures import MEASURES, reading
from pushforward.report.numbers import words
from pushforward.report.page import Section, join, paragraph, table

if TYPE_CHECKING:
    from pushforward.evaluate import Evaluation
    from pushforward.report.material import Material

HEAD = ("Measure", "Value (95 % interval)", "n", "Features", "Note")


def title_of(name: str) -> str:
    """What a number is called."""
    return MEASURES[name].title if name in MEASURES else words(name)


def evaluation_rows(evaluation: Evaluation) -> list[list[str]]:
    """One row of text a number, in the order of `HEAD`."""
    rows = []
    for name, measured in evaluation.metrics.items():
        found = reading(measured)
        if found is not None:
            rows.append([title_of(name), found.text(), f"{measured.n:,}", measured.features, measured.note])
    return rows


def evaluation_words(evaluation: Evaluation) -> list[str]:
    """What was compared with what, and whether it was held out."""
    context = evaluation.context
    verdict = {
        True: "These rows were held out: no more of them equal training rows than chance explains.",
        False: "THESE ROWS WERE NOT HELD OUT: they overlap with the training rows, so the numbers flatter the model.",
        None: "Whether these rows were held out is unknown.",
    }[context["held_out"]]
    return [
        f"{context['samples']:,} samples against {context['rows']:,} rows of {context['holdout']}. {verdict}",
        f"Features {context['features']['name']}: {context['features']['told']}. {context['preprocessing']}",
        *(f"{note[:1].upper()}{note[1:]}." for note in context["notes"]),
    ]


def refusals(evaluation: Evaluation) -> list[str]:
    """What was not measured, and why; equal reasons together."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in evaluation.refused.items():
        by_reason.setdefault(reason.rstrip("."), []).append(title_of(name))
    return [f"{', '.join(names)}: {reason}." for reason, names in by_reason.items()]


def evaluation_section(evaluation: Evaluation) -> Callable[[Material], Section]:
    """A builder of the page's section."""

    def build(material: Material) -> Section:
        rows = [
            _page_row(name, cells) for name, cells in zip(evaluation.metrics, evaluation_rows(evaluation), strict=True)
        ]
        told = [paragraph(text, "" if i == 0 else "note") for i, text in enumerate(evaluation_words(evaluation))]
        refused = [paragraph(f"Not measured. {text}", "note") for text in refusals(evaluation)]
        shown = table(["Measure", "Value (95 % interval)", "Good is", "Measured on"], rows, kind="numbers")
        return Section("Evaluation", "evaluation", join(*told, shown, *refused))

    return build


def evaluation_markdown(evaluation: Evaluation, plain: Callable[[object], str]) -> str:
    """The card's section; ``plain`` makes text safe for Markdown."""
    told = "\n\n".join(plain(text) for text in evaluation_words(evaluation))
    refused = "".join(f"\n- not measured: {plain(text)}" for text in refusals(evaluation))
    meanings = "\n".join(
        f"- {MEASURES[name].title}: {MEASURES[name].meaning} Good is {MEASURES[name].good}."
        for name in evaluation.metrics
        if name in MEASURES
    )
    return f"## Evaluation\n\n{told}\n\n{evaluation_table(evaluation, plain)}\n{refused}\n\n{meanings}"


def _unbarred(cell: object) -> str:
    return str(cell).replace("|", r"\|")


def evaluation_table(evaluation: Evaluation, plain: Callable[[object], str] = _unbarred) -> str:
    """The numbers as a Markdown table."""
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    return "\n".join([*lines, *(_line([plain(cell) for cell in row]) for row in evaluation_rows(evaluation))])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _page_row(name: str, cells: Sequence[str]) -> list[str | Markup]:
    """A row of the page: the title with its meaning below it, value, what is good, and what it was measured on."""
    _, value, n, features, note = cells
    on = f"{n} rows, {features}{f'; {note}' if note else ''}"
    if name not in MEASURES:
        return [title_of(name), value, "", on]
    measure = MEASURES[name]
    told = Markup('{}<br><span class="note">{}</span>').format(measure.title, measure.meaning)
    return [told, value, measure.good, on]
