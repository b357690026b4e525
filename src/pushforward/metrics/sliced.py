"""Wasserstein-2 distances along lines: the mean over random directions, and the largest."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pushforward.metrics.measurement import Measurement, fixed_generator, normal_interval, two_order_error
from pushforward.metrics.rows import FeatureMap, comparable, feature_name, feature_rows, take

_LEAST = 20
_SPLITS = 20
_DIRECTIONS = 128
_STARTS = 16
_STEPS = 100


def sliced_wasserstein(
    x: Tensor, y: Tensor, *, features: FeatureMap | None = None, generator: torch.Generator | None = None
) -> Measurement:
    """Squared Wasserstein-2 distance of projections, averaged over random directions, without its sampling bias.

    Bonneel et al. 2015 (J. Math. Imaging Vision 51, def. 1), on 128 or a few more directions in orthonormal bases, which spread
    more evenly than independent ones (Rowland et al. 2019). The plain estimate (in the note) is above 0 for equal laws. So both
    samples are halved at random, 20 times, and the mean over the two halves of each of ``W(x', y') - W(x', x'') / 2 -
    W(y', y'') / 2`` is taken: all terms have one size, hence equal laws give 0 on average at any n, and values at different n
    compare (small negative values are noise). The interval is the normal one, from the transport potentials and from the part
    of second order that remains where the laws are equal; it holds for these directions.

    Args:
        x: ``[n, *event_shape]``, n at least 20.
        y: ``[m, *event_shape]``, m at least 20; of the larger side as many random rows as the smaller has are used.
        features: Map applied to both; none by default.
        generator: Of rows, directions and halves, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows.
    """
    rng = generator or fixed_generator()
    a, b = _equal_rows(x, y, features, rng)
    directions = _bases(a, rng)
    note = f"{len(directions)} directions"
    return _along(directions @ a.T, directions @ b.T, rng, feature_name(features), note)


def max_sliced_wasserstein(
    x: Tensor, y: Tensor, *, features: FeatureMap | None = None, generator: torch.Generator | None = None
) -> Measurement:
    """Squared Wasserstein-2 distance of projections onto the direction where it is largest, without sampling bias.

    Deshpande et al. 2019 (arXiv:1904.05877, eq. 8). The direction is found on one random half of the rows, as the best of 16
    gradient ascents of 100 steps; the distance is measured on the other half, as in `sliced_wasserstein`. So the search
    cannot inflate it: equal laws give 0 on average, and the value is, on average, at most the true maximum.

    Args:
        x: ``[n, *event_shape]``, n at least 40.
        y: ``[m, *event_shape]``, m at least 40; of the larger side as many random rows as the smaller has are used.
        features: Map applied to both; none by default.
        generator: Of rows, halves and starts, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows.
    """
    rng = generator or fixed_generator()
    a, b = _equal_rows(x, y, features, rng, least=2 * _LEAST)
    (search_a, a), (search_b, b) = (_halves(v.T, rng) for v in (a, b))
    direction = _ascend(search_a.T, search_b.T, rng)
    note = f"direction found on {search_a.shape[1]} other rows a side"
    return _along(direction @ a, direction @ b, rng, feature_name(features), note)


def _equal_rows(
    x: Tensor, y: Tensor, features: FeatureMap | None, rng: torch.Generator, least: int = _LEAST
) -> tuple[Tensor, Tensor]:
    n = min(len(x), len(y))
    a, b = comparable(
        feature_rows(take(v, n, rng), features, name=name, least=least) for v, name in ((x, "x"), (y, "y"))
    )
    return a, b


def _halves(x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two random halves of the columns of ``x``."""
    n = x.shape[1]
    order = torch.randperm(n, generator=rng).to(x.device)
    return x[:, order[: n // 2]], x[:, order[n // 2 : n // 2 * 2]]


def _bases(rows: Tensor, rng: torch.Generator) -> Tensor:
    """Random orthonormal bases, as many as give 128 directions, or 128 orthonormal directions: ``[directions, d]``."""
    d = rows.shape[1]
    count = math.ceil(_DIRECTIONS / d) if d > 1 else 1
    axes: Tensor = torch.linalg.qr(torch.randn(count, d, min(d, _DIRECTIONS), generator=rng, dtype=torch.float64)).Q
    return axes.mT.flatten(0, 1).to(rows)


def _ascend(x: Tensor, y: Tensor, rng: torch.Generator) -> Tensor:
    """Direction ``[1, d]`` of the largest squared distance of the sorted projections of ``x`` and ``y`` ``[n, d]``."""

    def distances(directions: Tensor) -> Tensor:
        unit = F.normalize(directions, dim=1)
        gaps: Tensor = (unit @ x.T).sort().values - (unit @ y.T).sort().values
        return gaps.square().mean(dim=1)

    starts = torch.randn(_STARTS - 1, x.shape[1], generator=rng).to(x)
    starts = F.normalize(torch.cat([(x.mean(dim=0) - y.mean(dim=0))[None], starts]), dim=1)
    directions = starts.requires_grad_(True)
    optimizer = torch.optim.Adam([directions], lr=0.05)
    with torch.enable_grad():
        for _ in range(_STEPS):
            optimizer.zero_grad()
            (-distances(directions).log1p().sum()).backward()
            optimizer.step()
    found = directions.detach()
    return F.normalize(found[distances(found).argmax()], dim=0)[None]


def _along(x: Tensor, y: Tensor, rng: torch.Generator, features: str, note: str) -> Measurement:
    """Distance of projections ``[directions, n]``, each direction on its own, averaged."""
    splits = torch.tensor([_split(x, y, rng) for _ in range(_SPLITS)], dtype=torch.float64)
    value, spread = splits.mean(dim=0).tolist()
    plain, linear = _transport(x.double(), y.double())
    low, high = normal_interval(value, two_order_error(linear, 2 * spread))
    return Measurement(value, low, high, x.shape[1], features, f"squared, {note}; plain value {plain:.4g}")


def _split(x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[float, float]:
    """The estimate from one pair of halves, and the mean square of the centred kernel of sorted halves.

    With sorted halves ``a, a'`` and ``b, b'`` the estimate is ``|a + a' - b - b'|^2 / 4 - |a - a'|^2 / 4 - |b - b'|^2 / 4``, an
    unbiased squared distance of mean vectors; ``<a - a', b - b'>^2 / 4`` estimates the mean square of their kernel.
    """
    (a, a2), (b, b2) = ([half.sort().values.double() for half in _halves(v, rng)] for v in (x, y))
    u, v, w = a - a2, b - b2, a + a2 - b - b2
    value = (w.square().mean() - u.square().mean() - v.square().mean()) / 4
    return float(value), float((u * v).mean().square()) / 4


def _transport(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean squared distance of the sorted rows of ``x`` and ``y`` ``[directions, n]``, and the variance of its linear part."""
    (sorted_x, order_x), (sorted_y, order_y) = x.sort(), y.sort()
    gap = sorted_x - sorted_y
    ours, theirs = _potential(sorted_x, gap, order_x), _potential(sorted_y, -gap, order_y)
    return float(gap.square().mean()), float(ours.var() + theirs.var()) / x.shape[1]


def _potential(ordered: Tensor, gap: Tensor, order: Tensor) -> Tensor:
    """Potential of each point, ``[n]``, averaged over the directions: the integral of ``2 (x - T(x))`` along each line."""
    steps = (gap[:, 1:] + gap[:, :-1]) * ordered.diff()
    values = F.pad(steps.cumsum(dim=1), (1, 0))
    return torch.zeros_like(values).scatter_(1, order, values).mean(dim=0)
