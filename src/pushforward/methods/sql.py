"""SQL: an additive latent factor model, fitted by assigning rows to the quantiles of their factors.

Bodelet, Blanc, Shan, Muniz Terrera, Chen: Statistical quantile learning for large, nonlinear, and additive latent variable
models, arXiv 2003.13119.

Model: ``X_j = sum_l g_jl(Z_l) + e_j`` with ``q`` independent standard Gaussian factors ``Z_l``; ``g_jl`` is a penalised cubic
spline in ``U_l = Phi(Z_l)``. The algorithm, with ``P_l`` the permutation of factor ``l``:

    1.  x <- x - mean;   S <- x x^T where p > n                      (steps 6 to 9 need no more of x: p is summed over once)
    2.  u_r = r / (n + 1)                                            (the quantiles of every factor)
    3.  P_l <- ranks of the l-th principal score;   d <- 4
    4.  psi [n, d] <- d + 1 centred B-splines at u, last one dropped;   Omega = integral of psi'' psi''^T
    5.  repeat:
    6.      B <- argmin |x - sum_l P_l psi B_l|^2 + lambda sum_l tr(B_l^T Omega B_l)      (joint ridge regression)
    7.      for one factor l:  y_i = x_i - sum_{k != l} (P_k psi B_k)_i,   C_ij = |y_i - psi_j B_l|^2
    8.      greedy:  P_l <- ranks of argmin_j C_ij;   exact:  P_l <- argmin sum_i C_i,P(i)    (linear assignment)
    9.      next l where the objective of step 6 gained less than tol;  next d <= basis after a round that gained less
    10. factors sorted by the variance that they explain;  residuals e = x - sum_l P_l psi B_l
    sample:  Z ~ N(0, I),  X = mean + sum_l g_l(Z_l) + e

Departures from the paper and its code, measured in benchmarks/sql.py:
    * The regression of step 6 comes before every assignment, not once a round, and a step that would raise the objective is not
      taken: the objective never increases. Greedy assignments look at 1000 to 4000 points of the curve where there are more.
    * ``starts`` first permutations: random rotations of the leading scores beside the paper's, which alone may end in a poor
      optimum, of a much higher objective. They are tried with greedy assignments; exact ones improve the best at the end.
    * lambda = 0.01 instead of 0.1, after a first stage (d = 4) with 10 lambda. Generalised cross-validation (the paper's study)
      was tried and left out: on ranks that were chosen to fit it smooths too little, and no better factors came of it.
    * Missing numbers of a table have weight zero in steps 6 and 7. The authors' code puts the column mean, a zero, which draws
      functions and codes to the centre, the more the more is missing. Indicators of missing values do not shape the factors but
      are regressed on them afterwards. A step then costs p d^2 operations a row, and S is of no use.
    * Samples include the residual e. Labels: functions and permutations of their own for each class.

When to use: wide data with few rows and smooth factors; when the factors and their curves are wanted, not samples alone.
When not: interactions between factors, discrete or heavy-tailed structure, more factors than columns.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor

from pushforward.errors import DataError
from pushforward.latent import LatentLaw
from pushforward.laws import Gaussian, Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.residuals import RESIDUALS, Residuals
from pushforward.run import Run
from pushforward.solvers import splines
from pushforward.solvers.gram import GramRows, RankFit, Rows, WeightedRows, permutation_on_a_curve

_FEWEST, _SMOOTHER = 4, 10.0  # splines of the first stage, and how much smoother its functions are
_TOLERANCE, _COARSE_TOLERANCE = 1e-4, 5e-4  # relative gain that ends the last stage and those before it (authors' code)
_ENDLESS = 2**62  # starts, where a budget ends the search
_VISITS, _ROUNDS = 30, 20  # most assignments of a factor in a row, and most rounds of a stage (authors' code)
_EXACT_ROWS = 2000  # at most, for exact assignments: with more rows they gain less, and take time of the order n^3
_ENTRIES = 2**24  # of a block of costs in a greedy assignment
_POINTS, _MORE_POINTS = 1000, 4000  # of a curve that greedy assignments look at, before and in their last stage
_MOST_CODES = 4096  # training codes that the search for the code of a new row begins with


class AdditiveLaw(LatentLaw):
    """The law of an additive latent factor model of rows ``[n, p]``, some of whose entries may be missing.

    ``indicator`` ``[p]`` names for every coordinate the one that says (where positive) that it is missing, or is -1.
    ``explained`` ``[q]`` and ``column_shares`` ``[q, p]`` are shares of the variance.
    """

    indicator: Tensor
    explained: Tensor
    column_shares: Tensor
    generator: splines.AdditiveSplines

    def __init__(self, generator: splines.AdditiveSplines, residuals: Residuals, width: int) -> None:
        super().__init__(generator, Gaussian((generator.factors,)), residuals, (width,), generator.classes)
        self.register_buffer("indicator", torch.full((width,), -1))
        self.register_buffer("explained", torch.zeros(generator.factors))
        self.register_buffer("column_shares", torch.zeros(generator.factors, width))

    @property
    def flags(self) -> Tensor:
        """Which coordinates ``[p]`` are indicators of missing values."""
        flags = torch.zeros_like(self.indicator, dtype=torch.bool)
        flags[self.indicator[self.indicator >= 0]] = True
        return flags

    def observed(self, x: Tensor) -> Tensor | None:
        """1 where a coordinate is known and 0 where it is missing, ``[n, p]``; None where nothing can be missing."""
        if bool((self.indicator < 0).all()):
            return None
        return 1.0 - ((self.indicator >= 0) & (x[:, self.indicator.clamp_min(0)] > 0)).to(x.dtype)

    def weights(self, x: Tensor) -> Tensor | None:
        """``observed``, with 0 for the indicators, which do not shape the codes."""
        observed = self.observed(x)
        return None if observed is None else observed.masked_fill(self.flags, 0.0)

    def _energy(self, x: Tensor, labels: Tensor | None, z: Tensor) -> Tensor:
        """As in ``LatentLaw``; an entry without weight counts with its expected misfit of 1."""
        misfit, weights = (x - self.decode(z, labels)).square() / self.noise_variance, self.weights(x)
        misfit = misfit if weights is None else torch.where(weights > 0, misfit, 1.0)
        return misfit.sum(1) + self.latent.energy(z)

    @torch.no_grad()
    def _mode(self, x: Tensor, labels: Tensor | None, steps: int) -> Tensor:
        z, weights = self.codes.new_zeros(len(x), self.generator.factors), self.weights(x)
        for k in range(self.classes):
            rows = (labels == k).nonzero()[:, 0] if labels is not None else torch.arange(len(x), device=x.device)
            known, part = self.codes[self.code_labels == k][:_MOST_CODES], None if weights is None else weights[rows]
            z[rows] = self.generator.nearest(x[rows], k, known, self.noise_variance, part)
        return z


class SQL(Method):
    """Statistical quantile learning: additive splines of a few factors (2003.13119).

    Args:
        latent_dim: number ``q`` of factors.
        basis: number ``d`` of spline functions a factor, at least 4; reached in steps of one from 4.
        smoothing: weight ``lambda`` of the roughness penalty (the authors' code has 0.1); more for noisy, narrow data.
        assignment: ``"exact"`` (above 2000 rows greedy all the same) or ``"greedy"``.
        starts: first permutations that are tried without a budget; a budget is spent on more of them.
        noise: residual added to samples: ``"gaussian"`` (the paper's model), ``"local"`` (neighbouring residuals combined) or
            ``"none"``.
    """

    paper: ClassVar[Paper] = Paper(
        title="Statistical quantile learning for large, nonlinear, and additive latent variable models",
        authors="Bodelet and Blanc and Shan and Muniz Terrera and Chen",
        year=2020,
        arxiv="2003.13119",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"vector", "table"})
    law_type: ClassVar[type[Law]] = AdditiveLaw

    def __init__(
        self,
        *,
        latent_dim: int = 2,
        basis: int = 6,
        smoothing: float = 0.01,
        assignment: Literal["exact", "greedy"] = "exact",
        starts: int = 12,
        noise: Literal["gaussian", "local", "none"] = "gaussian",
    ) -> None:
        self.latent_dim = latent_dim
        self.basis = basis
        self.smoothing = smoothing
        self.assignment: Literal["exact", "greedy"] = assignment
        self.starts = starts
        self.noise: Literal["gaussian", "local", "none"] = noise

    # ------------------------------------------------------------------ what was learned

    @property
    def codes_(self) -> Tensor:
        """Codes ``[n_train, q]`` of the training rows, in the order of ``train_rows_``."""
        return self._law.codes

    @property
    def explained_variance_(self) -> np.ndarray:
        """Share ``[q]`` of the (class-centred) variance that each factor explains, largest first; together the whole share."""
        return np.asarray(self._law.explained.cpu())

    @property
    def column_shares_(self) -> np.ndarray:
        """Share ``[q, p]`` of each encoded coordinate's variance that each factor explains (below 0 only where codes correlate)."""
        return np.asarray(self._law.column_shares.cpu())

    @property
    def function_grid_(self) -> np.ndarray:
        """The codes ``[101]`` at which ``functions_`` are given: standard normal quantiles from 0.005 to 0.995."""
        return np.asarray(torch.special.ndtri(torch.linspace(0.005, 0.995, 101)))

    @property
    def functions_(self) -> np.ndarray:
        """The additive functions on ``function_grid_``, encoded scale: ``[q, 101, p]``, with labels ``[classes, q, 101, p]``."""
        law = self._law
        values = law.generator.functions(torch.from_numpy(self.function_grid_).to(law.device)).cpu()
        return np.asarray(values[0] if law.classes == 1 else values)

    @property
    def _law(self) -> AdditiveLaw:
        self._require("encode")
        return cast(AdditiveLaw, self.law_)

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law, coordinates = self._build(data.event_shape, data.classes).to(run.device), self.schema_.coordinates()
        if coordinates.empty:
            name = coordinates.empty[0]
            raise DataError(f"Column {name!r} holds no value in any training row. Fix: df.drop(columns=[{name!r}]).")
        law.indicator = torch.tensor(coordinates.indicator, device=run.device)
        law.code_labels = data.labels if data.labels is not None else law.code_labels.new_zeros(len(data.x))
        whole = data.classes == 1
        rows = [slice(None) if whole else (law.code_labels == k).nonzero()[:, 0] for k in range(data.classes)]
        starts = run.value("starts", lambda: self.starts if run.budget is None else _ENDLESS)
        searches = [run.track(f"search {k}", self._search(data.x[part], law, starts)) for k, part in enumerate(rows)]
        default = _ROUNDS * self.latent_dim * len(searches[0].stages) * (self.starts + 1)
        for _ in run.loop("assign", default=f"{default} steps", steps_per_epoch=self.latent_dim):
            began = run.elapsed
            unfinished = [search for search in searches if search.at["start"] < starts]
            for search in unfinished:
                search.step(run.generator)
            if unfinished:
                _log(searches, run)
                run.reserve(run.elapsed - began)
        found = [search.result() for search in searches]
        explained = torch.stack([shares for _, shares in found]).sum(0).float()
        total, entries = sum(s.rows.total for s in searches), sum(s.rows.entries for s in searches)
        law.explained, law.noise_variance = explained / total, ((total - explained.sum()) / entries).clamp_min(1e-12)
        law.codes, totals = data.x.new_zeros(len(data.x), self.latent_dim), torch.zeros_like(data.x[0])
        for k, (ranks, _) in enumerate(found):
            law.codes[rows[k]], own = self._keep_functions(law, k, searches[k].stages[-1], ranks, data.x[rows[k]])
            totals += own
        law.column_shares /= totals.clamp_min(1e-12)
        self._keep_residuals(law, data, run)
        return law

    def _search(self, x: Tensor, law: AdditiveLaw, starts: int) -> _Search:
        """Steps 1 to 4 for the rows of one class."""
        weights = law.weights(x)
        if weights is None:
            return _Search(GramRows(x), len(x), x.device, self, starts)
        values, weights = x[:, ~law.flags].double(), weights[:, ~law.flags].double()
        centred = values - splines.column_means(values, weights)
        return _Search(WeightedRows(centred, weights), len(x), x.device, self, starts)

    @torch.no_grad()
    def _keep_functions(
        self, law: AdditiveLaw, k: int, regression: splines.RankRegression, ranks: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Step 10: functions of all columns; codes ``[n, q]``, which rise with their strongest column; sums of squares ``[p]``."""
        weights = law.observed(x)
        mean = law.generator.mean[k] = splines.column_means(x, weights)
        if weights is not None:  # otherwise designs and codes, whose means are zero, need no centred rows
            x, weights = (weights * (x - mean)).double(), weights.double()
        loading = splines.codes_of(ranks).to(x.dtype) @ x
        falls = loading.gather(1, loading.abs().argmax(1, keepdim=True)) < 0
        ranks = torch.where(falls, len(x) - 1 - ranks, ranks)
        b = regression.coefficients(x, ranks, weights)
        law.generator.coefficients[k], law.generator.centre[k] = b.float(), regression.centre.float()
        law.column_shares += regression.column_shares(x, ranks, b, weights).float()
        totals = splines.square_sums(x).float() - (len(x) * mean.square() if weights is None else 0)
        return splines.codes_of(ranks).T.float(), totals

    @torch.no_grad()
    def _keep_residuals(self, law: AdditiveLaw, data: TrainingSet, run: Run) -> None:
        """Residuals of the training rows; those of missing numbers are drawn with their column's standard deviation."""
        residuals, observed = law.decode(law.codes, data.labels).neg_().add_(data.x), law.observed(data.x)
        if observed is not None:
            scale = splines.column_means(residuals.square(), observed).sqrt()
            noise = scale * torch.randn(residuals.shape, generator=run.generator, device=residuals.device)
            residuals = torch.where(observed > 0, residuals, noise)
        law.residuals.fit(law.codes, residuals, run.generator, data.labels)

    def _build(self, event_shape: tuple[int, ...], classes: int) -> AdditiveLaw:
        generator = splines.AdditiveSplines(self.latent_dim, self.basis, event_shape[0], classes)
        return AdditiveLaw(generator, RESIDUALS[self.noise](), event_shape[0])

    def _check(self, data: TrainingSet) -> None:
        p, q, d = data.x.shape[1], self.latent_dim, self.basis
        n = len(data.x) if data.labels is None else int(torch.bincount(data.labels, minlength=data.classes).min())
        rows = f"{n} training rows" + (" of the smallest class" if data.classes > 1 else "")
        problems = {
            f"latent_dim: from 1 to {min(p, n)} factors can be told apart in {p} columns and {rows}, got {q}; "
            f"use latent_dim={min(2, p, n)}.": not 1 <= q <= min(p, n),
            f"basis: at least {_FEWEST} spline functions a factor are needed, got {d}.": d < _FEWEST,
            f"basis: {q} factors of {d} functions make {q * d} coefficients a column, too many for {rows}; lower basis "
            f"(to no less than {_FEWEST}) or latent_dim, or give more rows.": q * d >= n,
            f"smoothing: must be positive, got {self.smoothing}; try 0.01.": self.smoothing <= 0,
            f"starts: must be at least 1, got {self.starts}.": self.starts < 1,
        }
        for message, wrong in problems.items():
            if wrong:
                raise ValueError(message)


class _Search:
    """Steps 3 to 9 for the rows of one class: the permutations as ranks ``[q, n]``, and how far the search has come."""

    def __init__(self, rows: Rows, n: int, device: torch.device, settings: SQL, starts: int) -> None:
        self.rows, self.n, self.device, self.q, self.starts = rows, n, device, settings.latent_dim, starts
        degrees = range(min(_FEWEST + 1, settings.basis), settings.basis + 1)
        plan = [(_FEWEST, _SMOOTHER * settings.smoothing), *((d, settings.smoothing) for d in degrees)]
        self.stages = [splines.RankRegression(n, self.q, d, smoothing, device) for d, smoothing in plan]
        self.greedy = len(self.stages)  # stages with greedy assignments
        self.stages += self.stages[-1:] * (settings.assignment == "exact" and n <= _EXACT_ROWS)
        self.scores = rows.scores(self.q + 2)
        self.ranks = self.best = splines.ranks_of(self.scores[:, : self.q]).T
        self.at = {"stage": 0, "factor": 0, "visits": 0, "round": 0, "start": 0}
        self.least = {"round": math.inf, "end": math.inf, "misfit": math.inf}
        self._fit: RankFit | None = None

    @property
    def fit(self) -> RankFit:
        """Step 6 on the present ranks."""
        if self._fit is None:
            self._fit = self.rows.fit(self.stage, self.ranks)
        return self._fit

    @property
    def standing(self) -> tuple[float, float]:
        """Objective and sum of squared residuals, of the present ranks in the first start and of the best ones afterwards."""
        first = self.at["start"] == 0
        return (self.fit.objective, self.fit.misfit) if first else (self.least["end"], self.least["misfit"])

    @property
    def stage(self) -> splines.RankRegression:
        return self.stages[self.at["stage"]]

    @property
    def tolerance(self) -> float:
        return _TOLERANCE if self.stage is self.stages[-1] else _COARSE_TOLERANCE

    def step(self, generator: torch.Generator) -> None:
        """One assignment of one factor, and the decision what comes next."""
        before, ranks = self.fit, self.ranks.clone()
        ranks[self.at["factor"]] = self._assigned(before, generator)
        after = self.rows.fit(self.stage, ranks)
        gain = _gain(before.objective, after.objective)
        if gain > 0:
            self.ranks, self._fit = ranks, after
        self.at["visits"] += 1
        if gain < self.tolerance or self.at["visits"] == _VISITS:
            self._next_factor(generator)

    def _assigned(self, fit: RankFit, generator: torch.Generator) -> Tensor:
        """Steps 7 and 8: new ranks ``[n]`` of the present factor."""
        factor, n = self.at["factor"], self.n
        if self.at["stage"] >= self.greedy:
            return permutation_on_a_curve(fit.distances(factor, slice(None)))
        every = max(1, n // (_POINTS if self.at["stage"] < self.greedy - 1 else _MORE_POINTS))
        near = torch.empty(n, dtype=torch.float64, device=self.device)
        for rows in torch.arange(n, device=self.device).split(max(1, _ENTRIES * every // n)):
            near[rows] = fit.distances(factor, rows, every=every).argmin(1).double()
        return splines.ranks_of(near + torch.rand(n, generator=generator, dtype=torch.float64, device=self.device))

    def _next_factor(self, generator: torch.Generator) -> None:
        """Step 9; a round ends after the last factor."""
        self.at["factor"], self.at["visits"] = (self.at["factor"] + 1) % self.q, 0
        if self.at["factor"]:
            return
        gain = _gain(self.least["round"], self.fit.objective)
        self.at["round"], self.least["round"] = self.at["round"] + 1, self.fit.objective
        if gain < self.tolerance or self.at["round"] == _ROUNDS:
            self._next_stage(self.fit, generator)

    def _next_stage(self, fit: RankFit, generator: torch.Generator) -> None:
        """One more spline; after the last one exact assignments, of the best start or where there is no last of every best one."""
        self.at["stage"] += 1
        if self.at["stage"] >= self.greedy:
            better = fit.objective < self.least["end"]
            if better:
                self.least["end"], self.least["misfit"], self.best = fit.objective, fit.misfit, self.ranks
            wanted = better if self.starts == _ENDLESS else self.at["start"] == self.starts - 1
            if self.at["stage"] < len(self.stages) and wanted:
                self.ranks = self.best
            else:
                self._next_start(generator)
        self.at["round"], self.least["round"], self._fit = 0, math.inf, None

    def _next_start(self, generator: torch.Generator) -> None:
        """Begin again from a random rotation of the leading ``q + 2`` or ``q`` scores."""
        self.at["start"], self.at["stage"] = self.at["start"] + 1, 0
        scores = self.scores[:, : self.q] if self.q > 1 and self.at["start"] % 2 else self.scores
        turn = torch.randn(2 * scores.shape[1:], generator=generator, dtype=torch.float64, device=scores.device)
        self.ranks = splines.ranks_of((scores @ torch.linalg.qr(turn)[0])[:, : self.q]).T

    def result(self) -> tuple[Tensor, Tensor]:
        """The best ranks ``[q, n]`` and the sums of squares that the factors explain ``[q]``, largest first."""
        fits = [(self.rows.fit(self.stages[-1], ranks), ranks) for ranks in (self.best, self.ranks)]
        fit, ranks = min(fits, key=lambda found: found[0].objective)
        shares = fit.shares()
        order = shares.argsort(descending=True)
        return ranks[order], shares[order]

    def state_dict(self) -> dict[str, Any]:
        return {"ranks": self.ranks, "best": self.best, "at": dict(self.at), "least": dict(self.least)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ranks, self.best = state["ranks"].to(self.device), state["best"].to(self.device)
        self.at, self.least, self._fit = dict(state["at"]), dict(state["least"]), None


def _gain(before: float, after: float) -> float:
    return 1.0 if math.isinf(before) else (before - after) / max(before, 1e-300)


def _log(searches: list[_Search], run: Run) -> None:
    """A record for every step of the first start, and afterwards where the best objective has changed."""
    standing = torch.tensor([search.standing for search in searches], dtype=torch.float64).sum(0)
    objective, misfit = (standing / sum(search.rows.total for search in searches)).tolist()
    if not run.history or run.history[-1].get("objective") != objective:
        run.log(loss=objective, objective=objective, explained_variance=1 - misfit, basis=searches[0].stage.basis)
