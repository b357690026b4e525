"""Exact assignment without the n x n matrix: a sparse problem, grown until its dual proves that no missing pair would help.

1. Candidates: the NEIGHBOURS nearest columns of each row and nearest rows of each column, and the pairs of a start.
2. Solve the sparse problem exactly (Jonker-Volgenant of ``scipy.sparse.csgraph``).
3. Potentials v of the sparse optimum: shortest paths from column to column in its residual graph (Bellman-Ford), taken
   midway between the largest and the smallest solution.
4. Price all n^2 pairs, a block of rows at a time: u_i = min_j c_ij - v_j. Then mean(u) + mean(v) is at most the optimum
   (weak duality, for any v), and a pair with c_ij - v_j < c_i,pi(i) - v_pi(i) is one that the sparse problem lacks.
5. None lacking: the permutation is optimal for the dense problem. Otherwise add them and go to 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.solvers.assignment_dense import squared_distances

NEIGHBOURS = 16
OFFERS = 8
"""Pairs looked at again in float64 for each row when pricing, the most promising first."""
ROUNDS = 12
GAP = 1e-9
"""Relative reduced cost from which a missing pair counts."""
BLOCK_ENTRIES = 1 << 24


def solve_sparse(x: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, float]:
    """A permutation that is optimal (nearly always; the bound tells), from sparse candidates.

    Args:
        x: centred points ``[n, d]``, float32.
        y: centred points ``[n, d]``, float32, on the same device.
        start: a permutation ``[n]``; the better, the faster.

    Returns:
        The permutation ``[n]`` on x's device, never worse than ``start``, and a lower bound on the mean cost over all
        permutations (the mean cost itself, up to rounding, where optimality was proved).
    """
    pairs = _candidates(x, y, start)
    u, v = (torch.zeros(len(x), dtype=torch.float64) for _ in range(2))
    for _ in range(ROUNDS):
        costs = pairs.costs(x, y).cpu()
        permutation = _match(pairs, costs - u[pairs.rows.cpu()] - v[pairs.columns.cpu()])
        v, own = _potentials(pairs, costs, permutation)
        offered, reduced = _price(x, y, v.to(x.device))
        u = reduced.amin(1).cpu()
        lacking = reduced < (own - v[permutation] - GAP * own.mean()).to(x.device).unsqueeze(1)
        if not bool(lacking.any()):
            break
        pairs = pairs.union(lacking.nonzero()[:, 0], offered[lacking])
    return permutation.to(x.device), (u.mean() + v.mean()).item()


@dataclass(frozen=True)
class Pairs:
    """A set of (row, column) pairs, sorted and unique.

    Attributes:
        keys: row * n + column, int64 ``[m]``, increasing.
        n: number of rows and of columns.
    """

    keys: Tensor
    n: int

    @property
    def rows(self) -> Tensor:
        """Row of each pair ``[m]``."""
        return self.keys // self.n

    @property
    def columns(self) -> Tensor:
        """Column of each pair ``[m]``."""
        return self.keys % self.n

    def union(self, rows: Tensor, columns: Tensor) -> Pairs:
        """These pairs and the given ones."""
        return Pairs(torch.cat([self.keys, rows * self.n + columns]).unique(), self.n)

    def costs(self, x: Tensor, y: Tensor) -> Tensor:
        """Squared distance of each pair ``[m]``, float64."""
        step = max(1, BLOCK_ENTRIES // x.shape[1])
        return torch.cat([_distances(x[k // self.n], y[k % self.n]) for k in self.keys.split(step)])


def _candidates(x: Tensor, y: Tensor, start: Tensor) -> Pairs:
    """Nearest neighbours both ways and the pairs of ``start``, which make a full matching possible."""
    row = torch.arange(len(x), device=x.device)
    ahead, back = _nearest(x, y), _nearest(y, x)
    repeated = row.repeat_interleave(ahead.shape[1])
    pairs = Pairs(row * len(x) + start.to(x.device), len(x))
    return pairs.union(repeated, ahead.flatten()).union(back.flatten(), repeated)


def _nearest(x: Tensor, y: Tensor) -> Tensor:
    """The nearest rows of ``y`` to each row of ``x``: indices ``[n, k]``."""
    k = min(NEIGHBOURS, len(y))
    return torch.cat([c.topk(k, dim=1, largest=False, sorted=False).indices for _, c in _blocks(x, y)])


def _blocks(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of rows of x and their squared distances to all of ``y``."""
    for block in x.split(max(1, BLOCK_ENTRIES // len(y))):
        yield block, squared_distances(block, y)


def _match(pairs: Pairs, costs: Tensor) -> Tensor:
    """The optimal permutation ``[n]`` over the given pairs with costs ``[m]`` (reduced costs make it fast)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    # A stored zero would count as no pair; a constant added to all costs changes no optimum.
    weights = (costs - costs.min() + costs.abs().mean().clamp_min(1e-30)).numpy()
    graph = csr_matrix((weights, (pairs.rows.cpu().numpy(), pairs.columns.cpu().numpy())), shape=(pairs.n, pairs.n))
    return torch.from_numpy(min_weight_full_bipartite_matching(graph)[1].astype(np.int64))


def _potentials(pairs: Pairs, costs: Tensor, permutation: Tensor) -> tuple[Tensor, Tensor]:
    """Optimal column potentials ``[n]`` of the sparse problem, and the cost ``[n]`` that each row pays.

    They satisfy v_j - v_pi(i) <= c_ij - c_i,pi(i) for every pair: the largest and the smallest solution are shortest
    paths, and so is anything between.
    """
    rows, columns = pairs.rows.cpu(), pairs.columns.cpu()
    partner = permutation[rows]
    own = torch.empty(pairs.n, dtype=torch.float64)
    held = columns == partner
    own[rows[held]] = costs[held]
    arc = costs - own[rows]
    high = _relax(partner, columns, arc, pairs.n, own.mean().item())
    low = -_relax(columns, partner, arc, pairs.n, own.mean().item())
    return (high - high.mean() + low - low.mean()) / 2, own


def _relax(tail: Tensor, head: Tensor, arc: Tensor, n: int, scale: float) -> Tensor:
    """Shortest distance ``[n]`` to each node from a source at distance 0 from all, over arcs tail -> head ``[m]``."""
    distance = torch.zeros(n, dtype=torch.float64)
    for _ in range(n):
        relaxed = distance.scatter_reduce(0, head, distance[tail] + arc, "amin")
        if bool(((distance - relaxed).amax() <= 1e-13 * scale).item()):
            break
        distance = relaxed
    return distance


def _price(x: Tensor, y: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of least reduced cost c_ij - v_j of each row: columns ``[n, k]``, and reduced costs ``[n, k]`` in float64."""
    k = min(OFFERS, len(y))
    offered, reduced = [], []
    for block, c in _blocks(x, y):
        columns = (c - v.float()).topk(k, dim=1, largest=False, sorted=False).indices
        offered.append(columns)
        reduced.append(_distances(block.unsqueeze(1), y[columns]) - v[columns])
    return torch.cat(offered), torch.cat(reduced)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance along the last dimension, float64."""
    return (a - b).double().square().sum(-1)
