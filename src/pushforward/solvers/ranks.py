"""Sorting along the last axis: values, order and ranks, exact, many rows at once.

On the CPU numpy's vectorised sort of plain numbers is ten to forty times faster than ``torch.sort``, which also carries
indices. An order is had from it by sorting 64-bit numbers that hold the value's bits above and its place below.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_PLACES = 2**32


def sort_values(u: Tensor) -> Tensor:
    """Values sorted along the last axis, smallest first: a new tensor of the shape of ``u``; NaN comes last."""
    if u.device.type != "cpu":
        return torch.sort(u, dim=-1).values
    values = u.detach().clone(memory_format=torch.contiguous_format)
    values.numpy().sort(axis=-1)
    return values


def order_of(u: Tensor) -> Tensor:
    """Places ``[..., n]`` (int64) of the smallest, the next, ..., the largest entry along the last axis; ties in their order."""
    n = u.shape[-1]
    if u.device.type != "cpu" or u.dtype != torch.float32 or n >= _PLACES:
        return torch.sort(u, dim=-1, stable=True).indices
    keys = _keys(u.detach().contiguous().numpy())
    keys |= np.arange(n)
    keys.sort(axis=-1)
    keys &= _PLACES - 1
    return torch.from_numpy(keys)


def ranks(u: Tensor) -> Tensor:
    """Rank ``[..., n]`` (int64, from 0) of each entry along the last axis; ties in their order."""
    order = order_of(u)
    places = torch.arange(u.shape[-1], device=u.device).expand(u.shape)
    return torch.empty_like(order).scatter_(-1, order, places)


def order_by_class(order: Tensor, classes: Tensor) -> Tensor:
    """An order ``[..., n]`` with the places of class 0 first, and so on; each class keeps its order; ``classes`` ``[n]`` from 0."""
    places = torch.arange(order.shape[-1], device=order.device)
    keys = classes[order] * _PLACES + places
    if keys.device.type != "cpu":
        return order.gather(-1, torch.sort(keys, dim=-1).values % _PLACES)
    keys.numpy().sort(axis=-1)
    return order.gather(-1, keys % _PLACES)


def _keys(values: np.ndarray) -> np.ndarray:
    """Integers that are ordered as the float32 values are, in the upper halves of int64; both zeros are equal."""
    bits = (values + np.float32(0)).view(np.int32)
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)
    keys = bits.astype(np.int64)
    keys <<= 32
    return keys
