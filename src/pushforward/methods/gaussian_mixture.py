"""GaussianMixture: principal components and a mixture of Gaussians on them, with a density.

Tipping, Bishop: Mixtures of probabilistic principal component analysers, Neural Computation 11 (1999); the EM algorithm is that of
Dempster, Laird, Rubin: Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39 (1977).

Model: ``x = mu + W z + s e`` with ``W^T W = I``, ``z`` from a mixture of Gaussians with full covariances, and ``e`` standard Gaussian in
the directions orthogonal to ``W``. The algorithm:

    1.  mu, W [p, q], s^2   mean, q leading principal axes, mean variance of the other p - q directions
    2.  z_i <- W^T (x_i - mu)
    3.  for k = 1, 2, 4, ...:  EM with k components on 4/5 of the rows                (of every class)
    4.      for r = 1, 2, 4, ..., 64:  C_j <- (n_j C_j + r C) / (n_j + r),  C = sum_j w_j C_j;   mean log p of the other 1/5
    5.  k, r <- the largest k, then the smallest r, within one standard error of the best
    6.  repeat until the budget is spent (``starts`` times without one):  EM with k components on all rows, from another start
    7.  keep the start of largest likelihood;  C_j as in 4
    sample:    x = mu + W z + s e                        log p(x) = log p(z) + log N(x - mu - W z; 0, s^2 (I - W W^T))

Departures from the paper:
    * One basis for all components and full covariances in it, instead of a basis for each: scikit-learn's EM does that fast.
    * Covariances are shrunk towards their mean (step 4), which lets small data carry many components.
    * Samples of images leave ``s e`` out: white noise is seen as grain. Then ``log_prob`` is not quite the density of the samples.

When to use: first of all. It takes a second for a thousand rows and is hard to beat below some thousand rows, on small tables
even more so; when a density or an outlier score is needed.
When not: large images or long tails of detail, where a mixture of ellipsoids in a hundred dimensions is too simple.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.mixtures import FullMixture
from pushforward.parameters import check_ranges
from pushforward.run import Run
from pushforward.solvers.expectation import Choice, Components, fit_components

_SHARE, _MOST, _ROWS_EACH = 0.99, 100, 10  # of the variance; axes at most; rows for each axis
_FEW = 32  # up to so many coordinates all axes are kept
_LEAST = 1e-3  # variance of a component in any direction, as a share of the mean variance
_WIDE, _WIDE_ROWS = 2048, 3000  # from so many coordinates on, the axes are those of at most so many rows
_CHOICE_ROWS = 5000


class ProjectedMixture(Law):
    """The law of ``mu + W z + s e``: a mixture in a linear subspace and isotropic noise around it.

    Args:
        event_shape: shape of a row; it has ``p`` numbers.
        noise: whether samples have the noise ``s e``; the density always has it.
    """

    mean: Tensor
    basis: Tensor
    variance: Tensor

    def __init__(self, event_shape: tuple[int, ...], noise: bool) -> None:
        super().__init__(event_shape)
        p = math.prod(event_shape)
        self.noise, self.latent = noise, FullMixture(1)
        self.register_buffer("mean", torch.zeros(p))
        self.register_buffer("basis", torch.zeros(p, 1))
        self.register_buffer("variance", torch.ones(()))

    def project(self, x: Tensor) -> Tensor:
        """Principal scores ``[n, q]`` of rows ``[n, *event_shape]``."""
        return (x.flatten(1) - self.mean) @ self.basis

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        return self._image(self.latent.sample(n, generator=generator), generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        return self._image(self.latent.sample_given(labels, generator=generator), generator)

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-density ``[n]`` of rows, given the class numbers ``[n]`` where there are some."""
        z = self.project(x)
        rest = x.flatten(1) - self.mean - z @ self.basis.T
        noise = rest.square().sum(1) / self.variance
        directions = self.basis.shape[0] - self.basis.shape[1]
        return self.latent.log_prob(z, labels) - 0.5 * (noise + directions * torch.log(2 * math.pi * self.variance))

    def outlier_score(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Minus the log-density ``[n]``, given the class where there are some."""
        return -self.log_prob(x, labels)

    def _image(self, z: Tensor, generator: torch.Generator | None) -> Tensor:
        x = self.mean + z @ self.basis.T
        if self.noise:
            e = torch.randn(x.shape, generator=generator, device=x.device)
            x = x + self.variance.sqrt() * (e - (e @ self.basis) @ self.basis.T)
        return x.reshape(-1, *self.event_shape)


class GaussianMixture(Method):
    """Principal components and a mixture of Gaussians on them.

    Args:
        components: Gaussians (for each class, where there are labels); None chooses by held-out rows.
        latent_dim: principal axes; None takes all up to 32 coordinates, above that those that hold 99 % of the variance, at most
            100 and one for every ten rows.
        noise: whether samples have the noise beside the principal axes; None means yes for vectors and tables, no for images.
        starts: starts of EM without a budget; a budget is spent on more of them.
    """

    paper: ClassVar[Paper] = Paper(
        title="Mixtures of probabilistic principal component analysers",
        authors="Tipping and Bishop",
        year=1999,
        arxiv="",
        venue="Neural Computation 11(2), 443-482",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = ProjectedMixture

    def __init__(
        self,
        *,
        components: int | None = None,
        latent_dim: int | None = None,
        noise: bool | None = None,
        starts: int = 1,
    ) -> None:
        self.components = components
        self.latent_dim = latent_dim
        self.noise = noise
        self.starts = starts

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law = self._build(data.event_shape, data.classes).to(run.device)
        axes = run.value("axes", lambda: _principal_axes(data.x.flatten(1), self.latent_dim or _MOST))
        floor = self._project(law, axes, len(data.x))
        z = law.project(data.x)
        k, strength = self._choose(z, data.labels, floor, run)
        best = run.track("best", _Best())
        for start in run.loop("starts", default=f"{self.starts} steps"):
            seed = run.derived_seed(f"start {start}")
            if best.offer(fit_components(z, data.labels, k, floor=floor, seed=seed)):
                run.log(loss=-best.bound, components=k, strength=strength, axes=z.shape[1])
        parts = best.parts or fit_components(
            z, data.labels, 1, floor=floor, seed=0
        )  # interrupted before the first start
        law.latent.take(parts, strength)
        return law

    def _project(self, law: ProjectedMixture, axes: dict[str, Tensor], n: int) -> float:
        """Step 1; returns the least variance of a component."""
        variances, p = axes["variances"], len(axes["mean"])
        q = min(self.latent_dim or _axes_for(variances / axes["total"], p, n), len(variances))
        rest = float(axes["total"] - variances[:q].sum()) / max(p - q, 1)
        law.mean, law.basis = axes["mean"].float(), axes["basis"][:, :q].float().contiguous()
        law.variance = torch.tensor(max(rest, _LEAST**2 * float(axes["total"]) / p), device=law.mean.device)
        return _LEAST * float(variances[:q].mean())

    def _choose(self, z: Tensor, labels: Tensor | None, floor: float, run: Run) -> tuple[int, float]:
        """Steps 3 to 5."""
        rows = run.value("rows", lambda: _some(len(z), _CHOICE_ROWS, run.generator))
        seen = labels[rows] if labels is not None else None
        choice = run.track("choice", Choice(z[rows], seen, floor=floor, seed=run.derived_seed("choice")))
        sizes = choice.candidates if self.components is None else [self.components]
        for i in run.range("components", len(sizes) if choice.candidates else 0):
            choice.look(sizes[i])
        k, strength = choice.best
        return self.components or k, strength

    def _build(self, event_shape: tuple[int, ...], classes: int) -> ProjectedMixture:
        return ProjectedMixture(event_shape, len(event_shape) == 1 if self.noise is None else self.noise)

    def _check(self, data: TrainingSet) -> None:
        n, p = len(data.x), math.prod(data.event_shape)
        ranges: dict[str, tuple[float, float]] = {"components": (1, n), "latent_dim": (1, p), "starts": (1, 10**6)}
        check_ranges(self, ranges, f" for {n} rows of {p} numbers")


class _Best:
    """The components of largest likelihood so far; saved at checkpoints."""

    def __init__(self) -> None:
        self.parts: Components | None = None

    @property
    def bound(self) -> float:
        return self.parts.bound if self.parts is not None else -math.inf

    def offer(self, parts: Components) -> bool:
        """Keep the components if they are better."""
        better = parts.bound > self.bound
        self.parts = parts if better else self.parts
        return better

    def state_dict(self) -> dict[str, Any]:
        return {"parts": dict(vars(self.parts)) if self.parts is not None else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.parts = Components(**state["parts"]) if state["parts"] is not None else None


def _principal_axes(x: Tensor, most: int) -> dict[str, Tensor]:
    """Mean ``[p]``, at most ``most`` axes ``[p, r]``, their variances ``[r]`` (largest first), the total variance; float64."""
    mean = x.mean(0, dtype=torch.float64)
    wide = x.shape[1] > min(_WIDE, len(x))
    seen = x[:: math.ceil(len(x) / _WIDE_ROWS)] if wide else x
    centred = seen.double() - mean
    values, vectors = torch.linalg.eigh((centred @ centred.T if wide else centred.T @ centred) / len(seen))
    keep = (values > 1e-6 * values[-1]).nonzero()[:, 0].flip(0)[:most]
    values, vectors = values[keep], vectors[:, keep]
    basis = torch.linalg.qr(centred.T @ vectors)[0] if wide else vectors
    return {"mean": mean, "basis": basis, "variances": values, "total": centred.square().sum() / len(seen)}


def _axes_for(shares: Tensor, p: int, n: int) -> int:
    """How many axes to keep, of those that have ``shares`` ``[r]`` of the variance."""
    if p <= _FEW:
        return len(shares)
    return max(1, min(int((shares.cumsum(0) < _SHARE).sum()) + 1, _MOST, n // _ROWS_EACH))


def _some(n: int, most: int, generator: torch.Generator) -> Tensor:
    """All row numbers ``[n]``, or ``most`` of them drawn without replacement."""
    order = torch.randperm(n, generator=generator, device=generator.device)
    return order[:most]
