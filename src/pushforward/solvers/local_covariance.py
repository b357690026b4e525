"""Covariance of the neighbours of each point, about the point."""

from __future__ import annotations

import torch
from torch import Tensor

_FLOOR = 1e-3
_LEAST = 1e-12  # of the variance in any direction, as a share of that of all points: where most neighbours are copies


def local_covariance(points: Tensor, index: Tensor, *, floor: float = _FLOOR) -> Tensor:
    """``C_i = (1/k) sum_j (x_j - x_i)(x_j - x_i)' + floor * median(tr C) / d * I`` over the neighbours ``j`` of each point.

    Args:
        points: ``[n, d]``.
        index: row numbers of the neighbours ``[n, k]``.
        floor: of the variance in any direction, as a share of the median over points of the mean variance.

    Returns:
        ``[n, d, d]``, positive definite unless all points are equal: where most neighbours are copies the last term is at least
        1e-12 of the variance of all points.

    Raises:
        ValueError: ``floor`` is not positive.
    """
    if not floor > 0:
        raise ValueError(f"floor: must be positive, got {floor}; try {_FLOOR:g}.")
    d, rows = points.shape[1], max(1, (1 << 22) // (index.shape[1] * points.shape[1]))
    parts = zip(points.split(rows), index.split(rows), strict=True)
    gaps = (points[near] - part[:, None] for part, near in parts)
    covariance = torch.cat([gap.transpose(1, 2) @ gap / index.shape[1] for gap in gaps])
    typical = floor * covariance.diagonal(dim1=1, dim2=2).mean(1).median()
    least = torch.maximum(typical, _LEAST * points.var(0).mean())
    return covariance + least * torch.eye(d, dtype=points.dtype, device=points.device)
