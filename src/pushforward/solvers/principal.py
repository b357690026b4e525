"""Principal scores in float64, by the smaller of the two Gram matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def principal_scores(x: Tensor, k: int) -> Tensor:
    """Whitened principal scores ``[n, k]`` of rows ``[n, p]``, largest first; zeros beyond the rank of the data."""
    scores = _leading(x, k)[0].to(x.dtype)
    return nn.functional.pad(scores, (0, k - scores.shape[1]))


def whitening(x: Tensor, k: int) -> nn.Module:
    """A linear module from rows ``[n, *event]`` to their first ``k`` whitened principal scores, fewer at a lower rank."""
    flat = x.flatten(1)
    scores, scale = _leading(flat, k)
    mean = flat.double().mean(0)
    axes = (flat.double() - mean).T @ scores / scale.square()  # whitened scores = (x - mean) @ axes
    layer = nn.Linear(flat.shape[1], axes.shape[1], device=x.device).requires_grad_(False)
    layer.weight.copy_(axes.T)
    layer.bias.copy_(-(mean @ axes))
    return nn.Sequential(nn.Flatten(), layer)


def standardised(points: Tensor) -> Tensor:
    """Points ``[n, d]`` with mean 0 and standard deviation 1 in every coordinate."""
    return (points - points.mean(0)) / points.std(0).clamp_min(1e-12)


def _leading(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The first ``k`` whitened scores ``[n, r]`` in float64 and the singular values ``[r]`` of the centred rows."""
    centred = x.double() - x.double().mean(0)
    wide = x.shape[1] > len(x)
    values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    keep = (values > 1e-10 * values[-1]).nonzero()[:, 0].flip(0)[:k]
    scale = values[keep].sqrt()
    left = vectors[:, keep] if wide else centred @ vectors[:, keep] / scale
    return left * math.sqrt(len(x)), scale
