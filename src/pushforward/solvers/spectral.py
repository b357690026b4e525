"""Diffusion maps: coordinates in which Euclidean distance is the distance of random walks on the data.

Coifman, Lafon: Diffusion maps, Appl. Comput. Harmon. Anal. 21 (2006).

    1.  K_ij = exp(-|x_i - x_j|^2 / 4 eps)  on the neighbour graph, symmetrised by the maximum;   no point is left out (`_kernel`)
    2.  q = K 1;   K_a = K / (q q')^alpha           alpha = 1: the Laplacian of the manifold, whatever the density of the points
    3.  K_a,ii = 0;  d = K_a 1;   S = D^-1/2 K_a D^-1/2          similar to the walk P = D^-1 K_a
    4.  w, V = largest eigenpairs of S - s s',  s = sqrt(d) / |sqrt(d)|: the trivial eigenvector is known and taken out
    5.  psi = V / s                                 of unit variance under the stationary law d / sum(d)
    new point y:  psi_k(y) = (1 / w_k) sum_j p(y, x_j) psi_k(x_j)     (Nystroem)

Time and memory are those of the neighbour search and of a sparse matrix with some ``neighbours * n`` entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pushforward.solvers.graph_parts import bridges, parts_of
from pushforward.solvers.neighbours import nearest_neighbours

Array = npt.NDArray[np.float64]
Sparse = Any  # scipy.sparse.csr_matrix, which is imported where it is used

_LEAST_WEIGHT = 1e-8
"""Smaller weights count as none: a walk would not take such a step, and parts that hang together by one are told apart."""
_BRIDGE_WEIGHT = float(np.exp(-1.0))
"""Of an edge that joins two parts: that of points 2 sqrt(eps) apart, where all weights of a point sum to 1 or more."""
_SCALE_SHARE = 4
"""The automatic bandwidth is taken from the neighbour at this share of those of the graph."""
_DENSE_ROWS = 200
"""Up to here the eigenproblem is solved densely."""
_LEAST_EIGENVALUE = 1e-3
_RESTARTS, _TOLERANCE = 2000, 1e-10


@dataclass(frozen=True)
class DiffusionMap:
    """A diffusion map of points ``[n, d]``.

    Attributes:
        points: ``[n, d]``.
        coordinates: ``psi`` ``[n, k]``, float64, slowest first, mean 0 and variance 1 under the walk's stationary law.
        eigenvalues: of the walk ``[k]``, float64, decreasing, without the trivial 1.
        stationary: the walk's stationary law ``[n]``.
        bandwidth: ``eps``, in squared units of the points.
        neighbours: of a row in the graph.
        parts: connected parts that the graph had (more than one only where they were joined).
        kernel: ``K``, sparse ``[n, n]``, symmetric, with unit diagonal.
        density: ``q^alpha`` ``[n]``.
    """

    points: Tensor
    coordinates: Tensor
    eigenvalues: Tensor
    stationary: Tensor
    bandwidth: float
    neighbours: int
    parts: int
    kernel: Sparse
    density: Tensor

    @property
    def rates(self) -> Tensor:
        """Eigenvalues ``-log(w) / eps`` ``[k]`` of the generator: those of minus the Laplacian for ``alpha = 1``."""
        return -self.eigenvalues.log() / self.bandwidth

    def extend(self, y: Tensor) -> Tensor:
        """Coordinates ``[m, k]`` of new points ``[m, d]``, by Nystroem's formula on their nearest points.

        A point far from all others gets nearly the coordinates of the nearest one.

        Raises:
            ValueError: the shape is wrong, or a value is not finite.
        """
        if y.ndim != 2 or y.shape[1] != self.points.shape[1]:
            raise ValueError(f"y: rows of {self.points.shape[1]} numbers are needed, got shape {list(y.shape)}.")
        index, squared = nearest_neighbours(
            self.points, min(self.neighbours + 1, len(self.points)), queries=y.to(self.points)
        )
        weights = torch.softmax(-squared / (4 * self.bandwidth) - self.density[index].log(), dim=1)
        return torch.einsum("mj,mjk->mk", weights, self.coordinates[index]) / self.eigenvalues


def diffusion_map(
    x: Tensor,
    latent_dim: int,
    *,
    neighbours: int = 64,
    bandwidth: float | None = None,
    alpha: float = 1.0,
    disconnected: Literal["refuse", "join"] = "refuse",
) -> DiffusionMap:
    """The first ``latent_dim`` non-trivial diffusion coordinates of points.

    Args:
        x: points ``[n, d]``; equal ones are allowed.
        latent_dim: number of coordinates, at most ``n - 2``.
        neighbours: of each point in the graph, at most ``n - 1``.
        bandwidth: ``eps``; None takes that of `automatic_bandwidth`.
        alpha: power of the density that is divided out: 1 for the geometry alone, 0 for none.
        disconnected: what to do with a graph of several parts: ``"refuse"`` it, or ``"join"`` each part to its nearest one by
            a single edge, so that the first coordinates tell the parts apart.

    Raises:
        ValueError: an argument is out of range, all points are equal, or the graph has several parts.
    """
    _check(x, latent_dim, neighbours, bandwidth, alpha)
    index, squared = nearest_neighbours(x, neighbours)
    eps = automatic_bandwidth(squared) if bandwidth is None else float(bandwidth)
    kernel = _kernel(index, squared, eps)
    parts, labels = parts_of(kernel)
    if parts > 1 and disconnected == "refuse":
        raise ValueError(_several(labels, parts, neighbours, eps))
    kernel = _with_bridges(kernel, x, labels) if parts > 1 else kernel
    density = _row_sums(kernel) ** alpha
    walk = _without_diagonal(_scaled(kernel, 1 / density))
    degree = _row_sums(walk)
    values, vectors = _leading(_scaled(walk, degree**-0.5), np.sqrt(degree), latent_dim)
    coordinates = vectors / np.sqrt(degree / degree.sum())[:, None]
    found = (torch.from_numpy(a).to(x.device) for a in (coordinates, values, degree / degree.sum(), density))
    psi, w, stationary, q = found
    return DiffusionMap(x, psi, w, stationary, eps, neighbours, parts, kernel, q)


def automatic_bandwidth(squared: Tensor) -> float:
    """Half the median squared distance to the neighbour at a quarter of the graph's: ``eps``.

    Args:
        squared: squared distances ``[n, k]`` to the nearest neighbours, increasing; copies (distance 0) are left out.

    Raises:
        ValueError: all distances are zero.
    """
    near = squared[:, max(0, squared.shape[1] // _SCALE_SHARE - 1)]
    positive = near[near > 0]
    positive = positive if len(positive) else squared[squared > 0]
    if not len(positive):
        raise ValueError(
            "x: all neighbours have distance 0: the points are equal, or each has more copies than neighbours. Remove copies, "
            "or raise neighbours."
        )
    return float(positive.median()) / 2


def _kernel(index: Tensor, squared: Tensor, eps: float) -> Sparse:
    """``exp(-|x_i - x_j|^2 / 4 eps)`` on the graph, symmetrised by the maximum, with unit diagonal.

    The weights of a point whose weights sum to less than 1 are raised in proportion, to the sum 1: it would take up a coordinate.
    """
    from scipy.sparse import csr_matrix, identity

    n, k = index.shape
    logs = -squared / (4 * eps)
    weights = torch.exp(logs - logs.logsumexp(1, keepdim=True).clamp_max(0)).cpu().numpy().ravel()
    rows, columns = np.arange(n).repeat(k), index.cpu().numpy().ravel()
    kept = weights >= _LEAST_WEIGHT
    half = csr_matrix((weights[kept], (rows[kept], columns[kept])), shape=(n, n))
    return half.maximum(half.T).maximum(identity(n, format="csr")).tocsr()


def _with_bridges(kernel: Sparse, x: Tensor, labels: npt.NDArray[np.int64]) -> Sparse:
    """The kernel with its parts joined by edges that weigh less than those inside."""
    from scipy.sparse import csr_matrix

    rows, columns = bridges(x, labels)
    added = csr_matrix((np.full(len(rows), _BRIDGE_WEIGHT), (rows, columns)), shape=kernel.shape)
    return kernel.maximum(added).maximum(added.T).tocsr()


def _scaled(kernel: Sparse, factor: Array) -> Sparse:
    """``diag(factor) K diag(factor)``."""
    from scipy.sparse import diags

    return (diags(factor) @ kernel @ diags(factor)).tocsr()


def _without_diagonal(kernel: Sparse) -> Sparse:
    """A walk that never stays: one that stays at far points makes them coordinates of their own."""
    from scipy.sparse import diags

    return (kernel - diags(kernel.diagonal())).tocsr()


def _row_sums(kernel: Sparse) -> Array:
    return np.asarray(kernel.sum(axis=1), dtype=np.float64).ravel()


def leading_eigenpairs(matrix: Sparse, trivial: Array, k: int) -> tuple[Array, Array]:
    """The ``k`` largest eigenvalues ``[k]`` of a symmetric matrix and their vectors ``[n, k]``, without a known one.

    Args:
        matrix: sparse ``[n, n]``, whose eigenvector ``trivial`` has eigenvalue 1.
        trivial: ``[n]``, of any length; it is taken out.
        k: how many.

    Raises:
        ValueError: the eigenvalues lie too near to each other and to 1.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n, s = len(trivial), trivial / np.linalg.norm(trivial)
    if n <= max(_DENSE_ROWS, 2 * k + 2):
        values, vectors = np.linalg.eigh(matrix.toarray() - 2 * np.outer(s, s))
    else:
        rest = LinearOperator((n, n), matvec=lambda v: matrix @ v - 2 * s * (s @ v), dtype=np.float64)
        start = np.random.default_rng(0).normal(size=n)
        options = {
            "which": "LA",
            "v0": start,
            "ncv": min(n - 1, max(3 * k, 40)),
            "maxiter": _RESTARTS,
            "tol": _TOLERANCE,
        }
        try:
            values, vectors = eigsh(rest, k=k, **options)
        except ArpackNoConvergence as error:
            raise ValueError(
                "x: parts of the neighbour graph hang together by almost nothing, so that the walk's slowest motions cannot be told "
                "apart; raise neighbours or bandwidth."
            ) from error
    order = np.argsort(-values)[:k]
    values, vectors = values[order], vectors[:, order]
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(k)])
    return values, vectors * signs


