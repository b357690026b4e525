"""Do samples repeat training records? Distances to the nearest record, and exact copies.

None of these numbers is a guarantee of privacy; a bad value is evidence of copying.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pushforward.metrics.measurement import Measurement, bootstrap_interval, fixed_generator, normal_interval, share
from pushforward.metrics.rows import squared_distances
from pushforward.metrics.table import Floats, Integers, Pool, pool

if TYPE_CHECKING:
    import pandas as pd

_LEAST = 10
_FEATURES = "standardised and one-hot"
_CANDIDATES = 4


class NearestRecords(NamedTuple):
    """How near samples are to the records that the generator was fitted on.

    Attributes:
        closer_to_train: Share of the samples nearer to a training than to a held-out record, ties at their expected share.
        expected: What that share is for fresh rows: ``n_train / (n_train + n_held)``.
        to_train: Median distance from samples to the nearest training record (DCR).
        to_held: Median distance from samples to the nearest held-out record.
        held_to_train: Median distance from held-out to the nearest training record: what `to_train` is for fresh rows.
        ratio: Median over samples of the nearest over the second nearest training distance (NNDR); near 0 for copies.
        held_ratio: The same of held-out rows: what `ratio` is for fresh rows.
        copies: Share of the samples that equal a training record in every column.
        held_copies: The same of held-out rows: what `copies` is for fresh rows.
    """

    closer_to_train: Measurement
    expected: float
    to_train: Measurement
    to_held: Measurement
    held_to_train: Measurement
    ratio: Measurement
    held_ratio: Measurement
    copies: Measurement
    held_copies: Measurement


class _Nearest(NamedTuple):
    """The nearest of a set of records: its number and distance, and the distance of the second nearest, each ``[n]``."""

    record: Tensor
    distance: Tensor
    second: Tensor


def nearest_records(
    samples: pd.DataFrame, train: pd.DataFrame, held: pd.DataFrame, *, generator: torch.Generator | None = None
) -> NearestRecords:
    """Distances of samples to training records against those to held-out records, and exact copies.

    Distances are Euclidean: numbers in standard deviations of the training table, a gap 1 away from any number, two different
    categories 1 apart. Use all training rows: a copy of a row that was left out is not seen. The interval of
    `closer_to_train` is for fresh rows: its error follows from all ways to call the same records training or held out, and
    the expected share lies outside where samples are too near to one side.

    Args:
        samples: Table of n rows, n at least 10.
        train: The rows that the generator was fitted on.
        held: Real rows that it was not fitted on, at least 10.
        generator: Of the bootstrap, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows, columns that differ, dates, or words among numbers.
    """
    generator = generator or fixed_generator()
    pooled = pool(("train", train), ("samples", samples), ("held", held), least=_LEAST)
    x = torch.from_numpy(_coordinates(pooled))
    real, drawn, unseen = (x[torch.from_numpy(part)] for part in pooled.parts())
    ours, theirs, fresh = _nearest(drawn, real), _nearest(drawn, unseen), _nearest(unseen, real)
    copies, held_copies = _copies(pooled)
    medians = [("distance to training records", ours.distance), ("distance to held-out records", theirs.distance)]
    medians.append(("distance of held-out to training records", fresh.distance))
    medians += [("nearest over second nearest", _ratios(near)) for near in (ours, fresh)]
    to_train, to_held, held_to_train, ratio, held_ratio = (_median(v, what, generator) for what, v in medians)
    expected = len(real) / (len(real) + len(unseen))
    closer = _closer(ours, theirs, len(real), len(unseen))
    return NearestRecords(closer, expected, to_train, to_held, held_to_train, ratio, held_ratio, copies, held_copies)


def _coordinates(pooled: Pool) -> npt.NDArray[np.float32]:
    """Rows as points ``[n, d]``."""
    train = pooled.parts()[0]
    gaps = np.isnan(pooled.numbers)
    with_gaps = gaps.any(axis=0)
    numbers = _standardised(pooled.numbers, train)
    categories = [_one_hot(column) for column in pooled.levels.T]
    return np.column_stack([numbers, gaps[:, with_gaps], *categories]).astype(np.float32)


def _standardised(numbers: Floats, train: npt.NDArray[np.intp]) -> Floats:
    """In units of the training table, gaps at 0."""
    known = np.where(np.isnan(numbers[train]), 0, 1)
    n = np.maximum(known.sum(axis=0), 1)
    centre = np.nan_to_num(numbers[train]).sum(axis=0) / n
    spread = np.sqrt((np.square(np.nan_to_num(numbers[train] - centre))).sum(axis=0) / n)
    return np.asarray(np.nan_to_num((numbers - centre) / np.where(spread > 0, spread, 1)))


def _one_hot(levels: Integers) -> Floats:
    """Categories ``[n]`` (-1 is one) as points ``[n, k]`` at distance 1 from each other."""
    return np.eye(int(levels.max()) + 2)[levels + 1] / math.sqrt(2)


def _nearest(x: Tensor, y: Tensor) -> _Nearest:
    """Candidates come from matrix products and are measured again exactly, so that a copy is at distance 0."""
    found = []
    for start, block in squared_distances(x, y):
        index = block.topk(min(_CANDIDATES, len(y)), dim=1, largest=False).indices
        part = x[start : start + len(block)]
        exact = torch.stack([(part - y[column]).square().sum(dim=1) for column in index.T], dim=1).sqrt()
        ordered, order = exact.sort(dim=1)
        found.append((index.gather(1, order[:, :1])[:, 0], ordered[:, 0], ordered[:, 1]))
    return _Nearest(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _ratios(near: _Nearest) -> Tensor:
    """1 where both are 0: a record that is there twice does not point at one person."""
    return torch.where(near.second > 0, near.distance / near.second.clamp(min=1e-30), torch.ones(()))


def _median(values: Tensor, what: str, generator: torch.Generator) -> Measurement:
    def middle(rows: Tensor) -> Tensor:
        return torch.quantile(rows, 0.5, dim=-1)

    interval = bootstrap_interval(values, middle, generator=generator)
    return Measurement(float(middle(values)), *interval, len(values), _FEATURES, f"median {what}")


def _closer(ours: _Nearest, theirs: _Nearest, n_train: int, n_held: int) -> Measurement:
    """Each record has the samples nearest to it; the error is that of drawing which records are the training ones."""
    expected, n = n_train / (n_train + n_held), len(ours.distance)
    wins, ties = ours.distance < theirs.distance, ours.distance == theirs.distance
    value = float((wins.double() + expected * ties.double()).mean())
    owner = torch.where(wins | ties, ours.record, theirs.record + n_train)
    owned = torch.bincount(owner, minlength=n_train + n_held).double()
    error = math.sqrt(expected * (1 - expected) * (n_train + n_held) * float(owned.var())) / n
    low, high = normal_interval(value, error)
    note = f"{expected:.3f} is expected of fresh rows ({n_train} training and {n_held} held-out records)"
    return Measurement(value, max(0.0, low), min(1.0, high), n, _FEATURES, note)


def _copies(pooled: Pool) -> tuple[Measurement, Measurement]:
    """Shares of the samples and of the held-out rows that equal a training row."""
    same = np.unique(pooled.values(), axis=0, return_inverse=True)[1].reshape(-1)
    train, samples, held = (same[part] for part in pooled.parts())
    return (
        share(torch.from_numpy(np.isin(samples, train)), "raw", "samples equal to a training record"),
        share(torch.from_numpy(np.isin(held, train)), "raw", "held-out rows equal to a training record"),
    )
