"""Walks through all points that may pass a point again, with the least sum of squared legs.

Squared distances break the triangle inequality: a leg from ``x`` to ``y`` costs more than the two legs by way of ``m`` exactly when
``m`` lies in the ball that has ``x y`` as a diameter. So a walk that passes a point again can have a smaller sum of
squares than every path that visits each point once. A walk that cannot be improved by detours has legs whose balls are
empty (edges of the Gabriel graph), and along such a leg the nearest of all points is always one of its two ends.
"""

from __future__ import annotations

import numpy as np
import torch

from pushforward.solvers.path_search import Floats, Ints, squared_distances

_PART = 512


def closure(squares: Floats) -> tuple[Floats, Ints]:
    """The least sum of squares between any two points by any detours ``[n, n]``, and the point before the last of each way."""
    from scipy.sparse.csgraph import floyd_warshall

    n = len(squares)
    dense = np.ma.masked_array(squares, np.eye(n, dtype=bool))  # equal points are joined by legs of length 0
    costs, before = floyd_warshall(dense, directed=False, return_predecessors=True)
    return np.minimum(costs, costs.T), before.astype(np.int64)


def expand(order: Ints, before: Ints) -> Ints:
    """The walk ``[m]`` of a path ``[n]`` whose legs are ways with their points ``before`` (see `closure`)."""
    walk = [int(order[0])]
    for start, end in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        way = [end]
        while (point := int(before[start, way[-1]])) != start:
            way.append(point)
        walk += way[::-1]
    return np.array(walk, dtype=np.int64)


def improve_walk(points: Floats, walk: Ints) -> Ints:
    """Detours and short cuts until none of them lowers the sum of squares; points are rows ``[n, d]``, walks ``[m]``."""
    while True:
        detoured = _detour(points, walk)
        shorter = _cut(points, detoured)
        if len(shorter) == len(detoured):
            return shorter
        walk = shorter


def square_sum(points: Floats, walk: Ints) -> float:
    """Sum of the squared legs of a walk."""
    return float(np.square(np.diff(points[walk], axis=0)).sum())


def _detour(points: Floats, walk: Ints) -> Ints:
    """Put the point nearest to the middle of a leg between its ends, while it lies in the leg's ball."""
    fresh = np.ones(len(walk) - 1, dtype=bool)
    while fresh.any():
        legs = np.flatnonzero(fresh)
        x, y = points[walk[legs]], points[walk[legs + 1]]
        middle, radius = (x + y) / 2, np.square(x - y).sum(axis=1) / 4
        nearest, distance = _nearest(middle, points)
        inside = distance < radius * (1 - 1e-9)
        if not inside.any():
            return walk
        at = legs[inside] + 1
        walk = np.insert(walk, at, nearest[inside])
        fresh = np.zeros(len(walk) - 1, dtype=bool)
        moved = at + np.arange(len(at))
        fresh[moved - 1] = fresh[moved] = True
    return walk


def _cut(points: Floats, walk: Ints) -> Ints:
    """Leave out visits of points that are visited elsewhere, where that lowers the sum of squares; not two in a row at once."""
    if len(walk) < 3:
        return walk
    inner = np.square(points[walk[1:-1]] - points[walk[:-2]]).sum(axis=1)
    inner = inner + np.square(points[walk[1:-1]] - points[walk[2:]]).sum(axis=1)
    gain = np.concatenate([[np.inf], inner - np.square(points[walk[2:]] - points[walk[:-2]]).sum(axis=1), [np.inf]])
    visits = np.bincount(walk, minlength=len(points))
    drop = np.zeros(len(walk) + 2, dtype=bool)
    for i in np.argsort(-gain, kind="stable").tolist():
        if gain[i] <= 1e-12:
            break
        if visits[walk[i]] > 1 and not drop[i] and not drop[i + 2]:
            drop[i + 1] = True
            visits[walk[i]] -= 1
    return walk[~drop[1:-1]]


def _nearest(x: Floats, points: Floats) -> tuple[Ints, Floats]:
    """Number and squared distance ``[n]`` of the point nearest to each row of ``x`` ``[n, d]``."""
    found = []
    for i in range(0, len(x), _PART):
        found.append(torch.from_numpy(squared_distances(x[i : i + _PART], points)).min(dim=1))
    return torch.cat([f.indices for f in found]).numpy(), torch.cat([f.values for f in found]).numpy()
