"""Does a table of samples have the dependences of the real one, pair by pair of columns?

The scores are those of SDMetrics' quality report as its documentation defines them, between 0 and 1, where 1 is equal. All
pairs are scored at once, from the sums of products of the numbers and one sparse matrix of counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pushforward.metrics.jackknife import Comparison, Rows, Summary, compare
from pushforward.metrics.measurement import Measurement, fixed_generator
from pushforward.metrics.table import Floats, Integers, Pool, blocks, pool
from pushforward.metrics.table_shapes import LEAST_ROWS, ColumnShapes, compare_shapes, shapes_of

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

_BINS = 10
_NO_SPREAD = 1e-12  # variance below which a column counts as constant, in units of the real column's variance


class PairTrends(NamedTuple):
    """The mean over pairs of columns, and each pair's score; a pair is named in the real table's order."""

    mean: Measurement
    pairs: dict[tuple[Hashable, Hashable], Measurement]


class TableQuality(NamedTuple):
    """Column shapes, pair trends, and the mean of the two."""

    shapes: ColumnShapes
    pairs: PairTrends
    overall: Measurement


def pair_trends(samples: pd.DataFrame, real: pd.DataFrame, *, generator: torch.Generator | None = None) -> PairTrends:
    """Similarity of the dependence between two columns, for all pairs.

    Two columns of numbers: ``1 - |r - s| / 2`` with the Pearson correlations over the rows where both are present (SDMetrics'
    CorrelationSimilarity). Other pairs: 1 minus the total variation distance between the two tables of counts, where
    missing is a category of its own (ContingencySimilarity); numbers are put into ten bins of equal width over the range of
    the real column, the outer bins open.

    Departures from SDMetrics' report: its bins are fitted to the real and to the sampled column apart, which hides a shift; here
    the real column's serve both, as in its metric for one pair. It leaves out pairs with a column that is constant in the
    samples; here that is a correlation of 0, so that collapse costs. Both leave out correlations with a column that is
    constant in the real table.

    Args:
        samples: Table of n rows, n at least 20.
        real: Table of m rows with the same columns, best held-out rows; m at least 20.
        generator: Of the interval and of the note, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows, columns that differ, dates, words among numbers, or no pair to compare.
    """
    pooled = pool(("real", real), ("samples", samples), least=LEAST_ROWS)
    return _pairs_of(_compare_pairs(pooled, generator or fixed_generator()), pooled, list(real.columns))


def table_quality(
    samples: pd.DataFrame, real: pd.DataFrame, *, generator: torch.Generator | None = None
) -> TableQuality:
    """`column_shapes`, `pair_trends` and their mean, which is the overall score of SDMetrics' quality report.

    Args:
        samples: Table of n rows, n at least 20.
        real: Table of m rows with the same columns, best held-out rows; m at least 20.
        generator: Of the intervals and of the notes, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows, columns that differ, dates, words among numbers, or no pair to compare.
    """
    pooled = pool(("real", real), ("samples", samples), least=LEAST_ROWS)
    generator = generator or fixed_generator()
    state = generator.get_state()
    shapes = compare_shapes(pooled, generator)
    generator.set_state(state)  # the same groups of rows are left out, so that the two errors add up as they should
    pairs = _compare_pairs(pooled, generator)
    overall = shapes.mean().beside(pairs.mean()).measure()
    return TableQuality(shapes_of(shapes, pooled), _pairs_of(pairs, pooled, list(real.columns)), overall)


def _compare_pairs(pooled: Pool, generator: torch.Generator) -> Comparison:
    """Scores in the order of `_pair_names`: the pairs of numbers, then those with a category."""
    real, _ = pooled.parts()
    numbers, counts = _standardised(pooled.numbers, real), _Counts(_codes(pooled, real), pooled.levels.shape[1])
    upper = np.triu_indices(pooled.numbers.shape[1], 1)

    def summarise(rows: Rows) -> Summary:
        return (*_moments(numbers[rows]), counts.of(rows), float(len(rows)))

    def score(first: Summary, second: Summary) -> Floats:
        r, s = _correlations(*first[:4]), np.nan_to_num(_correlations(*second[:4]))
        distances = counts.distances(first[4] / first[5] - second[4] / second[5])
        return np.concatenate([(1 - np.abs(r - s) / 2)[upper], 1 - distances])

    return compare(pooled.parts(), summarise, score, generator)


def _pairs_of(found: Comparison, pooled: Pool, order: Sequence[Hashable]) -> PairTrends:
    kept = np.flatnonzero(np.isfinite(found.values)).tolist()
    if not kept:
        raise ValueError("real: a table needs two columns that are not constant for pair trends; give more columns")
    names, n_out = _pair_names(pooled, order), len(found.values) - len(kept)
    note = f"{n_out} pairs with a column that is constant in the real table left out" if n_out else ""
    return PairTrends(found.measure(note=note), {names[i]: found.measure(slice(i, i + 1)) for i in kept})


def _pair_names(pooled: Pool, order: Sequence[Hashable]) -> list[tuple[Hashable, Hashable]]:
    p, c = pooled.numbers.shape[1], pooled.levels.shape[1]
    category, other = _category_pairs(p, c)
    one, two = np.triu_indices(p, 1)
    place = {name: k for k, name in enumerate(order)}
    pairs = zip([*one, *(p + category)], [*two, *other], strict=True)
    named = [sorted((pooled.names[i], pooled.names[j]), key=place.__getitem__) for i, j in pairs]
    return [(first, second) for first, second in named]


def _category_pairs(p: int, c: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The pairs with a category: its number from 0, and the number of the other column among all ``p + c``."""
    category, other = np.indices((c, p + c))
    first, second = np.nonzero((other < p) | (other > p + category))
    return first, second


