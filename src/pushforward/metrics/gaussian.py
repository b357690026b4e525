"""Means and covariances, and optimal transport between the Gaussians that have them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.metrics.measurement import fixed_generator

_CHUNK = 4096


class Moments(NamedTuple):
    """Mean ``[..., d]`` and covariance ``[..., d, d]``, in float64."""

    mean: Tensor
    cov: Tensor


def moments(x: Tensor) -> Moments:
    """Moments of rows ``[n, d]``, in float64 and in chunks."""
    mean = torch.stack([part.double().sum(dim=0) for part in x.split(_CHUNK)]).sum(dim=0) / len(x)
    cov = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64, device=x.device)
    for part in x.split(_CHUNK):
        centred = part.double() - mean
        cov.addmm_(centred.T, centred)
    return Moments(mean, cov / (len(x) - 1))


def block_moments(x: Tensor, n_blocks: int) -> Moments:
    """Moments of disjoint random blocks of rows: ``[n_blocks, d]`` and ``[n_blocks, d, d]``."""
    order = torch.randperm(len(x), generator=fixed_generator()).to(x.device)
    found = [moments(x[order[i::n_blocks]]) for i in range(n_blocks)]
    return Moments(torch.stack([m.mean for m in found]), torch.stack([m.cov for m in found]))


def squared_wasserstein(a: Moments, b: Moments) -> Tensor:
    """Squared Wasserstein-2 distance of Gaussians, ``[...]``, by symmetric eigendecompositions; may be -1e-16."""
    root = symmetric_power(a.cov, 0.5)
    cross = torch.linalg.eigvalsh(root @ b.cov @ root).clamp(min=0).sqrt().sum(dim=-1)
    traces = torch.diagonal(a.cov + b.cov, dim1=-2, dim2=-1).sum(dim=-1)
    distance: Tensor = (a.mean - b.mean).square().sum(dim=-1) + traces - 2 * cross
    return distance


def potentials(x: Tensor, y: Tensor, a: Moments, b: Moments) -> tuple[Tensor, Tensor]:
    """Optimal potentials at the rows ``x`` of the first Gaussian and ``y`` of the second, up to constants: ``[n]``, ``[m]``."""
    root, inverse = symmetric_power(a.cov, 0.5), symmetric_power(a.cov, -0.5)
    middle = root @ b.cov @ root
    there = inverse @ symmetric_power(middle, 0.5) @ inverse
    back = root @ symmetric_power(middle, -0.5) @ root
    return _potential(x, a.mean, there, b.mean), _potential(y, b.mean, back, a.mean)


def symmetric_power(matrix: Tensor, exponent: float) -> Tensor:
    """Power of symmetric positive matrices ``[..., d, d]``; directions without variance stay zero."""
    values, vectors = torch.linalg.eigh(matrix)
    least = values[..., -1:].clamp(min=0) * values.shape[-1] * torch.finfo(values.dtype).eps
    powers = torch.where(values > least, values.clamp(min=torch.finfo(values.dtype).tiny) ** exponent, 0.0)
    rebuilt: Tensor = (vectors * powers[..., None, :]) @ vectors.mT
    return rebuilt


def _potential(x: Tensor, mean: Tensor, transport: Tensor, target: Tensor) -> Tensor:
    parts = []
    for part in x.split(_CHUNK):
        centred = part.double() - mean
        parts.append((centred * (centred - centred @ transport + 2 * (mean - target))).sum(dim=1))
    return torch.cat(parts)
