"""Two sets of points whose optimal pairing is known.

A pairing x_i -> y_i is optimal for the squared distance exactly when it is cyclically monotone, so whenever y_i is the
gradient of a convex function at x_i (Rockafellar 1966; Brenier 1991).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairing:
    """Points ``[n, d]`` and the optimal answer: row i of x goes with row ``permutation[i]`` of y, mean cost ``cost``."""

    x: Tensor
    y: Tensor
    permutation: Tensor
    cost: float


def _hidden(x: Tensor, image: Tensor, generator: torch.Generator) -> Pairing:
    """Pair x_i with image_i, and hide the images in a random order."""
    order = torch.randperm(len(x), generator=generator)
    cost = (x - image).double().square().sum(1).mean().item()
    return Pairing(x, image[order], order.argsort(), cost)


def shuffled(n: int, d: int, generator: torch.Generator) -> Pairing:
    """y is x in another order: cost 0."""
    x = torch.randn(n, d, generator=generator)
    return _hidden(x, x.clone(), generator)


def translated(n: int, d: int, generator: torch.Generator) -> Pairing:
    """y is x moved by a vector far longer than the spread of x."""
    x = torch.randn(n, d, generator=generator)
    return _hidden(x, x + 10 * torch.randn(d, generator=generator), generator)


def by_convex_gradient(n: int, d: int, generator: torch.Generator) -> Pairing:
    """y = grad phi(x) with phi(x) = x' A x / 2 + log sum_k exp <b_k, x>, A positive definite."""
    root, b = torch.randn(d, d, generator=generator) / d**0.5, torch.randn(2 * d, d, generator=generator)
    x = torch.randn(n, d, generator=generator)
    image = x @ (root @ root.T + 0.2 * torch.eye(d)) + (x @ b.T).softmax(1) @ b
    return _hidden(x, image, generator)


PAIRINGS: tuple[Callable[[int, int, torch.Generator], Pairing], ...] = (shuffled, translated, by_convex_gradient)


def noisy_images(n: int, latent: int, noise: float, generator: torch.Generator, d: int = 64) -> tuple[Tensor, Tensor]:
    """Late in training: x = g(z) + noise, y = g(z) shuffled, g a random network from ``latent`` to ``d`` dimensions.

    No closed form, but the structure on which assignment solvers slow down; ``noise`` is in standard deviations of g(z).
    """
    z = torch.randn(n, latent, generator=generator)
    for width in (128, 128):
        z = torch.tanh(z @ torch.randn(z.shape[1], width, generator=generator) / z.shape[1] ** 0.5)
    y = z @ torch.randn(z.shape[1], d, generator=generator) / z.shape[1] ** 0.5
    x = y + noise * y.std() * torch.randn(n, d, generator=generator)
    return x, y[torch.randperm(n, generator=generator)]
