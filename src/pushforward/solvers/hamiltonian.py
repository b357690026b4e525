"""The open path through all points with the least sum of squared distances: not the shortest path, since legs are squared.

Up to 15 points the dynamic programme of Held and Karp (J. SIAM 10, 1962), exact. Above, nearest neighbour, 2-opt and Or-opt on
neighbour lists, and kicks (`solvers.path_search`), which gives an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pushforward.solvers.path_search import (
    Floats,
    Ints,
    PathSearch,
    matrix_costs,
    near_lists,
    nearest_columns,
    nearest_neighbour_path,
    squared_costs,
    squared_distances,
)

EXACT_LIMIT = 15
_NEAR = 10  # neighbours whose moves are tried


@dataclass(frozen=True)
class LeastPath:
    """A path through all points.

    Attributes:
        order: permutation ``[n]``.
        total: sum of the costs of its legs.
        exact: whether no path costs less.
    """

    order: Ints
    total: float
    exact: bool


def least_path(points: Floats, *, kicks: int = 1000, seed: int = 0) -> LeastPath:
    """The path of least sum of squared distances through the rows of ``points`` ``[n, d]``.

    Args:
        points: float64 rows.
        kicks: tries to improve the path above 15 points; each takes about a millisecond.
        seed: of the kicks.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    if len(points) <= EXACT_LIMIT:
        return held_karp(squared_distances(points, points))
    search, rng = search_points(points), np.random.default_rng(seed)
    for _ in range(kicks):
        search.kick(rng)
    return LeastPath(search.order, search.total, False)


def held_karp(cost: Floats) -> LeastPath:
    """The path of least cost for a symmetric matrix ``[n, n]``, in ``O(n^2 2^n)``.

    Raises:
        ValueError: there are more than 20 points, for which a gigabyte would not be enough.
    """
    n = len(cost)
    if n > 20:
        raise ValueError(f"cost: Held-Karp takes at most 20 points, got {n}; use least_path.")
    masks = np.arange(1 << n)
    sizes = ((masks[:, None] >> np.arange(n)) & 1).sum(axis=1)
    best = np.full((1 << n, n), np.inf)  # best[S, j]: the least cost of a path through the set S that ends in j
    best[1 << np.arange(n), np.arange(n)] = 0.0
    for size in range(1, n):
        of_size = masks[sizes == size]
        for j in range(n):
            without = of_size[(of_size >> j) & 1 == 0]
            best[without | (1 << j), j] = (best[without] + cost[:, j]).min(axis=1)
    order, left = [int(best[-1].argmin())], (1 << n) - 1
    for _ in range(n - 1):
        left ^= 1 << order[-1]
        order.append(int((best[left] + cost[:, order[-1]]).argmin()))
    return LeastPath(np.array(order, dtype=np.int64), float(best[-1].min()), True)


def search_points(points: Floats) -> PathSearch:
    """A descended search on the squared distances of rows ``[n, d]``."""
    cost, near = squared_costs(points), near_lists(points, min(_NEAR, len(points) - 1))
    return _descended(PathSearch(nearest_neighbour_path(cost, near, 0), cost, near))


def search_matrix(matrix: Floats) -> PathSearch:
    """A descended search on a symmetric matrix of costs ``[n, n]``."""
    cost, n = matrix_costs(matrix), len(matrix)
    near = nearest_columns(np.where(np.eye(n, dtype=bool), np.inf, matrix), min(_NEAR, n - 1))
    return _descended(PathSearch(nearest_neighbour_path(cost, near, 0), cost, near))


def _descended(search: PathSearch) -> PathSearch:
    search.descend()
    return search
