"""Penalties on the slope of a critic, for rows of any event shape."""

from __future__ import annotations

import torch
from torch import Tensor


def interpolates(x: Tensor, y: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """A random point on the segment between each row of ``x`` and that of ``y``, both ``[n, *event]`` (1704.00028, eq. 3).

    Raises:
        ValueError: the shapes differ.
    """
    if x.shape != y.shape:
        raise ValueError(f"y: rows of the shape of x, {list(x.shape)}, are needed, got {list(y.shape)}.")
    shape = (len(x), *(1 for _ in x.shape[1:]))
    t = torch.rand(shape, generator=generator, device=x.device, dtype=x.dtype)
    return torch.lerp(x, y, t)


def gradient_of(values: Tensor, z: Tensor) -> Tensor:
    """Gradient rows ``[n, *event]`` of values ``[n]`` by their own rows ``z``, kept in the graph for a second derivative."""
    (gradient,) = torch.autograd.grad(values.sum(), z, create_graph=True)
    return gradient


def slopes(gradient: Tensor) -> Tensor:
    """Euclidean norms ``[n]`` of gradient rows ``[n, *event]``; where a row is exactly zero, so is the norm's own gradient."""
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norms


def one_sided_penalty(slope: Tensor, *, bound: float = 1.0) -> Tensor:
    """``E (|grad u| - bound)_+^2`` of slopes ``[n]``: only what is too steep counts (2111.15099; LP, 1709.08894)."""
    return (slope - bound).clamp_min(0).square().mean()


def two_sided_penalty(slope: Tensor, *, bound: float = 1.0) -> Tensor:
    """``E (|grad u| - bound)^2`` of slopes ``[n]``: what is too flat counts as well (WGAN-GP, 1704.00028, eq. 3)."""
    return (slope - bound).square().mean()