# ---------------------------------------------------------------- two columns of numbers


def _standardised(numbers: Floats, real: Rows) -> Floats:
    """Numbers ``[n, p]`` in units of the real table's, so that sums of products stay exact."""
    present = ~np.isnan(numbers[real])
    n = np.maximum(present.sum(axis=0), 1)
    centre = np.where(present, numbers[real], 0).sum(axis=0) / n
    spread = np.sqrt(np.square(np.where(present, numbers[real] - centre, 0)).sum(axis=0) / n)
    return np.asarray((numbers - centre) / np.where(spread > 0, spread, 1))


def _moments(z: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """For all pairs, over the rows where both are present: number, sums, sums of squares, sums of products, ``[p, p]``."""
    present = (~np.isnan(z)).astype(np.float64)
    filled = np.nan_to_num(z)
    return present.T @ present, filled.T @ present, np.square(filled).T @ present, filled.T @ filled


def _correlations(n: Floats, sums: Floats, squares: Floats, products: Floats) -> Floats:
    """Pearson correlations ``[p, p]``, NaN where a column is constant over the rows of the pair."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / n
        variances = squares / n - means**2
        variances = np.where(variances > _NO_SPREAD, variances, np.nan)
        return np.asarray((products / n - means * means.T) / np.sqrt(variances * variances.T))


# ---------------------------------------------------------------- pairs with a category


def _codes(pooled: Pool, real: Rows) -> Integers:
    """All columns as categories from 0, ``[n, p + c]``: numbers in bins, missing a category of its own."""
    numbers = [_binned(column, column[real]) for column in pooled.numbers.T]
    levels = [np.where(column < 0, column.max() + 1, column) for column in pooled.levels.T]
    return np.column_stack([*numbers, *levels]).astype(np.int64)


def _binned(column: Floats, real: Floats) -> Integers:
    present = real[~np.isnan(real)]
    inner = np.histogram_bin_edges(present, bins=_BINS)[1:-1] if len(present) else np.empty(0)
    return np.where(np.isnan(column), _BINS, np.digitize(column, inner))


class _Counts:
    """Tables of counts of every category column with every column, side by side in one sparse matrix."""

    def __init__(self, codes: Integers, n_categories: int) -> None:
        from scipy.sparse import csr_matrix

        n, q = codes.shape
        starts, width = blocks(codes)
        flat, ones = codes + starts, np.ones(n * q)
        self.hot: csr_matrix = csr_matrix((ones, flat.ravel(), np.arange(0, n * q + 1, q)), shape=(n, width))
        self.first = int(starts[q - n_categories]) if n_categories else width
        self.column = np.repeat(np.arange(q), np.diff(starts, append=width))
        self.shape = (n_categories, q)

    def of(self, rows: Rows) -> csr_matrix:
        """Counts over some rows, ``[values of the categories, values of all columns]``."""
        hot = self.hot[rows]
        return hot[:, self.first :].T.tocsr() @ hot

    def distances(self, gap: csr_matrix) -> Floats:
        """Total variation distances of the pairs of `_category_pairs` from the differences of all shares."""
        c, q = self.shape
        entries = gap.tocoo()
        category, other = self.column[entries.row + self.first] - (q - c), self.column[entries.col]
        sums = np.bincount(category * q + other, weights=np.abs(entries.data), minlength=c * q)
        return np.asarray(sums.reshape(c, q)[_category_pairs(q - c, c)] / 2, dtype=np.float64)
