"""From results to places: numbers over seeds, who copies, who is better, and by what rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pushforward.compare.results import Result
from pushforward.metrics.measurement import Measurement

RARE, NEAR = 1e-3, 0.7  # as for the warning of a fit: samples are copies below both


@dataclass(frozen=True)
class Criterion:
    """A number that places are given by: the first of ``names`` that was measured.

    Attributes:
        names: alternatives, the first one that any method has counts.
        ideal: its best value; beyond it nothing is won.
        sign: 1 where lower is better, -1 where higher is.
    """

    names: tuple[str, ...]
    ideal: float = 0.0
    sign: float = 1.0

    def loss(self, value: float) -> float:
        """How far a value is from the ideal, at least 0."""
        return max(0.0, self.sign * (value - self.ideal))


_FRECHET, _RECALL = Criterion(("frechet", "kid")), Criterion(("recall",), 1.0, -1.0)
_TOLD_APART = Criterion(("c2st_auc",), 0.5)
CRITERIA: dict[str, tuple[Criterion, ...]] = {
    "image": (_FRECHET, _RECALL, _TOLD_APART),
    "vector": (_FRECHET, _RECALL, _TOLD_APART),
    "table": (
        Criterion(("column_shapes",), 1.0, -1.0),
        Criterion(("pair_trends",), 1.0, -1.0),
        Criterion(("detection_forest",), 0.5),
        Criterion(("tstr_forest",), 1.0, -1.0),
    ),
}


@dataclass(frozen=True)
class Spread:
    """A number over seeds.

    Attributes:
        mean: over the seeds.
        low: the lower one of the mean lower end of the 95 % intervals and of the smallest value.
        high: likewise upwards.
        sd: standard deviation over the seeds; not a number for a single one.
        n: seeds.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int


@dataclass(frozen=True)
class Standing:
    """Where a method stands.

    Attributes:
        label: of the method.
        place: from 1; None where it failed with every seed.
        mean_rank: over the criteria, among those that do not copy (or, for those that do, among themselves).
        numbers: metrics over seeds.
        facts: means over seeds of what the fits took.
        copies: whether its samples lie too near training rows.
        failed: reasons of the seeds that failed.
        seeds: how many went well.
        warnings: of the fits, each once.
    """

    label: str
    place: int | None
    mean_rank: float
    numbers: dict[str, Spread]
    facts: dict[str, float]
    copies: bool
    failed: tuple[str, ...]
    seeds: int
    warnings: tuple[str, ...]


def standings(results: Sequence[Result], kind: str) -> list[Standing]:
    """Every method in its place: those that copy after those that do not, failed ones last."""
    every = [
        _standing(label, [r for r in results if r.label == label]) for label in dict.fromkeys(r.label for r in results)
    ]
    honest = _ranked([s for s in every if s.seeds and not s.copies], kind)
    copying = _ranked([s for s in every if s.seeds and s.copies], kind)
    placed = [replace(s, place=k) for k, s in enumerate([*honest, *copying], start=1)]
    return [*placed, *(s for s in every if not s.seeds)]


def criteria(found: Sequence[Standing], kind: str) -> list[tuple[str, Criterion]]:
    """The criteria that at least one method has a number for, each with the name of that number."""
    measured = {name for s in found for name in s.numbers}
    chosen = [(next((name for name in c.names if name in measured), ""), c) for c in CRITERIA[kind]]
    return [(name, criterion) for name, criterion in chosen if name]


def measured_criteria(metrics: Mapping[str, object], kind: str) -> list[str]:
    """The names of the criteria among these numbers."""
    chosen = [next((name for name in c.names if name in metrics), "") for c in CRITERIA[kind]]
    return [name for name in chosen if name]


def clearly_better(first: Standing, second: Standing, kind: str) -> list[str]:
    """The criteria in which the interval of ``first`` is on the better side of that of ``second``."""
    told = []
    for name, criterion in criteria([first, second], kind):
        ours, theirs = first.numbers.get(name), second.numbers.get(name)
        if ours is not None and (theirs is None or _worst(ours, criterion) < _best(theirs, criterion)):
            told.append(name)
    return told


def copied(metrics: dict[str, Measurement]) -> bool:
    """Whether samples are copies: nearer to training rows than held-out rows are, by much and not by chance.

    The distances are those of the closest twentieth, or the medians where held-out rows themselves equal training rows; or
    exact copies of records are more frequent than among held-out rows.
    """
    chance, near = metrics.get("memorisation_p"), metrics.get("nearest_ratio_5", metrics.get("nearest_ratio"))
    too_near = chance is not None and chance.value < RARE and near is not None and near.value < NEAR
    exact, held = metrics.get("record_copies"), metrics.get("held_record_copies")
    return too_near or (exact is not None and held is not None and exact.low > held.high)


def spread(measured: Sequence[Measurement]) -> Spread:
    """One number over seeds; intervals that do not exist are left out."""
    values = [m.value for m in measured]
    ends = [(m.low, m.high) for m in measured if math.isfinite(m.low + m.high)]
    low, high = (float(np.mean(side)) for side in zip(*ends, strict=True)) if ends else (math.inf, -math.inf)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), min(low, *values), max(high, *values), sd, len(values))


def _standing(label: str, results: list[Result]) -> Standing:
    done = [r for r in results if not r.failed]
    names = dict.fromkeys(name for r in done for name in r.metrics)
    numbers = {name: spread([r.metrics[name] for r in done if name in r.metrics]) for name in names}
    keys = dict.fromkeys(key for r in done for key in r.facts)
    facts = {key: float(np.mean([r.facts[key] for r in done if key in r.facts])) for key in keys}
    flagged = sum(copied(r.metrics) for r in done)
    failed = tuple(dict.fromkeys(r.failed for r in results if r.failed))
    told = tuple(dict.fromkeys(text for r in done for text in r.warnings))
    return Standing(label, None, math.nan, numbers, facts, 2 * flagged >= max(len(done), 1), failed, len(done), told)


def _ranked(found: list[Standing], kind: str) -> list[Standing]:
    """By mean rank over the criteria; equal ones by the first criterion, then in the order given."""
    losses = [[_loss(s, name, criterion) for s in found] for name, criterion in criteria(found, kind)]
    ranks = [_ranks(column) for column in losses]
    means = [float(np.mean([r[i] for r in ranks])) if ranks else math.nan for i in range(len(found))]
    order = sorted(range(len(found)), key=lambda i: (means[i], losses[0][i]) if ranks else (0.0, 0.0))
    return [replace(found[i], mean_rank=means[i]) for i in order]


def _ranks(losses: Sequence[float]) -> list[float]:
    """Ranks from 1; equal losses share the mean of theirs."""
    return [1 + sum(x < y for x in losses) + 0.5 * (sum(x == y for x in losses) - 1) for y in losses]


def _loss(standing: Standing, name: str, criterion: Criterion) -> float:
    """The loss of the mean; a number that a method lacks is worse than any."""
    found = standing.numbers.get(name)
    return math.inf if found is None else criterion.loss(found.mean)


def _worst(found: Spread, criterion: Criterion) -> float:
    return max(criterion.loss(found.low), criterion.loss(found.high))


def _best(found: Spread, criterion: Criterion) -> float:
    return min(criterion.loss(found.low), criterion.loss(found.high))
