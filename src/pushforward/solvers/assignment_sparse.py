"""Exact assignment without the n x n matrix: a sparse problem, grown until its dual proves that no missing pair would help.

1. Candidates: the NEIGHBOURS nearest columns of each row and nearest rows of each column, and the pairs of a start. With many
   repeated rows they are chosen by price (``assignment_sites``).
2. Solve the sparse problem exactly (Jonker-Volgenant of ``scipy.sparse.csgraph``).
3. Potentials v of the sparse optimum: shortest paths from column to column in its residual graph (Bellman-Ford), taken
   midway between the largest and the smallest solution.
4. Price all n^2 pairs (copies of a row once), a block of rows at a time: u_i = min_j c_ij - v_j. Then mean(u) + mean(v) is at
   most the optimum (weak duality, for any v), and a pair with c_ij - v_j < c_i,pi(i) - v_pi(i) is one that the sparse problem
   lacks.
5. None lacking: the permutation is optimal for the dense problem. Otherwise add them and go to 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward.solvers.assignment_dense import squared_distances
from pushforward.solvers.assignment_sites import NEIGHBOURS, Sites, near_by_price

OFFERS = 8
"""Pairs looked at again in float64 for each row when pricing, the most promising first."""
ROUNDS = 20
SWEEPS = 1000
"""Most Bellman-Ford sweeps; on a curve the shortest paths are as long as the curve, and a cut-off only costs a round."""
GRID = 2.0**-26
"""Costs are rounded to this share of the start's mean cost. Whole numbers make all later sums exact: with rounding errors in
its sums the sparse solver cycles through reductions that gain nothing, and takes up to a hundred times longer (measured)."""
GAP = 1e-6
"""Good enough: the gap between cost and bound at which to stop, as a share of the start's mean cost."""
EXACT = 1e-7
"""A missing pair counts from this reduced cost on, as a share of the start's mean cost."""
BLOCK_ENTRIES = 1 << 24


def solve_sparse(x: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, float]:
    """A permutation that is optimal (nearly always; the bound tells), from sparse candidates.

    Args:
        x: centred points ``[n, d]``, float32.
        y: centred points ``[n, d]``, float32, on the same device.
        start: a permutation ``[n]``; the better, the faster.

    Returns:
        The permutation ``[n]`` on x's device, never worse than ``start``, and how far its mean cost is at most above the least
        over all permutations (0, up to rounding, where optimality was proved).
    """
    scale = _distances(x, y[start]).mean().item() or 1.0
    sites = Sites.of(x)
    (pairs, prices), permutation = _candidates(x, y, start, sites), start.cpu()
    v = (prices.double() / (GRID * scale)).round().cpu()
    for _ in range(ROUNDS):
        costs = (pairs.costs(x, y) / (GRID * scale)).round().cpu()
        permutation = _match(pairs, costs, v, permutation)
        v = _potentials(pairs, costs, permutation, v)
        prices = (v * GRID * scale).to(x.device)
        offered, reduced = (part[sites.site] for part in _price(x[sites.first], y, prices))
        partner = permutation.to(x.device)
        own = _distances(x, y[partner])
        bound = reduced.amin(1).mean().item() + prices.mean().item()
        lacking = reduced < (own - prices[partner] - EXACT * scale).unsqueeze(1)
        grown = pairs.union(lacking.nonzero()[:, 0], offered[lacking])
        gap = own.mean().item() - bound
        if gap <= GAP * scale or len(grown.keys) == len(pairs.keys):
            break
        pairs = grown
    return partner, gap


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


def _candidates(x: Tensor, y: Tensor, start: Tensor, sites_x: Sites) -> tuple[Pairs, Tensor]:
    """Near points both ways and the pairs of ``start``, which make a full matching possible; first column potentials ``[n]``."""
    sites_y = Sites.of(y)
    priced = near_by_price(x, y, sites_x, sites_y)
    ahead, back, prices = priced or (_nearest(x, y, sites_y), _nearest(y, x, sites_x), torch.zeros(len(x)))
    row = torch.arange(len(x), device=x.device)
    pairs = Pairs(row * len(x) + start.to(x.device), len(x))
    pairs = pairs.union(row.repeat_interleave(ahead.shape[1]), ahead.flatten())
    return pairs.union(back.flatten(), row.repeat_interleave(back.shape[1])), prices


def _nearest(x: Tensor, y: Tensor, sites: Sites) -> Tensor:
    """Near rows of ``y`` for each row of ``x``: indices ``[n, k]``, all of different points.

    Of a point that occurs several times a random copy is taken: the nearest k rows could all be copies of one point, and
    the same ones for every row of x.
    """
    k = min(NEIGHBOURS, len(sites.first))
    near = torch.cat([c.topk(k, dim=1, largest=False, sorted=False).indices for _, c in _blocks(x, y[sites.first])])
    share = torch.rand(near.shape, generator=torch.Generator(x.device).manual_seed(0), device=x.device)
    return sites.copies(near, (share * sites.counts[near]).long())


def _blocks(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of rows of x and their squared distances to all of ``y``."""
    for block in x.split(max(1, BLOCK_ENTRIES // len(y))):
        yield block, squared_distances(block, y)


def _match(pairs: Pairs, costs: Tensor, v: Tensor, start: Tensor) -> Tensor:
    """The optimal permutation ``[n]`` over the pairs with costs ``[m]``.

    Two things save the solver most of its work: costs reduced by the column potentials ``v`` ``[n]`` that are known and by
    the least of each row, and columns renumbered so that ``start`` is the diagonal (it looks for any full matching first).
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, columns = pairs.rows.cpu(), pairs.columns.cpu()
    reduced = costs - v[columns]
    u = torch.full_like(v, torch.inf).scatter_reduce(0, rows, reduced, "amin")
    # A stored zero would count as no pair; one more on all costs changes no optimum.
    weights = (reduced - u[rows] + 1).numpy()
    graph = csr_matrix((weights, (rows.numpy(), start.argsort()[columns].numpy())), shape=(pairs.n, pairs.n))
    return start[torch.from_numpy(min_weight_full_bipartite_matching(graph)[1].astype(np.int64))]


def _potentials(pairs: Pairs, costs: Tensor, permutation: Tensor, start: Tensor) -> Tensor:
    """Optimal column potentials ``[n]`` of the sparse problem, whole numbers like the costs ``[m]``.

    They satisfy v_j - v_pi(i) <= c_ij - c_i,pi(i) for every pair: the largest and the smallest solution are shortest
    paths, and so is the mean of the two, rounded down.
    """
    rows, columns = pairs.rows.cpu(), pairs.columns.cpu()
    partner = permutation[rows]
    own = torch.empty(pairs.n, dtype=torch.float64)
    held = columns == partner
    own[rows[held]] = costs[held]
    arc = costs - own[rows]
    high, low = _shortest(partner, columns, arc, start), -_shortest(columns, partner, arc, -start)
    return ((high - high.mean().round() + low - low.mean().round()) / 2).floor()


def _shortest(tail: Tensor, head: Tensor, arc: Tensor, distance: Tensor) -> Tensor:
    """The largest ``[n]`` that is at most ``distance`` and never grows by more than ``arc`` ``[m]`` from tail to head."""
    for _ in range(SWEEPS):
        relaxed = distance.scatter_reduce(0, head, distance[tail] + arc, "amin")
        if torch.equal(relaxed, distance):
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
