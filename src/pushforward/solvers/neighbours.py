"""Exact nearest neighbours in blocks, in memory that is linear in the number of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK = 1 << 23
"""Numbers held at a time, of a block of distances or of differences."""
_SPARE = 4
"""Candidates beyond the ones wanted, because a matrix product rounds distances."""
_LOW_DIMENSION = 64
"""Up to here the matrix product is made in float64: it is cheap, and points on a curve may be nearer than float32 can tell."""


def nearest_neighbours(x: Tensor, k: int, *, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ``k`` rows of ``x`` nearest to each query; without queries, to each row of ``x`` among the others.

    Candidates come from matrix products; their distances are then taken exactly, so that a copy has distance 0.

    Args:
        x: rows ``[n, d]``.
        k: how many; at most ``n``, or ``n - 1`` without queries.
        queries: rows ``[m, d]``, or None.

    Returns:
        Row numbers ``[m, k]`` and squared Euclidean distances ``[m, k]`` in float64, increasing.

    Raises:
        ValueError: ``k`` is out of range, or a value is not finite.
    """
    found = queries if queries is not None else x
    most = len(x) if queries is not None else len(x) - 1
    if not 1 <= k <= most:
        raise ValueError(
            f"k: must be from 1 to {most} for {len(x)} rows, got {k}; give more rows or ask for fewer neighbours."
        )
    if not (bool(torch.isfinite(x).all()) and bool(torch.isfinite(found).all())):
        raise ValueError("x: some values are NaN or infinite; remove those rows first.")
    dtype = torch.float64 if x.shape[1] <= _LOW_DIMENSION else torch.float32
    centre = x.mean(0, dtype=torch.float64).to(dtype)
    centred = x.to(dtype) - centre
    parts = _blocks(centred, centred if queries is None else queries.to(dtype) - centre, alone=queries is None)
    width = min(k + _SPARE, most)
    index = torch.empty(
        len(found), k, dtype=torch.int64, device=x.device
    )  # results between large blocks would fragment memory
    squared = torch.empty(len(found), k, dtype=torch.float64, device=x.device)
    for start, block in parts:
        rows = slice(start, start + len(block))
        index[rows], squared[rows] = _exact(x, found[rows], _candidates(block, width), k)
    return index, squared


def _blocks(x: Tensor, queries: Tensor, *, alone: bool) -> Iterator[tuple[int, Tensor]]:
    """First row and rounded squared distances ``[rows, n]`` of blocks of queries; where ``alone``, a row is not its own neighbour."""
    norms, rows = x.square().sum(1), max(1, _BLOCK // len(x))
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows]
        block = torch.addmm(norms[None], part, x.T, alpha=-2).add_(part.square().sum(1, keepdim=True))
        if alone:
            block.diagonal(start).fill_(torch.inf)
        yield start, block


def _candidates(block: Tensor, width: int) -> Tensor:
    return block.topk(width, dim=1, largest=False, sorted=False).indices


def _exact(x: Tensor, queries: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best ``k`` of the candidates ``[m, c]``, by distances in float64, and those distances."""
    rows = max(1, _BLOCK // max(1, candidates.shape[1] * x.shape[1]))
    squared = torch.cat(
        [
            (query[:, None] - x[index]).double().square().sum(2)
            for query, index in zip(queries.split(rows), candidates.split(rows), strict=True)
        ]
    )
    best = squared.topk(k, dim=1, largest=False)
    return candidates.gather(1, best.indices), best.values
