"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

LEAKY: Callable[[], nn.Module] = partial(nn.LeakyReLU, 0.2)


def mlp(
    n_in: int, hidden: Sequence[int], n_out: int, *, activation: Callable[[], nn.Module] = nn.SiLU
) -> nn.Sequential:
    """A plain multi-layer perceptron ``[n, n_in] -> [n, n_out]``, linear at the end.

    Args:
        n_in: Number of inputs.
        hidden: Width of each hidden layer; empty for a single linear map.
        n_out: Number of outputs.
        activation: Makes the nonlinearity that follows each hidden layer.
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(n_in, width), activation()]
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, n_out))


class Rescale(nn.Module):
    """Takes standardised rows ``[n, d]`` back to their scale: ``x * spread + centre``, coordinate by coordinate."""

    centre: Tensor
    spread: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))

    def fit(self, x: Tensor) -> Tensor:
        """Learn the scale of rows ``[n, d]`` and return them standardised."""
        self.centre, self.spread = x.mean(0), x.std(0).clamp_min(1e-6)
        return (x - self.centre) / self.spread

    def forward(self, x: Tensor) -> Tensor:
        """Rows on their own scale ``[n, d]``."""
        return x * self.spread + self.centre


class Joined(nn.Module):
    """Rows as vectors ``[n, k]``: their values, and beside those features times a factor."""

    def __init__(self, features: nn.Module, scale: float) -> None:
        super().__init__()
        self.features, self.scale = features, scale

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``[n, *event]`` to vectors."""
        return torch.cat([x.flatten(1), self.scale * self.features(x).flatten(1)], dim=1)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode (it may have dropout or batch statistics), and afterwards as it was."""
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)
