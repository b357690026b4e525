"""Nearest-neighbour balls: are the samples where the data are (precision, density), and is the variety covered (recall, coverage)?

A ball is drawn around each row of one set, out to its ``k``-th nearest other row. The numbers depend on the sizes of both sets:
compare at equal n and m, and with what the note says that equal laws would give.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.metrics.measurement import T95_NINE, Measurement, fixed_generator, share
from pushforward.metrics.rows import (
    FeatureMap,
    comparable,
    feature_name,
    feature_rows,
    hide_diagonal,
    squared_distances,
)

_GROUPS = 10
_TIES = 32  # roundings of a squared distance by which equal ones may differ
_PAIRS = 2**20  # pairs looked at together


class PrecisionRecall(NamedTuple):
    """Precision: share of the samples where data lie. Recall: share of the data where samples lie."""

    precision: Measurement
    recall: Measurement


class DensityCoverage(NamedTuple):
    """Density: how many data balls hold a sample, over what real rows would give. Coverage: share of data balls with a sample."""

    density: Measurement
    coverage: Measurement


class _Set(NamedTuple):
    """Rows ``[n, d]``, and of each row its group in the jackknife ``[n]`` and its squared radii ``[n, 11]``.

    The radii are those among all rows, then without group 0, 1, ... 9; -1 for the rows of the group that is left out. ``reached``
    is the share of the rows that lie in the ball of another row of the set, ``occupied`` the mean number of other rows in a ball
    over ``k``: 1, or more where distances tie.
    """

    rows: Tensor
    group: Tensor
    radii: Tensor
    reached: float
    occupied: float


def precision_recall(
    samples: Tensor, reference: Tensor, k: int = 5, *, features: FeatureMap | None = None
) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2).

    A set's territory is the union of the balls around its rows. The notes say what equal laws would give, from how many rows lie
    in the balls of the others of their own set. The intervals are those of a delete-a-tenth jackknife over both sets; they
    are wide rather than narrow, since neighbours change in jumps, and never narrower than Wilson's for the balls as they are.

    Args:
        samples: ``[n, *event_shape]``.
        reference: ``[m, *event_shape]``, held-out data for an honest answer.
        k: Neighbour that sets the radius.
        features: Map applied to both; none by default.

    Raises:
        ValueError: Where a side has fewer than ``4 k`` rows.
    """
    drawn, real = _read(samples, reference, k, features)
    name, sizes = feature_name(features), f"k={k}, {len(samples)} samples and {len(reference)} reference rows"
    found = []
    for points, centres in ((drawn, real), (real, drawn)):
        hits = torch.cat([_counts(block, centres.radii) for _, block in squared_distances(points.rows, centres.rows)])
        note = f"{sizes}; equal laws would give about {centres.reached:.3g}"
        found.append(_share(hits > 0, points.group, name, note))
    return PrecisionRecall(*found)


