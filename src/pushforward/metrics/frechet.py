"""The Frechet distance: squared Wasserstein-2 distance of the Gaussians with the same moments; plain and without its bias."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.metrics.gaussian import Moments, block_moments, moments, potentials, squared_wasserstein
from pushforward.metrics.measurement import Measurement, fixed_generator, normal_interval, two_order_error
from pushforward.metrics.rows import FeatureMap, comparable, feature_name, feature_rows, take

_MOST_BLOCKS = 5
_NULL_ROWS = 4096


def frechet_distance(
    x: Tensor, y: Tensor, *, features: FeatureMap | None = None, min_rows: int | None = None
) -> Measurement:
    """Frechet distance between two samples, ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)``.

    With Inception features this is the FID (Heusel et al. 2017, arXiv:1706.08500, eq. 6). The estimate is biased upwards;
    the note says what sampling alone would give for equal laws, so compare at equal n or use `frechet_infinite`. The interval is
    for the mean of this biased estimate at these sizes: a normal one, from the optimal potentials of the two Gaussians, which
    are the distance's influence functions, and from the second-order error that remains where the laws are equal.

    Args:
        x: ``[n, *event_shape]``.
        y: ``[m, *event_shape]``.
        features: Map applied to both; none by default.
        min_rows: Refuse fewer rows; by default twice the number of features.

    Raises:
        ValueError: For too few rows, or features of different dimension.
    """
    a, b = _read(x, y, features, 2, min_rows)
    first, second = moments(a), moments(b)
    value = max(0.0, float(squared_wasserstein(first, second)))
    noise = _noise(a, b, first, second)
    low, high = normal_interval(value, two_order_error(noise.linear, noise.pairs))
    note = f"equal laws would give about {noise.floor:.3g} at these sizes"
    return Measurement(value, max(0.0, low), high, min(len(a), len(b)), feature_name(features), note)


def frechet_infinite(x: Tensor, y: Tensor, *, features: FeatureMap | None = None) -> Measurement:
    """Frechet distance extrapolated to infinitely many rows on both sides (FID_infinity of Chong and Forsyth 2020).

    Both samples are cut into g = 1, 2, ... 5 disjoint random blocks, the distances of paired blocks are averaged, and a line in g,
    that is in 1/n, is fitted by least squares; its value at 0 is the answer. Departures from arXiv:1911.07023, section 4: the
    reference is extrapolated too, so that equal laws give 0 on average (small negative values are noise), and averages over all
    blocks replace one random subset of each size, which has less noise at the same cost. The interval is the normal one of
    `frechet_distance` with the second-order part enlarged by the fit's own weights.

    Args:
        x: ``[n, *event_shape]``, n at least four times the number of features.
        y: ``[m, *event_shape]``, m at least four times the number of features.
        features: Map applied to both; none by default.

    Raises:
        ValueError: For too few rows, or features of different dimension.
    """
    a, b = _read(x, y, features, 4, None)
    n = min(len(a), len(b))
    counts = torch.arange(1, 1 + min(_MOST_BLOCKS, n // (2 * a.shape[1])))
    means = [float(squared_wasserstein(block_moments(a, g), block_moments(b, g)).mean()) for g in counts.tolist()]
    weights, inflation = _intercept(counts)
    value = float(weights @ torch.tensor(means, dtype=torch.float64))
    noise = _noise(a, b, moments(a), moments(b))
    error = two_order_error(noise.linear, noise.pairs, inflation)
    note = f"line in 1/n through {len(counts)} sizes from {n // len(counts)} to {n} rows a side; plain value {means[0]:.4g}"
    return Measurement(value, *normal_interval(value, error), n, feature_name(features), note)


def frechet_from_moments(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """Frechet distance from means ``[d]`` and covariances ``[d, d]``, in float64 by symmetric eigendecompositions."""
    a, b = Moments(mean1.double(), cov1.double()), Moments(mean2.double(), cov2.double())
    return max(0.0, float(squared_wasserstein(a, b)))


def frechet_floor(cov: Tensor, n: int, m: int) -> float:
    """What the Frechet distance of samples of sizes n and m from one Gaussian is expected to be, to first order.

    ``(1/n + 1/m) (tr S + sum_ij l_i l_j / (2 (l_i + l_j)) + tr S / 4)`` with ``l`` the eigenvalues of the covariance ``S``
    ``[d, d]``: second-order expansion of the distance in the errors of mean and covariance.
    """
    values = torch.linalg.eigvalsh(cov.double()).clamp(min=0)
    pairs = (values[:, None] * values[None, :] * _half_inverse_sums(values)).sum()
    return (1 / n + 1 / m) * float(1.25 * values.sum() + pairs)


class _Noise(NamedTuple):
    """Plug-in variance of the linear part, variance of the quadratic part, and the latter's mean for equal laws."""

    linear: float
    pairs: float
    floor: float


