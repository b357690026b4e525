"""A U-Net that is asked at a time, for images of any size, and the choice between it and a perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.nets.timed import TimedMLP, TimeEmbedding, zeroed

_FINEST_PATCHED = 16  # images up to this side are worked on pixel by pixel
_COARSEST_SIDE = 7
_HEAD = 32  # channels of one attention head
_GROUP = 8  # channels that are normalised together; convolutions on a CPU need such a multiple too
_Size = tuple[int, int]


class UNet(nn.Module):
    """A network ``net(x, t, labels)`` from images ``[n, c, h, w]`` to images of that shape, that starts at zero.

    Residual blocks of two convolutions with group normalisation, scaled and shifted by the embedding of time and class, on
    grids that are halved until the longest side is 7 or less, and attention on the coarsest (Ho et al. 2006.11239,
    appendix B; Dhariwal, Nichol 2105.05233, section 3). The number of grids and their channels follow from the size of the
    image (`patch_of`, `grids_of`). Sides may be odd: halving rounds up, and enlarging goes back to the size that was there.

    Large images are folded into patches first (one pixel of 4, 16 ... times the channels), so that the finest grid has
    about four times the root of the side, and unfolded at the end: most of the cost of a U-Net is on its finest grid.

    All convolutions run on channels-last memory, which is the fast layout for them on CPUs and GPUs alike.

    Args:
        event_shape: ``(c, h, w)`` of the images.
        classes: Number of classes; 1 for none.
        width: Channels on the finest grid, a multiple of 8; twice as many below it.

    Raises:
        ValueError: Where ``event_shape`` has not three entries or ``width`` is no multiple of 8.
    """

    def __init__(self, event_shape: Sequence[int], classes: int = 1, *, width: int = 32) -> None:
        super().__init__()
        channels, self.size = _checked(event_shape, width)
        self.patch = patch_of(self.size)
        self.grids = grids_of(self.size)
        widths = [width] + [2 * width] * (len(self.grids) - 1)
        n_code, folded = 4 * width, channels * self.patch**2
        self.embedding = TimeEmbedding(n_code, classes)
        self.enter = nn.Conv2d(folded, width, 3, padding=1)
        self.down = nn.ModuleList(_Block(a, b, n_code) for a, b in pairwise([width, *widths]))
        self.middle = nn.ModuleList(_Block(widths[-1], widths[-1], n_code) for _ in range(2))
        self.attention = _Attention(widths[-1])
        above = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(_Block(a + b, b, n_code) for a, b in zip(above, widths, strict=True))
        self.leave = nn.Sequential(_norm(width), nn.SiLU(), zeroed(nn.Conv2d(width, folded, 3, padding=1)))
        for weights in self.parameters():
            if weights.dim() == 4:
                weights.data = weights.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``[n, c, h, w]`` for images of that shape, times ``[n]`` in [0, 1] and class numbers ``[n]``."""
        e = self.embedding(t, labels)
        h = self.enter(self._folded(x).contiguous(memory_format=torch.channels_last))
        skips: list[Tensor] = []
        for size, block in zip(self.grids, self.down, strict=True):
            h = block(_shrunk(h, size), e)
            skips.append(h)
        h = self.middle[1](self.attention(self.middle[0](h, e)), e)
        for size, block, skip in zip(self.grids[::-1], list(self.up)[::-1], skips[::-1], strict=True):
            h = block(torch.cat([_enlarged(h, size), skip], dim=1), e)
        return self._unfolded(self.leave(h)).contiguous()

    def _folded(self, x: Tensor) -> Tensor:
        """Patches as channels; the image is continued by its border pixels to a multiple of the patch."""
        if self.patch == 1:
            return x
        right, below = (-x.shape[3] % self.patch, -x.shape[2] % self.patch)
        return F.pixel_unshuffle(F.pad(x, (0, right, 0, below), mode="replicate"), self.patch)

    def _unfolded(self, h: Tensor) -> Tensor:
        height, breadth = self.size
        return F.pixel_shuffle(h, self.patch)[:, :, :height, :breadth] if self.patch > 1 else h


def patch_of(size: _Size) -> int:
    """Side of the patches that images of this size are folded by: the least power of two ``p`` with ``side <= 16 p^2``."""
    patch = 1
    while max(size) > _FINEST_PATCHED * patch**2:
        patch *= 2
    return patch


def grids_of(size: _Size) -> list[_Size]:
    """The grids of a `UNet` for images of this size, from fine to coarse."""
    patch = patch_of(size)
    grids = [(-(-size[0] // patch), -(-size[1] // patch))]
    while max(grids[-1]) > _COARSEST_SIDE:
        grids.append(_halved(grids[-1]))
    return grids


def _halved(size: _Size) -> _Size:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


class _Block(nn.Module):
    """Two convolutions added to their input; the embedding scales and shifts what enters the second."""

    def __init__(self, n_in: int, n_out: int, n_code: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(n_in), nn.SiLU(), nn.Conv2d(n_in, n_out, 3, padding=1))
        self.modulate = zeroed(nn.Linear(n_code, 2 * n_out))
        self.norm = nn.GroupNorm(n_out // _GROUP, n_out, affine=False)
        self.second = zeroed(nn.Conv2d(n_out, n_out, 3, padding=1))
        self.pass_on = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        scale, shift = self.modulate(e)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm(self.first(x)), 1 + scale)
        out: Tensor = self.pass_on(x) + self.second(F.silu(h))
        return out


class _Attention(nn.Module):
    """Every place of a feature map looks at every other; what it finds is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // _HEAD) if channels % _HEAD == 0 else 1
        self.norm = _norm(channels)
        self.ask = nn.Linear(channels, 3 * channels)
        self.answer = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, breadth = x.shape
        places = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        query, key, value = self.ask(places).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        added: Tensor = self.answer(found)
        out: Tensor = x + added.unflatten(1, (height, breadth)).permute(0, 3, 1, 2)
        return out


def timed_network(event_shape: Sequence[int], classes: int = 1, *, width: int = 32) -> nn.Module:
    """A network ``net(x, t, labels) -> [n, *event_shape]`` that suits the shape of the data.

    Args:
        event_shape: ``(c, h, w)`` or ``(d,)``.
        classes: Number of classes; 1 for none.
        width: Channels on the finest grid (images), or an eighth of the units of a layer (vectors).

    Raises:
        ValueError: For any other shape, or a width that is no positive multiple of 8.
    """
    if len(event_shape) != 1:
        return UNet(event_shape, classes, width=width)
    if width < 1:
        raise ValueError(f"width: {width} is too small; it must be at least 1")
    return TimedMLP(event_shape[0], classes, width=8 * width)


def _checked(event_shape: Sequence[int], width: int) -> tuple[int, _Size]:
    if len(event_shape) != 3 or min(event_shape) < 1:
        raise ValueError(f"event_shape={tuple(event_shape)} is neither (channels, height, width) nor (dimension,)")
    if width < _GROUP or width % _GROUP:
        raise ValueError(f"width: {width} is not a positive multiple of {_GROUP}; try 32")
    return event_shape[0], (event_shape[1], event_shape[2])


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // _GROUP, channels)


def _shrunk(x: Tensor, size: _Size) -> Tensor:
    """Averages of 2 x 2 places; at an odd border, of those that are there."""
    if x.shape[-2:] == size:
        return x
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _enlarged(x: Tensor, size: _Size) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="nearest")
