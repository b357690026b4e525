"""GIS, Gaussianizing Iterative Slicing: the data made Gaussian along the directions where they are least so, layer by layer.

Dai, Seljak: Sliced iterative normalizing flows, arXiv 2007.00674 (ICML 2021).

Model: ``z = T_L o ... o T_1 (x)`` is standard Gaussian. Every layer is ``T(x) = x + A (psi(A^T x) - A^T x)`` with orthonormal ``A``
``[d, K]`` and one increasing spline ``psi_k`` for each column: no gradient descent on the model and no mini-batches. The algorithm:

    1.  hold out a fifth of the training rows for validation
    2.  repeat:
    3.      A     <- argmax over A^T A = I of sum_k W2^2(A_k^T x, N(0, 1))        (first layer: A = I)
    4.      for k = 1 .. K, at once, with u = A_k^T x:
    5.          F     <- kernel estimate of the distribution function of u
    6.          y_m   <- s Phi^-1(F(x_m)) at quantiles x_m of u,  s^2 = 1 + h^2 for the bandwidth h
    7.          psi_k <- rational-quadratic spline through (x_m, y_m), its tails by regression
    8.          psi_k <- (1 - alpha) psi_k + alpha id,  in the tails with alpha_tails
    9.      x     <- x + A (psi(A^T x) - A^T x),  all rows
   10.      l     <- mean log N(x; 0, I) + log |det dx/dx_0| of the validation rows
   11.  until l has not risen for ``patience`` layers;  keep the layers up to the highest l
   sample:  z ~ N(0, I),  x = T_1^-1 o ... o T_L^-1 (z)           log p(x) = log N(T(x); 0, I) + log |det T'(x)|

Departures from the paper (benchmarks/gis.py measures the first two and the bags):
    * Step 3 climbs the closed-form gradient with Barzilai-Borwein steps, without a line search; 25 sorts (10 in up to five
      coordinates) instead of about 500.
    * alpha = .8 and alpha_tails = .98 (less in fewer than five coordinates, .87 and .987 for few rows in many coordinates) instead
      of 1 - .02 log10 n and 1 - .001 log10 n: as likely to a few hundredths, in a third of the layers. The paper's can be given.
    * The first layer is along the axes.
    * Knots that coincide are opened by a ramp, and atoms and collinear columns get a little noise; the paper's code redraws
      knots at random, without end for a constant column.
    * Up to five coordinates half the bandwidth is tried as well, and the likelier fit is kept.
    * ``bags``: the mean of the densities of several fits, each with another fifth held out, so that all rows are learned from.
    * At most 64 directions a layer. A fit ends after 10 layers without a rise instead of 5.
    * Labels: splines for each class along shared directions.

A budget is spent on more starts: for every fifth that is held out the fit that is likeliest on it is kept.

When to use: densities, outlier scores and samples of vectors and tables in about 5 to 100 coordinates, from some hundred rows on.
When not: in two coordinates a kernel estimate or a Gaussian mixture is better, and so is a mixture on data that are one; images. From
some thousand rows on a neural spline flow can be likelier, at several times the time (docs/gis.md).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor

from pushforward.gaussianized import Fit, Gaussianized, Layer, base_log_prob
from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.parameters import check_ranges
from pushforward.run import Run
from pushforward.sliced import Bounds, slide, whitening
from pushforward.solvers.atoms import spread_atoms
from pushforward.solvers.gaussianize import gaussianize_classes
from pushforward.solvers.rational_quadratic import Spline
from pushforward.solvers.slices import find_slices

_ITERATIONS, _ITERATIONS_LOW = 25, 10  # evaluations in a search for directions; in few coordinates
_FOLDS = 5
_MOST_LAYERS = 5000
_FEW, _MOST_SLICES = 8, 64  # the paper's K for many rows; the most directions of a layer
_LOW = 5  # up to so many coordinates two bandwidths are tried
_HIGH, _ROWS_EACH = 15, 100  # with more coordinates than this and fewer rows for each, moves are smaller
_LEAST_SCALE = 1e-3


class GIS(Method):
    """Gaussianizing Iterative Slicing: a density from one-dimensional maps along the directions that are least Gaussian.

    Args:
        slices: directions ``K`` of a layer; None is the paper's rule: all up to 8 coordinates or with fewer than 20 rows for each
            (at most 64), otherwise 8.
        knots: of a spline; None is the paper's rule, the square root of the number of rows held to [50, 200].
        bandwidth: of the kernel estimates in units of Scott's rule; None is 1, and in up to 5 coordinates the likelier of 1 and 0.5.
        alpha: how much of every layer's move is left out, between the knots; None is 1 - 1/d, at most 0.8, or 0.87 in more than 15
            coordinates with fewer than 100 rows for each. The paper: 1 - 0.02 log10 n.
        alpha_tails: the same beyond the knots; None is 1 - (1 - alpha) / 10. The paper: 1 - 0.001 log10 n.
        patience: layers without a better validation likelihood after which a fit ends.
        bags: fits, each with another fifth of the rows for validation, whose densities are averaged; 5 lets all rows be learned from.
        whiten: whether a whitening layer with a shrunk covariance follows the first layer.
        bounds: ``"range"`` keeps every coordinate within the range of the data (logit), ``"below"`` above its minimum (softplus).
    """

    paper: ClassVar[Paper] = Paper(
        title="Sliced Iterative Normalizing Flows",
        authors="Dai and Seljak",
        year=2021,
        arxiv="2007.00674",
        venue="ICML 2021",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = Gaussianized
    law_: Gaussianized

    def __init__(
        self,
        *,
        slices: int | None = None,
        knots: int | None = None,
        bandwidth: float | None = None,
        alpha: float | None = None,
        alpha_tails: float | None = None,
        patience: int = 10,
        bags: int = 1,
        whiten: bool = False,
        bounds: Literal["none", "range", "below"] = "none",
    ) -> None:
        self.slices = slices
        self.knots = knots
        self.bandwidth = bandwidth
        self.alpha = alpha
        self.alpha_tails = alpha_tails
        self.patience = patience
        self.bags = bags
        self.whiten = whiten
        self.bounds = bounds

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law = self._build(data.event_shape, data.classes).to(run.device)
        x = self._standardised(law, data, run)
        fits = run.track("fits", _Fits(self, x, data.labels, data.classes, seed=run.derived_seed("folds")))
        open_end = run.budget is None
        for _ in run.loop("layers", default=f"{_MOST_LAYERS * self.bags} steps"):
            fits.add_layer(run.generator)
            if fits.ended:
                fits.close()
            if fits.ended or fits.length % 20 == 1:
                run.log(loss=-fits.level, layers=fits.length, best=-fits.best)
            if fits.ended and open_end and fits.complete:
                break
            if fits.ended:
                fits.begin()
        return law.take(fits.results())

    def _standardised(self, law: Gaussianized, data: TrainingSet, run: Run) -> Tensor:
        """Rows ``[n, p]`` of mean 0 and variance 1, atoms spread out, bounds opened; the law learns how."""
        x = data.x.flatten(1)
        law.mean, law.scale = x.mean(0), x.std(0, correction=0).clamp_min(_LEAST_SCALE)
        generator = torch.Generator(run.device).manual_seed(run.derived_seed("atoms"))
        x = spread_atoms((x - law.mean) / law.scale, generator=generator)
        if data.labels is not None:
            law.frequencies = torch.bincount(data.labels, minlength=data.classes).float() / len(x)
        if self.bounds != "none":
            low, high = x.amin(0), x.amax(0)
            edge = (high - low).clamp_min(_LEAST_SCALE) / len(x)
            law.bounds = Bounds(low - edge, high + edge if self.bounds == "range" else torch.full_like(high, torch.inf))
            x = law.bounds.inverse_and_log_det(x)[0]
        return x

    def _build(self, event_shape: tuple[int, ...], classes: int) -> Gaussianized:
        return Gaussianized(event_shape, classes)

    def _check(self, data: TrainingSet) -> None:
        p = math.prod(data.event_shape)
        ranges: dict[str, tuple[float, float]] = {
            "slices": (1, p),
            "knots": (5, 10**4),
            "bandwidth": (0, 100),
            "alpha": (0, 1),
            "alpha_tails": (0, 1),
            "patience": (1, 10**6),
            "bags": (1, len(data.x)),
        }
        check_ranges(self, ranges, f" for rows of {p} numbers")

    def p_value(self, data: object, *, condition: object = None) -> np.ndarray:
        """Share ``[n]`` of validation rows that are at least as unlikely as each row: small for outliers, uniform for the data's law.

        A validation row counts with its score by the layers that the other validation rows would have kept, so that no row sits
        in judgement on itself. The least value is one over the number of validation rows (of all bags) plus one.
        """
        self._require("outlier_score")
        x, codes = self._encoded(data, condition)
        return self.law_.p_value(x, codes).cpu().numpy()


class _Fits:
    """The fits one after the other, each layer by layer; saved at checkpoints.

    Args:
        method: the settings.
        x: rows ``[n, p]``.
        labels: class numbers ``[n]``, or None.
        classes: number of classes.
        seed: of the folds.
    """

    def __init__(self, method: GIS, x: Tensor, labels: Tensor | None, classes: int, *, seed: int) -> None:
        self._method, self._x, self._labels, self._classes = method, x, labels, classes
        n, d = x.shape
        few_rows = n < 20 * d or d <= _FEW
        self._count = method.slices or min(d if few_rows else _FEW, _MOST_SLICES)
        usual = 0.87 if d > _HIGH and n < _ROWS_EACH * d else 0.8
        self._inner = method.alpha if method.alpha is not None else min(usual, 1 - 1 / d)
        self._tails = method.alpha_tails if method.alpha_tails is not None else 1 - (1 - self._inner) / 10
        both = method.bandwidth is None and d <= _LOW
        self._bandwidths = [1.0, 0.5] if both else [1.0 if method.bandwidth is None else method.bandwidth]
        generator = torch.Generator().manual_seed(seed)
        folds = [torch.randperm(n, generator=generator) for _ in range(-(-method.bags // _FOLDS))]
        self._orders = [order.roll(-(n // _FOLDS) * k) for order in folds for k in range(_FOLDS)][: method.bags]
        self._kept: dict[int, dict[str, Any]] = {}
        self._left_out: dict[int, tuple[Tensor, Tensor]] = {}
        self._number = -1
        self.begin()

    # ------------------------------------------------------------------ one fit

    def begin(self) -> None:
        """Begin the next fit: the first fold with each bandwidth, then the other folds with the better one, then again."""
        self._number += 1
        extra = len(self._bandwidths) - 1
        self._fold = max(self._number - extra, 0) % self._method.bags
        first = self._number <= extra
        self._bandwidth = self._bandwidths[self._number] if first else self._kept[0]["bandwidth"]
        self._layers: list[Layer] = []
        self._z, self._log_det = self._rows(self._x), self._x.new_zeros(len(self._x))
        self.best = self.level = -math.inf
        self._best_length = 0
        if self._fold not in self._left_out:
            scores = -base_log_prob(self._z[self._trained :])
            self._left_out[self._fold] = torch.full_like(scores, -math.inf, dtype=torch.float64), scores

    def add_layer(self, generator: torch.Generator) -> None:
        """Steps 3 to 10 of the algorithm."""
        labels = self._rows(self._labels) if self._labels is not None else None
        frame, spline = self._layer(labels, generator)
        self._z, log_det = slide(self._z, frame, spline, labels)
        self._log_det = self._log_det + log_det
        self._layers.append((frame, spline))
        log_prob = (base_log_prob(self._z) + self._log_det)[self._trained :]
        self.level = log_prob.double().mean().item()
        if self.level > self.best:
            self.best, self._best_length = self.level, self.length
        self._leave_one_out(log_prob)

    def _leave_one_out(self, log_prob: Tensor) -> None:
        """For each validation row its score by the layers (of all starts) that the other validation rows find best: an honest one."""
        levels, scores = self._left_out[self._fold]
        others = (log_prob.double().sum() - log_prob) / max(len(log_prob) - 1, 1)
        better = others > levels
        self._left_out[self._fold] = torch.where(better, others, levels), torch.where(better, -log_prob, scores)

    def _layer(self, labels: Tensor | None, generator: torch.Generator) -> Layer:
        z = self._z[: self._trained]
        seen = labels[: self._trained] if labels is not None else None
        if self.length == 1 and self._method.whiten:
            axes, lines = whitening(z, self._classes)
            return axes, lines if labels is not None else Spline(*(part[:, 0] for part in lines))
        frame = self._directions(z, seen, generator) if self._layers else None
        return frame, gaussianize_classes(
            z.T if frame is None else frame.T @ z.T,
            seen,
            self._classes,
            bandwidth=self._bandwidth,
            inner=0.0 if frame is None and self._method.bounds != "none" else self._inner,
            tails=self._tails,
            knots=self._method.knots,
        )

    def _directions(self, z: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        iterations = _ITERATIONS if z.shape[1] > _LOW else _ITERATIONS_LOW
        found = find_slices(z[None], count=self._count, iterations=iterations, generator=generator, classes=labels)
        return found[0].contiguous()

    @property
    def length(self) -> int:
        """Layers of the present fit."""
        return len(self._layers)

    @property
    def ended(self) -> bool:
        """Whether the present fit has gone on for ``patience`` layers without becoming likelier."""
        return self.length - self._best_length >= self._method.patience or not math.isfinite(self.level)

    @property
    def complete(self) -> bool:
        """Whether every fold has had a fit, once the present one has ended."""
        return self._number >= len(self._bandwidths) + self._method.bags - 2

    def close(self) -> None:
        """Keep the present fit if it is likelier than the one of its fold so far."""
        kept = self._kept.get(self._fold)
        if kept is None or self.best > kept["best"]:
            layers = self._layers[: self._best_length]
            self._kept[self._fold] = {"layers": layers, "best": self.best, "bandwidth": self._bandwidth}

    def results(self) -> list[Fit]:
        """The fit of every fold that has one."""
        if self._layers:
            self.close()
        if not self._kept:  # interrupted before the first layer
            return [Fit([], [], [], self._left_out[self._fold][1])]
        return [self._result(self._kept[fold]["layers"], self._left_out[fold][1]) for fold in sorted(self._kept)]

    def _result(self, layers: list[Layer], scores: Tensor) -> Fit:
        layers = [(frame, _with_classes(spline, self._classes)) for frame, spline in layers]
        if not self._method.whiten:
            return Fit(layers[:1], [], layers[1:], scores)
        return Fit(layers[:1], layers[1:2] or [_identity(self._x.shape[1], self._classes)], layers[2:], scores)

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Everything but the rows and the settings, in plain types."""
        state = {name: getattr(self, name) for name in _STATE}
        kept = {fold: {**fit, "layers": _plain(fit["layers"])} for fold, fit in self._kept.items()}
        return {**state, "_layers": _plain(self._layers), "_kept": kept, "_left_out": dict(self._left_out)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state."""
        for name in _STATE:
            value = state[name]
            setattr(self, name, value.to(self._x.device) if isinstance(value, Tensor) else value)
        self._layers = self._loaded(state["_layers"])
        self._kept = {fold: {**fit, "layers": self._loaded(fit["layers"])} for fold, fit in state["_kept"].items()}
        device = self._x.device
        self._left_out = {fold: (a.to(device), b.to(device)) for fold, (a, b) in state["_left_out"].items()}

    def _loaded(self, layers: list[tuple[Tensor | None, ...]]) -> list[Layer]:
        device = self._x.device
        moved = [[part.to(device) if part is not None else None for part in layer] for layer in layers]
        return [(frame, Spline(*(cast(Tensor, part) for part in spline))) for frame, *spline in moved]

    @property
    def _trained(self) -> int:
        """Rows that the present fit learns from; the others, a fifth, come last."""
        return len(self._x) - max(1, len(self._x) // _FOLDS)

    def _rows(self, values: Tensor) -> Tensor:
        """Values in the order of the present fold."""
        return values[self._orders[self._fold].to(values.device)]


_STATE = ("_number", "_fold", "_bandwidth", "_z", "_log_det", "best", "level", "_best_length")


def _plain(layers: list[Layer]) -> list[tuple[Tensor | None, ...]]:
    return [(frame, *spline) for frame, spline in layers]


def _with_classes(spline: Spline, classes: int) -> Spline:
    """Knots ``[K, C, M]``, also where there is one class."""
    return spline if classes > 1 else Spline(*(part[:, None] for part in spline))


def _identity(d: int, classes: int) -> Layer:
    line = torch.tensor([-1.0, 1.0]).expand(d, classes, 2)
    return torch.eye(d), Spline(line, line, torch.ones(d, classes, 2))
