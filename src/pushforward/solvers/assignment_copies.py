"""Assignment with repeated rows or columns: a Sinkhorn start on the distinct ones.

Copies of a row compete for the same columns, and a solver that pays for every step of that competition takes up to ten times
longer than without copies. Their potentials however are equal, so that the problem has only as many unknowns as there are
distinct rows and columns ("sites"). Sinkhorn's iteration on the sites,

    minimise  <P, C> - eps H(P)   over plans P between the sites with their multiplicities,   eps halved again and again,

is cheap there and leaves the potentials near their optimum. Any potentials u, v may be subtracted from the costs without
changing the optimal permutations, so the exact solver stays exact, and with these it finds most rows already settled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MOST_PAIRS = 0.6
"""Share of distinct pairs among all pairs up to which the Sinkhorn start pays."""
FIRST_EPS, LAST_EPS = 0.2, 0.005
"""Entropic regularisation at the start and at the end, as shares of the mean cost above the least."""
ITERATIONS = 30
"""Sinkhorn iterations at each regularisation."""
LARGEST_EXPONENT = 60.0


def reduced_by_sites(cost: Array, nearest: Array) -> Array | None:
    """A cost matrix ``[n, n]`` with the same optimal permutations that is solved faster; None where there are few copies.

    Args:
        cost: ``[n, n]``, no NaN.
        nearest: column of the least entry of each row ``[n]``.
    """
    n = len(cost)
    least_rows, least_columns = cost[np.arange(n), nearest], cost.min(0)
    if _distinct(least_rows) * _distinct(least_columns) > MOST_PAIRS * n * n:
        return None
    rows, row_site = _sites(cost, 0)
    columns, column_site = _sites(cost, 1)
    if len(rows) * len(columns) > MOST_PAIRS * n * n:
        return None
    between = cost[np.ix_(rows, columns)]
    if not np.isfinite(between).all():
        return None
    u = sinkhorn(between.astype(np.float32), np.bincount(row_site), np.bincount(column_site))
    reduced = between - u[:, None]
    reduced -= reduced.min(0)
    reduced -= reduced.min(1, keepdims=True)
    return np.ascontiguousarray(reduced[:, column_site][row_site])


def _distinct(values: Array) -> int:
    """Number of different values among ``[n]``."""
    ordered = np.sort(values)
    return 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def _sites(cost: Array, axis: int) -> tuple[Array, Array]:
    """First index of every distinct row (``axis`` 0) or column (1), and the site ``[n]`` of each; no copies: all of them."""
    everything = np.arange(len(cost))
    weights = np.random.default_rng(0).random(len(cost))
    with np.errstate(invalid="ignore", over="ignore"):  # forbidden pairs
        keys = (cost @ weights) if axis == 0 else (weights @ cost)
        # Rounded, because a matrix product may give equal rows keys that differ in the last bits.
        keys = (keys * (2.0**40 / max(float(np.abs(keys).max()), 1e-300))).round()
    _, first, site = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) == len(cost) or not (np.take(cost, first[site], axis=axis) == cost).all():
        return everything, everything
    return first, site


def sinkhorn(cost: Array, supply: Array, demand: Array) -> Array:
    """Row potentials ``[m]`` close to those of the optimal plan, from costs ``[m, k]`` in float32."""
    supply, demand = supply.astype(np.float32), demand.astype(np.float32)
    spread = max(float(cost.mean() - cost.min()), float(np.finfo(np.float32).tiny))
    u: Array = cost.min(1)
    v = (cost - u[:, None]).min(0)
    eps = FIRST_EPS * spread
    while eps >= LAST_EPS * spread:
        kernel = np.exp(np.minimum((u[:, None] + v - cost) / eps, LARGEST_EXPONENT))
        left, right = np.ones_like(supply), np.ones_like(demand)
        for _ in range(ITERATIONS):
            left = supply / np.maximum(kernel @ right, 1e-30)
            right = demand / np.maximum(left @ kernel, 1e-30)
        u, v = u + eps * np.log(left), v + eps * np.log(right)
        eps /= 2
    return u
