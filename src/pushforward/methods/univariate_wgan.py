"""UnivariateWGAN: the optimal Wasserstein GAN with one latent number, computed instead of trained.

Stephanovitch, Tanielian, Cadre, Klutchnikoff, Biau: Optimal 1-Wasserstein distance for WGANs, arXiv 2201.02824 (2022).

Model: ``x = G(u)``, ``u`` uniform on [0, 1], and ``G`` any function with Lipschitz constant ``K``. Which ``G`` minimises the Wasserstein-1
distance of its law to the rows ``X_1 .. X_n``? For large ``K`` a staircase along the walk of least sum of squares. The algorithm:

    1.  w_1 .. w_m  <-  the walk through all rows with the least  S = sum_j |X_w(j+1) - X_w(j)|^2
    2.      n <= 15: Held-Karp, exact;   above: nearest neighbour, 2-opt, Or-opt, then kicks until the budget is spent
    3.  h_i  <-  half of the length of all legs that meet at X_i
    4.  K    <-  n max_i h_i, the smallest that is feasible, unless a larger one is given
    5.  rest at X_i, over all visits together, for the time  1/n - h_i / K;   go along the legs with speed K
    6.  W1(G#U, rows) = S / (4 K):  a leg of length d takes the time d / K, at the mean distance d / 4 from its nearer end
    sample:  u ~ U[0, 1],  x = G(u)          encode:  the place u of the nearest point of the curve

Departures from the paper:
    * The walk may pass a row again (``revisit``). Squares break the triangle inequality, so this can lower S below that of every path
      that visits each row once: by a fifth for three points around a fourth. Then also no row is nearer to a point of a leg than the
      two ends are, and step 6 is an equality; where rows are visited once only, it is an upper bound.
    * K by default is the smallest for which no time of rest is negative, instead of n times the longest leg, which is enough as well.
      A larger K has a smaller distance to the rows and spends less time between them.
    * With labels there is a curve for each class, all with one K.

When to use: as a yardstick: no generator with one latent number and Lipschitz constant K is nearer to the rows than S / (4K).
When not: to generate. The law is the training rows and straight lines between them, and the model holds the training rows.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from pushforward.laws import Law, Uniform
from pushforward.method import Method, Paper, TrainingSet
from pushforward.run import Run
from pushforward.solvers.by_class import class_rows
from pushforward.solvers.hamiltonian import EXACT_LIMIT, held_karp, search_matrix, search_points
from pushforward.solvers.path_search import Floats, Ints, PathSearch, squared_distances
from pushforward.solvers.square_walk import closure, expand, improve_walk, square_sum

_CLOSURE_LIMIT = 1000  # rows up to which the search itself knows all detours; above, they are made afterwards
_KICKS = 4  # a step
_FEWEST_STEPS, _MOST_STEPS = 250, 5000  # without a budget: half of the rows, within these bounds
_CHUNK = 512


class StaircaseLaw(Law):
    """The law of ``G(u)``, ``u`` uniform on [0, 1], for a curve that rests at rows and goes straight between them.

    Args:
        event_shape: shape of a row.
        classes: number of classes; each has a curve of its own.
    """

    rows: Tensor
    walk: Tensor
    times: Tensor
    of_class: Tensor
    frequencies: Tensor
    lipschitz: Tensor
    squares: Tensor

    def __init__(self, event_shape: tuple[int, ...], classes: int) -> None:
        super().__init__(event_shape)
        self.classes, self.latent = classes, Uniform((1,))
        self.register_buffer("rows", torch.zeros(1, *event_shape))
        self.register_buffer("walk", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("times", torch.tensor([[0.0, 1.0]], dtype=torch.float64))  # class + arrival, departure
        self.register_buffer("of_class", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("frequencies", torch.full((classes,), 1 / classes))
        self.register_buffer("lipschitz", torch.zeros((), dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(classes, dtype=torch.float64))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one code."""
        return self.latent.event_shape

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        return self.sample_given(torch.multinomial(self.frequencies, n, True, generator=generator), generator=generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        u = torch.rand(len(labels), 1, generator=generator, device=self.device, dtype=torch.float64)
        return self.decode(u, labels).float()

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Points ``G(u)`` of the curve, ``[n, *event_shape]`` in the dtype of ``z`` ``[n, 1]``; codes outside [0, 1] are clipped."""
        offset = torch.zeros_like(self.walk[:1]) if labels is None else labels
        u = z[:, 0].double().clamp(0, 1 - 1e-12) + offset
        knots = self.times.flatten()
        here = (torch.searchsorted(knots, u, right=True) - 1).clamp(0, len(knots) - 2)
        share = (u - knots[here]) / (knots[here + 1] - knots[here]).clamp_min(1e-300)
        start, end = (self.rows[self.walk[k // 2]].flatten(1).double() for k in (here, here + 1))
        points = torch.lerp(start, end, share.clamp(0, 1)[:, None])
        return points.reshape(-1, *self.event_shape).to(z.dtype)

    @torch.no_grad()
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Places ``[n, 1]`` in [0, 1] of the points of the curve nearest to rows; at a row, the middle of its rest."""
        z = x.new_empty(len(x), 1)
        for k in range(self.classes):
            mine = torch.arange(len(x), device=x.device) if labels is None else (labels == k).nonzero()[:, 0]
            stops = (self.of_class == k).nonzero()[:, 0]
            for part in mine.split(_CHUNK):
                z[part, 0] = (self._places(x[part].flatten(1).double(), stops) - k).to(z.dtype)
        return z

    def between(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Codes along the curve from ``a`` to ``b``: ``[n * steps, 1]``."""
        return self.latent.between(a, b, steps)

    def _places(self, x: Tensor, stops: Tensor) -> Tensor:
        """Times ``[n]`` of the nearest points of the curve through the stops ``[m]`` of the walk."""
        rest = self.times[stops].mean(1)
        if len(stops) == 1:
            return rest.expand(len(x))
        knots = self.rows[self.walk[stops]].flatten(1).double()
        start, leg = knots[:-1], knots.diff(dim=0)
        length = leg.square().sum(1)
        along = x @ leg.T - (start * leg).sum(1)
        share = (along / length.clamp_min(1e-300)).clamp(0, 1)
        distance = start.square().sum(1) - 2 * x @ start.T - 2 * share * along + share.square() * length
        near = distance.argmin(1)
        share = share.gather(1, near[:, None])[:, 0]
        times = self.times[stops]
        on_leg = torch.lerp(times[near, 1], times[near + 1, 0], share)
        return torch.where(share <= 0, rest[near], torch.where(share >= 1, rest[near + 1], on_leg))


class UnivariateWGAN(Method):
    """The optimal WGAN with one uniform latent (2201.02824): a staircase curve through the training rows, which it stores.

    After ``fit``: ``value_``, the Wasserstein-1 distance S / (4K) between the curve's law and the training rows; ``lipschitz_``, K; both
    on the encoded scale of the schema, and for classes the mean over rows.

    Args:
        lipschitz: the Lipschitz constant K of the curve; None is the smallest that is feasible.
        revisit: whether the walk may pass a row again where that lowers the sum of squares; without, rows are visited once.
    """

    paper: ClassVar[Paper] = Paper(
        title="Optimal 1-Wasserstein distance for WGANs",
        authors="Stephanovitch and Tanielian and Cadre and Klutchnikoff and Biau",
        year=2022,
        arxiv="2201.02824",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = StaircaseLaw
    stores_training_rows: ClassVar[bool] = True

    def __init__(self, *, lipschitz: float | None = None, revisit: bool = True) -> None:
        self.lipschitz = lipschitz
        self.revisit = revisit

    @property
    def value_(self) -> float:
        """S / (4K)."""
        law = cast(StaircaseLaw, self.law_)
        return float((law.squares * law.frequencies).sum() / (4 * law.lipschitz))

    @property
    def lipschitz_(self) -> float:
        """The curve's Lipschitz constant K."""
        return float(cast(StaircaseLaw, self.law_).lipschitz)

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        points = data.x.flatten(1).double().cpu().numpy()
        groups = [rows.cpu().numpy() for rows in class_rows(data.labels, len(points), data.x.device)]
        began = run.elapsed
        walkers = [self._walker(points[rows], f"path {k}", run) for k, rows in enumerate(groups)]
        run.reserve(4 * (run.elapsed - began) if len(points) > _CLOSURE_LIMIT else 0.0)
        run.log(loss=sum(walker.squares for walker in walkers))
        open_ends = [walker.search for walker in walkers if walker.search is not None]
        default = f"{min(max(len(points) // 2, _FEWEST_STEPS), _MOST_STEPS)} steps"
        for step in run.loop("kicks", default=default) if open_ends else ():
            rng = np.random.default_rng(run.derived_seed(f"kicks {step}"))
            if sum(search.kick(rng) for search in open_ends for _ in range(_KICKS)):
                run.log(loss=sum(walker.squares for walker in walkers))
        return self._law([rows[walker.walk()] for rows, walker in zip(groups, walkers, strict=True)], data)

    def _walker(self, points: Floats, name: str, run: Run) -> _Walker:
        """Steps 1 and 2 for the rows of one class, before any kick."""
        walker = _Walker(points, self.revisit)
        if walker.search is not None:
            run.track(name, walker.search)
        return walker

    def _law(self, walks: list[Ints], data: TrainingSet) -> StaircaseLaw:
        """Steps 3 to 6."""
        law = self._build(data.event_shape, data.classes).to(data.x.device)
        points = data.x.flatten(1).double().cpu().numpy()
        sizes = [len(np.unique(walk)) for walk in walks]
        halves = [_half_legs(points, walk) for walk in walks]
        least = max(size * float(half.max()) for size, half in zip(sizes, halves, strict=True))
        k = self._chosen(least)
        times = [_stair(points, walk, half, k) + c for c, (walk, half) in enumerate(zip(walks, halves, strict=True))]
        law.rows, law.lipschitz = data.x, torch.tensor(k, dtype=torch.float64)
        law.walk, law.times = torch.from_numpy(np.concatenate(walks)), torch.from_numpy(np.concatenate(times))
        law.of_class = torch.repeat_interleave(torch.arange(len(walks)), torch.tensor([len(w) for w in walks]))
        law.squares = torch.tensor([square_sum(points, walk) for walk in walks], dtype=torch.float64)
        law.frequencies = torch.tensor(sizes, dtype=torch.float32) / len(points)
        return law.to(data.x.device)

    def _chosen(self, least: float) -> float:
        """Step 4.

        Raises:
            ValueError: the K that was asked for leaves no time to rest.
        """
        if self.lipschitz is not None and self.lipschitz < least:
            hint = " (revisit=False may need less)" if self.revisit else ""
            raise ValueError(
                f"lipschitz: no staircase through these rows has K = {self.lipschitz:g}; the smallest feasible K is "
                f"{least:.6g}{hint}. Use lipschitz=None for it, or a larger K."
            )
        return self.lipschitz if self.lipschitz is not None else max(least, 1e-12)

    def _build(self, event_shape: tuple[int, ...], classes: int) -> StaircaseLaw:
        return StaircaseLaw(event_shape, classes)

    def _check(self, data: TrainingSet) -> None:
        if self.lipschitz is not None and self.lipschitz <= 0:
            raise ValueError(f"lipschitz: must be positive, got {self.lipschitz}; None takes the smallest feasible.")


class _Walker:
    """A walk through rows ``[n, d]``: exact up to 15, above a search that goes on, with detours known to it or made afterwards."""

    def __init__(self, points: Floats, revisit: bool) -> None:
        n = len(points)
        self._points, self._revisit, self._before, self._done = points, revisit, cast(Any, None), np.arange(n)
        self.search: PathSearch | None = None
        costs = squared_distances(points, points) if n <= _CLOSURE_LIMIT else np.zeros((0, 0))
        if revisit and 1 < n <= _CLOSURE_LIMIT:
            costs, self._before = closure(costs)
        if n <= EXACT_LIMIT:
            self._done = held_karp(costs).order
        else:
            self.search = search_matrix(costs) if n <= _CLOSURE_LIMIT else search_points(points)

    @property
    def squares(self) -> float:
        """Sum of the squared legs so far, before detours made afterwards."""
        return self.search.total if self.search is not None else square_sum(self._points, self.walk())

    def walk(self) -> Ints:
        """The walk ``[m]``."""
        order = self._done if self.search is None else self.search.order
        if not self._revisit:
            return order
        return improve_walk(self._points, order if self._before is None else expand(order, self._before))


def _half_legs(points: Floats, walk: Ints) -> Floats:
    """Step 3: half of the length of all legs that meet at each row, ``[n]``."""
    lengths = np.sqrt(np.square(np.diff(points[walk], axis=0)).sum(axis=1)) / 2
    halves: Floats = np.zeros(len(points))
    np.add.at(halves, walk[:-1], lengths)
    np.add.at(halves, walk[1:], lengths)
    return halves


def _stair(points: Floats, walk: Ints, half: Floats, k: float) -> Floats:
    """Step 5: arrival at and departure from each stop of the walk, ``[m, 2]``; a row's rest is shared equally by its visits."""
    visits = np.bincount(walk, minlength=len(points))
    rest = np.maximum(1 / np.count_nonzero(visits) - half / k, 0.0)[walk] / visits[walk]
    travel = np.sqrt(np.square(np.diff(points[walk], axis=0)).sum(axis=1)) / k
    arrival = np.concatenate([[0.0], np.cumsum(rest[:-1] + travel)])
    stair: Floats = np.stack([arrival, arrival + rest], axis=1)
    stair[-1, 1] = 1.0
    return stair
