"""The section on the data manifold: spectrum, embedding and a walk, for methods that have learned one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from pushforward.data import take_rows
from pushforward.metrics.gromov import LEAST_ROWS, find_solver, gromov_wasserstein
from pushforward.report import charts
from pushforward.report.material import Material
from pushforward.report.numbers import number
from pushforward.report.page import Section, columns, figure, join, paragraph, rows_figure, table
from pushforward.report.sections import cell, frame

Array = npt.NDArray[Any]

STRIP = 12  # pictures in a row of a walk
MOST_STEPS = 480
TABLE_STEPS = 9
MOST_CLASSES = 12
MOST_COLUMNS = 10
_NEEDED = ("spectrum_", "codes_", "landmark_rows_", "walk_from", "mixing_steps")


def manifold_walk(material: Material) -> Section | None:
    """Eigenvalues, the first two coordinates, a walk, and how near samples lie to training rows; None for other methods."""
    method: Any = material.method
    if any(getattr(method, name, None) is None for name in _NEEDED):
        return None
    steps = int(method.mixing_steps())
    body = join(
        _lead(material, steps),
        columns(figure(_spectrum(method)), figure(_embedding(material))),
        _alike(material),
        _picture_walk(material, steps) if material.kind == "image" else _row_walk(material),
    )
    return Section("The data manifold", "manifold", body)


def _lead(material: Material, steps: int) -> Markup:
    """What the coordinates are, how long a walk is, and that samples are near copies."""
    told = (
        "The latent coordinates are slow motions of a random walk between neighbouring training rows. An eigenvalue near 1 is a slow "
        "motion, a direction along which the data are long; equal ones belong together, such as sine and cosine of an angle. "
        f"A walk has forgotten its beginning after about {steps:,} steps."
    )
    return join(paragraph(told), paragraph(_copies(material), "note"))


def _copies(material: Material) -> str:
    ratio = material.method.validation_.get("nearest_ratio", math.nan)
    known = (
        f" Here they lie {number(ratio)} times as far from them as held-out rows do (median)."
        if math.isfinite(ratio)
        else ""
    )
    return (
        "A sample is what the neighbours of a training row have in common, one small step away from it, with a mixture of their "
        "deviations added, so samples lie near training rows by construction, whatever "
        f"other numbers say.{known} The nearest training rows are shown below."
    )


def _alike(material: Material) -> Markup:
    """The Gromov-Wasserstein distance of samples and real rows, where POT is installed and there are rows enough."""
    sides = [material.samples_x.float(), material.real_x.float()]
    if find_solver() is None or min(map(len, sides)) < LEAST_ROWS or any(float(side.std()) == 0 for side in sides):
        return Markup("")
    found = gromov_wasserstein(*sides)
    told = (
        f"As shapes, samples and {material.origin} rows (y) are at a Gromov-Wasserstein distance of {number(found.value)} "
        f"({number(found.low)} to {number(found.high)}; {found.note}). It sees neither place nor direction, and tells laws apart poorly."
    )
    return paragraph(told, "note")


def _spectrum(method: Any) -> Markup:
    values = np.asarray(method.spectrum_, dtype=float)
    points = [(float(k), float(w)) for k, w in enumerate(values, start=1)]
    return charts.line_chart({"eigenvalue": points}, "Eigenvalues of the walk", "coordinate")


def _embedding(material: Material) -> Markup:
    """The first two coordinates of the training rows, marked by label where there are a few classes."""
    method: Any = material.method
    codes = np.asarray(method.codes_, dtype=float)
    plane = codes[:, :2] if codes.shape[1] > 1 else np.column_stack([codes, np.zeros(len(codes))])
    marks = _marks(material, np.asarray(method.landmark_rows_))
    told = ("Training rows in the first two coordinates", "first", "second")
    return charts.scatter({"training": plane}, *told) if marks is None else charts.marked_scatter(plane, marks, *told)


def _marks(material: Material, rows: Array) -> list[str] | None:
    """The first two characters of each row's label; None where there are no labels, many classes, or equal beginnings."""
    if material.data.labels is None:
        return None
    names = [str(label) for label in np.asarray(material.data.labels)[rows]]
    short = {name: name[:2] for name in set(names)}
    few = 1 < len(short) <= MOST_CLASSES and len(set(short.values())) == len(short)
    return [short[name] for name in names] if few else None


def _picture_walk(material: Material, steps: int) -> Markup:
    """Two walks of the same length from one row: on the training rows, and by the networks alone."""
    method: Any = material.method
    length = min(steps, MOST_STEPS)
    shown = np.linspace(0, length, 2 * STRIP).round().astype(np.int64)
    strips = []
    for kind in ("anchored", "network"):
        path = material.pictures(take_rows(method.walk_from(0, steps=length, kind=kind, seed=material.seed), shown))
        strips += [path[:STRIP], path[STRIP:]]
    names = ["walk on the data", "", "networks alone", ""]
    told = (
        f"{length:,} steps from one training picture, {2 * STRIP} of them shown in order, not selected, without the residuals that "
        "samples have. Above, the walk that samples come from; below, the walk of the paper, which decodes and encodes at every "
        "step and may leave the data."
    )
    return rows_figure(strips, names, told)


def _row_walk(material: Material) -> Markup:
    """A short walk from one row as a table."""
    method: Any = material.method
    path = frame(method.walk_from(0, steps=TABLE_STEPS, seed=material.seed)).iloc[:, :MOST_COLUMNS]
    rows = [[str(step), *map(cell, values)] for step, values in enumerate(path.itertuples(index=False, name=None))]
    return table(["step", *map(str, path.columns)], rows, "A walk on the data from one training row.")