def _read(
    x: Tensor, y: Tensor, features: FeatureMap | None, per_feature: int, min_rows: int | None
) -> tuple[Tensor, Tensor]:
    """Feature rows of both, refused where there are fewer than ``min_rows``, or than ``per_feature`` rows a feature."""
    a, b = comparable(feature_rows(v, features, name=name) for v, name in ((x, "x"), (y, "y")))
    n, dim = min(len(a), len(b)), a.shape[1]
    least = per_feature * dim if min_rows is None else min_rows
    if n < least:
        raise ValueError(
            f"x and y: {n} rows are too few for {dim} features, the value would be mostly bias; "
            f"give at least {least} or use features of lower dimension"
        )
    return a, b


def _noise(a: Tensor, b: Tensor, first: Moments, second: Moments) -> _Noise:
    """Sampling noise of the distance, of any law: the quadratic part is the discrepancy with `_null_kernel`."""
    n, m, rng = len(a), len(b), fixed_generator()
    ours, theirs = potentials(a, b, first, second)
    linear = float(ours.var()) / n + float(theirs.var()) / m
    values, axes = torch.linalg.eigh((first.cov + second.cov) / 2)
    parts = [(take(v, _NULL_ROWS, rng).double() - p.mean) @ axes for v, p in ((a, first), (b, second))]
    floor = sum(float(_null_kernel(u, u, values).mean()) / size for u, size in zip(parts, (n, m), strict=True))
    rows = torch.cat(parts)
    rows = rows[torch.randperm(len(rows), generator=rng).to(rows.device)]
    square = torch.stack([_null_kernel(rows, rows.roll(lag, 0), values).square().mean() for lag in (1, 2, 3, 4)]).mean()
    return _Noise(linear, 2 * (1 / n + 1 / m) ** 2 * float(square), floor)


def _null_kernel(u: Tensor, v: Tensor, values: Tensor) -> Tensor:
    """Kernel ``[n]`` of which the distance near equal laws is the discrepancy, at rows in the axes of the covariance.

    Second-order expansion: means differ by ``|dm|^2``, covariances by ``sum_ij dS_ij^2 / (2 (l_i + l_j))``.
    """
    product = u * v
    squares = u.square().sum(dim=1) + v.square().sum(dim=1) - values.sum()
    return product.sum(dim=1) + ((product @ _half_inverse_sums(values)) * product).sum(dim=1) - squares / 4


def _half_inverse_sums(values: Tensor) -> Tensor:
    """``1 / (2 (l_i + l_j))`` ``[d, d]``; zero for directions without variance."""
    values = values.clamp(min=0)
    sums = values[:, None] + values
    kept = sums > values.max() * len(values) * torch.finfo(values.dtype).eps
    return torch.where(kept, 0.5 / sums.clamp(min=torch.finfo(values.dtype).tiny), 0.0)


def _intercept(counts: Tensor) -> tuple[Tensor, float]:
    """Least-squares weights ``[g]`` of the value at 0, and what they do to the variance of an average over pairs of rows.

    Two rows share a block both of g and of h blocks with chance 1 / lcm(g, h), and have weight g and h there.
    """
    x = counts.double()
    centred = x - x.mean()
    weights = 1 / len(x) - x.mean() * centred / centred.square().sum()
    shared = torch.gcd(counts[:, None], counts[None, :]).double()
    return weights, float(weights @ shared @ weights)
