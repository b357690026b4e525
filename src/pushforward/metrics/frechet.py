"""The Frechet distance: squared Wasserstein-2 distance of the Gaussians with the same moments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.metrics.measurement import Measurement, normal_interval
from pushforward.metrics.rows import FeatureMap, feature_name, feature_rows


def frechet_distance(
    x: Tensor, y: Tensor, *, features: FeatureMap | None = None, min_rows: int | None = None
) -> Measurement:
    """Frechet distance between two samples, ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)``.

    With Inception features this is the FID (Heusel et al. 2017, arXiv:1706.08500, eq. 6). The estimate is biased upwards;
    the note says what sampling alone would give for equal laws (`frechet_floor`), so compare at equal n. The interval is
    the normal one from the optimal transport potentials of the two Gaussians, which are the distance's influence functions.

    Args:
        x: ``[n, *event_shape]``.
        y: ``[m, *event_shape]``.
        features: Map applied to both; none by default.
        min_rows: Refuse fewer rows; by default twice the number of features.

    Raises:
        ValueError: For too few rows, or features of different dimension.
    """
    a, b = (feature_rows(v, features, name=name).double() for v, name in ((x, "x"), (y, "y")))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"x and y: rows have {a.shape[1]} and {b.shape[1]} features; they must agree")
    n, dim = min(len(a), len(b)), a.shape[1]
    if n < (least := 2 * dim if min_rows is None else min_rows):
        raise ValueError(
            f"x and y: {n} rows are too few for {dim} features, the value would be mostly bias; "
            f"give at least {least}, use features of lower dimension, or lower min_rows"
        )
    means, covs = zip(_moments(a), _moments(b), strict=True)
    value = frechet_from_moments(means[0], covs[0], means[1], covs[1])
    variances = (
        float(_potential(v, *p).var()) / len(v) for v, p in ((a, (means, covs)), (b, (means[::-1], covs[::-1])))
    )
    floor = frechet_floor((covs[0] + covs[1]) / 2, len(a), len(b))
    note = f"equal laws would give about {floor:.3g} at these sizes"
    low, high = normal_interval(value, math.sqrt(sum(variances)))
    return Measurement(value, max(0.0, low), high, n, feature_name(features), note)


def frechet_from_moments(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """Frechet distance from means ``[d]`` and covariances ``[d, d]``, in float64 by symmetric eigendecompositions."""
    mean1, cov1, mean2, cov2 = (v.double() for v in (mean1, cov1, mean2, cov2))
    root = _power(cov1, 0.5)
    cross = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    distance = (mean1 - mean2).square().sum() + torch.trace(cov1) + torch.trace(cov2) - 2 * cross
    return max(0.0, float(distance))


def frechet_floor(cov: Tensor, n: int, m: int) -> float:
    """What the Frechet distance of samples of sizes n and m from one Gaussian is expected to be, to first order.

    ``(1/n + 1/m) (tr S + sum_ij l_i l_j / (2 (l_i + l_j)) + tr S / 4)`` with ``l`` the eigenvalues of the covariance ``S``
    ``[d, d]``: second-order expansion of the distance in the errors of mean and covariance.
    """
    values = torch.linalg.eigvalsh(cov.double()).clamp(min=0)
    sums = (values[:, None] + values[None, :]).clamp(min=torch.finfo(torch.float64).tiny)
    pairs = (values[:, None] * values[None, :] / (2 * sums)).sum()
    return (1 / n + 1 / m) * float(1.25 * values.sum() + pairs)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean = x.mean(dim=0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def _potential(x: Tensor, means: tuple[Tensor, ...], covs: tuple[Tensor, ...]) -> Tensor:
    """Transport potential ``[n]`` at ``x`` of the first Gaussian towards the second, up to a constant."""
    root, inverse = _power(covs[0], 0.5), _power(covs[0], -0.5)
    transport = inverse @ _power(root @ covs[1] @ root, 0.5) @ inverse
    centred = x - means[0]
    slope = centred - centred @ transport + 2 * (means[0] - means[1])
    return (centred * slope).sum(dim=1)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Power of a symmetric positive matrix; directions without variance stay zero."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    powers = torch.where(kept, values.clamp(min=torch.finfo(values.dtype).tiny) ** exponent, 0.0)
    rebuilt: Tensor = (vectors * powers) @ vectors.T
    return rebuilt
