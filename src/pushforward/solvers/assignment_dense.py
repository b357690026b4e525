"""Exact assignment on a dense cost matrix, and the cost matrix itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pushforward.solvers.assignment_copies import reduced_by_sites

Matrix = npt.NDArray[Any]
Permutation = npt.NDArray[np.int64]

MEMORY_SHARE = 0.6
"""A dense matrix may take this share of the memory that is free; beyond it the caller is told before anything is allocated."""
ALWAYS_FITS = 1 << 25
"""Bytes for which the free memory is not looked up: reading it takes as long as a small problem."""

SMALL, MIDDLE = 300, 600
"""Up to this many rows looking at the matrix takes as long as what a better choice saves: in any case, and without copies."""
SAMPLE, FEW = 128, 0.5
"""Entries of the first column and of the first row that tell of copies, and the share of different ones below which they do."""
EASY = 0.87
"""From this share of distinct nearest columns on, the rows hardly compete, and solving takes less than transposing."""
PROBE_STEP = 4
"""Every fourth row and column is looked at when choosing the orientation."""
NOISIER = 1.1
"""One side is the noisy one if its points have this many times more distinct nearest points than those of the other side."""
CURVE_COLUMNS, CURVE_ROWS, CURVE_NEIGHBOURS = 64, 16, (2, 8)
CURVE_DIMENSION = 1.4
"""Below this estimated dimension of the columns they lie along a curve."""


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """All squared Euclidean distances ``[n, m]`` of ``x`` ``[n, d]`` and ``y`` ``[m, d]``, or of a batch of both, by one GEMM.

    The points should be centred: rounding is relative to the squared norms, and may leave values just below zero.
    """
    norms = x.square().sum(-1, keepdim=True) + y.square().sum(-1).unsqueeze(-2)
    return norms.addmm_(x, y.T, alpha=-2) if x.ndim == 2 else norms.baddbmm_(x, y.transpose(-1, -2), alpha=-2)


def solve_dense(cost: Matrix) -> tuple[Permutation, str]:
    """Column of each row in a permutation of least total cost, by the solver and the orientation that suit the matrix.

    Where one side is noisier than the other (data against what a generator can reach), the nearest points of the noisy side
    are spread over the other side, but few points of the noisy side are nearest to anything. lapjvh is up to 6 times faster
    with the noisy side as columns; SciPy, which augments row by row, with the noisy side as rows. If moreover the columns lie
    along a curve, SciPy on such rows is up to 3 times faster than lapjvh in any orientation (measured).

    Args:
        cost: ``[n, n]`` float32 or float64, no NaN or -inf (``require_costs``); +inf forbids a pair.

    Returns:
        Permutation ``[n]``, and the name of the solver: "lapjvh" or "scipy".

    Raises:
        ValueError: no permutation has a finite cost.
    """
    solver = solver_name()
    if solver == "lapjvh" and _not_worth_a_look(cost):
        return solve_as_given(cost, solver), solver
    nearest = cost.argmin(1)
    if solver == "lapjvh" and distinct_share(nearest) >= EASY:
        return solve_as_given(cost, solver), solver
    reduced = reduced_by_sites(cost, nearest)
    if reduced is not None:
        return solve_as_given(reduced, solver), solver
    rows, columns = distinct_share(nearest[::PROBE_STEP]), distinct_share(cost[:, ::PROBE_STEP].argmin(0))
    if solver == "lapjvh" and rows > NOISIER * columns and dimension_of_columns(cost) < CURVE_DIMENSION:
        solver = "scipy"
    if (rows > NOISIER * columns) if solver == "lapjvh" else (columns > NOISIER * rows):
        turned = torch.from_numpy(cost).T.contiguous().numpy()  # NumPy takes four times as long
        return invert(solve_as_given(turned, solver)), solver
    return solve_as_given(cost, solver), solver


def _not_worth_a_look(cost: Matrix) -> bool:
    """Whether the matrix is too small for a choice of the orientation to pay, and its rows and columns hardly repeat."""
    if len(cost) <= SMALL or len(cost) > MIDDLE:
        return len(cost) <= SMALL
    entries = cost[:SAMPLE, 0].tolist(), cost[0, :SAMPLE].tolist()
    return min(len(set(part)) for part in entries) >= FEW * SAMPLE


def require_costs(cost: Matrix) -> None:
    """Refuse a cost matrix ``[n, n]`` that holds NaN or -inf.

    Raises:
        ValueError: naming their number and the first of them.
    """
    if not cost.min() > -np.inf:  # NaN where there is one
        bad = np.isnan(cost) | (cost == -np.inf)
        row = int(bad.any(1).argmax())
        raise ValueError(
            f"cost holds {int(bad.sum())} values that are NaN or -inf, the first in row {row}, column {int(bad[row].argmax())}; "
            "mark forbidden pairs with +inf and fix the rest."
        )


def solve_as_given(cost: Matrix, solver: str) -> Permutation:
    """Column of each row in a permutation of least total cost, by "lapjvh" or "scipy"."""
    try:
        if solver == "lapjvh":
            import lap

            columns = lap.lapjvh(np.ascontiguousarray(cost), return_cost=False)[1]
        else:
            from scipy.optimize import linear_sum_assignment

            columns = linear_sum_assignment(cost)[1]
    except ValueError as error:
        raise ValueError(
            f"cost has no permutation of finite total: allow more of the pairs that are +inf (forbidden). Solver: {error}."
        ) from error
    return np.asarray(columns, dtype=np.int64)


def solver_name() -> str:
    """``"lapjvh"`` where lapx is installed (the older package ``lap`` has the same import name), else ``"scipy"``."""
    try:
        import lap
    except ImportError:
        return "scipy"
    return "lapjvh" if hasattr(lap, "lapjvh") else "scipy"


def solver_bytes(itemsize: int) -> int:
    """Bytes for each entry of a cost matrix of ``itemsize``, with its transpose, SciPy's float64 copy or reduced costs."""
    return 3 * itemsize


