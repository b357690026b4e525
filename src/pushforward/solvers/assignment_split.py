"""Assignment of any number of points in linear memory: recursive co-splitting, then polish in local blocks.

Co-split. For the squared distance the cost of a permutation is a constant minus 2 sum_i <x_i, y_pi(i)>. A coarse plan that
knows only which half each point is in, with signs s_x, s_y in {-1, +1}, earns <sum s_x x, sum s_y y>. That is maximised by
turns: y's halves are the median split along sum s_x x, then x's halves the median split along sum s_y y. Halves are split
again until they are small enough to be solved exactly. Every level of the tree is one batch.

Polish. Rows are grouped into blocks of near points by a random tree, and each block is solved exactly among the partners it
already holds: the result stays a permutation and its cost never rises.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward.solvers.assignment_dense import solve_dense, squared_distances

LEAF = 512
BLOCK = 1024
SWEEPS = 16
ALTERNATIONS = 12
POWER_STEPS = 4
BATCH_ENTRIES = 1 << 24
"""Entries of the cost matrices held at once (64 MiB of float32)."""


def co_split(x: Tensor, y: Tensor, *, generator: torch.Generator, leaf: int = LEAF) -> Tensor:
    """A good permutation by recursive balanced co-splitting with exact leaves; any n, primes included.

    Args:
        x: points ``[n, d]``, float32.
        y: points ``[n, d]``, float32, on the same device.
        generator: CPU generator of the random starts.
        leaf: largest problem that is solved exactly.

    Returns:
        Permutation ``[n]``, int64, on x's device.
    """
    tree = Tree.root(len(x), x.device)
    order_x, order_y = tree.identity(), tree.identity()
    while tree.width > leaf:
        left_x, left_y = _halve(tree.rows(x, order_x), tree.rows(y, order_y), tree, generator)
        order_x, order_y = tree.reorder(order_x, left_x), tree.reorder(order_y, left_y)
        tree = tree.children()
    within = _solve_nodes(x, y, order_x, order_y, tree)
    permutation = torch.empty_like(order_x)
    permutation[order_x] = order_y[within]
    return permutation


def polish(
    x: Tensor,
    y: Tensor,
    permutation: Tensor,
    *,
    generator: torch.Generator,
    sweeps: int = SWEEPS,
    block: int = BLOCK,
    min_gain: float = 0.0,
) -> Tensor:
    """Improve a permutation inside blocks of near points; the cost never rises.

    Args:
        x: points ``[n, d]``, float32.
        y: points ``[n, d]``, float32, on the same device.
        permutation: the start ``[n]``.
        generator: CPU generator of the random trees.
        sweeps: most passes over all points, each over a new random tree (on the images, then on x, by turns).
        block: largest block, solved exactly.
        min_gain: stop after a sweep that lowered the cost by less than this share.

    Returns:
        Permutation ``[n]`` on x's device.
    """
    permutation = permutation.to(x.device)
    paid = _pair_costs(x, y, permutation)
    for sweep in range(sweeps):
        tree, order = random_tree(y[permutation] if sweep % 2 == 0 else x, block, generator)
        partners = permutation[order]
        offered = torch.empty_like(permutation)
        offered[order] = partners[_solve_nodes(x, y, order, partners, tree)]
        offer = _pair_costs(x, y, offered)
        better = tree.spread(tree.sums((offer - paid)[order]) < 0)
        accepted = torch.empty_like(better)
        accepted[order] = better
        before = paid.sum()
        permutation, paid = torch.where(accepted, offered, permutation), torch.where(accepted, offer, paid)
        if before - paid.sum() <= min_gain * before:
            break
    return permutation


def random_tree(points: Tensor, width: int, generator: torch.Generator) -> tuple[Tree, Tensor]:
    """Blocks of at most ``width`` near points: median splits along the line through two random points of each node.

    Args:
        points: ``[n, d]``.
        width: largest block.
        generator: CPU generator.

    Returns:
        The tree's last level, and the order ``[n]`` of the rows in it.
    """
    tree = Tree.root(len(points), points.device)
    order = tree.identity()
    while tree.width > width:
        a, b = (points[order[tree.random_member(generator)]] for _ in range(2))
        along = torch.einsum("nmd,nd->nm", tree.rows(points, order), a - b)
        order = tree.reorder(order, tree.left_half(along))
        tree = tree.children()
    return tree, order


@dataclass(frozen=True)
class Tree:
    """One level of a balanced binary tree over n ordered rows: nodes are consecutive runs whose sizes differ by at most one.

    Attributes:
        starts: first position of each node ``[nodes]``.
        sizes: number of rows of each node ``[nodes]``.
        width: the largest size.
    """

    starts: Tensor
    sizes: Tensor
    width: int

    @staticmethod
    def root(n: int, device: torch.device) -> Tree:
        """The level with one node."""
        return Tree(torch.zeros(1, dtype=torch.long, device=device), torch.full((1,), n, device=device), n)

    def identity(self) -> Tensor:
        """The order ``[n]`` that leaves rows where they are."""
        return torch.arange(int(self.sizes.sum()), device=self.starts.device)

    def valid(self) -> Tensor:
        """Which places of the padded batch hold a row: bool ``[nodes, width]``."""
        return torch.arange(self.width, device=self.starts.device) < self.sizes.unsqueeze(1)

    def places(self) -> Tensor:
        """Position in the order of each place ``[nodes, width]``; the padding repeats a node's last row."""
        within = torch.arange(self.width, device=self.starts.device).expand(len(self.sizes), -1)
        return self.starts.unsqueeze(1) + torch.minimum(within, self.sizes.unsqueeze(1) - 1)

    def rows(self, points: Tensor, order: Tensor) -> Tensor:
        """Points of each node ``[nodes, width, d]``, centred within the node, zero in the padding."""
        batch, valid = points[order[self.places()]], self.valid().unsqueeze(2)
        batch = torch.where(valid, batch, 0.0)
        return torch.where(valid, batch - batch.sum(1, keepdim=True) / self.sizes.view(-1, 1, 1), 0.0)

    def left_half(self, along: Tensor) -> Tensor:
        """Signs ``[nodes, width]``: -1 for the lower half of ``along`` ``[nodes, width]`` in each node, +1 above, 0 padding."""
        place = torch.arange(self.width, device=along.device)
        size = self.sizes.unsqueeze(1)
        signs = torch.where(place < (size + 1) // 2, -1.0, 1.0) * (place < size)
        ranked = along.masked_fill(~self.valid(), torch.inf).argsort(dim=1)
        return torch.empty_like(along).scatter_(1, ranked, signs.to(along.dtype))

    def reorder(self, order: Tensor, signs: Tensor) -> Tensor:
        """The order ``[n]`` in which each node's rows with sign -1 come first."""
        valid = self.valid()
        ranked = signs.masked_fill(~valid, 2.0).argsort(dim=1, stable=True)
        return order[(self.starts.unsqueeze(1) + ranked)[valid]]

    def children(self) -> Tree:
        """The next level: every node in two halves, the first the larger by at most one."""
        left = (self.sizes + 1) // 2
        starts = torch.stack([self.starts, self.starts + left], dim=1).flatten()
        return Tree(starts, torch.stack([left, self.sizes - left], dim=1).flatten(), (self.width + 1) // 2)

    def random_member(self, generator: torch.Generator) -> Tensor:
        """Position of a random row of each node ``[nodes]``."""
        share = torch.rand(len(self.sizes), generator=generator, dtype=torch.float64).to(self.starts.device)
        return self.starts + torch.minimum((share * self.sizes).long(), self.sizes - 1)

    def sums(self, values: Tensor) -> Tensor:
        """Sum over each node ``[nodes]`` of ordered values ``[n]``."""
        return torch.zeros(len(self.sizes), dtype=values.dtype, device=values.device).scatter_add_(
            0, self.spread(torch.arange(len(self.sizes), device=values.device)), values
        )

    def spread(self, per_node: Tensor) -> Tensor:
        """One value a node ``[nodes]`` to one value a row ``[n]``, in order."""
        return per_node.repeat_interleave(self.sizes)


def _halve(x: Tensor, y: Tensor, tree: Tree, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The signs ``[nodes, width]`` of x and of y that earn most, from two starts: leading direction, and random."""
    start = torch.randn(len(x), x.shape[2], generator=generator).to(x)
    one, two = (_alternate(x, y, w, tree) for w in (_leading_direction(x, y, start), start))
    first = (one[2] >= two[2]).unsqueeze(1)
    return torch.where(first, one[0], two[0]), torch.where(first, one[1], two[1])


def _leading_direction(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """A few power iterations ``[nodes, d]`` on Cov_x + Cov_y of each node, from ``w`` ``[nodes, d]``."""
    for _ in range(POWER_STEPS):
        w = sum(
            (torch.einsum("nmd,nm->nd", z, torch.einsum("nmd,nd->nm", z, w)) for z in (x, y)), start=torch.zeros_like(w)
        )
        w = w / w.norm(dim=1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)
    return w


def _alternate(x: Tensor, y: Tensor, w: Tensor, tree: Tree) -> tuple[Tensor, Tensor, Tensor]:
    """Signs of x, signs of y ``[nodes, width]`` and what they earn ``[nodes]``, from a direction ``w`` ``[nodes, d]``."""
    earned = torch.full((len(x),), -torch.inf, device=x.device)
    for _ in range(ALTERNATIONS):
        signs_x = tree.left_half(torch.einsum("nmd,nd->nm", x, w))
        pull = torch.einsum("nmd,nm->nd", x, signs_x)
        signs_y = tree.left_half(torch.einsum("nmd,nd->nm", y, pull))
        w = torch.einsum("nmd,nm->nd", y, signs_y)
        before, earned = earned, (pull * w).sum(1)
        if not bool((earned > before * (1 + 1e-6)).any()):
            break
    return signs_x, signs_y, earned


def _solve_nodes(x: Tensor, y: Tensor, order_x: Tensor, order_y: Tensor, tree: Tree) -> Tensor:
    """Exact assignment inside every node: position in ``order_y`` ``[n]`` for each position in ``order_x``."""
    # PyTorch's number of threads is the one place where a user says how many cores to take.
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        blocks = _node_costs(x, y, order_x, order_y, tree)
        solved = torch.cat([torch.from_numpy(p) for batch in blocks for p, _ in pool.map(solve_dense, batch)])
    return solved.to(x.device) + tree.spread(tree.starts)


def _node_costs(x: Tensor, y: Tensor, order_x: Tensor, order_y: Tensor, tree: Tree) -> Iterator[list[Any]]:
    """The nodes' cost matrices on the CPU, a batch of bounded size at a time."""
    at_once = max(1, BATCH_ENTRIES // tree.width**2)
    for i in range(0, len(tree.sizes), at_once):
        part = Tree(tree.starts[i : i + at_once], tree.sizes[i : i + at_once], tree.width)
        costs = squared_distances(part.rows(x, order_x), part.rows(y, order_y)).cpu().numpy()
        yield [cost[:m, :m] for cost, m in zip(costs, part.sizes.tolist(), strict=True)]


def _pair_costs(x: Tensor, y: Tensor, permutation: Tensor) -> Tensor:
    """Squared distance of each pair ``[n]``, float64."""
    return (x - y[permutation]).double().square().sum(1)
