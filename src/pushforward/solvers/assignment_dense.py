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

EASY = 0.87
"""From this share of distinct nearest columns on, the rows hardly compete, and solving takes less than transposing."""

PROBE_STEP = 4
"""Every fourth row and column is looked at when choosing the orientation."""


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """All squared Euclidean distances ``[..., n, m]`` of ``x`` ``[..., n, d]`` and ``y`` ``[..., m, d]``, by one GEMM.

    The points should be centred: rounding is relative to the squared norms, and may leave values just below zero.
    """
    norms_x, norms_y = x.square().sum(-1, keepdim=True), y.square().sum(-1, keepdim=True)
    left = torch.cat([x, norms_x, torch.ones_like(norms_x)], dim=-1)
    right = torch.cat([-2 * y, torch.ones_like(norms_y), norms_y], dim=-1)
    return left @ right.transpose(-1, -2)


def solve_dense(cost: Matrix) -> Permutation:
    """Column of each row in a permutation of least total cost, in the faster of the two orientations.

    Args:
        cost: ``[n, n]`` float32 or float64 without NaN and -inf; +inf forbids a pair.

    Returns:
        Permutation ``[n]``.

    Raises:
        ValueError: when no permutation has a finite cost.
    """
    if should_transpose(cost):
        return invert(solve_as_given(torch.from_numpy(cost).T.contiguous().numpy()))
    return solve_as_given(cost)


def solve_as_given(cost: Matrix) -> Permutation:
    """Column of each row in a permutation of least total cost (lapx where it is installed, else SciPy)."""
    try:
        return _lapx_or_scipy(cost)
    except ValueError as error:
        raise ValueError(
            f"cost has no permutation of finite total: allow more of the pairs that are +inf (forbidden). Solver: {error}."
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
    """Bytes for each entry of a cost matrix of ``itemsize``, with its transpose or SciPy's float64 copy."""
    return 2 * itemsize if solver_name() == "lapjvh" else itemsize + 8


def should_transpose(cost: Matrix) -> bool:
    """Whether the transpose of ``cost`` ``[n, n]`` is solved faster.

    Where one side is noisier than the other (data against what a generator can reach), the nearest points of the noisy side
    are spread over the other side, but few points of the noisy side are nearest to anything. lapjvh is 2 to 6 times faster
    with the noisy side as columns; SciPy, which augments row by row, with the noisy side as rows (measured).
    """
    nearest = cost.argmin(1)
    if solver_name() == "lapjvh" and distinct_share(nearest) >= EASY:
        return False
    rows, columns = distinct_share(nearest[::PROBE_STEP]), distinct_share(cost[:, ::PROBE_STEP].argmin(0))
    return rows > 1.1 * columns if solver_name() == "lapjvh" else columns > 1.1 * rows


def distinct_share(nearest: Permutation) -> float:
    """Share of distinct values in ``nearest`` ``[m]``; 1.0 where all differ."""
    return len(np.unique(nearest)) / len(nearest)


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
