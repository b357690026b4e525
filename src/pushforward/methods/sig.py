"""SIG: the Sliced Iterative Generator, layers of one-dimensional optimal transport along the directions where two samples differ most.

Dai, Seljak: Sliced Iterative Normalizing Flows, ICML 2021, arXiv 2007.00674.

Model: ``x = T_L(... T_1(z))`` with ``z`` standard Gaussian. No gradients through layers, no minibatches. The algorithm:

    1.  y <- data, integers dequantised: y + U(-1/2, 1/2) of a level
    2.  x_j ~ N(0, I), j = 1 .. r n              particles, r times as many as data
    3.  for each stage, from whole images down to patches of 2 x 2 (`patches.schedule`), and each of its layers:
    4.      cut rows into patches, on a grid that starts at a random place and goes around the border
    5.      for all patches at once:
    6.          A <- argmax over A^T A = I of  sum_k W2^2(A_k^T x, A_k^T y)                (max K-SWD, on a subset of rows)
    7.          psi_k <- increasing rational-quadratic spline through M quantiles of A_k^T x and of A_k^T y, slope 1 outside
    8.          x <- x + A (psi(A^T x) - A^T x)
    sample:    z ~ N(0, I), step 8 of every layer                   log p(x) = log N(z; 0, I) + sum log |det dz/dx|

Departures from the paper (benchmarks/sig.py measures directions and knots):
    * Directions by Barzilai-Borwein steps with a closed-form gradient, 30 of them on some thousand rows, all patches at once; the paper's
      line search with automatic gradients takes 200 on all rows, one patch after the other.
    * The square root of n, at most 100, knots a spline instead of 400, stored as half-precision steps: samples are as good, densities
      overfit less. At most 30 where all layers are on whole images: held-out densities are higher. The particles go through a layer as
      it is stored, so that later layers see and undo its rounding.
    * Splines lead from particles to data; the paper fits the inverse. The particles are then moved without solving quadratics.
    * 25 layers a stage, not 100 or 200. A budget is spread over the stages: of layers by their number, of wall time by time.
    * A wall budget is cut into slots, for as many layers a stage as the square root of n, from 16 to 100: more of them move the samples
      to the training rows. A layer that is ready before its slot ends goes on with its search, on another choice of rows.
    * Labels: a spline for each class along shared directions (in the authors' code, not in the paper).

``log_prob`` is a by-product: only particles are matched, and every layer of small patches makes the density at real rows worse while
samples get better. `outlier_score` therefore uses the layers of whole rows alone.

When to use: images of some thousand rows or more without a network and without tuning; a generator in a minute of one core.
When not: densities (use GIS or a Gaussian mixture), fine structure across distant parts of large images, fewer than some hundred rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from pushforward.laws import Gaussian, Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.parameters import check_ranges
from pushforward.patches import Patch, PatchLayers, schedule, take_patches
from pushforward.run import Run
from pushforward.solvers.ranks import sort_values
from pushforward.solvers.rational_quadratic import Spline
from pushforward.solvers.slices import find_slices

_SEARCH_VALUES, _SEARCH_ROWS = 2**20, 4000  # values along slices, and rows, in a search for directions
_QUANTILE_ROWS = 2**17  # particles that quantiles are taken of, others in every layer
_AT_ONCE = {"cpu": 2**22}  # values that are sorted at once
_ON_A_CARD = 2**27
_FEWEST, _MOST = 16, 100  # knots of a spline, and layers of a stage under a wall budget
_MOST_WHOLE = 30  # knots where all layers are on whole images
_MOST_LEVELS = 4096
_LOOKED_AT = 256  # images looked at for integer levels


class SlicedLaw(Law):
    """The standard Gaussian law carried through the layers of all stages.

    Args:
        event_shape: shape of a row; it has ``p`` numbers.
        patches: the stages.
        classes: number of classes, 1 for none.
    """

    frequencies: Tensor

    def __init__(self, event_shape: tuple[int, ...], patches: list[Patch], classes: int) -> None:
        super().__init__(event_shape)
        self.latent_shape, self.classes = (math.prod(event_shape),), classes
        self.source = Gaussian(self.latent_shape)
        self.stages = nn.ModuleList(PatchLayers(event_shape, patch, classes) for patch in patches)
        self.register_buffer("frequencies", torch.full((classes,), 1 / classes))

    def __iter__(self) -> Iterator[PatchLayers]:
        for stage in self.stages:
            if isinstance(stage, PatchLayers):
                yield stage

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        if self.classes == 1:
            return self.decode(self.source.sample(n, generator=generator))
        return self.sample_given(
            torch.multinomial(self.frequencies, n, replacement=True, generator=generator), generator=generator
        )

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        return self.decode(self.source.sample(len(labels), generator=generator), labels)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rows ``[n, *event_shape]`` of codes ``[n, p]``, given class numbers ``[n]`` where there are classes."""
        x = z.T.clone(
            memory_format=torch.contiguous_format
        )  # codes come transposed from `encode`, and the layers move in place
        self.move_(x, self._given(labels))
        return x.T.reshape(-1, *self.event_shape)

    def move_(self, x: Tensor, labels: Tensor | None) -> None:
        """Carry columns ``[p, n]`` through all layers, in place."""
        for stage in self:
            for i in range(len(stage)):
                stage.layer(i).move_(x, labels)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes ``[n, p]``: every layer undone in closed form."""
        return self._undone(x, labels, list(self))[0]

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-density ``[n]``, given class numbers ``[n]`` where there are some; a by-product, see the head of this file."""
        return self._log_density(x, labels, list(self))

    def outlier_score(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Minus the log-density ``[n]`` of what the layers of whole rows alone make of the Gaussian."""
        return -self._log_density(x, labels, list(self)[:1])

    def between(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Codes on great circles from ``a`` to ``b``: ``[n * steps, p]``."""
        return self.source.between(a, b, steps)

    def _log_density(self, x: Tensor, labels: Tensor | None, stages: list[PatchLayers]) -> Tensor:
        if self.classes > 1 and labels is None:
            every = [torch.full((len(x),), c, device=x.device) for c in range(self.classes)]
            given = torch.stack([self._log_density(x, one, stages) for one in every], dim=1)
            return torch.logsumexp(given + self.frequencies.log(), dim=1)
        z, log_det = self._undone(x, labels, stages)
        return self.source.log_prob(z) + log_det

    def _undone(self, x: Tensor, labels: Tensor | None, stages: list[PatchLayers]) -> tuple[Tensor, Tensor]:
        z, total = x, x.new_zeros(len(x))
        for stage in reversed(stages):
            z, log_det = stage.inverse_and_log_det(z, self._given(labels))
            total = total + log_det
        return z.flatten(1), total

    def _given(self, labels: Tensor | None) -> Tensor | None:
        if self.classes > 1 and labels is None:
            raise ValueError("labels: this law has classes; give a class number for every row.")
        return labels if self.classes > 1 else None


class SIG(Method):
    """Sliced Iterative Generator with patches (2007.00674).

    Args:
        layers: layers of a stage without a budget (colour images: of the stages in one channel, twice as many in the others); the
            paper has 100. Under a wall budget at most the square root of the number of rows, from 16 to 100.
        hierarchy: whether images have stages of patches; without, all layers are on whole images, which is fit for `outlier_score`.
        knots: of a spline; None takes the square root of the number of rows (of a class), from 16 to 100, without hierarchy to 30; the
            paper has 400.
        oversampling: particles for every row (the paper's 6).
        iterations: evaluations in the search for directions; 0 leaves them random.
    """

    paper: ClassVar[Paper] = Paper(
        title="Sliced Iterative Normalizing Flows",
        authors="Dai and Seljak",
        year=2021,
        arxiv="2007.00674",
        venue="ICML 2021",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = SlicedLaw

    def __init__(
        self,
        *,
        layers: int = 25,
        hierarchy: bool = True,
        knots: int | None = None,
        oversampling: float = 6.0,
        iterations: int = 30,
    ) -> None:
        self.layers = layers
        self.hierarchy = hierarchy
        self.knots = knots
        self.oversampling = oversampling
        self.iterations = iterations

    # ------------------------------------------------------------------ the algorithm

    @torch.no_grad()
    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law = run.track("law", self._build(data.event_shape, data.classes))
        x, labels = _columns(data, run)
        copies = max(1, round(self.oversampling * len(data.x)))
        particle_labels = _stretched(labels, copies)
        if labels is not None:
            law.frequencies = torch.bincount(labels, minlength=data.classes) / len(labels)
        particles: Tensor | None = None
        shares = sum(stage.patch.share for stage in law)
        slots, slot = _root(len(data.x), _MOST) * shares, -1
        for _ in run.loop("layers", default=f"{self.layers * shares} steps"):
            if particles is None:  # the first tick, also after a resume: then they go through the layers that were kept
                particles = law.source.sample(copies, generator=_seeded("particles", run)).T.contiguous()
                law.move_(particles, particle_labels)
            # The fraction falls when a layer is quicker than the last, for which less time is held back: so a slot is never taken again.
            slot = min(max(slot + 1, math.floor(run.fraction * slots)), slots - 1)
            stage = _stage(law, slot / slots if run.timed else run.fraction)
            distance = self._layer(stage, (x, labels), (particles, particle_labels), run, until=(slot + 1) / slots)
            run.log(loss=distance, patch=min(stage.patch.height, stage.patch.width), channels=stage.patch.channels)
        return law

    def _layer(
        self,
        stage: PatchLayers,
        data: tuple[Tensor, Tensor | None],
        particles: tuple[Tensor, Tensor | None],
        run: Run,
        until: float,
    ) -> float:
        """Steps 4 to 8 for one layer, in a wall budget until that share of it; the mean squared distance along its slices before it."""
        began = run.elapsed
        shift = stage.draw_shift(run.generator)
        index = stage.index(shift)
        frame = self._directions(stage.patch.slices, data[0], particles[0], index, run.generator)
        searched = run.elapsed - began
        while run.timed and run.agreed(not run.interrupted and run.fraction < until):
            frame = self._directions(stage.patch.slices, data[0], particles[0], index, run.generator, start=frame)
        found = run.elapsed
        levels = _levels(self._knots(data[0].shape[1] // stage.classes), data[0].device)
        seen = _every(particles, _QUANTILE_ROWS, run.generator)
        source, target = (_quantiles(*rows, stage.classes, index, frame, levels) for rows in (seen, data))
        distance = torch.trapezoid((source - target).square().mean((0, 1, 2)), levels)
        stage.add(shift, frame, Spline(source, target, source)).move_(*particles)
        run.reserve(searched + run.elapsed - found)
        return float(distance)

    def _directions(
        self,
        count: int,
        x: Tensor,
        particles: Tensor,
        index: Tensor,
        generator: torch.Generator,
        start: Tensor | None = None,
    ) -> Tensor:
        """Step 6: ``[P, size, count]``, from random first directions or from ``start``."""
        most = max(_SEARCH_VALUES // (len(index) * count), 2 * count)
        rows = min(x.shape[1], particles.shape[1], most, _SEARCH_ROWS)
        chosen = [take_patches(some[:, _some(some.shape[1], rows, generator)], index).mT for some in (particles, x)]
        return find_slices(
            chosen[0], target=chosen[1], count=count, iterations=self.iterations, generator=generator, start=start
        )

    def _knots(self, rows: int) -> int:
        return self.knots or _root(rows, _MOST if self.hierarchy else _MOST_WHOLE)

    def _build(self, event_shape: tuple[int, ...], classes: int) -> SlicedLaw:
        return SlicedLaw(event_shape, schedule(event_shape, hierarchy=self.hierarchy), classes)

    def _check(self, data: TrainingSet) -> None:
        check_ranges(
            self,
            {"layers": (1, 10**5), "knots": (4, 10**4), "oversampling": (0.5, 1000), "iterations": (0, 10**4)},
        )


def _columns(data: TrainingSet, run: Run) -> tuple[Tensor, Tensor | None]:
    """Step 1: the rows as columns ``[p, n]``, class after class, and their class numbers."""
    labels, order = (None, None) if data.labels is None else data.labels.sort(stable=True)
    x = (data.x if order is None else data.x[order]).flatten(1).T.clone(memory_format=torch.contiguous_format)
    level = level_of(data.x) if len(data.event_shape) == 3 else 0.0
    if level:
        x += level * (torch.rand(x.shape, generator=_seeded("dequantise", run), device=x.device) - 0.5)
    return x, labels


def level_of(x: Tensor) -> float:
    """The distance of neighbouring levels of images that take evenly spaced values, or 0 where they do not."""
    values = torch.unique(x[:: math.ceil(len(x) / _LOOKED_AT)])
    if not 2 <= len(values) <= _MOST_LEVELS:
        return 0.0
    step = values.diff().min()
    counts = (values - values[0]) / step
    even = (counts - counts.round()).abs().max() < 0.1
    return float(step) if bool(even) and float(counts[-1]) <= _MOST_LEVELS else 0.0


def _stage(law: SlicedLaw, fraction: float) -> PatchLayers:
    """The stage that a share of the budget belongs to; never one before a stage that has layers."""
    stages = list(law)
    ends = torch.tensor([stage.patch.share for stage in stages], dtype=torch.float64).cumsum(0)
    here = int((ends <= fraction * float(ends[-1]) + 1e-9).sum())
    latest = max((i for i, stage in enumerate(stages) if len(stage)), default=0)
    return stages[min(max(here, latest), len(stages) - 1)]


def _root(n: int, most: int) -> int:
    """The square root of a number of rows, from 16 to ``most``."""
    return min(max(math.isqrt(n), _FEWEST), most)


def _levels(count: int, device: torch.device) -> Tensor:
    """Probabilities ``[count]`` of the knots: evenly spaced, and a twelfth of them in each of the two outer cells."""
    outer = count // 12
    inner = torch.linspace(0, 1, count - 2 * outer + 2, device=device)[1:-1]
    cell = inner[0] / (outer + 1) * torch.arange(1, outer + 1, device=device)
    return torch.cat([cell, inner, 1 - cell.flip(0)])


def _quantiles(x: Tensor, labels: Tensor | None, classes: int, index: Tensor, frame: Tensor, levels: Tensor) -> Tensor:
    """Quantiles ``[P, K, C, M]`` of columns ``[p, n]`` along the directions, class by class; some patches at a time."""
    values = frame.shape[2] * x.shape[1]
    patches = max(1, _AT_ONCE.get(x.device.type, _ON_A_CARD) // values)
    sizes = [x.shape[1]] if labels is None else torch.bincount(labels, minlength=classes).tolist()
    found = []
    for part in torch.arange(len(index)).split(patches):
        a, b = int(part[0]), int(part[-1]) + 1
        u = frame[a:b].mT @ take_patches(x, index[a:b])
        found.append(torch.stack([_at_levels(sort_values(one), levels) for one in u.split(sizes, dim=-1)], dim=2))
    return torch.cat(found)


def _at_levels(ordered: Tensor, levels: Tensor) -> Tensor:
    """Quantiles ``[..., M]`` of sorted values ``[..., n]``, between the values on straight lines."""
    place = levels * (ordered.shape[-1] - 1)
    below = place.long()
    above = (below + 1).clamp_max(ordered.shape[-1] - 1)
    return torch.lerp(ordered[..., below], ordered[..., above], (place - below).expand(*ordered.shape[:-1], -1))


def _every(rows: tuple[Tensor, Tensor | None], most: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """About ``most`` of the columns, evenly spaced from a random first one."""
    x, labels = rows
    step = math.ceil(x.shape[1] / most)
    if step == 1:
        return rows
    first = int(torch.randint(step, (1,), generator=generator, device=generator.device))
    return x[:, first::step], labels[first::step] if labels is not None else None


def _some(n: int, count: int, generator: torch.Generator) -> Tensor:
    """``count`` of ``n`` numbers, without replacement."""
    return torch.randperm(n, generator=generator, device=generator.device)[:count]


def _stretched(labels: Tensor | None, copies: int) -> Tensor | None:
    """Class numbers ``[copies]`` with the frequencies of sorted ``labels`` ``[n]``."""
    if labels is None:
        return None
    return labels[torch.arange(copies, device=labels.device) * len(labels) // copies]


def _seeded(name: str, run: Run) -> torch.Generator:
    """A generator for what must be the same after a resume."""
    return torch.Generator(run.device).manual_seed(run.derived_seed(name))
