"""Changes of colour, all of them as ONE homogeneous matrix for each image, on any number of channels.

In order, with the strengths of 2006.06676, appendix B: brightness + N(0, 0.2^2); contrast times 2^N(0, 0.5^2); the luma axis flipped
(a mirror in the plane across (1, 1, 1)); hue turned by any angle about that axis; saturation times 2^N(0, 1). On one channel hue and
saturation have no meaning; on numbers of channels other than one and three only brightness and contrast have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from pushforward.nets.augment.chance import Chance

_BRIGHTNESS, _LOG_CONTRAST, _LOG_SATURATION = 0.2, 0.5, 1.0
Draw = Callable[[Chance, int], Tensor]


def recolour(x: Tensor, matrix: Tensor) -> Tensor:
    """Pixels of images ``[n, c, h, w]`` mapped by homogeneous matrices ``[n, c + 1, c + 1]``."""
    c = x.shape[1]
    pixels: Tensor = torch.baddbmm(matrix[:, :c, c:], matrix[:, :c, :c], x.flatten(2))
    return pixels.view_as(x)


def _brightness(chance: Chance, c: int) -> Tensor:
    matrix = _identity(chance, c + 1).repeat(chance.n, 1, 1)
    matrix[:, :c, c] = chance.applied(_BRIGHTNESS * chance.normal(), 0.0)[:, None]
    return matrix


def _contrast(chance: Chance, c: int) -> Tensor:
    factor = chance.applied(torch.exp2(_LOG_CONTRAST * chance.normal()), 1.0)
    return _bordered(factor[:, None, None] * _identity(chance, c))


def _luma(chance: Chance, c: int) -> Tensor:
    """A fair coin tosses whether the part along the axis of greys changes its sign."""
    coin = chance.applied(chance.integers(2), 0).to(chance.dtype)
    return _bordered(_identity(chance, c) - 2 * coin[:, None, None] * _grey(chance, c))


def _hue(chance: Chance, c: int) -> Tensor:
    """A turn about the axis of greys (the formula of Rodrigues)."""
    angle = chance.applied(math.pi * chance.uniform(), 0.0)[:, None, None]
    cross = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device, dtype=angle.dtype) / 3**0.5
    grey = _grey(chance, c)
    return _bordered(angle.cos() * _identity(chance, c) + (1 - angle.cos()) * grey + angle.sin() * cross)


def _saturation(chance: Chance, c: int) -> Tensor:
    factor = chance.applied(torch.exp2(_LOG_SATURATION * chance.normal()), 1.0)[:, None, None]
    return _bordered(factor * _identity(chance, c) + (1 - factor) * _grey(chance, c))


ORDER: dict[str, Draw] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "luma": _luma,
    "hue": _hue,
    "saturation": _saturation,
}
COLOURS = tuple(ORDER)
_GREY, _ANY = frozenset({"brightness", "contrast", "luma"}), frozenset({"brightness", "contrast"})


def colours_of(channels: int) -> frozenset[str]:
    """The changes that have a meaning on this number of channels."""
    return frozenset(ORDER) if channels == 3 else _GREY if channels == 1 else _ANY


def draw_colour(names: frozenset[str], chance: Chance, c: int) -> Tensor:
    """Matrices ``[n, c + 1, c + 1]`` for `recolour`; exactly the identity where nothing is applied."""
    chosen = names & colours_of(c)
    drawn = (draw(chance, c) for name, draw in ORDER.items() if name in chosen)
    start = _identity(chance, c + 1).expand(chance.n, c + 1, c + 1)
    return reduce(lambda done, new: new @ done, drawn, start)


def _identity(chance: Chance, size: int) -> Tensor:
    return torch.eye(size, device=chance.p.device, dtype=chance.dtype)


def _grey(chance: Chance, c: int) -> Tensor:
    """The matrix ``[c, c]`` that projects on the axis of greys."""
    return torch.full((c, c), 1 / c, device=chance.p.device, dtype=chance.dtype)


def _bordered(linear: Tensor) -> Tensor:
    """Matrices ``[n, c, c]`` as homogeneous ones ``[n, c + 1, c + 1]``."""
    n, c, _ = linear.shape
    whole = torch.eye(c + 1, device=linear.device, dtype=linear.dtype).repeat(n, 1, 1)
    whole[:, :c, :c] = linear
    return whole
