"""The report of a fit: one HTML file that says what was learned, how good it is, and how to use it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from pushforward.folders import write_atomically
from pushforward.report import sections
from pushforward.report.critic_distance import critic_distance
from pushforward.report.evaluated import evaluation_section
from pushforward.report.functions import additive_functions
from pushforward.report.manifold_walk import manifold_walk
from pushforward.report.material import Material, able, gather
from pushforward.report.measures import FEW_ROWS, MEASURES, read_all, row_count
from pushforward.report.numbers import duration, number
from pushforward.report.page import Page, Section, join, paragraph, render_page
from pushforward.report.translated import translations

if TYPE_CHECKING:
    from pushforward.data import Data
    from pushforward.evaluate import Evaluation
    from pushforward.method import Method

Builder = Callable[[Material], Section | None]

BUILDERS: tuple[Builder, ...] = (
    sections.samples,
    sections.numbers,
    translations,
    sections.reconstructions,
    sections.interpolations,
    additive_functions,
    manifold_walk,
    critic_distance,
    sections.neighbours,
    sections.curves,
    sections.time_spent,
    sections.configuration,
)
SUMMARISED = ("w2_ratio", "recall", "precision", "nearest_ratio")


def write_report(
    path: str | os.PathLike[str],
    *,
    method: Method,
    data: Data,
    model_folder: str | None = None,
    note: str = "",
    evaluation: Evaluation | None = None,
) -> Path:
    """Write the report of a fitted method as one self-contained HTML file.

    The same model and data give the same file: no clock is read. Its samples are drawn with the seed of the fit.

    Args:
        path: The file to write; it is moved into place when complete.
        method: A fitted method.
        data: The data that it was fitted to, all rows: ``method.train_rows_`` and ``held_rows_`` are looked up in it.
        model_folder: How the page's examples call the saved model; by default the folder of ``path``
            (without what stands above it, where ``path`` is absolute).
        note: A line at the end of the page, such as the date.
        evaluation: What `pushforward.evaluate` measured, where it did.

    Returns:
        The path written.

    Raises:
        NotFitted: ``method`` is not fitted.
        StorageError: ``path`` cannot be written.
    """
    target = Path(path)
    folder = model_folder or (target.parent.name if target.is_absolute() else target.parent.as_posix())
    page = report_page(gather(method, data), folder, note, evaluation)
    write_atomically(target, render_page(page))
    return target


def report_page(material: Material, model_folder: str, note: str = "", evaluation: Evaluation | None = None) -> Page:
    """The content of the report."""
    method = material.method
    measured = [evaluation_section(evaluation)] if evaluation is not None else []
    place = BUILDERS.index(sections.numbers) + 1
    shown = (*BUILDERS[:place], *measured, *BUILDERS[place:])
    builders: Sequence[Builder] = (*shown, sections.usage(model_folder), sections.citation)
    return Page(
        title=f"{type(method).__name__} on {material.data.name}",
        overline="pushforward, report of a fit",
        lead=lead(material),
        facts=_facts(material),
        warnings=list(method.warnings_),
        sections=[section for build in builders if (section := build(material)) is not None],
        footer=" ".join(filter(None, [f"Made by pushforward {sections.versions()['pushforward']}.", note])),
    )


def lead(material: Material) -> Markup:
    """What was fitted and how it came out, in plain words that claim no more than the held-out numbers show."""
    method = material.method
    what = {"image": "pictures", "table": "table rows", "vector": "vectors"}[material.kind]
    fitted = (
        f"{type(method).__name__} was fitted to {len(method.train_rows_):,} {what}"
        f"{f' of {material.data.name}' if material.data.name else ''} and can now {_abilities(method)}."
    )
    return join(paragraph(fitted), paragraph(summary(method)))


def summary(method: Method) -> str:
    """The verdicts on the held-out numbers as sentences."""
    readings, held = read_all(method.validation_), len(method.held_rows_)
    rows = row_count(method.validation_)
    told = [
        f"{MEASURES[key].title} {number(readings[key].value)}: {MEASURES[key].judge(readings[key].value)[1]}."
        for key in SUMMARISED
        if key in readings and math.isfinite(readings[key].value)
    ]
    if held == 0:
        return "No rows were held out, so nothing is known about how it does on unseen data."
    if not told:
        return f"{held:,} rows were held out; nothing was measured on them."
    rough = f" These are rough numbers: {rows} rows are few." if rows is not None and rows < FEW_ROWS else ""
    return f"Against {held:,} held-out rows: " + " ".join(told) + rough


def _abilities(method: Method) -> str:
    doing = {
        "encode": "encode rows",
        "reconstruct": "reconstruct rows",
        "interpolate": "interpolate between rows",
        "log_prob": "give densities",
        "outlier_score": "score outliers",
        "translate": "translate",
    }
    told = ["draw new samples", *(text for ability, text in doing.items() if ability in able(method))]
    return told[0] if len(told) == 1 else ", ".join(told[:-1]) + " and " + told[-1]


def _facts(material: Material) -> dict[str, str]:
    method = material.method
    shape = " × ".join(map(str, method.schema_.event_shape))
    facts = {
        "Training rows": f"{len(method.train_rows_):,}",
        "Held-out rows": f"{len(method.held_rows_):,}",
        "Shape, encoded": shape,
        "Training time": duration(float(method.run_.get("seconds", sum(method.seconds_.values())))),
        "Seed": str(material.seed),
    }
    return facts | ({"Budget": str(method.run_["budget"])} if method.run_.get("budget") else {})
