"""Rank-to-Gaussian transform of one numeric column, with exact atoms."""

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


@dataclass(frozen=True)
class RankTransform:
    """A monotone map between values and normal scores, linear between knots ``(values[k], ranks[k])``.

    A value that is met once owns one knot at its mid-rank. An atom (a value with a large share of the rows) owns two,
    at the first and the last of its ranks: every score in between decodes to exactly that value, and the value encodes
    to the score of its mid-rank.

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
        """Choose at most about 800 knots for the training values ``[n]`` (finite, at least two distinct)."""
        distinct, counts = np.unique(values, return_counts=True)
        ends = np.cumsum(counts)
        middles, atom = 2 * ends - counts, _atoms(counts)
        single = _thin(middles, atom, len(values))
        knots = np.concatenate([distinct[atom], distinct[atom], distinct[single]])
        ranks = np.concatenate([2 * (ends - counts)[atom], 2 * ends[atom], middles[single]])
        order = np.lexsort((knots, ranks))
        return RankTransform(knots[order], ranks[order].astype(np.float64), len(values))

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
    if len(counts) <= _FEW_VALUES and n >= 5 * len(counts):
        return np.ones(len(counts), dtype=bool)
    return counts >= max(3.0, _ATOM_SHARE * n)


def _thin(middles: NDArray[Any], atom: NDArray[np.bool_], n: int) -> NDArray[np.intp]:
    """Which values own one knot: all, or a selection even in rank and in score, with the neighbours of atoms."""
    single = np.flatnonzero(~atom)
    if len(single) <= _KNOTS_BY_RANK + _KNOTS_BY_SCORE:
        return single
    scores = normal_scores(middles[single], n)
    by_rank = np.linspace(0, len(single) - 1, _KNOTS_BY_RANK).round().astype(np.intp)
    by_score = np.searchsorted(scores, np.linspace(scores[0], scores[-1], _KNOTS_BY_SCORE)).clip(0, len(single) - 1)
    beside = np.flatnonzero(np.pad(atom, 1)[:-2] | np.pad(atom, 1)[2:])
    chosen = np.concatenate([single[by_rank], single[by_score], beside[~atom[beside]]])
    return np.unique(chosen)
