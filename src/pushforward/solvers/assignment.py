"""Optimal assignment of two sets of n points: the discrete transport problem with equal weights.

    minimise over permutations pi   (1/n) sum_i |x_i - y_pi(i)|^2

The optimum is the squared 2-Wasserstein distance of the two empirical measures. Three tiers:

1. n <= ``exact_limit``: exact, on the dense float32 cost matrix (lapx's LAPJVH where installed, else SciPy).
2. n <= ``sparse_limit``: an exact solve on the nearest neighbours of every point, both ways, extended until its dual
   proves it optimal within 1e-6; no n x n matrix.
3. above: recursive balanced co-splitting with exact leaves, then monotone polish in local blocks; linear memory.

One-dimensional points are sorted, which is exact at any n.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pushforward.solvers.assignment_dense import (
    require_costs,
    require_memory,
    solve_dense,
    solver_bytes,
    squared_distances,
)
from pushforward.solvers.assignment_gap import estimated_gap
from pushforward.solvers.assignment_sparse import solve_sparse
from pushforward.solvers.assignment_split import BLOCK, LEAF, SWEEPS, co_split, polish

Points = Tensor | npt.NDArray[Any]

EXACT_LIMIT = 6000
SPARSE_LIMIT = 50_000
MIN_GAIN = 5e-4
"""Polish above the sparse limit stops at a sweep that lowers the cost by less than this share."""
QUICK_BLOCK, QUICK_SWEEPS = 256, 4
"""Blocks and sweeps of a quick polish: on photographs' patches as good as one sweep of full blocks, in a third of its time."""
COST_ROWS = 65_536
WIDEST = 1e140
"""Values may spread this far: the squares of float64 end at 1e308."""
ORDINARY = 2.0**-20, 2.0**20
"""Values that spread this far are not scaled: their squares are far from the ends of float32."""


@dataclass(frozen=True)
class Assignment:
    """A permutation and what is known about it.

    Attributes:
        permutation: int64 ``[n]``; row i of x goes with row ``permutation[i]`` of y. On x's device.
        cost: mean cost of the pairs, accumulated in float64.
        method: what found it: "sort", "lapjvh", "scipy", "sparse" or "co-split".
        lower_bound: no permutation has a lower mean cost than this (up to rounding): ``cost`` itself where the solver is
            exact, the value of a feasible dual for "sparse", None for "co-split", which proves no bound.
        seconds: wall time.
        estimated_gap: for "co-split" an estimate of an upper bound on ``cost`` less the optimum, in units of the cost, made
            from a sample of rows (``assignment_gap``); None where ``lower_bound`` says it, or none was asked for.
        gap_error: its standard error.
    """

    permutation: Tensor
    cost: float
    method: str
    lower_bound: float | None
    seconds: float
    estimated_gap: float | None = None
    gap_error: float | None = None


def assign(
    x: Points,
    y: Points,
    *,
    initial: Tensor | None = None,
    generator: torch.Generator | None = None,
    exact_limit: int = EXACT_LIMIT,
    sparse_limit: int = SPARSE_LIMIT,
    quick: bool = False,
) -> Assignment:
    """Pair the rows of ``x`` with the rows of ``y`` at the least mean squared Euclidean distance.

    Args:
        x: points ``[n, ...]``, finite; rows are flattened.
        y: points of the same shape.
        initial: a permutation ``[n]`` to improve on, e.g. the previous one; the exact tiers do not need it.
        generator: source of the random starts of co-splitting and polish; without one every call takes the same.
        exact_limit: largest n solved on the dense matrix (8 n^2 bytes).
        sparse_limit: largest n solved on sparse candidates (about 500 n bytes, time of order n^2 d).
        quick: above ``sparse_limit`` a fraction of the time, for alternating schemes: few sweeps in small blocks, no estimate of the gap.

    Returns:
        The ``Assignment``. Its cost is never above that of ``initial``.

    Raises:
        ValueError: shapes differ, no rows, NaN or infinite values, ``initial`` is not a permutation, or the dense matrix
            does not fit into memory.
    """
    started = time.perf_counter()
    (x, width_x), (y, width_y) = _checked_points(x, "x"), _checked_points(y, "y")
    if x.shape != y.shape:
        raise ValueError(f"x has shape {list(x.shape)} and y {list(y.shape)} (rows flattened); they must be equal.")
    start = None if initial is None else _checked_permutation(initial, len(x)).to(x.device)
    y = y.to(x.device)
    scale = _scale(max(width_x, width_y))
    if x.shape[1] == 1:
        found = _Found(_sorted_pairs(x[:, 0], y[:, 0]), "sort", 0.0)
    else:
        near = _normalised(x, scale), _normalised(y, scale)
        found = _solve(*near, start, _cpu_generator(generator), exact_limit, sparse_limit, quick)
    cost = _mean_cost(x, y, found.permutation)
    bound = None if found.gap is None else cost - scale**2 * max(0.0, found.gap)
    gap, error = (None, None) if found.estimate is None else (scale**2 * part for part in found.estimate)
    return Assignment(found.permutation, cost, found.method, bound, time.perf_counter() - started, gap, error)


