"""Errors of scores that compare two sets of rows, and what two sets of one law would score.

It suits any score of additive summaries: counts, sums, tables of counts. Then leaving rows out costs one subtraction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pushforward.metrics.measurement import Measurement, normal_interval

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Summary = tuple[Any, ...]
"""Sums over rows: arrays or sparse matrices, which can be subtracted."""

_GROUPS = 20
_SPLITS = 10


@dataclass(frozen=True)
class Comparison:
    """Several scores of one pair of sets, with what is needed for their errors.

    Attributes:
        values: The scores ``[c]``, NaN where one does not exist.
        without: Twice ``[20, c]``: the scores without one group of the first set, and without one of the second.
        floor: Mean scores ``[c]`` over random divisions of all rows: what two sets of one law would have.
        n: Rows of the smaller set.
    """

    values: Floats
    without: tuple[Floats, Floats]
    floor: Floats
    n: int

    def measure(self, part: slice = slice(None), note: str = "") -> Measurement:
        """The mean over the existing scores of a part as a `Measurement`.

        The interval is the normal one with the delete-a-group jackknife error (Efron and Tibshirani 1993, section 11.5), cut
        to [0, 1]. It is about the score that sets of these sizes have on average, and that is below 1 even for two sets
        of one law: the note says what those score.
        """
        value, floor = (float(_mean(scores[part])) for scores in (self.values, self.floor))
        variance = sum((len(scores) - 1) * float(_mean(scores[:, part]).var()) for scores in self.without)
        low, high = normal_interval(value, variance**0.5)
        floor_note = f"two sets of one law score {floor:.3f} at these sizes"
        notes = "; ".join(filter(None, [floor_note, note]))
        value, low, high = (min(max(end, 0.0), 1.0) for end in (value, low, high))  # sums of shares round
        return Measurement(value, low, high, self.n, "raw", notes)

    def mean(self) -> Comparison:
        """The mean score alone, ``c = 1``."""
        one, two = (_mean(scores)[:, None] for scores in self.without)
        return Comparison(_mean(self.values)[None], (one, two), _mean(self.floor)[None], self.n)

    def beside(self, other: Comparison) -> Comparison:
        """The scores of both; they must come from the same groups of rows."""
        one, two = (np.hstack(pair) for pair in zip(self.without, other.without, strict=True))
        values, floor = np.hstack([self.values, other.values]), np.hstack([self.floor, other.floor])
        return Comparison(values, (one, two), floor, self.n)


def compare(
    parts: Sequence[Rows],
    summarise: Callable[[Rows], Summary],
    score: Callable[[Summary, Summary], Floats],
    generator: torch.Generator,
) -> Comparison:
    """Scores two sets of rows, also without each group of rows, and at random divisions.

    Args:
        parts: Row numbers of the real set ``[n]`` and of the samples ``[m]``; n and m are at least 20.
        summarise: Carries row numbers to sums over those rows.
        score: Carries the sums of the two sets to scores ``[c]``, NaN where one does not exist.
        generator: On the CPU; chooses groups and divisions.
    """
    first, second = parts
    one, two = summarise(first), summarise(second)
    less_one = [score(_minus(one, summarise(rows)), two) for rows in _groups(first, generator)]
    less_two = [score(one, _minus(two, summarise(rows))) for rows in _groups(second, generator)]
    everything = np.concatenate([first, second])
    total, floor = summarise(everything), []
    for _ in range(_SPLITS):
        part = summarise(_shuffled(everything, generator)[: len(second)])
        floor.append(score(_minus(total, part), part))
    values = score(one, two)
    without = (_filled(np.stack(less_one), values), _filled(np.stack(less_two), values))
    expected = np.where(np.isnan(values), np.nan, _mean(np.stack(floor).T))
    return Comparison(values, without, expected, min(len(first), len(second)))


def _minus(whole: Summary, part: Summary) -> Summary:
    return tuple(a - b for a, b in zip(whole, part, strict=True))


def _groups(rows: Rows, generator: torch.Generator) -> list[Rows]:
    return np.array_split(_shuffled(rows, generator), _GROUPS)


def _shuffled(rows: Rows, generator: torch.Generator) -> Rows:
    return np.asarray(rows[torch.randperm(len(rows), generator=generator).numpy()])


def _filled(scores: Floats, values: Floats) -> Floats:
    """Scores that no longer exist without some rows are taken as unchanged, so that means keep their terms."""
    return np.where(np.isnan(scores), values, scores)


def _mean(scores: Floats) -> Floats:
    """Mean over the last dimension of the scores that exist, NaN where none does."""
    exists = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(exists, scores, 0.0).sum(axis=-1) / exists.sum(axis=-1))
