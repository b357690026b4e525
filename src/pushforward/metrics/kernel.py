"""Distances by averages over pairs of rows: the kernel distance (KID) and the energy distance, both unbiased."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.metrics.measurement import Measurement, normal_interval
from pushforward.metrics.rows import FeatureMap, feature_name, feature_rows, hide_diagonal, squared_distances

_BLOCKS = 10
_CHUNK = 2048


def kid(x: Tensor, y: Tensor, *, features: FeatureMap | None = None) -> Measurement:
    """Unbiased squared maximum mean discrepancy with the kernel ``(u.v / d + 1)^3``.

    With Inception features this is the KID (Binkowski et al. 2018, arXiv:1801.01401, section 4). Being unbiased it can be
    negative, and values at different n compare. The interval comes from the spread over ten disjoint blocks of rows.

    Args:
        x: ``[n, *event_shape]``, n at least 20.
        y: ``[m, *event_shape]``, m at least 20.
        features: Map applied to both; none by default.

    Raises:
        ValueError: For too few rows.
    """
    a, b = (feature_rows(v, features, name=name, least=2 * _BLOCKS).double() for v, name in ((x, "x"), (y, "y")))
    value = _polynomial_mmd(a, b)
    blocks = [_polynomial_mmd(a[i::_BLOCKS], b[i::_BLOCKS]) for i in range(_BLOCKS)]
    error = float(torch.tensor(blocks).std()) / math.sqrt(_BLOCKS)
    return Measurement(value, *normal_interval(value, error), min(len(a), len(b)), feature_name(features))


def energy_distance(x: Tensor, y: Tensor, *, features: FeatureMap | None = None) -> Measurement:
    """Unbiased squared energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|``.

    Szekely and Rizzo 2013, eq. 3, without the pairs of a row with itself; it can be slightly negative. The interval is the
    normal one from each row's average distances.

    Args:
        x: ``[n, *event_shape]``, n at least 20.
        y: ``[m, *event_shape]``, m at least 20.
        features: Map applied to both; none by default.

    Raises:
        ValueError: For too few rows.
    """
    a, b = (feature_rows(v, features, name=name, least=20).double() for v, name in ((x, "x"), (y, "y")))
    terms = (_mean_distances(a, b) - _self_distances(a), _mean_distances(b, a) - _self_distances(b))
    value = sum(float(term.mean()) for term in terms)
    error = 2 * math.sqrt(sum(float(term.var()) / len(term) for term in terms))
    return Measurement(value, *normal_interval(value, error), min(len(a), len(b)), feature_name(features))


def _polynomial_mmd(x: Tensor, y: Tensor) -> float:
    n, m = len(x), len(y)
    return _off_diagonal(x) / (n * (n - 1)) + _off_diagonal(y) / (m * (m - 1)) - 2 * _kernel_sum(x, y) / (n * m)


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    return sum(float((part @ y.T / x.shape[1] + 1).pow(3).sum()) for part in x.split(_CHUNK))


def _off_diagonal(x: Tensor) -> float:
    return _kernel_sum(x, x) - float((x.square().sum(dim=1) / x.shape[1] + 1).pow(3).sum())


def _mean_distances(x: Tensor, y: Tensor) -> Tensor:
    """Mean distance of each row of ``x`` to the rows of ``y``, ``[n]``."""
    return torch.cat([block.sqrt_().mean(dim=1) for _, block in squared_distances(x, y)])


def _self_distances(x: Tensor) -> Tensor:
    """Mean distance of each row of ``x`` to the other rows, ``[n]``."""
    blocks = (hide_diagonal(start, block, 0.0) for start, block in squared_distances(x, x))
    return torch.cat([block.sqrt_().sum(dim=1) / (len(x) - 1) for block in blocks])
