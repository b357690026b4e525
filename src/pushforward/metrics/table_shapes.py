"""Does a table of samples look like the real one, column by column?

The scores are those of SDMetrics' quality report as its documentation defines them, between 0 and 1, where 1 is equal.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pushforward.metrics.jackknife import Comparison, Rows, Summary, compare
from pushforward.metrics.measurement import Measurement, fixed_generator, share
from pushforward.metrics.table import Floats, Integers, Pool, blocks, pool

if TYPE_CHECKING:
    import pandas as pd

LEAST_ROWS = 20


class ColumnShapes(NamedTuple):
    """The mean over columns, and each column's score."""

    mean: Measurement
    columns: dict[Hashable, Measurement]


class MissingValues(NamedTuple):
    """Gaps of a table.

    Attributes:
        shares: For each column with gaps: share missing in the samples minus that in the real table.
        patterns: 1 minus the total variation distance between the laws of which columns are missing together.
    """

    shares: dict[Hashable, Measurement]
    patterns: Measurement


def column_shapes(
    samples: pd.DataFrame, real: pd.DataFrame, *, generator: torch.Generator | None = None
) -> ColumnShapes:
    """Similarity of each column's law.

    Numbers: 1 minus the Kolmogorov-Smirnov distance (SDMetrics' KSComplement). Categories: 1 minus the total variation
    distance (TVComplement). Missing values are left out, see `missing_values`. A column that the samples leave empty scores
    0; one that is empty in the real table is left out.

    Args:
        samples: Table of n rows, n at least 20.
        real: Table of m rows with the same columns, best held-out rows.
        generator: Of the interval and of the note, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows, columns that differ, dates, or words among numbers.
    """
    pooled = pool(("real", real), ("samples", samples), least=LEAST_ROWS)
    return shapes_of(compare_shapes(pooled, generator or fixed_generator()), pooled)


def missing_values(
    samples: pd.DataFrame, real: pd.DataFrame, *, generator: torch.Generator | None = None
) -> MissingValues:
    """Are as many values missing, and together in the same columns?

    Args:
        samples: Table of n rows, n at least 20.
        real: Table of m rows with the same columns, best held-out rows.
        generator: Of the interval and of the note, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows, columns that differ, dates, or words among numbers.
    """
    pooled = pool(("real", real), ("samples", samples), least=LEAST_ROWS)
    first, second = pooled.parts()
    gaps = pooled.missing
    shares = {
        name: _difference(gaps[second, i], gaps[first, i]) for i, name in enumerate(pooled.names) if gaps[:, i].any()
    }
    kinds = np.unique(gaps, axis=0, return_inverse=True)[1].reshape(-1, 1)
    patterns = _compare_columns(kinds, np.array([False]), pooled, generator or fixed_generator())
    return MissingValues(shares, patterns.measure(note=f"{int(kinds.max()) + 1} patterns"))


# ---------------------------------------------------------------- columns


def compare_shapes(pooled: Pool, generator: torch.Generator) -> Comparison:
    """The score of every column."""
    return _compare_columns(pooled.values(), pooled.is_number, pooled, generator)


def shapes_of(found: Comparison, pooled: Pool) -> ColumnShapes:
    """The scores of `compare_shapes` under their names."""
    kept = np.flatnonzero(np.isfinite(found.values)).tolist()
    if not kept:
        raise ValueError("real: every column is empty, so that nothing can be compared")
    n_out = len(pooled.names) - len(kept)
    note = f"{n_out} columns that are empty in the real table left out" if n_out else ""
    return ColumnShapes(found.measure(note=note), {pooled.names[i]: found.measure(slice(i, i + 1)) for i in kept})


def _compare_columns(
    values: Integers, ordered: npt.NDArray[np.bool_], pooled: Pool, generator: torch.Generator
) -> Comparison:
    """Similarity of columns ``[n, q]`` of values numbered from 0, -1 where missing; ``ordered`` says which are numbers."""
    starts, n_values = blocks(values)
    flat = np.where(values < 0, n_values, values + starts)

    def summarise(rows: Rows) -> Summary:
        return (np.bincount(flat[rows].ravel(), minlength=n_values + 1)[:n_values].astype(np.float64),)

    def score(real: Summary, samples: Summary) -> Floats:
        return 1.0 - _column_distances(real[0], samples[0], starts, ordered)

    return compare(pooled.parts(), summarise, score, generator)


def _column_distances(real: Floats, samples: Floats, starts: Integers, ordered: npt.NDArray[np.bool_]) -> Floats:
    """Kolmogorov-Smirnov or total variation distances ``[q]`` from the counts of all values, column after column."""
    totals = np.stack([np.add.reduceat(counts, starts) for counts in (real, samples)])
    widths = np.diff(starts, append=len(real))
    n_real, n_samples = np.repeat(np.maximum(totals, 1), widths, axis=1)
    gap = real / n_real - samples / n_samples
    steps = np.cumsum(gap)
    steps -= np.repeat(steps[starts] - gap[starts], widths)
    furthest, moved = np.maximum.reduceat(np.abs(steps), starts), np.add.reduceat(np.abs(gap), starts) / 2
    distances = np.where(totals[1] == 0, 1.0, np.where(ordered, furthest, moved))
    return np.where(totals[0] == 0, np.nan, distances)


def _difference(samples: npt.NDArray[np.bool_], real: npt.NDArray[np.bool_]) -> Measurement:
    """Difference of two shares with the interval from Wilson's two (Newcombe 1998, method 10)."""
    p, q = (share(torch.from_numpy(hits), "raw") for hits in (samples, real))
    value = p.value - q.value
    low = value - math.hypot(p.value - p.low, q.high - q.value)
    high = value + math.hypot(p.high - p.value, q.value - q.low)
    return Measurement(
        value, low, high, min(p.n, q.n), "raw", f"{p.value:.3f} in the samples, {q.value:.3f} in the real table"
    )