def _leading(matrix: Sparse, trivial: Array, k: int) -> tuple[Array, Array]:
    """`leading_eigenpairs` of the walk, refused where the walk has not so many slow motions."""
    values, vectors = leading_eigenpairs(matrix, trivial, k)
    if values[-1] < _LEAST_EIGENVALUE:
        slow = int((values >= _LEAST_EIGENVALUE).sum())
        if not slow:
            raise ValueError(
                f"x: the walk on these {len(trivial)} points has no slow motion: as neighbours they are all alike, as in noise of many "
                "dimensions. Give more rows, fewer neighbours or a smaller bandwidth."
            )
        raise ValueError(
            f"latent_dim: the walk has only {slow} eigenvalues above {_LEAST_EIGENVALUE:g}, so the last of {k} coordinates are noise; "
            f"use at most {slow}."
        )
    return values, vectors


def _several(labels: npt.NDArray[np.int64], parts: int, neighbours: int, eps: float) -> str:
    sizes = ", ".join(map(str, np.sort(np.bincount(labels))[::-1][:5])) + (", ..." if parts > 5 else "")
    return (
        f"x: the neighbour graph has {parts} parts that no walk connects (of {sizes} points) with neighbours={neighbours} and "
        f"bandwidth={eps:.3g}; raise them, or join the parts with disconnected='join'."
    )


def _check(x: Tensor, latent_dim: int, neighbours: int, bandwidth: float | None, alpha: float) -> None:
    if x.ndim != 2 or len(x) < 3:
        raise ValueError(f"x: at least 3 rows [n, d] are needed, got shape {list(x.shape)}.")
    if not 1 <= latent_dim <= len(x) - 2:
        raise ValueError(f"latent_dim: must be from 1 to {len(x) - 2} for {len(x)} points, got {latent_dim}.")
    if not 1 <= neighbours <= len(x) - 1:
        raise ValueError(f"neighbours: must be from 1 to {len(x) - 1} for {len(x)} points, got {neighbours}.")
    if bandwidth is not None and not 0 < bandwidth < float("inf"):
        raise ValueError(f"bandwidth: must be positive and finite, got {bandwidth}; None chooses it.")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: must be from 0 to 1, got {alpha}.")
