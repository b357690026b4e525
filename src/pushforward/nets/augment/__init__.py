"""Random changes of images for a critic (2006.06676): every one invertible in law, differentiable in the image, drawn row by row."""

from __future__ import annotations

from pushforward.nets.augment.chance import Chance
from pushforward.nets.augment.colour import COLOURS, draw_colour, recolour
from pushforward.nets.augment.geometry import GEOMETRIES, draw_inverse_map
from pushforward.nets.augment.pixels import BLITS, blit, draw_blit
from pushforward.nets.augment.resampling import SYM6, warp

__all__ = [
    "BLITS",
    "COLOURS",
    "GEOMETRIES",
    "SYM6",
    "Chance",
    "blit",
    "draw_blit",
    "draw_colour",
    "draw_inverse_map",
    "recolour",
    "warp",
]
