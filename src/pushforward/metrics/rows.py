"""Rows of features: how a metric reads its inputs, and distances between rows in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import reduce

import torch
from torch import Tensor, nn

FeatureMap = Callable[[Tensor], Tensor]

_BLOCK = 2**24  # entries of a distance matrix held at a time
_FEATURE_ROWS = 512


def feature_name(features: FeatureMap | None) -> str:
    """How the features are called in a `Measurement`: their ``name``, or a function's own, or their type's."""
    if features is None:
        return "raw"
    own = getattr(features, "__name__", type(features).__name__)
    return str(getattr(features, "name", own))


@torch.no_grad()
def feature_rows(x: Tensor, features: FeatureMap | None, *, name: str, least: int = 2) -> Tensor:
    """Reads ``x`` ``[n, *event_shape]`` as finite float vectors ``[n, d]``, after the feature map where there is one.

    A module is put into evaluation mode for the while, so that a row's features do not depend on the rows beside it.

    Raises:
        ValueError: For integers, NaN, infinite values, rows of no numbers, fewer than ``least`` rows, or a feature map that does
            not give one row of floating-point numbers for each row.
    """
    if not x.is_floating_point():
        raise ValueError(f"{name}: values are {x.dtype}; convert them to floating point first")
    if x.ndim == 0 or x.numel() == 0 < len(x):
        raise ValueError(f"{name}: its shape is {list(x.shape)}; give rows [n, *event_shape] of at least one number")
    if len(x) < least:
        raise ValueError(f"{name}: {len(x)} rows are too few for this metric; give at least {least}")
    if features is not None:
        with _evaluating(features):
            x = torch.cat([_mapped(features, chunk) for chunk in x.split(_FEATURE_ROWS)])
    x = x.detach().reshape(len(x), -1)
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name}: some values are NaN or infinite; remove those rows first")
    return x


def comparable(sides: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Rows ``[n, d]`` of all sides, in the same floating-point type.

    Raises:
        ValueError: Where the sides differ in ``d``.
    """
    rows = tuple(sides)
    widths = [x.shape[1] for x in rows]
    if len(set(widths)) > 1:
        raise ValueError(f"the rows to compare have {' and '.join(map(str, widths))} features; they must agree")
    dtype = reduce(torch.promote_types, [x.dtype for x in rows])
    return tuple(x.to(dtype) for x in rows)


def _mapped(features: FeatureMap, x: Tensor) -> Tensor:
    """Features ``[n, ...]`` of the rows ``x`` ``[n, *event_shape]``."""
    found: object = features(x)
    good = isinstance(found, Tensor) and found.is_floating_point() and found.ndim > 0 and len(found) == len(x)
    if not isinstance(found, Tensor) or not good:
        told = f"{found.dtype} of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"features: {feature_name(features)} gave {told} for {len(x)} rows; it must give floating point [{len(x)}, d]"
        )
    return found


@contextlib.contextmanager
def _evaluating(features: FeatureMap) -> Iterator[None]:
    """Evaluation mode, and afterwards the mode that each module had."""
    training = [m for m in features.modules() if m.training] if isinstance(features, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def take(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """``n`` rows of ``x`` drawn without replacement; all of them, in order, where ``x`` has no more."""
    if len(x) <= n:
        return x
    return x[torch.randperm(len(x), generator=generator)[:n].sort().values.to(x.device)]


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Squared Euclidean distances, in blocks of rows of ``x``: yields the first row and ``[rows, len(y)]``.

    They come from one matrix product a block on values centred at the mean of ``y``: fast, and exact to about 1e-6 of the
    squared norm of a row in float32.
    """
    centre = y.mean(dim=0)
    x, y = x - centre, y - centre
    y_norms = y.square().sum(dim=1)
    rows = max(1, _BLOCK // len(y))
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        block = torch.addmm(y_norms[None, :], part, y.T, alpha=-2).add_(part.square().sum(dim=1, keepdim=True))
        yield start, block.clamp_(min=0)


def hide_diagonal(start: int, block: Tensor, value: float) -> Tensor:
    """Overwrites, in a block of the distances of a set to itself, the entries of each row with itself."""
    rows = torch.arange(len(block), device=block.device)
    block[rows, rows + start] = value
    return block


def nearest(x: Tensor, y: Tensor) -> Tensor:
    """Distance from each row of ``x`` to the nearest row of ``y``, ``[len(x)]``.

    A few candidates are found by matrix products and measured again exactly, so that a copy has distance 0.
    """
    found = []
    for start, block in squared_distances(x, y):
        index = block.topk(min(4, len(y)), dim=1, largest=False).indices
        part = x[start : start + len(block)]
        exact = torch.stack([(part - y[column]).square().sum(dim=1) for column in index.T])
        found.append(exact.amin(dim=0).sqrt())
    return torch.cat(found)


def neighbour_radius(x: Tensor, k: int) -> Tensor:
    """Squared distance of each row of ``x`` to its ``k``-th nearest other row, ``[n]``."""
    blocks = (hide_diagonal(start, block, float("inf")) for start, block in squared_distances(x, x))
    return torch.cat([block.topk(k, dim=1, largest=False).values[:, -1] for block in blocks])
