"""The symmetric doubly stochastic walk on a kernel, by Sinkhorn scaling: all points are visited equally often."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pushforward.solvers.spectral import leading_eigenpairs

Sparse = Any  # scipy.sparse.csr_matrix, which is imported where it is used
_SWEEPS = 2000
_TOLERANCE = 1e-12


def bistochastic(kernel: Sparse) -> Sparse:
    """``P = diag(u) K diag(u)`` with unit row sums, for a symmetric kernel with positive diagonal: sparse ``[n, n]``.

    What the scaling leaves open after 2000 sweeps goes onto the diagonal, so that rows sum to 1 up to rounding in any case.

    Raises:
        ValueError: the kernel is not symmetric, or an entry is negative, not finite, or zero on the diagonal.
    """
    from scipy.sparse import diags

    _check(kernel)
    u = 1 / np.sqrt(np.asarray(kernel.sum(axis=1)).ravel())
    for _ in range(_SWEEPS):
        new = np.sqrt(u / (kernel @ u))
        change, u = float(np.abs(new / u - 1).max()), new
        if change < _TOLERANCE:
            break
    u /= math.sqrt(max(1.0, float((u * (kernel @ u)).max())))
    scaled = (diags(u) @ kernel @ diags(u)).tocsr()
    missing = 1 - np.asarray(scaled.sum(axis=1)).ravel()
    return (scaled + diags(np.maximum(missing, 0))).tocsr()


def second_eigenvalue(walk: Sparse) -> float:
    """The largest eigenvalue of a symmetric doubly stochastic walk besides the 1 of the constant vector."""
    return float(leading_eigenpairs(walk, np.ones(walk.shape[0]), 1)[0][0])


def mixing_steps(eigenvalue: float, excess: float = 20.0) -> int:
    """Steps after which the slowest motion of a walk has decayed by the factor ``excess``: ``ln(excess) / (1 - w_2)``.

    Args:
        eigenvalue: the walk's second eigenvalue ``w_2``.
        excess: larger than 1.

    Raises:
        ValueError: ``w_2`` is 1, so that the walk never leaves a part of the graph, or an argument is out of range.
    """
    if not -1 <= eigenvalue < 1 - 1e-12:
        raise ValueError(
            f"eigenvalue: must be in [-1, 1), got {eigenvalue}; at 1 the walk stays in one part of the graph."
        )
    if not excess > 1:
        raise ValueError(f"excess: must be larger than 1, got {excess}.")
    return max(1, math.ceil(math.log(excess) / (1 - eigenvalue)))


def walk_table(walk: Sparse) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """A walk as columns ``[m]`` and running sums ``[m]`` that reach ``i + 1`` at the end of row ``i``.

    One search for ``i + u`` with ``u`` uniform in [0, 1) is a step from ``i``.
    """
    walk = walk.tocsr()
    ends = walk.indptr[1:] - 1
    total = np.cumsum(walk.data)
    before = np.concatenate([[0.0], total[ends][:-1]])
    rows = np.arange(walk.shape[0]).repeat(np.diff(walk.indptr))
    running = rows + (total - before[rows]) / (total[ends] - before)[rows]
    running[ends] = np.arange(1, walk.shape[0] + 1)
    return walk.indices.astype(np.int64), running


def _check(kernel: Sparse) -> None:
    if not np.isfinite(kernel.data).all() or (kernel.data < 0).any() or (kernel.diagonal() <= 0).any():
        raise ValueError("kernel: entries must be finite and not negative, and positive on the diagonal.")
    if abs(kernel - kernel.T).max() > 1e-10 * kernel.data.max():
        raise ValueError("kernel: it must be symmetric.")
