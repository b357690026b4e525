"""Scaling, turning, stretching and shifting by parts of a pixel, all of it as ONE 3 x 3 matrix for each image.

Coordinates are pixels from the centre of the image, to the right and down, with a 1 as the third. Strengths are those of 2006.06676,
appendix B: an isotropic scale 2^N(0, 0.2^2), a turn by any angle, a stretch (s, 1/s) with s = 2^N(0, 0.2^2), a turn again, a shift of
N(0, 0.125^2) of the side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from pushforward.nets.augment.chance import Chance

_LOG_SCALE = 0.2
_SHIFT = 0.125
Draw = Callable[[Chance, int, int], Tensor]


def scaling(right: Tensor, down: Tensor) -> Tensor:
    """Matrices ``[n, 3, 3]`` that stretch by factors ``[n]``."""
    return torch.diag_embed(torch.stack([right, down, torch.ones_like(right)], dim=1))


def rotation(angle: Tensor) -> Tensor:
    """Matrices ``[n, 3, 3]`` that turn by angles ``[n]`` in radians, counter-clockwise on the screen."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], dim=1).view(-1, 3, 3)


def translation(right: Tensor, down: Tensor) -> Tensor:
    """Matrices ``[n, 3, 3]`` that shift by pixels ``[n]``."""
    zero, one = torch.zeros_like(right), torch.ones_like(right)
    return torch.stack([one, zero, right, zero, one, down, zero, zero, one], dim=1).view(-1, 3, 3)


def _inverse_scale(chance: Chance, h: int, w: int) -> Tensor:
    factor = chance.applied(torch.exp2(-_LOG_SCALE * chance.normal()), 1.0)
    return scaling(factor, factor)


def _inverse_turn(chance: Chance, h: int, w: int) -> Tensor:
    """One of two turns: each with probability ``1 - sqrt(1 - p)``, so that an image is turned with probability ``p``."""
    return rotation(chance.applied(-math.pi * chance.uniform(), 0.0, p=1 - (1 - chance.p).sqrt()))


def _inverse_stretch(chance: Chance, h: int, w: int) -> Tensor:
    factor = chance.applied(torch.exp2(-_LOG_SCALE * chance.normal()), 1.0)
    return scaling(factor, 1 / factor)


def _inverse_move(chance: Chance, h: int, w: int) -> Tensor:
    move = chance.applied(-_SHIFT * chance.normal(2), 0.0)
    return translation(w * move[:, 0], h * move[:, 1])


ORDER: tuple[tuple[str, Draw], ...] = (
    ("scale", _inverse_scale),
    ("rotate", _inverse_turn),
    ("stretch", _inverse_stretch),
    ("rotate", _inverse_turn),
    ("move", _inverse_move),
)
GEOMETRIES = tuple(dict.fromkeys(name for name, _ in ORDER))


def draw_inverse_map(names: frozenset[str], chance: Chance, h: int, w: int) -> Tensor:
    """Matrices ``[n, 3, 3]`` from places in the new image to places in the old one; exactly the identity where nothing is applied."""
    start = torch.eye(3, device=chance.p.device, dtype=chance.dtype).expand(chance.n, 3, 3)
    return reduce(torch.matmul, (draw(chance, h, w) for name, draw in ORDER if name in names), start)
