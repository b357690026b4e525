"""Rank-to-Gaussian transform of one numeric column, with exact atoms and without values of single rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.data.packing import Floats, pack, unpack

_FEW_VALUES = 256  # a column with at most this many distinct values, each met five times on average, is discrete
_ATOM_SHARE = 0.01  # a value with at least this share of the rows (and three of them) comes back exactly
_KNOTS_BY_RANK, _KNOTS_BY_SCORE = 256, 128
_CELL = 4  # rows that are averaged into one knot, at least; the first cell of a run has two rows, so that gaps stay sharp


@dataclass(frozen=True)
class RankTransform:
    """A monotone map between values and normal scores, linear between knots ``(values[k], ranks[k])``.

    An atom (a value with a large share of the rows) owns two knots, at the first and the last of its ranks: every score
    in between decodes to exactly that value, and the value encodes to the score of its mid-rank. The smallest and the
    largest value own one knot each. All other values are averaged over cells of about four neighbouring rows, and a cell
    owns one knot, at its mean value and mean rank: a saved transform has no value of a single row inside the range. Both
    directions are linear between the same knots, so every value inside the range comes back.

    Attributes:
        values: knots ``[k]``, not decreasing.
        ranks: twice the rank of each knot ``[k]``, between 0 and 2 n, not decreasing.
        n: number of training values.
    """

    values: Floats
    ranks: Floats
    n: int

    @staticmethod
    def fit(values: Floats) -> RankTransform:
        """Choose at most about n / 4 knots beside the atoms, and at most about 800, for values ``[n]`` (finite, two distinct)."""
        distinct, counts = np.unique(values, return_counts=True)
        ends = np.cumsum(counts)
        middles, atom = (2 * ends - counts).astype(np.float64), _atoms(counts)
        outer = np.array([k for k in (0, -1) if not atom[k]], dtype=np.intp)
        inner, inner_ranks = _cells(distinct, counts, middles, atom)
        knots = np.concatenate([distinct[atom], distinct[atom], distinct[outer], inner])
        ranks = np.concatenate([2.0 * (ends - counts)[atom], 2.0 * ends[atom], middles[outer], inner_ranks])
        order = np.lexsort((knots, ranks))
        return RankTransform(knots[order], ranks[order], len(values))

    def encode(self, values: Floats) -> Floats:
        """Values ``[m]`` as normal scores ``[m]``; values outside the training range get the outermost score."""
        scores = np.interp(values, self.values, self._scores)
        atoms, codes = self._atom_codes
        if not len(atoms):
            return scores
        place = np.minimum(np.searchsorted(atoms, values), len(atoms) - 1)
        return np.where(atoms[place] == values, codes[place], scores)

    def decode(self, scores: NDArray[Any]) -> Floats:
        """Normal scores ``[m]`` as values ``[m]`` inside the training range."""
        return np.interp(scores.astype(np.float64), self._scores, self.values)

    @property
    def low(self) -> float:
        """The smallest training value."""
        return float(self.values[0])

    @property
    def high(self) -> float:
        """The largest training value."""
        return float(self.values[-1])

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return {"values": pack(self.values), "ranks": pack(self.ranks), "n": self.n}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> RankTransform:
        """The inverse of ``to_dict``."""
        return RankTransform(unpack(stored["values"]), unpack(stored["ranks"]), int(stored["n"]))

    @cached_property
    def _scores(self) -> Floats:
        return normal_scores(self.ranks, self.n)

    @cached_property
    def _atom_codes(self) -> tuple[Floats, Floats]:
        first = np.flatnonzero(np.diff(self.values) == 0)
        return self.values[first], normal_scores((self.ranks[first] + self.ranks[first + 1]) / 2, self.n)


def normal_scores(ranks: NDArray[Any], n: int) -> Floats:
    """Doubled ranks ``[k]`` in [0, 2 n] as standard normal quantiles, finite also at both ends."""
    levels = np.clip(ranks.astype(np.float64), 0.5, 2 * n - 0.5) / (2 * n)
    scores: Floats = torch.special.ndtri(torch.from_numpy(levels)).numpy()
    return scores


def _atoms(counts: NDArray[Any]) -> NDArray[np.bool_]:
    n = int(counts.sum())
    if len(counts) > _FEW_VALUES or n < 5 * len(counts):
        return counts >= max(3.0, _ATOM_SHARE * n)
    discrete = counts >= 2
    discrete[[0, -1]] = True
    return discrete


def _cells(
    values: Floats, counts: NDArray[Any], middles: Floats, atom: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Means ``[k]`` of values and of doubled ranks over neighbouring rows, between atoms and the outermost values."""
    own = atom.copy()
    own[[0, -1]] = True
    loose = np.flatnonzero(~own)
    if not len(loose):
        return np.empty(0), np.empty(0)
    starts, whole = _cell_starts(loose, counts[loose])
    rows = np.add.reduceat(counts[loose], starts)
    shares = counts[loose] / np.repeat(rows, np.diff(starts, append=len(loose)))
    last = np.append(starts[1:], len(loose)) - 1
    means = np.clip(np.add.reduceat(values[loose] * shares, starts), values[loose[starts]], values[loose[last]])
    ranks = np.add.reduceat(middles[loose] * shares, starts)
    beside = own[loose[starts] - 1] | own[loose[last] + 1]
    kept = _thin(ranks, beside, int(counts.sum()))
    kept = kept[whole[kept]]
    return means[kept], ranks[kept]


def _cell_starts(loose: NDArray[Any], counts: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where cells begin in ``loose`` (runs of places, broken by atoms), and whether each has two rows or more."""
    run = np.cumsum(np.diff(loose, prepend=loose[0]) > 1)
    before = np.cumsum(counts) - counts
    first_of_run = np.searchsorted(run, run)
    cell = (before - before[first_of_run] + 2) // _CELL
    starts = np.flatnonzero(np.diff(run, prepend=-1) | np.diff(cell, prepend=-1))
    lonely = np.add.reduceat(counts, starts) < 2
    starts = starts[~lonely | (first_of_run[starts] == starts)]  # a single row joins the cell before it in its run
    return starts, np.add.reduceat(counts, starts) >= 2


def _thin(ranks: Floats, beside: NDArray[np.bool_], n: int) -> NDArray[np.intp]:
    """Which cells own a knot: all, or a selection even in rank and in score, with those beside atoms and ends."""
    if len(ranks) <= _KNOTS_BY_RANK + _KNOTS_BY_SCORE:
        return np.arange(len(ranks))
    scores = normal_scores(ranks, n)
    by_rank = np.linspace(0, len(ranks) - 1, _KNOTS_BY_RANK).round().astype(np.intp)
    by_score = np.searchsorted(scores, np.linspace(scores[0], scores[-1], _KNOTS_BY_SCORE)).clip(0, len(ranks) - 1)
    return np.unique(np.concatenate([by_rank, by_score, np.flatnonzero(beside)]))
