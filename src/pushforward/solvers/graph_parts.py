"""Connected parts of a sparse graph, and the shortest edges that join them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Index = npt.NDArray[np.int64]
_BLOCK = 1 << 23


def parts_of(graph: Any) -> tuple[int, Index]:
    """Number of connected parts of a sparse symmetric matrix ``[n, n]``, and the part of each row ``[n]``."""
    from scipy.sparse.csgraph import connected_components

    count, labels = connected_components(graph, directed=False)
    return int(count), labels.astype(np.int64)


def bridges(x: Tensor, labels: Index) -> tuple[Index, Index]:
    """Edges that join all parts: each part gets the shortest edge to another one, until there is one part (Boruvka).

    Args:
        x: points ``[n, d]``.
        labels: the part of each point ``[n]``.

    Returns:
        Both ends of the edges, row numbers ``[m]`` each.
    """
    from scipy.sparse import csr_matrix

    ends: list[tuple[Index, Index]] = []
    now = labels
    while now.max() > 0:
        ends.append(_shortest_out(x, now))
        rows, columns = now[ends[-1][0]], now[ends[-1][1]]
        joined = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(now.max() + 1, now.max() + 1))
        now = parts_of(joined)[1][now]
    return np.concatenate([rows for rows, _ in ends]), np.concatenate([columns for _, columns in ends])


def _shortest_out(x: Tensor, labels: Index) -> tuple[Index, Index]:
    """For each part but the largest, its shortest edge to another part."""
    inside = np.flatnonzero(labels != np.bincount(labels).argmax())
    partner, distance = _nearest_elsewhere(
        x, torch.from_numpy(labels).to(x.device), torch.from_numpy(inside).to(x.device)
    )
    order = np.lexsort((distance, labels[inside]))
    first = order[np.unique(labels[inside][order], return_index=True)[1]]
    return inside[first], partner[first]


def _nearest_elsewhere(x: Tensor, labels: Tensor, rows: Tensor) -> tuple[Index, npt.NDArray[np.float64]]:
    """For each of ``rows`` ``[m]`` the nearest point of another part, and its distance."""
    found = []
    for part in rows.split(max(1, _BLOCK // len(x))):
        block = torch.cdist(x[part], x)
        found.append(block.masked_fill_(labels[part][:, None] == labels, torch.inf).min(dim=1))
    partner, distance = torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])
    return partner.cpu().numpy(), distance.cpu().numpy().astype(np.float64)
