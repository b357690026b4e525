"""Encoders and critics: networks that carry an image of any size, or a vector, to a few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.nets.generators import _DENSE_SIDE, _channels, _check_sizes, _grids, _resize, _Size
from pushforward.nets.layers import mlp


class ConvEncoder(nn.Module):
    """Carries images ``[n, c, h, w]`` of any size to ``[n, n_out]``: `ConvGenerator` the other way round.

    Two paths are added up. A linear layer looks at the image on a grid of at most 64 x 64. A residual convolutional path
    folds the image to half its size, halves that block by block down to at most 8 x 8, and looks at the result. A
    two-layer perceptron follows. No layer uses statistics of the batch.

    Args:
        event_shape: ``(c, h, w)`` of the images.
        n_out: Number of outputs.
        width: Channels on the coarsest grid; the perceptron is four times as wide.

    Raises:
        ValueError: Where a size is not positive or ``event_shape`` has not three entries.
    """

    def __init__(self, event_shape: Sequence[int], n_out: int, *, width: int = 64) -> None:
        super().__init__()
        _check_sizes(n_out, event_shape, width)
        if len(event_shape) != 3:
            raise ValueError(f"event_shape={tuple(event_shape)} is not (channels, height, width)")
        channels, height, breadth = event_shape
        hidden = 4 * width
        grids = _grids(((height + 1) // 2, (breadth + 1) // 2))[::-1]
        widths = [_channels(width, grid) for grid in grids]
        self.sketch_size: _Size = next(grid for grid in reversed(_grids((height, breadth))) if max(grid) <= _DENSE_SIDE)
        self.sketch = nn.Linear(channels * math.prod(self.sketch_size), hidden)
        self.enter = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        finer = widths[:1] + widths[:-1]
        self.blocks = nn.ModuleList(_DownBlock(*sizes) for sizes in zip(finer, widths, grids, strict=True))
        self.leave = nn.Linear(widths[-1] * math.prod(grids[-1]), hidden)
        self.head = mlp(hidden, (hidden,), n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``[n, n_out]`` for images ``[n, c, h, w]``."""
        height, breadth = x.shape[-2:]
        even = F.pad(x, (0, breadth % 2, 0, height % 2), mode="replicate")
        h = self.enter(F.pixel_unshuffle(even, 2).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = block(h)
        seen = self.sketch(_resize(x, self.sketch_size).flatten(1)) + self.leave(F.silu(h).flatten(1))
        out: Tensor = self.head(F.silu(seen))
        return out


class _DownBlock(nn.Module):
    """Shrinks a feature map by local averages and adds one convolution of its normalised values."""

    def __init__(self, n_in: int, n_out: int, size: _Size) -> None:
        super().__init__()
        self.size = size
        self.project = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        self.norm = nn.GroupNorm(n_out // 8, n_out)
        self.conv = nn.Conv2d(n_out, n_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(F.adaptive_avg_pool2d(x, self.size))
        residual: Tensor = self.conv(F.silu(self.norm(x)))
        return x + residual


def encoder(event_shape: Sequence[int], n_out: int, *, width: int = 64) -> nn.Module:
    """A network ``[n, *event_shape] -> [n, n_out]`` that suits the data: convolutional for images, a perceptron for vectors.

    Args:
        event_shape: ``(c, h, w)`` or ``(d,)``.
        n_out: Number of outputs.
        width: A quarter of the width of the hidden layers; see `ConvEncoder` for images.

    Raises:
        ValueError: For any other shape.
    """
    if len(event_shape) == 3:
        return ConvEncoder(event_shape, n_out, width=width)
    if len(event_shape) == 1:
        _check_sizes(n_out, event_shape, width)
        return mlp(event_shape[0], (4 * width, 4 * width), n_out)
    raise ValueError(f"event_shape={tuple(event_shape)} is neither (channels, height, width) nor (dimension,)")
