"""Principal scores in float64, by the smaller of the two Gram matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def whitening(x: Tensor, k: int) -> nn.Module:
    """A linear module from rows to their first ``k`` whitened principal scores."""
    flat = x.flatten(1).double()
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    keep = values > 1e-10 * values[-1]
    axes = (vectors[:, keep] / values[keep].sqrt())[:, -k:].flip(1)
    layer = nn.Linear(flat.shape[1], axes.shape[1], device=x.device).requires_grad_(False)
    layer.weight.copy_(axes.T)
    layer.bias.copy_(-(mean @ axes))
    return nn.Sequential(nn.Flatten(), layer)


def principal_scores(x: Tensor, k: int) -> Tensor:
    """Whitened principal scores ``[n, k]``, largest first; zeros where the data have fewer directions than ``k``."""
    centred = (x - x.mean(0)).double()
    if x.shape[1] <= len(x):
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        left = centred @ vectors / values.clamp_min(1e-12).sqrt()
    else:
        values, left = torch.linalg.eigh(centred @ centred.T)
    scores = (left[:, values > 1e-10 * values[-1]] * math.sqrt(len(x)))[:, -k:].flip(1).float()
    return nn.functional.pad(scores, (0, k - scores.shape[1]))


def standardised(points: Tensor) -> Tensor:
    """Points ``[n, d]`` with mean 0 and standard deviation 1 in every coordinate."""
    return (points - points.mean(0)) / points.std(0).clamp_min(1e-12)