def assign_cost(cost: Points) -> Assignment:
    """Solve the assignment problem for any dense square cost, exactly.

    Args:
        cost: ``[n, n]``; float32 stays float32, everything else becomes float64. +inf forbids a pair; NaN and -inf are
            refused.

    Returns:
        The ``Assignment``, its permutation on the device of ``cost``.

    Raises:
        ValueError: not a square matrix, empty, NaN or -inf inside, or every permutation uses a forbidden pair.
    """
    started = time.perf_counter()
    matrix = torch.as_tensor(cost)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        raise ValueError(f"cost has shape {list(matrix.shape)}; a square matrix with at least one row is needed.")
    require_memory(
        len(matrix), solver_bytes(8), "solve the parts apart, or give points to assign, which needs no matrix"
    )
    dtype = torch.float32 if matrix.dtype == torch.float32 else torch.float64
    values = matrix.detach().to("cpu", dtype).contiguous().numpy()
    require_costs(values)
    columns, solver = solve_dense(values)
    mean = float(values[np.arange(len(values)), columns].mean(dtype=np.float64))
    return Assignment(torch.from_numpy(columns).to(matrix.device), mean, solver, mean, time.perf_counter() - started)


@dataclass(frozen=True)
class _Found:
    """What a tier found; its mean cost is at most ``gap`` above the optimum (in normalised units; None for unknown).

    ``estimate`` is an estimate of such a gap and its standard error.
    """

    permutation: Tensor
    method: str
    gap: float | None
    estimate: tuple[float, float] | None = None


def _solve(
    x: Tensor,
    y: Tensor,
    start: Tensor | None,
    generator: torch.Generator,
    exact_limit: int,
    sparse_limit: int,
    quick: bool,
) -> _Found:
    """Pick the tier by the number of points."""
    if len(x) <= exact_limit:
        require_memory(len(x), solver_bytes(x.element_size()), f"lower exact_limit={exact_limit} below n")
        columns, solver = solve_dense(squared_distances(x, y).cpu().numpy())
        return _Found(torch.from_numpy(columns).to(x.device), solver, 0.0)
    leaf, block, sweeps = (QUICK_BLOCK, QUICK_BLOCK, QUICK_SWEEPS) if quick else (LEAF, BLOCK, SWEEPS)
    if len(x) <= sparse_limit:
        start = co_split(x, y, generator=generator) if start is None else start
        permutation, gap = solve_sparse(x, y, start)
        return _Found(permutation, "sparse", gap)
    if start is None:
        start = co_split(x, y, generator=generator, leaf=leaf)
    permutation = polish(x, y, start, generator=generator, sweeps=sweeps, block=block, min_gain=MIN_GAIN)
    above = None if quick else estimated_gap(x, y, permutation, generator=generator)
    return _Found(permutation, "co-split", None, above)


def _scale(width: float) -> float:
    """A power of two by which values of this width become ones whose squares float32 holds."""
    return 1.0 if ORDINARY[0] <= width <= ORDINARY[1] else 2.0 ** math.frexp(width)[1]


def _normalised(points: Tensor, scale: float) -> Tensor:
    """The points ``[n, d]`` less their mean, over ``scale`` (a power of two), float32, which then holds.

    It changes no optimal permutation, and no difference of two costs but by the scale. Each set may have its own centre because
    sum_i |x_i - a - y_pi(i) + b|^2 depends on pi as sum_i |x_i - y_pi(i)|^2 does; for the same reason the centre may be rounded.
    """
    points = points if scale == 1.0 else points / scale
    return (points - points.mean(0)).float()


def _mean_cost(x: Tensor, y: Tensor, permutation: Tensor) -> float:
    """Mean squared distance of the pairs, a block of rows at a time; differences are as exact as x and y, sums in float64."""
    total = 0.0
    for i in range(0, len(x), COST_ROWS):
        difference = x[i : i + COST_ROWS] - y.index_select(0, permutation[i : i + COST_ROWS])
        total += torch.linalg.vector_norm(difference, dtype=torch.float64).item() ** 2
    return total / len(x)


def _cpu_generator(generator: torch.Generator | None) -> torch.Generator:
    """A CPU generator that follows from the given one (on any device; None: always the same)."""
    if generator is None:
        return torch.Generator().manual_seed(0)
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(seed.item()))


def _sorted_pairs(x: Tensor, y: Tensor) -> Tensor:
    """The optimal permutation ``[n]`` of numbers ``[n]``: equal ranks go together."""
    permutation = torch.empty(len(x), dtype=torch.long, device=x.device)
    permutation[x.argsort()] = y.argsort()
    return permutation


def _checked_points(points: Points, name: str) -> tuple[Tensor, float]:
    """Finite points ``[n, d]`` in float32 or float64, and the width of an interval that holds their values."""
    tensor = torch.as_tensor(points).detach()
    if tensor.ndim == 0 or tensor.numel() == 0:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; at least one row with at least one value is needed.")
    tensor = tensor.reshape(len(tensor), -1)
    tensor = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.to(torch.float64)
    low, high = (extreme.item() for extreme in tensor.aminmax())  # NaN where there is one
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~torch.isfinite(tensor)).sum())
        raise ValueError(f"{name} holds {bad} NaN or infinite values; remove or fill those rows first.")
    if high - low > WIDEST:
        raise ValueError(
            f"{name} spreads from {low:g} to {high:g}: squared distances overflow; divide x and y by a scale."
        )
    return tensor, high - low


def _checked_permutation(initial: Points, n: int) -> Tensor:
    """``initial`` as int64 ``[n]``, if it is a permutation."""
    permutation = torch.as_tensor(initial).detach()
    integral = not (permutation.is_floating_point() or permutation.is_complex() or permutation.dtype == torch.bool)
    if (
        permutation.shape != (n,)
        or not integral
        or not torch.equal(permutation.cpu().long().sort().values, torch.arange(n))
    ):
        raise ValueError(
            f"initial must be a permutation of 0 ... {n - 1} as integers [{n}], got {list(permutation.shape)}."
        )
    return permutation.long()
