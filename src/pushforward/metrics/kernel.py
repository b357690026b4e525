"""Distances by averages over pairs of rows: the kernel distance (KID) and the energy distance, both unbiased."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pushforward.metrics.measurement import Measurement, fixed_generator, normal_interval
from pushforward.metrics.pairs import squared_discrepancy
from pushforward.metrics.rows import FeatureMap, comparable, feature_name, feature_rows

_BLOCKS = 10


def kid(x: Tensor, y: Tensor, *, features: FeatureMap | None = None) -> Measurement:
    """Unbiased squared maximum mean discrepancy with the kernel ``(u.v / d + 1)^3``.

    With Inception features this is the KID (Binkowski et al. 2018, arXiv:1801.01401, section 4). Being unbiased it can be
    negative, and values at different n compare. All pairs are used; the interval is the normal one from the U-statistic's own
    standard error. The note has what is commonly printed: mean and standard error over ten disjoint blocks of rows, an
    estimate with more noise. Memory is that of the features plus a few tens of megabytes.

    Args:
        x: ``[n, *event_shape]``, n at least 20.
        y: ``[m, *event_shape]``, m at least 20.
        features: Map applied to both; none by default.

    Raises:
        ValueError: For too few rows.
    """
    a, b = comparable(feature_rows(v, features, name=name, least=2 * _BLOCKS) for v, name in ((x, "x"), (y, "y")))
    value, error = squared_discrepancy(a, b, _cubic)
    blocks = torch.tensor([squared_discrepancy(u, v, _cubic)[0] for u, v in zip(*map(_blocks, (a, b)), strict=True)])
    block_error = float(blocks.std()) / math.sqrt(_BLOCKS)
    note = f"standard error {error:.2g}; ten blocks of rows give {float(blocks.mean()):.3g} +- {block_error:.2g}"
    return Measurement(value, *normal_interval(value, error), min(len(a), len(b)), feature_name(features), note)


def energy_distance(x: Tensor, y: Tensor, *, features: FeatureMap | None = None) -> Measurement:
    """Unbiased squared energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|``.

    Szekely and Rizzo 2013, eq. 3, without the pairs of a row with itself; it can be slightly negative. The interval is the
    normal one from the standard error of the U-statistic.

    Args:
        x: ``[n, *event_shape]``, n at least 20.
        y: ``[m, *event_shape]``, m at least 20.
        features: Map applied to both; none by default.

    Raises:
        ValueError: For too few rows.
    """
    a, b = comparable(feature_rows(v, features, name=name, least=20) for v, name in ((x, "x"), (y, "y")))
    centre = b.mean(dim=0)
    value, error = squared_discrepancy(a - centre, b - centre, _negative_distance)
    return Measurement(value, *normal_interval(value, error), min(len(a), len(b)), feature_name(features))


def _blocks(x: Tensor) -> Iterator[Tensor]:
    """Ten disjoint random blocks of rows."""
    order = torch.randperm(len(x), generator=fixed_generator()).to(x.device)
    return (x[order[i::_BLOCKS]] for i in range(_BLOCKS))


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    inner = torch.addmm(torch.ones((), dtype=x.dtype, device=x.device), x, y.T, alpha=1 / x.shape[1])
    return inner.square().mul_(inner)


def _negative_distance(x: Tensor, y: Tensor) -> Tensor:
    return -squared_differences(x.double(), y.double()).sqrt_()


def squared_differences(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances ``[n, m]`` of rows that are already centred."""
    norms = x.square().sum(dim=1, keepdim=True) + y.square().sum(dim=1)
    return torch.addmm(norms, x, y.T, alpha=-2).clamp_(min=0)
