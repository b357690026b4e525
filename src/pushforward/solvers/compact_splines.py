"""Splines in little memory: steps between knots in half precision, everything else computed from them.

A knot is the sum of the steps before it, and positive steps of half precision (relative error 2^-11) sum to increasing knots. A knot in
half precision would not do: near atoms of a law many knots lie closer to each other than its resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.solvers.rational_quadratic import Spline, slopes_of_knots, strictly_increasing

_LARGEST = 6e4  # of a step, below the largest number of half precision


def pack(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """First knots ``[..., 2]`` (float32) and steps ``[..., 2, M - 1]`` (float16) of knots ``x`` and ``y`` ``[..., M]``, both sorted."""
    knots = strictly_increasing(torch.stack([x, y], dim=-2))
    return knots[..., 0].float(), knots.diff(dim=-1).clamp_max(_LARGEST).half()


def unpack(starts: Tensor, steps: Tensor) -> Spline:
    """The splines ``[..., M]`` of first knots ``[..., 2]`` and steps ``[..., 2, M - 1]``; they have slope one outside the knots."""
    sums = torch.cat([torch.zeros_like(steps[..., :1]), steps], dim=-1).float().cumsum(-1)
    x, y = (starts[..., None] + sums).unbind(-2)
    return Spline(x, y, slopes_of_knots(x, y, torch.ones_like(x[..., 0]), torch.ones_like(y[..., 0])))
