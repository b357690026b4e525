"""The section of a report that shows rows of the source, what they were carried to, and where there are pairs the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from markupsafe import Markup
from torch import Tensor

from pushforward.report.material import FEWEST_HELD_OUT, Material, encoded, evenly
from pushforward.report.numbers import number
from pushforward.report.page import Section, join, paragraph, rows_figure
from pushforward.report.sections import STRIP, row_pairs

if TYPE_CHECKING:
    from pushforward.source import SourceRows

_TABLE_ROWS = 5


def translations(material: Material) -> Section | None:
    """Rows of the source beside the moved ones; None for a fit without a source, or with labels."""
    source: SourceRows | None = getattr(material.method, "source_rows_", None)
    if source is None or material.method.condition_ is not None:
        return None
    held = len(source.held) >= FEWEST_HELD_OUT
    x, rows = (source.held, source.held_rows) if held else (source.train, source.train_rows)
    chosen = evenly(rows.astype("int64"), 2 * STRIP)
    x = x[torch.from_numpy((rows[:, None] == chosen).any(1))].cpu()
    with torch.no_grad():
        moved: Tensor = material.method.law_.translate(x.to(material.method.law_.device)).cpu()  # type: ignore[operator]
    target = encoded(material.method, material.rows(chosen)) if source.rows == len(material.data) else None
    show = _strips if material.kind == "image" else _table
    words = paragraph(_words("held-out" if held else "training", x, moved, target), "note")
    return Section("Source and moved rows", "translations", join(words, show(material, x, moved, target)))


def _words(origin: str, x: Tensor, moved: Tensor, target: Tensor | None) -> str:
    told = f"{len(x)} {origin} rows of the source, not selected, and what they were carried to."
    if target is None:
        return told
    before, after = (number(float((part - target).square().mean().sqrt())) for part in (x, moved))
    return (
        f"{told} Source and target have equally many rows. If row i of one is the truth for row i of the other, the root mean squared "
        f"error went from {before} to {after} on the encoded scale; if rows are not pairs, these two numbers and the target rows below "
        "say nothing."
    )


def _strips(material: Material, x: Tensor, moved: Tensor, target: Tensor | None) -> Markup:
    parts = [x, moved, *([target] if target is not None else [])]
    pictures = [material.schema.as_images(part) for part in parts]
    names = ["source", "moved", "target"][: len(parts)]
    strips = [part[i : i + STRIP] for i in range(0, len(x), STRIP) for part in pictures]
    caption = "Each picture of the source with what it was carried to below it" + (
        ", and the target's picture of the same number." if target is not None else "."
    )
    return rows_figure(strips, names * (len(strips) // len(names)), caption)


def _table(material: Material, x: Tensor, moved: Tensor, target: Tensor | None) -> Markup:
    first, second = (material.schema.decode(part[:_TABLE_ROWS]) for part in (x, moved))
    shown: Any = row_pairs(first, second, _TABLE_ROWS, ("source", "moved"))
    return Markup(shown)