def distinct_share(nearest: Permutation) -> float:
    """Share of distinct values in indices ``[m]``; 1.0 where all differ."""
    return float(np.count_nonzero(np.bincount(nearest)) / len(nearest))


def dimension_of_columns(cost: Matrix) -> float:
    """Dimension of the set that the columns come from, estimated on a sample: 1 for a curve, 2 for a surface; inf if unknown.

    Within a distance r of a point of a d-dimensional set there are about r^d others, so that d = log(8 / 2) / log(r_8 / r_2)
    with the distances r_k to the k-th neighbour. The columns are seen through some of their entries.
    """
    step = -(-len(cost) // np.array([CURVE_ROWS, CURVE_COLUMNS]))
    points = cost[:: step[0], :: step[1]].T.astype(np.float64)
    if len(points) <= CURVE_NEIGHBOURS[1] or not np.isfinite(points).all():
        return float("inf")
    points -= points.mean(0)
    norms = np.einsum("ij,ij->i", points, points)
    near = np.partition(norms[:, None] + norms - 2 * points @ points.T, CURVE_NEIGHBOURS, axis=1)[:, CURVE_NEIGHBOURS]
    close, far = np.maximum(near, 1e-12 * norms.mean() + 1e-300).T
    growth = 0.5 * np.median(np.log(far / close))
    return float(np.log(CURVE_NEIGHBOURS[1] / CURVE_NEIGHBOURS[0]) / growth) if growth > 0 else float("inf")


def invert(permutation: Permutation) -> Permutation:
    """The inverse permutation ``[n]``."""
    inverse = np.empty_like(permutation)
    inverse[permutation] = np.arange(len(permutation), dtype=permutation.dtype)
    return inverse


def require_memory(n: int, itemsize: int, fix: str) -> None:
    """Refuse an n x n matrix that would not fit into the memory that is free.

    Raises:
        ValueError: naming the bytes needed, the bytes there are, and the fix.
    """
    needed = n * n * itemsize
    free = available_bytes() if needed > ALWAYS_FITS else None
    if free is not None and needed > MEMORY_SHARE * free:
        raise ValueError(
            f"a dense {n} x {n} cost matrix needs {needed:,} bytes, more than {MEMORY_SHARE:.0%} of the {free:,} bytes "
            f"of memory that are free; {fix}."
        )


def available_bytes() -> int | None:
    """Memory that can still be had, in bytes (the container's limit counted in), or None where the system does not say."""
    amounts = [amount for amount in (_system_bytes(), _container_bytes()) if amount is not None]
    return min(amounts, default=None)


def _system_bytes() -> int | None:
    """What the kernel says is available, else the free pages."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
        known = "SC_AVPHYS_PAGES" in names
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else None


def _container_bytes() -> int | None:
    """Limit of the control group less what its processes hold (file cache not counted)."""
    folder = Path("/sys/fs/cgroup")
    try:
        held = next(line for line in (folder / "memory.stat").read_text().splitlines() if line.startswith("anon "))
        return int((folder / "memory.max").read_text()) - int(held.split()[1])
    except (OSError, StopIteration, ValueError):
        return None
