"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn


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
