"""An image warped by an affine map without aliasing: enlarged twice, resampled there, reduced by the same filter.

The filter is the symlet with six vanishing moments (sym6), as in 2006.06676, appendix B.1. It is orthogonal, so that enlarging and
reducing cancel exactly. It is not quite symmetric: a value of the enlarged image lies at its mean delay, and places are counted from
there. Beyond the border the image is reflected, however far a map goes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from pushforward.nets.augment.reflection import reflected

# The factor ((1 + z) / 2)^6 q(z) of the polynomial of Daubechies whose roots are chosen for the most linear phase; sum sqrt(2), norm 1.
SYM6 = (
    0.015404109327044824,
    0.0034907120842221626,
    -0.11799011114852002,
    -0.04831174258569806,
    0.49105594192797375,
    0.787641141028651,
    0.3379294217281658,
    -0.07263752278637658,
    -0.02106029251237085,
    0.04472490177078139,
    0.0017677118642540077,
    -0.00780070832503238,
)
_TAPS = len(SYM6)
_BEYOND = (
    3  # pixels beyond the border that the enlarged image has: what the filter needs to give back an image that stays
)
_DELAY = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6)


def warp(x: Tensor, inverse: Tensor) -> Tensor:
    """The images that affine maps make of images.

    Args:
        x: images ``[n, c, h, w]``.
        inverse: matrices ``[n, 3, 3]`` from places in the new image to places in the old one, in pixels from the centre, right and down.
    """
    h, w = x.shape[2:]
    fine = _enlarging(h, x) @ x @ _enlarging(w, x).T
    warped = grid_sample(fine, _places(inverse, h, w), mode="bilinear", padding_mode="border", align_corners=True)
    return _reducing(h, x) @ warped @ _reducing(w, x).T


def _reducing(size: int, like: Tensor) -> Tensor:
    """The matrix ``[size, 2 size + 10]`` from values at half pixels to pixels."""
    taps = torch.tensor(SYM6, device=like.device, dtype=like.dtype) / 2**0.5
    columns = torch.arange(_TAPS, device=like.device) + 2 * torch.arange(size, device=like.device)[:, None]
    empty = torch.zeros(size, 2 * size + _TAPS - 2, device=like.device, dtype=like.dtype)
    return empty.scatter(1, columns, taps.expand(size, -1))


def _enlarging(size: int, like: Tensor) -> Tensor:
    """The matrix ``[2 size + 22, size]`` to values at half pixels, from an image that is reflected beyond its border."""
    margin = _TAPS // 2 - 1 + _BEYOND  # so many pixels beyond the border reach the outermost values
    fine, first = 2 * (size + 2 * _BEYOND) + _TAPS - 2, 2 * (_TAPS // 2 - 1)
    unfolded = 2 * _reducing(size + 2 * margin, like)[:, first : first + fine].T
    pixel = reflected(torch.arange(-margin, size + margin, device=like.device), size)
    return torch.zeros(fine, size, device=like.device, dtype=like.dtype).index_add(1, pixel, unfolded)


def _places(inverse: Tensor, h: int, w: int) -> Tensor:
    """Where in the enlarged image each value of the enlarged new image comes from: ``[n, 2 h + 10, 2 w + 10, 2]``, for grid_sample."""
    right, down = _half_pixels(w, inverse), _half_pixels(h, inverse)
    here = torch.stack([right.expand(len(down), -1), down[:, None].expand(-1, len(right))], dim=-1)
    there = torch.einsum("nij,hwj->nhwi", inverse[:, :2, :2], here) + inverse[:, None, None, :2, 2]
    return torch.stack([_shares(there[..., i], size) for i, size in enumerate((w, h))], dim=-1)


def _half_pixels(size: int, like: Tensor) -> Tensor:
    """Places ``[2 size + 10]`` of the values of the enlarged new image, in pixels from the centre."""
    index = torch.arange(2 * size + _TAPS - 2, device=like.device, dtype=like.dtype)
    return (index - _DELAY) / 2 - (size - 1) / 2


def _shares(place: Tensor, size: int) -> Tensor:
    """Places in pixels from the centre as places in the enlarged image, whose ends are -1 and 1; those far out are reflected."""
    pixel = place + (size - 1) / 2
    far = (pixel < -_BEYOND) | (pixel > size - 1 + _BEYOND)
    index = 2 * (torch.where(far, reflected(pixel, size), pixel) + _BEYOND) + _DELAY
    return index * (2 / (2 * (size + 2 * _BEYOND) + _TAPS - 3)) - 1
