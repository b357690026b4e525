"""Exact nearest neighbours in blocks, in memory that is linear in the number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_BLOCK = 1 << 23
"""Numbers held at a time, of a block of distances."""
_GAPS = 1 << 19
"""Numbers held at a time, of differences to candidates: few enough for a processor's cache, which makes them four times as fast."""
_SPARE = 4
"""Candidates beyond the ones wanted, because a matrix product rounds distances."""
_LOW_DIMENSION = 64
"""Up to here the matrix product is made in float64: it is cheap, and points on a curve may be nearer than float32 can tell."""
_FAISS_ROWS = 2000
"""From here candidates are searched by faiss, where it is installed and the product would be made in float32 on the CPU."""


def nearest_neighbours(x: Tensor, k: int, *, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ``k`` rows of ``x`` nearest to each query; without queries, to each row of ``x`` among the others.

    Candidates come from matrix products, or from faiss's exact index where that is installed (extra ``neighbours``); their
    distances are then taken exactly, so that a copy has distance 0 and both ways give the same neighbours, up to ties.

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
    width = min(k + _SPARE, most)
    index = torch.empty(
        len(found), k, dtype=torch.int64, device=x.device
    )  # results between large blocks would fragment memory
    squared = torch.empty(len(found), k, dtype=torch.float64, device=x.device)
    for start, candidates in _candidates(x, found, width, alone=queries is None):
        rows = slice(start, start + len(candidates))
        index[rows], squared[rows] = _exact(x, found[rows], candidates, k)
    return index, squared


def _candidates(x: Tensor, queries: Tensor, width: int, *, alone: bool) -> Iterator[tuple[int, Tensor]]:
    """First row and candidates ``[rows, width]`` of blocks of queries; where ``alone``, a row is not its own neighbour."""
    dtype = torch.float64 if x.shape[1] <= _LOW_DIMENSION else torch.float32
    centre = x.mean(0, dtype=torch.float64).to(dtype)
    centred = x.to(dtype) - centre
    moved = centred if alone else queries.to(dtype) - centre
    faiss = find_faiss() if len(x) >= _FAISS_ROWS and dtype is torch.float32 and x.device.type == "cpu" else None
    if faiss is not None:
        yield from _by_faiss(faiss, centred, moved, width, alone=alone)
        return
    for start, block in _blocks(centred, moved, alone=alone):
        yield start, block.topk(width, dim=1, largest=False, sorted=False).indices


def find_faiss() -> Any | None:
    """The module ``faiss``, or None where it is not installed (a folder of that name is not it)."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss if hasattr(faiss, "IndexFlatL2") else None


def _by_faiss(faiss: Any, x: Tensor, queries: Tensor, width: int, *, alone: bool) -> Iterator[tuple[int, Tensor]]:
    """As `_candidates`, by an index that compares with every row."""
    index = faiss.IndexFlatL2(x.shape[1])
    index.add(x.numpy())
    rows = max(1, _BLOCK // (width + 1))
    for start in range(0, len(queries), rows):
        found = torch.from_numpy(index.search(queries[start : start + rows].numpy(), width + alone)[1])
        if alone:  # the row itself goes last, and out; a row with more copies than candidates may not be there
            itself = found == torch.arange(start, start + len(found))[:, None]
            found = found.gather(1, itself.int().argsort(dim=1, stable=True)[:, :width])
        yield start, found


def _blocks(x: Tensor, queries: Tensor, *, alone: bool) -> Iterator[tuple[int, Tensor]]:
    """First row and rounded squared distances ``[rows, n]`` of blocks of queries; where ``alone``, a row is not its own neighbour."""
    norms, rows = x.square().sum(1), max(1, _BLOCK // len(x))
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows]
        block = torch.addmm(norms[None], part, x.T, alpha=-2).add_(part.square().sum(1, keepdim=True))
        if alone:
            block.diagonal(start).fill_(torch.inf)
        yield start, block


def _exact(x: Tensor, queries: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best ``k`` of the candidates ``[m, c]``, by distances in float64, and those distances."""
    rows = max(1, _GAPS // max(1, candidates.shape[1] * x.shape[1]))
    parts = zip(queries.split(rows), candidates.split(rows), strict=True)
    gaps = (x[near.flatten()].view(*near.shape, -1) - query[:, None] for query, near in parts)
    squared = torch.cat([gap.square_().sum(2, dtype=torch.float64) for gap in gaps])
    best = squared.topk(k, dim=1, largest=False)
    return candidates.gather(1, best.indices), best.values
