"""The section on additive functions: how each factor moves the columns, for methods that have learned such curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from pushforward.report import charts
from pushforward.report.material import Material
from pushforward.report.numbers import percent
from pushforward.report.page import Section, columns, figure, heading, join, paragraph

Array = npt.NDArray[Any]

MOST_FACTORS = 6
MOST_CURVES = 6  # columns shown for a factor
_NEEDED = ("functions_", "function_grid_", "explained_variance_", "column_shares_")
_LEAST_SHARE = 0.01  # columns of which a factor explains less are not shown, the first excepted
_QUANTITY = {
    "vector": "standard deviations of the column",
    "table": "standard deviations (normal scores) of the column",
}


@dataclass(frozen=True)
class _Curves:
    """Functions of ``q`` factors in ``k`` classes.

    Attributes:
        grid: codes ``[m]``.
        values: the functions ``[k, q, m, p]``.
        shares: of the variance of each column ``[q, p]``.
        labels: of the columns, ``p``.
        classes: names of the classes, ``k``.
    """

    grid: Array
    values: Array
    shares: Array
    labels: tuple[str, ...]
    classes: tuple[str, ...]


def additive_functions(material: Material) -> Section | None:
    """For every factor the columns that it explains best, a curve each; None for methods without ``functions_``."""
    learned = {name: getattr(material.method, name, None) for name in _NEEDED}
    if any(value is None for value in learned.values()):
        return None
    values, grid, explained, shares = (np.asarray(value) for value in learned.values())
    found = _Curves(grid, values if values.ndim == 4 else values[None], shares, *_names(material))
    shown = [_factor(found, factor, float(explained[factor])) for factor in range(min(len(explained), MOST_FACTORS))]
    return Section("Additive functions", "functions", join(_lead(material, explained), *shown))


def _names(material: Material) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the columns and of the classes (one without a name where there are none)."""
    condition = material.method.condition_
    classes = ("",) if condition is None else tuple(str(value) for value in condition.values)
    return material.schema.coordinates().labels, classes


def _lead(material: Material, explained: Array) -> Markup:
    q, total = len(explained), percent(float(explained.sum()))
    together = f"Together the {q} factors explain {total}" if q > 1 else f"The factor explains {total}"
    left_out = f" The first {MOST_FACTORS} factors are shown." if q > MOST_FACTORS else ""
    inside = " within the classes" if material.method.condition_ is not None else ""
    told = (
        "The model is a sum: each column is its mean, plus one curve for every hidden factor, plus noise. A curve says how a column "
        f"moves with one factor while the others stay as they are. {together} of the variance{inside}; the rest counts as noise."
    )
    note = (
        f"Across: the factor, which is standard normal (the middle 99 %). Upwards: what it adds to the column, in "
        f"{_QUANTITY.get(material.kind, 'encoded units')}; all charts of a factor have one scale. Beside a name: how much of the "
        f"column's variance the factor explains.{left_out}"
    )
    return join(paragraph(told), paragraph(note, "note"))


def _factor(found: _Curves, factor: int, explained: float) -> Markup:
    """The heading of one factor and the charts of its columns, those it explains best first."""
    order = np.argsort(-found.shares[factor], kind="stable")[:MOST_CURVES]
    kept = [int(j) for j in order if found.shares[factor, j] >= _LEAST_SHARE or j == order[0]]
    drawn = found.values[: charts.MOST_SERIES, factor][:, :, kept]
    limits = (float(np.floor(2 * drawn.min() - 0.1) / 2), float(np.ceil(2 * drawn.max() + 0.1) / 2))
    figures = [figure(_chart(found, factor, j, limits)) for j in kept]
    more = f" Its {len(kept)} strongest of {len(found.labels)} columns." if len(kept) < len(found.labels) else ""
    told = f"{percent(explained)} of the variance.{more}"
    return join(heading(f"Factor {factor + 1}"), paragraph(told, "note"), columns(*figures, kind="many small"))


def _chart(found: _Curves, factor: int, column: int, limits: tuple[float, float]) -> Markup:
    curves = {
        name: zip(found.grid, found.values[k, factor, :, column], strict=True) for k, name in enumerate(found.classes)
    }
    title = f"{found.labels[column]}, {percent(float(found.shares[factor, column]))}"
    return charts.small_curves(curves, title, f"factor {factor + 1}", limits=limits, legend=len(found.classes) > 1)
