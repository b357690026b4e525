"""Exact assignment on a dense cost matrix, and the cost matrix itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Matrix = npt.NDArray[Any]
Permutation = npt.NDArray[np.int64]

MEMORY_SHARE = 0.6
"""A dense matrix may take this share of the memory that is free; beyond it the caller is told before anything is allocated."""

PROBES = 512
"""Rows and columns looked at when choosing the orientation."""


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """All squared Euclidean distances ``[..., n, m]`` of ``x`` ``[..., n, d]`` and ``y`` ``[..., m, d]``, by one GEMM.

    The points should be centred: rounding is relative to the squared norms, and may leave values just below zero.
    """
    norms_x, norms_y = x.square().sum(-1, keepdim=True), y.square().sum(-1, keepdim=True)
    left = torch.cat([x, norms_x, torch.ones_like(norms_x)], dim=-1)
    right = torch.cat([-2 * y, torch.ones_like(norms_y), norms_y], dim=-1)
    return left @ right.transpose(-1, -2)


def solve_points(x: Tensor, y: Tensor) -> Permutation:
    """Row of ``y`` for each row of ``x`` in a permutation of least total squared distance.

    Args:
        x: centred points ``[n, d]``, float32.
        y: centred points ``[n, d]``, float32.

    Returns:
        Permutation ``[n]``.
    """
    some = _probe(len(x))
    row_spread = distinct_share(squared_distances(x[some], y).argmin(1))
    column_spread = distinct_share(squared_distances(y[some], x).argmin(1))
    if should_transpose(row_spread, column_spread):
        return invert(solve_as_given(squared_distances(y, x).cpu().numpy()))
    return solve_as_given(squared_distances(x, y).cpu().numpy())


def solve_dense(cost: Matrix) -> Permutation:
    """Column of each row in a permutation of least total cost, in the faster of the two orientations.

    Args:
        cost: ``[n, n]`` float32 or float64 without NaN and -inf; +inf forbids a pair.

    Returns:
        Permutation ``[n]``.

    Raises:
        ValueError: when no permutation has a finite cost.
    """
    some = _probe(len(cost))
    row_spread = distinct_share(torch.from_numpy(cost[some].argmin(1)))
    column_spread = distinct_share(torch.from_numpy(cost[:, some].argmin(0)))
    if should_transpose(row_spread, column_spread):
        return invert(solve_as_given(np.ascontiguousarray(cost.T)))
    return solve_as_given(cost)


def solve_as_given(cost: Matrix) -> Permutation:
    """Column of each row in a permutation of least total cost (lapx where it is installed, else SciPy)."""
    try:
        return _lapx_or_scipy(cost)
    except ValueError as error:
        raise ValueError(
            "cost has no permutation of finite total: too many of its pairs are +inf (forbidden)."
        ) from error


def _lapx_or_scipy(cost: Matrix) -> Permutation:
    """The permutation, from whichever solver ``solver_name`` says."""
    if solver_name() == "lapjvh":
        import lap

        columns = lap.lapjvh(np.ascontiguousarray(cost), return_cost=False)[1]
    else:
        from scipy.optimize import linear_sum_assignment

        columns = linear_sum_assignment(cost)[1]
    return np.asarray(columns, dtype=np.int64)


def solver_name() -> str:
    """``"lapjvh"`` where lapx is installed (the older package ``lap`` has the same import name), else ``"scipy"``."""
    try:
        import lap
    except ImportError:
        return "scipy"
    return "lapjvh" if hasattr(lap, "lapjvh") else "scipy"


def solver_bytes(itemsize: int) -> int:
    """Bytes for each entry of a cost matrix of ``itemsize``: SciPy makes a float64 copy of any other type."""
    return itemsize if solver_name() == "lapjvh" or itemsize == 8 else itemsize + 8


def should_transpose(row_spread: float, column_spread: float) -> bool:
    """Whether the transposed problem is the faster one.

    Where one side is noisier than the other (data against what a generator can reach), the nearest points of the noisy side
    are spread over the other side, but few points of the noisy side are nearest to anything. lapjvh is 2 to 6 times faster
    with the noisy side as columns; SciPy, which augments row by row, with the noisy side as rows (measured).

    Args:
        row_spread: share of distinct columns among the nearest columns of the rows.
        column_spread: share of distinct rows among the nearest rows of the columns.
    """
    if solver_name() == "lapjvh":
        return row_spread > 1.1 * column_spread
    return column_spread > 1.1 * row_spread


def distinct_share(nearest: Tensor) -> float:
    """Share of distinct values in ``nearest`` ``[m]``; 1.0 where all differ."""
    return len(nearest.unique()) / len(nearest)


def _probe(n: int) -> slice:
    """At most about PROBES evenly spaced positions out of n."""
    return slice(None, None, max(1, n // PROBES))


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
    needed, free = n * n * itemsize, available_bytes()
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
