"""The law of data that sliced layers carry to the standard Gaussian; a mixture of several such fits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.laws import Gaussian, Law
from pushforward.sliced import Bounds, SlicedLayers
from pushforward.solvers.rational_quadratic import Spline

Layer = tuple[Tensor | None, Spline]
_LOG_2PI = math.log(2 * math.pi)


@dataclass
class Fit:
    """One fit: ``axes`` and ``white`` have one layer or none; ``scores`` ``[m]`` are minus log-densities of rows that had no part in it."""

    axes: list[Layer]
    white: list[Layer]
    layers: list[Layer]
    scores: Tensor


class Gaussianized(Law):
    """The law of ``T^-1(z)`` for Gaussian ``z``, in equal parts for each of several fitted maps ``T``; with classes where there are some.

    A map ``T`` standardises, opens bounds, then makes sliced layers: one along the axes, one that whitens (where there is
    one), and any number along directions that were found.

    Args:
        event_shape: shape of a row, of ``p`` numbers.
        classes: number of classes, 1 for none.
    """

    mean: Tensor
    scale: Tensor
    ends: Tensor
    frequencies: Tensor
    calibration: Tensor

    def __init__(self, event_shape: tuple[int, ...], classes: int = 1) -> None:
        super().__init__(event_shape)
        p = math.prod(event_shape)
        self.latent_shape = (p,)
        self.register_buffer("mean", torch.zeros(p))
        self.register_buffer("scale", torch.ones(p))
        self.register_buffer("ends", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("frequencies", torch.full((classes,), 1 / classes))
        self.register_buffer("calibration", torch.zeros(1, 0))
        self.bounds = Bounds(torch.zeros(0), torch.zeros(0))
        self.axes, self.white, self.layers = SlicedLayers(), SlicedLayers(), SlicedLayers()
        self.base = Gaussian((p,))

    def take(self, fits: list[Fit]) -> Gaussianized:
        """Take over fits, after ``mean``, ``scale`` and ``bounds`` have been set; returns self."""
        self.axes = SlicedLayers.stack([layer for fit in fits for layer in fit.axes])
        self.white = SlicedLayers.stack([layer for fit in fits for layer in fit.white])
        self.layers = SlicedLayers.stack([layer for fit in fits for layer in fit.layers])
        self.ends = torch.tensor([len(fit.layers) for fit in fits], device=self.device).cumsum(0)
        self.calibration = (torch.stack([fit.scores for fit in fits]) + self.scale.log().sum()).sort().values
        return self

    # ------------------------------------------------------------------ the abilities

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        labels = torch.multinomial(self.frequencies, n, replacement=True, generator=generator)
        return self.sample_given(labels, generator=generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        n = len(labels)
        z = self.base.sample(n, generator=generator)
        part = torch.randint(len(self.ends), (n,), generator=generator, device=z.device)
        x = torch.empty_like(z)
        for i in part.unique().tolist():
            rows = (part == i).nonzero()[:, 0]
            x[rows] = self._to_data(z[rows], labels[rows], i)
        return x.reshape(n, *self.event_shape)

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-density ``[n]`` of rows, given the class numbers ``[n]`` where there are some, otherwise over all classes."""
        parts = self._log_probs(x, labels)
        return parts.logsumexp(0) - math.log(len(parts))

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Gaussian codes ``[n, p]`` by the first of the maps."""
        return self._to_noise(x, labels, 0)[0]

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rows for codes ``[n, p]``: the inverse of ``encode``."""
        return self._to_data(z, labels, 0).reshape(-1, *self.event_shape)

    def between(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Codes on great circles from ``a`` to ``b``, both ``[n, p]``: ``[n * steps, p]``."""
        return self.base.between(a, b, steps)

    def outlier_score(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Minus the log-density ``[n]``, given the class where there are some."""
        return -self.log_prob(x, labels)

    def p_value(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Share ``[n]`` of held-out rows that are at least as unlikely; uniform for rows of the same law, small for outliers.

        Every map ranks the row among rows that had no part in it (Vovk, Cross-conformal predictors, arXiv 1208.0806, for several maps).
        """
        below = torch.searchsorted(self.calibration, -self._log_probs(x, labels)).sum(0)
        m = self.calibration.numel()
        share: Tensor = (1 + m - below) / (1 + m)
        return share

    # ------------------------------------------------------------------ one of the maps

    def _part(self, i: int) -> list[tuple[SlicedLayers, slice]]:
        start = int(self.ends[i - 1]) if i else 0
        one = slice(i, i + 1)
        return [(self.axes, one), (self.white, one), (self.layers, slice(start, int(self.ends[i])))]

    def _to_noise(self, x: Tensor, labels: Tensor | None, i: int) -> tuple[Tensor, Tensor]:
        z, total = self.bounds.inverse_and_log_det((x.flatten(1) - self.mean) / self.scale)
        for layers, part in self._part(i):
            z, log_det = layers.inverse_and_log_det(z, labels, part)
            total = total + log_det
        return z, total - self.scale.log().sum()

    def _to_data(self, z: Tensor, labels: Tensor | None, i: int) -> Tensor:
        for layers, part in reversed(self._part(i)):
            z = layers.forward(z, labels, part)
        inside: Tensor = self.bounds(z)
        return inside * self.scale + self.mean

    def _log_probs(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Log-densities ``[maps, n]`` of rows by each map alone."""
        classes = len(self.frequencies)
        if labels is None and classes > 1:
            each = [self._log_probs(x, torch.full((len(x),), k, device=x.device)) for k in range(classes)]
            return (torch.stack(each) + self.frequencies.log()[:, None, None]).logsumexp(0)
        return torch.stack([self._log_prob(x, labels, i) for i in range(len(self.ends))])

    def _log_prob(self, x: Tensor, labels: Tensor | None, i: int) -> Tensor:
        z, log_det = self._to_noise(x, labels, i)
        return base_log_prob(z) + log_det


def base_log_prob(z: Tensor) -> Tensor:
    """Log-density ``[n]`` of the standard Gaussian at rows ``[n, p]``."""
    squares: Tensor = z.square().sum(1)
    return -0.5 * (squares + z.shape[1] * _LOG_2PI)
