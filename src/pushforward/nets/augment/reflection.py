"""Coordinates beyond the border, thrown back."""

from __future__ import annotations

from torch import Tensor


def reflected(t: Tensor, size: int) -> Tensor:
    """Coordinates of any size folded into ``[0, size - 1]``: a mirror in the centre of each border pixel; integers stay integers."""
    far = size - 1
    return (t + far).remainder(2 * far).sub(far).abs() if far else t * 0
