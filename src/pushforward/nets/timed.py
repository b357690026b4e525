"""Networks that are asked at a time: the embedding of time and class, and a perceptron for vectors."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)
_WAVES = 32
_FASTEST = 1000.0  # radians over the unit of time: steps of a thousandth can be told apart


class TimeEmbedding(nn.Module):
    """Carries times ``[n]`` in [0, 1], and class numbers ``[n]`` where there are classes, to vectors ``[n, width]``.

    Sines and cosines of 1 to 1000 radians, then a two-layer perceptron (Ho et al. 2006.11239, appendix B); the embedding of
    the class is added to that of the time.

    Args:
        width: Number of outputs.
        classes: Number of classes; 1 for none.
    """

    waves: Tensor

    def __init__(self, width: int, classes: int = 1) -> None:
        super().__init__()
        waves = torch.exp(torch.linspace(0, math.log(_FASTEST), _WAVES))
        self.register_buffer("waves", waves, persistent=False)
        self.mix = nn.Sequential(nn.Linear(2 * _WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.classes = nn.Embedding(classes, width) if classes > 1 else None

    def forward(self, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Embeddings ``[n, width]``.

        Raises:
            ValueError: Where there are classes and no labels are given.
        """
        angles = t[:, None] * self.waves
        h: Tensor = self.mix(torch.cat([angles.cos(), angles.sin()], dim=1))
        if self.classes is None:
            return F.silu(h)
        if labels is None:
            raise ValueError("labels: this network has classes; give a class number for every row.")
        return F.silu(h + self.classes(labels))


class TimedMLP(nn.Module):
    """A residual perceptron ``net(x, t, labels)`` for vectors ``[n, d]``, that starts at zero.

    Args:
        dim: Number of coordinates ``d``.
        classes: Number of classes; 1 for none.
        width: Units of every layer.
        depth: Number of residual blocks.
    """

    def __init__(self, dim: int, classes: int = 1, *, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.embedding = TimeEmbedding(width, classes)
        self.enter = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), zeroed(nn.Linear(width, dim)))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Vectors ``[n, d]`` for vectors ``[n, d]``, times ``[n]`` and class numbers ``[n]``."""
        e, h = self.embedding(t, labels), self.enter(x)
        for block in self.blocks:
            h = block(h, e)
        out: Tensor = self.leave(h)
        return out


class _Block(nn.Module):
    """Two layers added to their input; the embedding scales and shifts what enters them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = zeroed(nn.Linear(width, 2 * width))
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), zeroed(nn.Linear(width, width)))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.modulate(e).chunk(2, dim=1)
        added: Tensor = self.layers(torch.addcmul(shift, self.norm(h), 1 + scale))
        return h + added


def zeroed(layer: Layer) -> Layer:
    """The layer with weights and offsets at zero, so that what it adds is nothing at first."""
    for weights in layer.parameters():
        nn.init.zeros_(weights)
    return layer
