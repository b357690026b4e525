"""Distances between images that look at windows instead of single pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDES = (1, 3, 5, 9)
_SMOOTH = 1e-5  # below the square of the step between two grey levels; keeps the gradient of the root finite


def patch_distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean root mean square difference of two batches of images ``[n, c, h, w]`` over windows of several sizes; a number.

    Windows are squares of side 1, 3, 5 and 9 (those that fit) and the whole image, each size with the same weight. The root is
    taken window by window: a window that is reproduced well is worth as much as in the absolute error, while the squared error
    hardly notices it beside the worst ones. So textures and edges survive that least squares smoothes away.
    """
    difference = (x - y).square().mean(dim=1, keepdim=True)
    side = min(difference.shape[-2:])
    terms = [_root(_window_means(difference, k)).mean() for k in _SIDES if k <= side]
    terms.append(_root(difference.flatten(1).mean(dim=1)).mean())
    return torch.stack(terms).mean()


def _window_means(values: Tensor, side: int) -> Tensor:
    """Means over windows that overlap by half, cut off at the border."""
    return F.avg_pool2d(values, side, max(1, side // 2), padding=side // 2, count_include_pad=False)


def _root(values: Tensor) -> Tensor:
    return (values + _SMOOTH).sqrt()
