"""Changes that only move pixels: mirror image, quarter turns, shifts by whole pixels. They are exact."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.nets.augment.chance import Chance
from pushforward.nets.augment.reflection import reflected

BLITS = ("flip", "turn", "shift")
_FARTHEST = 0.125  # of the side, of a shift (2006.06676, appendix B)
_COS, _SIN = (1, 0, -1, 0), (0, 1, 0, -1)


def blit(x: Tensor, flip: Tensor, turns: Tensor, shift: Tensor) -> Tensor:
    """Images mirrored, then turned, then shifted; what comes in from beyond the border is a reflection.

    Args:
        x: images ``[n, c, h, w]``.
        flip: 1 where left and right are exchanged, else 0, ``[n]``.
        turns: quarter turns, counter-clockwise as in ``torch.rot90``, ``[n]``; even where h and w differ.
        shift: pixels down and to the right, ``[n, 2]``.
    """
    h, w = x.shape[2:]
    row = reflected(torch.arange(h, device=x.device) - shift[:, :1], h)[:, :, None]
    column = reflected(torch.arange(w, device=x.device) - shift[:, 1:], w)[:, None]
    down, right = 2 * row - (h - 1), 2 * column - (w - 1)  # twice the distance from the centre
    cos, sin = (torch.tensor(of, device=x.device)[turns][:, None, None] for of in (_COS, _SIN))
    mirrored = 1 - 2 * flip[:, None, None]
    old_row = (cos * down + sin * right + (h - 1)) // 2
    old_column = (mirrored * (cos * right - sin * down) + (w - 1)) // 2
    source = (old_row * w + old_column).flatten(1)
    return x.flatten(2).gather(2, source[:, None].expand(-1, x.shape[1], -1)).view_as(x)


def draw_blit(names: frozenset[str], chance: Chance, h: int, w: int) -> tuple[Tensor, Tensor, Tensor]:
    """``flip``, ``turns`` and ``shift`` for `blit`, each applied with the probability of ``chance``.

    A flip is a fair coin, turns are uniform on the four (on 0 and 2 where sides differ), a shift is uniform up to an eighth of each side.
    """
    still = chance.integers(1)
    flip = chance.applied(chance.integers(2), 0) if "flip" in names else still
    turns = still
    if "turn" in names:
        turns = chance.applied(chance.integers(4) if h == w else 2 * chance.integers(2), 0)
    shift = still[:, None].expand(-1, 2)
    if "shift" in names:
        farthest = _FARTHEST * torch.tensor([h, w], device=still.device)
        shift = chance.applied((chance.uniform(2) * farthest).round().long(), 0)
    return flip, turns, shift
