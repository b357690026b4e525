"""Short open paths through many points: nearest neighbour, then 2-opt and Or-opt on neighbour lists, then local kicks.

The sum of any symmetric cost over the legs of an open path is lowered. A point that costs nothing to reach, number ``n``, closes
the path into a tour; it stands at place 0 and never moves, so the ends of the path are improved like all other legs.
Gains of all moves of all points in question are computed at once with numpy; then the moves are made one by one, best first,
each only if the legs that it removes are still there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Cost = Callable[[Ints, Ints], Floats]
"""Costs of pairs of points, for index arrays that broadcast; 0 where one of them is ``n``."""

_SIDES = np.array([1, -1])
_RUNS = np.array([1, 2, 3])  # points that Or-opt moves together
_TOURNAMENT = 8  # places of which a kick takes that before which the costliest leg is
_WINDOW = 50  # places: the length of a run that a kick moves
_PART = 4096  # points whose moves are looked at together
_LEAST = 1e-12  # share of the path's cost: smaller gains are rounding


class PathSearch:
    """An open path that is improved in place.

    Args:
        order: a permutation ``[n]``, n at least 2.
        cost: of pairs of points.
        near: neighbours ``[n, k]`` of every point, itself not among them.
    """

    def __init__(self, order: Ints, cost: Cost, near: Ints) -> None:
        self._cost, self._near = cost, near
        self._near_cost = cost(np.arange(len(near))[:, None], near)
        self.take(order)

    def take(self, order: Ints) -> None:
        """Continue from another permutation ``[n]``."""
        n = len(order)
        self._size = n + 1
        self._tour = np.concatenate([[n], order]).astype(np.int64)
        self._place = np.argsort(self._tour)
        self.total = self._measured()

    @property
    def order(self) -> Ints:
        """The path as a permutation ``[n]``."""
        return self._tour[1:].copy()

    def descend(self, points: Ints | None = None) -> None:
        """Make moves until none of the points (of all, where none are given) has one that helps."""
        dirty = self._tour[1:] if points is None else points
        while len(dirty):
            touched: set[int] = set()
            for part in np.array_split(dirty, -(-len(dirty) // _PART)):
                self._make(self._reversals(part), self._reverse, touched)
                self._make(self._insertions(part), self._insert, touched)
            touched.discard(self._size - 1)
            dirty = np.fromiter(touched, np.int64, len(touched))
        self.total = max(self.total, 0.0)

    def kick(self, rng: np.random.Generator) -> bool:
        """Exchange two neighbouring runs at a random place and descend from there; undone unless the path gets shorter."""
        n = self._size - 1
        if n < 4:
            return False
        before, tour, place = self.total, self._tour.copy(), self._place.copy()
        start = self._long_leg(rng.integers(1, n - 1, size=_TOURNAMENT))
        ends = 1 + rng.choice(min(_WINDOW, n - start), size=2, replace=False)
        middle, end = start + int(ends.min()), start + int(ends.max()) + 1
        rolled = np.concatenate([tour[middle:end], tour[start:middle]])
        corners = tour[[start - 1, start, middle - 1, middle, end - 1, end % self._size]]
        self._tour[start:end] = rolled
        self._renumber(start, end)
        self.total += self._leg_sum(start - 1, end + 1, self._tour) - self._leg_sum(start - 1, end + 1, tour)
        self.descend(np.unique(corners[corners < n]))
        if self.total < before * (1 - _LEAST):
            return True
        self.total, self._tour, self._place = before, tour, place
        return False

    def _long_leg(self, places: Ints) -> int:
        """Of these places, that with the costliest leg in front of it."""
        tour = self._tour
        return int(places[np.argmax(self._cost(tour[places - 1], tour[places]))])

    def state_dict(self) -> dict[str, Any]:
        """The path and its cost, as it was summed up."""
        return {"order": torch.from_numpy(self.order), "total": self.total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved path, bitwise."""
        self.take(state["order"].cpu().numpy())
        self.total = float(state["total"])

    # ------------------------------------------------------------------ moves and their gains

    def _reversals(self, points: Ints) -> tuple[Floats, Ints]:
        """2-opt: legs (a, a') and (c, c') become (a, c) and (a', c'). Gains ``[m]`` and moves ``[m, 4]``."""
        a, side = points[None, :], _SIDES[:, None]
        beyond = self._step(a, side)
        leg = self._cost(a, beyond)
        s, i, k = np.nonzero(leg[:, :, None] > self._near_cost[points][None])
        a, c, beyond, leg = points[i], self._near[points[i], k], beyond[s, i], leg[s, i]
        past = self._step(c, _SIDES[s])
        gain = leg - self._near_cost[a, k] + self._cost(c, past) - self._cost(beyond, past)
        return self._best(gain, np.stack([a, beyond, c, past], axis=1))

    def _insertions(self, points: Ints) -> tuple[Floats, Ints]:
        """Or-opt: the run a .. e between p and q goes between c and c'. Gains ``[m]`` and moves ``[m, 6]``: a, e, p, q, c, c'."""
        side, run = (grid.reshape(-1, 1) for grid in np.meshgrid(_SIDES, _RUNS))
        a = points[None, :]
        p, e, q = self._step(a, -side), self._step(a, side * (run - 1)), self._step(a, side * run)
        leg = self._cost(a, p)
        freed = leg + self._cost(e, q) - self._cost(p, q)
        whole = self._ahead(a, np.array(self._size - 1), side) >= run  # without the point that closes the path
        t, i, k = np.nonzero((whole & (leg > 0))[:, :, None] & (leg[:, :, None] > self._near_cost[points][None]))
        t, i, k = (np.concatenate([x, x]) for x in (t, i, k))
        a, c = points[i], self._near[points[i], k]
        past = self._step(c, np.repeat(_SIDES, len(t) // 2))
        outside = np.minimum(self._ahead(a, c, side[t, 0]), self._ahead(a, past, side[t, 0])) >= run[t, 0]
        p, e, q, freed = p[t, i], e[t, i], q[t, i], freed[t, i]
        gain = freed - self._near_cost[a, k] + self._cost(c, past) - self._cost(e, past)
        return self._best(np.where(outside & (p != q), gain, 0.0), np.stack([a, e, p, q, c, past], axis=1))

    def _best(self, gain: Floats, moves: Ints) -> tuple[Floats, Ints]:
        """Those that help, best first."""
        good = np.flatnonzero(gain > _LEAST * max(self.total, 1e-300))
        good = good[np.argsort(-gain[good], kind="stable")]
        return gain[good], moves[good]

    def _make(self, found: tuple[Floats, Ints], move: Callable[..., bool], touched: set[int]) -> None:
        for gain, points in zip(found[0].tolist(), found[1].tolist(), strict=True):
            if move(*points):
                self.total -= gain
                touched.update(points)
            else:
                touched.add(points[0])

    def _reverse(self, a: int, beyond: int, c: int, past: int) -> bool:
        place = self._place
        i, j = int(place[a]), int(place[c])
        side = (int(place[beyond]) - i) % self._size
        if side not in (1, self._size - 1) or (int(place[past]) - j) % self._size != side:
            return False
        if side != 1:
            i, j = i - 1, j - 1
        low, high = min(i, j) + 1, max(i, j) + 1
        self._tour[low:high] = self._tour[low:high][::-1].copy()
        self._renumber(low, high)
        return True

    def _insert(self, a: int, e: int, p: int, q: int, c: int, past: int) -> bool:
        size, (i, j, before, after, u, v) = self._size, (int(self._place[x]) for x in (a, e, p, q, c, past))
        low, high = min(i, j), max(i, j)
        ends = {low - 1, (high + 1) % size}
        beside = (v - u) % size in (1, size - 1)
        left = size - 1 if {u, v} == {0, size - 1} else min(u, v)
        outer = {before, after} == ends and (i == j or abs(before - i) == 1 or {before, i} == {0, size - 1})
        if high - low > 2 or not beside or not outer or low <= u <= high or low <= v <= high:
            return False
        run = self._tour[low : high + 1].copy()
        if (i == low) != (u == left):  # a must come to lie beside c
            run = run[::-1]
        self._shift(low, high + 1, left + 1, run)
        return True

    def _shift(self, low: int, high: int, to: int, run: Ints) -> None:
        """Take places ``low .. high - 1`` out and put ``run`` in front of what stands at place ``to``."""
        tour, length = self._tour, len(run)
        if to >= high:
            tour[low : to - length] = tour[high:to].copy()
            tour[to - length : to] = run
            self._renumber(low, to)
        else:
            tour[to + length : high] = tour[to:low].copy()
            tour[to : to + length] = run
            self._renumber(to, high)

    # ------------------------------------------------------------------ places

    def _step(self, points: Ints, by: Ints) -> Ints:
        """The points so many places farther on."""
        there: Ints = self._tour[(self._place[points] + by) % self._size]
        return there

    def _ahead(self, a: Ints, b: Ints, side: Ints) -> Ints:
        """How many places ``b`` lies ahead of ``a``, looking to that side."""
        places: Ints = (side * (self._place[b] - self._place[a])) % self._size
        return places

    def _renumber(self, low: int, high: int) -> None:
        self._place[self._tour[low:high]] = np.arange(low, high)

    def _leg_sum(self, low: int, high: int, tour: Ints) -> float:
        """Cost of the legs between the places ``low .. high - 1``, modulo the size."""
        part = tour[np.arange(low, high) % self._size]
        return float(self._cost(part[:-1], part[1:]).sum())

    def _measured(self) -> float:
        return self._leg_sum(0, self._size + 1, self._tour)


def nearest_neighbour_path(cost: Cost, near: Ints, start: int) -> Ints:
    """The path that always goes to the nearest point not yet visited, ``[n]``; lists ``near`` ``[n, k]`` sorted by cost."""
    n = len(near)
    lists, free, here, order = near.tolist(), np.ones(n, dtype=bool), start, [start]
    free[start] = False
    for _ in range(n - 1):
        here = next((c for c in lists[here] if free[c]), -1)
        if here < 0:
            left = np.flatnonzero(free)
            here = int(left[np.argmin(cost(np.array(order[-1]), left))])
        free[here] = False
        order.append(here)
    return np.array(order, dtype=np.int64)


def squared_costs(points: Floats, *, matrix_limit: int = 3000) -> Cost:
    """Squared distances of rows ``[n, d]``: from a matrix up to ``matrix_limit`` rows, above computed when asked for."""
    n, dim = points.shape
    padded = np.concatenate([points, np.zeros((1, dim))])
    if n <= matrix_limit:
        return matrix_costs(squared_distances(points, points))
    rows = max(1, 2**22 // dim)

    def cost(i: Ints, j: Ints) -> Floats:
        i, j = np.broadcast_arrays(i, j)
        flat = i.ravel(), j.ravel()
        parts = [
            np.square(padded[flat[0][k : k + rows]] - padded[flat[1][k : k + rows]]).sum(axis=1)
            for k in range(0, max(i.size, 1), rows)
        ]
        found: Floats = np.concatenate(parts).reshape(i.shape) * ((i < n) & (j < n))
        return found

    return cost


def matrix_costs(matrix: Floats) -> Cost:
    """Costs looked up in a symmetric matrix ``[n, n]``."""
    padded = np.pad(matrix, (0, 1))

    def cost(i: Ints, j: Ints) -> Floats:
        found: Floats = padded[i, j]
        return found

    return cost


def near_lists(points: Floats, k: int) -> Ints:
    """The ``k`` nearest other rows of every row of ``[n, d]``, nearest first: ``[n, k]``."""
    found = []
    for i in range(0, len(points), _PART // 8):
        part = squared_distances(points[i : i + _PART // 8], points)
        rows = np.arange(len(part))
        part[rows, i + rows] = np.inf
        found.append(nearest_columns(part, k))
    return np.concatenate(found)


def nearest_columns(matrix: Floats, k: int) -> Ints:
    """Numbers ``[n, k]`` of the ``k`` smallest entries of every row of ``[n, m]``, smallest first."""
    found: Ints = torch.from_numpy(matrix).topk(k, dim=1, largest=False).indices.numpy()
    return found


def squared_distances(x: Floats, y: Floats) -> Floats:
    """Squared distances ``[n, m]`` of rows ``[n, d]`` and ``[m, d]``, without cancellation."""
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    found: Floats = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square().numpy()
    return found
