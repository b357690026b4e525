"""Residual generator and critic of SN-GAN (1802.05957, appendix B) for images of any size, and the projection head (1802.05637).

The grid is halved, rounding up, down to at most 4 x 4; generator and critic have one block for each size. The paper has batch
normalisation in the generator; here it is group normalisation, so that an image does not depend on the others of its batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.nets.layers import LEAKY, mlp

_COARSEST = 4  # sides of the coarsest grid, at most
_FULL = 32  # grids up to this side have all the channels, finer ones fewer
_Size = tuple[int, int]


class ResGenerator(nn.Module):
    """Carries ``z`` ``[n, d]`` to images ``[n, c, h, w]`` in [-1, 1].

    Args:
        latent_dim: number of coordinates of ``z``.
        event_shape: ``(c, h, w)`` of the images, any size.
        width: channels on grids up to 32 x 32, a multiple of 8 (others are rounded); finer grids have fewer.
    """

    def __init__(self, latent_dim: int, event_shape: Sequence[int], *, width: int = 64) -> None:
        super().__init__()
        channels, sizes = _checked(event_shape, latent_dim, width)
        self.coarsest = sizes[-1]
        inputs, outputs = _channels(width, sizes[-1]), _channels(width, sizes[0])
        self.base = nn.Linear(latent_dim, inputs * math.prod(self.coarsest))
        blocks = []
        for size in sizes[-2::-1]:
            blocks.append(_UpBlock(inputs, _channels(width, size), size))
            inputs = _channels(width, size)
        self.blocks = nn.Sequential(*blocks)
        self.out = nn.Sequential(_norm(outputs), nn.ReLU(), nn.Conv2d(outputs, channels, 3, padding=1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """Images ``[n, c, h, w]`` for latent vectors ``[n, d]``."""
        image: Tensor = self.out(self.blocks(self.base(z).unflatten(1, (-1, *self.coarsest))))
        return image


class _UpBlock(nn.Module):
    """Norm, ReLU, enlarge, convolve, norm, ReLU, convolve; beside it the input enlarged."""

    def __init__(self, n_in: int, n_out: int, size: _Size) -> None:
        super().__init__()
        self.size = size
        self.norms = nn.ModuleList([_norm(n_in), _norm(n_out)])
        self.convs = nn.ModuleList([nn.Conv2d(n_in, n_out, 3, padding=1), nn.Conv2d(n_out, n_out, 3, padding=1)])
        self.beside = nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.convs[0](F.interpolate(F.relu(self.norms[0](x)), size=self.size))
        h = self.convs[1](F.relu(self.norms[1](h)))
        out: Tensor = h + F.interpolate(self.beside(x), size=self.size)
        return out


class ResFeatures(nn.Module):
    """Carries images ``[n, c, h, w]`` to features ``[n, k]``: residual blocks, the sum over the grid at the end; no normalisation.

    Args:
        event_shape: ``(c, h, w)`` of the images, any size.
        width: channels on grids up to 32 x 32, a multiple of 8 (others are rounded); finer grids have fewer.
    """

    def __init__(self, event_shape: Sequence[int], *, width: int = 64) -> None:
        super().__init__()
        channels, sizes = _checked(event_shape, 1, width)
        blocks: list[nn.Module] = []
        for size in sizes[1:]:
            blocks.append(_Block(channels, _channels(width, size), shrink=True, first=not blocks))
            channels = _channels(width, size)
        blocks.append(_Block(channels, _channels(width, sizes[-1]), shrink=False, first=not blocks))
        self.n_features = _channels(width, sizes[-1])
        self.blocks = nn.Sequential(*blocks, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[n, k]``."""
        features: Tensor = self.blocks(x).sum((2, 3))
        return features


class _Block(nn.Module):
    """ReLU, convolve, ReLU, convolve, halve; beside it the input, halved. The first block begins with a convolution."""

    def __init__(self, n_in: int, n_out: int, *, shrink: bool, first: bool) -> None:
        super().__init__()
        begin = [] if first else [nn.ReLU()]
        self.main = nn.Sequential(
            *begin, nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.Conv2d(n_out, n_out, 3, padding=1)
        )
        self.beside = nn.Conv2d(n_in, n_out, 1) if shrink or n_in != n_out else nn.Identity()
        self.halve = nn.AvgPool2d(2, ceil_mode=True) if shrink else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.halve(self.main(x)) + self.beside(self.halve(x))
        return out


class Projection(nn.Module):
    """Values ``psi(f) + <f, v_y>`` of features ``[n, k]`` for every class ``y`` (1802.05637).

    They are ``[n, classes]``, and ``[n]`` where there is a single class.
    """

    def __init__(self, n_features: int, classes: int) -> None:
        super().__init__()
        self.common = nn.Linear(n_features, 1)
        self.own = nn.Linear(n_features, classes, bias=False) if classes > 1 else None

    def forward(self, features: Tensor) -> Tensor:
        """Values of each class."""
        common: Tensor = self.common(features)
        return common[:, 0] if self.own is None else common + self.own(features)


def residual_critic(event_shape: Sequence[int], *, width: int = 64, classes: int = 1) -> nn.Sequential:
    """A critic with a projection head: residual blocks for images ``(c, h, w)``, three layers of ``2 width`` units for the rest.

    It gives ``[n]``, with several classes ``[n, classes]``, a value for each.
    """
    if len(event_shape) == 3:
        features = ResFeatures(event_shape, width=width)
        return nn.Sequential(features, Projection(features.n_features, classes))
    hidden = 2 * width
    body = mlp(math.prod(event_shape), (hidden, hidden), hidden, activation=LEAKY)
    return nn.Sequential(nn.Flatten(), body, LEAKY(), Projection(hidden, classes))


def residual_generator(latent_dim: int, event_shape: Sequence[int], *, width: int = 64) -> nn.Module:
    """The counterpart of `residual_critic`: residual blocks for images, a perceptron of two layers of ``4 width`` for vectors."""
    if len(event_shape) == 3:
        return ResGenerator(latent_dim, event_shape, width=width)
    return mlp(latent_dim, (4 * width, 4 * width), event_shape[0])


def _checked(event_shape: Sequence[int], latent_dim: int, width: int) -> tuple[int, list[_Size]]:
    """Channels of the image, and its sizes from fine to coarse."""
    if len(event_shape) != 3 or min(latent_dim, width, *event_shape) < 1:
        raise ValueError(f"event_shape={tuple(event_shape)} must be (channels, height, width), and all sizes positive")
    channels, height, breadth = event_shape
    sizes = [(height, breadth)]
    while max(sizes[-1]) > _COARSEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return channels, sizes


def _channels(width: int, size: _Size) -> int:
    return max(8, 8 * round(width * min(1.0, _FULL / max(size)) / 8))


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(channels // 8, channels)