def density_coverage(
    samples: Tensor, reference: Tensor, k: int = 5, *, features: FeatureMap | None = None
) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020, arXiv:2002.09797, eq. 3 and 4); balls are drawn around reference rows alone.

    Equal laws give density 1 on average, at any size, and coverage as the note says (their Lemma 2); more where distances tie, as
    in tables of few categories. A density above that means that samples crowd where data are dense. Intervals as in
    `precision_recall`.

    Args:
        samples: ``[n, *event_shape]``.
        reference: ``[m, *event_shape]``, held-out data for an honest answer.
        k: Neighbour that sets the radius.
        features: Map applied to both; none by default.

    Raises:
        ValueError: Where a side has fewer than ``4 k`` rows.
    """
    drawn, real = _read(samples, reference, k, features)
    name, sizes = feature_name(features), f"k={k}, {len(samples)} samples and {len(reference)} reference rows"
    hits, found = [], torch.zeros(len(reference), _GROUPS + 1, dtype=torch.bool, device=reference.device)
    for start, block in squared_distances(drawn.rows, real.rows):
        hits.append(_counts(block, real.radii))
        found |= _found(block, drawn.group[start : start + len(block)], real.radii)
    n, note = min(len(samples), len(reference)), f"{sizes}; equal laws would give {real.occupied:.3g}"
    density = _density(torch.cat(hits).double() / k, drawn.group, n, name, note)
    note = f"{sizes}; equal laws would give {coverage_of_equal_laws(len(samples), len(reference), k):.3g}"
    return DensityCoverage(density, _share(found, real.group, name, note))


def coverage_of_equal_laws(n: int, m: int, k: int) -> float:
    """Mean coverage of ``m`` reference rows by ``n`` samples of the same law: ``1 - prod (m - i) / (n + m - i)``, i = 1 to k."""
    return 1 - math.prod((m - i) / (n + m - i) for i in range(1, k + 1))


def _read(samples: Tensor, reference: Tensor, k: int, features: FeatureMap | None) -> tuple[_Set, _Set]:
    if k < 1:
        raise ValueError(f"k={k} must be at least 1")
    named = ((samples, "samples"), (reference, "reference"))
    drawn, real = comparable(feature_rows(v, features, name=name, least=4 * k) for v, name in named)
    return _prepared(drawn, k), _prepared(real, k)


def _prepared(rows: Tensor, k: int) -> _Set:
    """Radii from one search: a few more neighbours than ``k`` are kept, and those of a left out group struck from the list."""
    n = len(rows)
    group = (torch.randperm(n, generator=fixed_generator()) % _GROUPS).to(rows.device)
    radii, reached, held = [], torch.zeros(n, dtype=torch.bool, device=rows.device), 0
    slack = _TIES * torch.finfo(rows.dtype).eps * float((rows - rows.mean(dim=0)).square().sum(dim=1).mean())
    for start, block in squared_distances(rows, rows):
        near = hide_diagonal(start, block, math.inf).topk(min(2 * k + 10, n - 1), dim=1, largest=False)
        left_out = group[near.indices][..., None] == _left_out(group)
        radii.append(_kth_left(near.values, ~left_out, k) + slack)
        inside = block <= radii[-1][:, :1]
        reached |= inside.any(dim=0)
        held += int(inside.sum())
    found = torch.cat(radii)
    found[:, 1:].scatter_(1, group[:, None], -1.0)
    return _Set(rows, group, found, float(reached.double().mean()), held / (k * n))


def _kth_left(values: Tensor, kept: Tensor, k: int) -> Tensor:
    """The ``k``-th of ascending values ``[n, j]`` that is kept in ``[n, j, 11]``, or the last where fewer are: ``[n, 11]``."""
    rank = (kept.cumsum(dim=1) < k).sum(dim=1).clamp(max=values.shape[1] - 1)
    return values.gather(1, rank)


def _near(block: Tensor, radii: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The pairs of a block ``[points, centres]`` that matter: point, centre, and whether it lies in each ball ``[pairs, 11]``."""
    for pairs in (block <= radii.amax(dim=1)).nonzero().split(_PAIRS):
        point, centre = pairs.T
        yield point, centre, block[point, centre][:, None] <= radii[centre]


def _counts(block: Tensor, radii: Tensor) -> Tensor:
    """In how many balls each point lies, ``[points, 11]``, from squared distances ``[points, centres]``."""
    counts = torch.zeros(len(block), _GROUPS + 1, device=block.device)
    for point, _, inside in _near(block, radii):
        counts.index_add_(0, point, inside.to(counts.dtype))
    return counts


def _found(block: Tensor, group: Tensor, radii: Tensor) -> Tensor:
    """Whether a ball holds any of these points, ``[centres, 11]``, the points of the left out group not counted."""
    counts = torch.zeros(len(radii), _GROUPS + 1, device=block.device)
    for point, centre, inside in _near(block, radii):
        kept = inside & (group[point][:, None] != _left_out(group))
        counts.index_add_(0, centre, kept.to(counts.dtype))
    return counts > 0


def _left_out(group: Tensor) -> Tensor:
    """What each of the eleven columns leaves out: nothing (-1), then one group after the other."""
    return torch.arange(-1, _GROUPS, device=group.device)


def _jackknife(values: Tensor, group: Tensor) -> tuple[float, float]:
    """Mean of a column of numbers of all rows, and its error from the columns without a group ``[n, 11]``, of its other rows."""
    kept = group[:, None] != _left_out(group)
    means = (values.double() * kept).sum(dim=0) / kept.sum(dim=0)
    error = math.sqrt((_GROUPS - 1) * float(means[1:].var(correction=0)))
    return float(means[0]), T95_NINE * error


def _density(counts: Tensor, group: Tensor, n: int, name: str, note: str) -> Measurement:
    value, half = _jackknife(counts, group)
    return Measurement(value, max(0.0, value - half), value + half, n, name, note)


def _share(hits: Tensor, group: Tensor, name: str, note: str) -> Measurement:
    value, half = _jackknife(hits, group)
    wilson = share(hits[:, 0], name, note)
    return replace(wilson, low=max(0.0, min(wilson.low, value - half)), high=min(1.0, max(wilson.high, value + half)))
