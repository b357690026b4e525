"""TTC, Trust the Critics: no generator, a growing sequence of critics whose gradients carry the source to the data.

Milne, Bilocq, Nachman: Trust the Critics: generatorless and multipurpose WGANs with initial convergence guarantees, arXiv 2111.15099
(2021); A new method for determining Wasserstein 1 optimal transport maps from Kantorovich potentials, with deep learning
applications, arXiv 2211.00820 (2022).

Source ``mu`` (noise, or a data set), target ``nu`` (the data). A critic is high on the source; rows move down its gradient:

    1.  for n = 0 .. N - 1:
    2.      u_n <- a copy of u_{n-1} (u_0 is random),  with a fresh Adam
    3.      repeat T times:
    4.          x ~ mu, moved by all critics before:  x <- x - eta_j grad u_j(x),  j = 0 .. n - 1
    5.          y ~ nu,   z = (1 - a) x + a y,   a ~ U(0, 1) for each row
    6.          u_n <- Adam on  E u_n(y) - E u_n(x) + lambda E (|grad u_n(z)| - 1)_+^2                (one-sided penalty)
    7.      W_n <- E u_n(x) - E u_n(y) - lambda E (|grad u_n(z)| - 1)_+^2      on fresh rows, with its standard error
    8.      eta_n <- theta W_n;   where W_n is under its standard error: no step, and u_n is not kept
    9.      7 and 8 again with the same u_n on rows moved by its steps so far, at most S steps in all                (2211.00820)
    sample:  x ~ mu, moved by all critics;   translate, reconstruct:  the same, from given rows of the source

Each step lowers W1(moved mu, nu) by at least ``eta (1 - 2 P(d < eta))``, ``d`` the lengths of an optimal plan, if ``u_n`` is exact: with
``eta = theta W1`` the distance falls geometrically until many rows are nearer to the data than a step.

Departures from the papers:
    * Moved rows are used once, as in step 4, but pushed for many iterations at a time: the same law, less overhead.
    * lambda 100 (papers: 1000), Adam 1e-3 on a cosine (1e-4 constant), the first critic five times as long: for short runs;
      benchmarks/ttc.py has the figures. W_n exceeds W1 by the congestion (2109.00528), which falls like 1 / lambda.
    * A critic whose estimate is noise moves nothing (8); training goes on from its weights, so that it is not the end where a critic
      was merely short of training. So there are at most N critics.
    * With labels, a critic has an output and a step size for each class.

When to use: restoring or translating without pairs; few dimensions; a source that is already near the data.
When not: many samples fast (a sample costs N gradients, and every critic is kept), or a density in many dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pushforward import nets
from pushforward.codes import cosine, steps_in_epoch
from pushforward.critic_law import CriticLaw, NoSource, push
from pushforward.data.rows import digest_of
from pushforward.errors import Diverged
from pushforward.laws import Empirical, Gaussian, Law
from pushforward.maps import GradientStep, of_class
from pushforward.method import Method, Paper, TrainingSet
from pushforward.nets.constraints import refuse_unbounded
from pushforward.objectives.critics import critic_values, dual_terms
from pushforward.objectives.penalties import gradient_of, interpolates, one_sided_penalty, slopes
from pushforward.parameters import check_positive
from pushforward.run import Run

_FIRST = 5  # the first critic begins at random weights and gets that many times the share of a later one
_BETAS = (0.5, 0.999)  # of Adam, the papers'
_AHEAD = 16  # batches that are moved by the frozen critics in one pass
_TESTED = 32  # batches that W_n is estimated on
_FEWEST_STEPS, _MOST_STEPS = 4800, 40_000  # without a budget: 300 epochs, within these bounds
_LOOKED_AT = 1024  # samples in which folds are looked for
_FOLDS = 0.01  # share of samples at a fold from which on a warning is given


class TTC(Method):
    """Trust the Critics: rows move down the gradients of a sequence of critics (2111.15099).

    After ``fit``: ``critic_``, the last critic trained. Saved models keep every critic, and no row of the source: then
    ``translate`` works, and ``sample`` where the source is noise.

    Args:
        critics: how many at most, ``N``.
        theta: length of a step in units of the estimated distance, in (0, 1]; the papers have 0.9 and 1.
        penalty: weight ``lambda`` of the one-sided penalty; the papers have 1000.
        step: a constant length of all steps, to compare with; None is ``theta`` times the estimate.
        steps_per_critic: steps down each critic at most, ``S``, as long as its estimate on moved rows is no noise.
        critic: a module ``[n, *event] -> [n]`` (``[n, classes]`` with labels) without batch normalisation or dropout; None builds
            convolutions for images and a perceptron for vectors and tables.
        width: channels (images) or half the hidden units (vectors, tables) of the built-in critic.
        activation: of the built-in critic; ``"silu"`` and ``"softplus"`` are smooth, which ``log_prob`` needs.
        learning_rate: of Adam; follows a cosine to zero for each critic. The papers have 1e-4, constant.
        batch_size: rows a step.
        warm_start: keep the critics of the model that is fitted already, and add to them up to ``critics``.
    """

    paper: ClassVar[Paper] = Paper(
        title="Trust the Critics: Generatorless and Multipurpose WGANs with Initial Convergence Guarantees",
        authors="Milne and Bilocq and Nachman",
        year=2021,
        arxiv="2111.15099",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = CriticLaw

    critic_: nn.Module

    def __init__(
        self,
        *,
        critics: int = 12,
        theta: float = 0.9,
        penalty: float = 100.0,
        step: float | None = None,
        steps_per_critic: int = 1,
        critic: nn.Module | None = None,
        width: int = 48,
        activation: Literal["leaky", "silu", "softplus"] = "leaky",
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        warm_start: bool = False,
    ) -> None:
        self.critics = critics
        self.theta = theta
        self.penalty = penalty
        self.step = step
        self.steps_per_critic = steps_per_critic
        self.critic = critic
        self.width = width
        self.activation: Literal["leaky", "silu", "softplus"] = activation
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.warm_start = warm_start

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law, kept = self._begun(data, run)
        critic = run.build("first critic", lambda: self._network(data.event_shape, data.classes))
        if kept:
            critic.load_state_dict(law.steps[-1].critic.state_dict())
        stream = run.track("stream", _Stream(data, law, self.batch_size, run))
        for n in range(kept, self.critics):
            critic = run.track(f"critic {n}", deepcopy(critic).requires_grad_(True).train())
            stream.clear()
            found = self._learn(f"critic {n}", critic, stream, run, until=self._share(n - kept, kept))
            if bool(found["size"].any()):
                law.add(critic, found)
                self._go_on(f"critic {n}", critic, stream, run)
            if run.value(f"critic {n}: spent", lambda: run.timed and run.fraction >= 1):
                break
        self.critic_ = critic.requires_grad_(False).eval()
        self._look_for_folds(law, run)
        return law

    def _learn(self, name: str, critic: nn.Module, stream: _Stream, run: Run, *, until: float) -> dict[str, Tensor]:
        """Steps 3 to 8 for one critic."""
        adam = run.track(f"{name}: adam", torch.optim.Adam(critic.parameters(), self.learning_rate, _BETAS, fused=True))
        epoch = steps_in_epoch(len(stream.data.x), self.batch_size)
        since = run.value(f"{name}: since", lambda: run.fraction)
        try:
            for _ in run.loop(name, default=self._default(epoch), steps_per_epoch=epoch, until=until):
                done = (run.fraction - since) / max(until - since, 1e-9)
                adam.param_groups[0]["lr"] = self.learning_rate * cosine(done)
                x, y, labels = next(stream)
                z = interpolates(x, y, generator=run.generator)
                gap, gradient = dual_terms(_valued(critic, labels), x, y, z)
                price = self.penalty * one_sided_penalty(slopes(gradient))
                run.step(adam, price - gap, penalty=price)
        except Diverged as error:
            error.law = stream.law if stream.law.steps else None
            raise
        found = self._estimated(f"{name}: estimate", critic, stream, run)
        run.reserve(self.steps_per_critic * run.seconds.get(f"{name}: estimate", 0.0))
        return found

    def _go_on(self, name: str, critic: nn.Module, stream: _Stream, run: Run) -> None:
        """Step 9: more steps down a critic that has been added."""
        for k in range(1, self.steps_per_critic):
            stream.clear()
            found = self._estimated(f"{name}: estimate {k}", critic, stream, run)
            if not bool(found["size"].any()):
                break
            stream.law.again(found["size"])

    def _estimated(self, name: str, critic: nn.Module, stream: _Stream, run: Run) -> dict[str, Tensor]:
        """The estimate, made once and recorded."""
        found = run.value(name, lambda: self._estimate(critic, stream, run))
        run.log(critic=len(stream.law.steps), **{key: _mean(part, stream.law) for key, part in found.items()})
        return found

    def _estimate(self, critic: nn.Module, stream: _Stream, run: Run) -> dict[str, Tensor]:
        """Steps 7 and 8, for each class ``[classes]``: ``w1`` with its ``error``, the ``congestion``, the ``size`` of the step."""
        with nets.evaluating(critic):
            parts = [_row_terms(critic, *next(stream), self.penalty, run) for _ in range(_TESTED)]
        gain, price, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        w1, error = _class_means(gain - price, labels, stream.law.classes)
        return {
            "w1": w1,
            "error": error,
            "congestion": _class_means(price, labels, stream.law.classes)[0],
            "size": step_sizes(w1, error, self.theta, self.step),
        }

    # ------------------------------------------------------------------ pieces

    def _begun(self, data: TrainingSet, run: Run) -> tuple[CriticLaw, int]:
        """The law without a step, or with those of the model that is added to."""
        law = self._build(data.event_shape, data.classes).to(run.device)
        if data.source is not None:
            law.source = Empirical(data.source, saved=False).to(run.device)
        if data.labels is not None:
            law.frequencies = torch.bincount(data.labels, minlength=data.classes) / len(data.x)
        before = run.value("kept", lambda: dict(self.law_.state_dict()) if self._adds() else {})
        if before:
            law.load_state_dict(before)
        else:
            law.keep(0)
        return law, len(law.steps)

    def _adds(self) -> bool:
        return self.warm_start and hasattr(self, "law_")

    def _share(self, done: int, kept: int) -> float:
        """The share of the budget after which a critic ends; a first one has more of it."""
        first = 1 if kept else _FIRST
        return (first + done) / (first + self.critics - kept - 1)

    def _default(self, epoch: int) -> str:
        return f"{min(max(300 * epoch, _FEWEST_STEPS), _MOST_STEPS)} steps"

    def _from_rows(self) -> bool:
        """Whether the source of the fit was a data set."""
        return bool(getattr(self, "data_info_", {}).get("source_rows"))

    def _network(self, event_shape: tuple[int, ...], classes: int) -> nn.Module:
        if self.critic is not None:
            return deepcopy(self.critic)
        return nets.critic(event_shape, width=self.width, activation=nets.ACTIVATIONS[self.activation], classes=classes)

    def _build(self, event_shape: tuple[int, ...], classes: int) -> CriticLaw:
        """The law with all the steps that there can be; those that a saved state lacks are dropped."""
        with torch.random.fork_rng(devices=[]):
            size = torch.zeros(classes) if classes > 1 else 0.0
            critics = [self._network(event_shape, classes).requires_grad_(False) for _ in range(self.critics)]
        source = NoSource(event_shape) if self._from_rows() else Gaussian(event_shape)
        smooth = self.critic is None and self.activation in nets.SMOOTH
        return CriticLaw(
            [GradientStep(critic, size) for critic in critics], source, event_shape, classes=classes, smooth=smooth
        )

    def _look_for_folds(self, law: CriticLaw, run: Run) -> None:
        """The share of samples at a fold, in the history, where there is a density."""
        if law.can("log_prob"):
            generator = torch.Generator(run.device).manual_seed(run.derived_seed("folds"))
            _, _, folded = law.sample_with_log_prob(_LOOKED_AT, generator=generator)
            run.log(folded=float(folded.float().mean()))

    def _diagnose(self, law: Law, train: TrainingSet, held: Tensor, run: Run) -> list[str]:
        folded = run.history[-1].get("folded", 0.0) if run.history else 0.0
        if folded < _FOLDS:
            return []
        return [
            f"{folded:.1%} of the samples passed a fold of a step (negative determinant): log_prob is too low there."
        ]

    def _check(self, data: TrainingSet) -> None:
        check_positive(self, "critics", "steps_per_critic", "penalty", "width", "learning_rate", "batch_size")
        if not 0 < self.theta <= 1:
            raise ValueError(f"theta: must be in (0, 1], got {self.theta}; try 0.9.")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step: must be positive, or None for theta times the estimate, got {self.step}.")
        if self.critic is not None:
            nets.check_critic(self.critic, data.x[:2], data.classes)
            refuse_unbounded(self.critic)
        if self._adds():
            self._check_kept(data)

    def _check_kept(self, data: TrainingSet) -> None:
        kept = len(self.law_.w1) if isinstance(self.law_, CriticLaw) else 0
        if self.data_info_["sha256"] != digest_of(data.x):
            raise ValueError(
                "warm_start: the critics were trained on other data; give the same data and seed, or False."
            )
        given = [(data.source is not None, data.classes), (self._from_rows(), getattr(self.law_, "classes", 1))]
        if given[0] != given[1]:
            raise ValueError(
                "warm_start: a source and labels are needed exactly where the model had them; give what it was fitted with, or False."
            )
        with torch.random.fork_rng(devices=[]):
            network = self._network(data.event_shape, data.classes)
        law = self.law_
        if isinstance(law, CriticLaw) and kept and _shapes(network) != _shapes(law.steps[0].critic):
            raise ValueError(
                "warm_start: the critics of the model have other layers; keep critic, width and activation, or False."
            )
        if kept >= self.critics:
            raise ValueError(
                f"critics: the model has {kept} already; more are needed to add to them, got {self.critics}."
            )


def step_sizes(w1: Tensor, error: Tensor, theta: float, step: float | None = None) -> Tensor:
    """``theta`` times the estimated distance, or the constant ``step``; 0 where the estimate is under its standard error."""
    size = theta * w1 if step is None else torch.full_like(w1, step)
    return torch.where(w1 > error, size.clamp_min(0), 0.0)


class _Stream:
    """Endless batches ``(x, y, labels)``: fresh source rows moved by the law's steps, rows of the target, and their classes.

    Every moved row is used once; many batches are moved in one pass.
    """

    def __init__(self, data: TrainingSet, law: CriticLaw, size: int, run: Run) -> None:
        self.data, self.law = data, law
        self._size, self._run = min(size, len(data.x)), run
        self.clear()

    def clear(self) -> None:
        """Forget the rows that were moved: there is a new step."""
        self._moved, self._rows = self.data.x[:0], torch.empty(0, dtype=torch.int64, device=self.data.x.device)

    def __next__(self) -> tuple[Tensor, Tensor, Tensor | None]:
        if len(self._rows) == 0:
            self._refill()
        x, rows = self._moved[: self._size], self._rows[: self._size]
        self._moved, self._rows = self._moved[self._size :], self._rows[self._size :]
        return x, self.data.x[rows], self._labels(rows)

    def _refill(self) -> None:
        """Step 4 for many batches; each process moves its own share of the rows."""
        run, n = self._run, _AHEAD * self._size * self._run.world.size
        rows = torch.randint(len(self.data.x), (n,), generator=run.generator, device=run.device)
        z = self.law.source.sample(n, generator=run.generator)
        mine = slice(run.world.rank, None, run.world.size)
        self._rows = rows[mine]
        with torch.no_grad():
            self._moved = push(self.law.steps, z[mine], self._labels(self._rows))

    def _labels(self, rows: Tensor) -> Tensor | None:
        return self.data.labels[rows] if self.data.labels is not None else None

    def state_dict(self) -> dict[str, Any]:
        return {"moved": self._moved.clone(), "rows": self._rows.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.data.x.device
        self._moved, self._rows = state["moved"].to(device), state["rows"].to(device)


def _valued(critic: nn.Module, labels: Tensor | None) -> Callable[[Tensor], Tensor]:
    """The critic's values ``[3 n]`` on three batches of rows that have the same labels ``[n]``."""
    return lambda x: of_class(critic(x), labels.repeat(3) if labels is not None else None)


def _row_terms(
    critic: nn.Module, x: Tensor, y: Tensor, labels: Tensor | None, penalty: float, run: Run
) -> tuple[Tensor, Tensor, Tensor]:
    """For each pair of rows: the critic's difference, the price of its slope between them, the class; ``[n]`` each."""
    z = interpolates(x, y, generator=run.generator).requires_grad_()
    on_x, on_y, on_z = critic_values(_valued(critic, labels), torch.cat([x, y, z])).split(len(x))
    price = penalty * (slopes(gradient_of(on_z, z)) - 1).clamp_min(0).square()
    own = labels if labels is not None else torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return (on_x - on_y).detach(), price.detach(), own


def _class_means(values: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Means of values ``[n]`` over each class, and their standard errors, infinite for fewer than two rows; ``[classes]``."""
    belongs = one_hot(labels, classes).to(values)
    count = belongs.sum(0)
    mean = (belongs * values[:, None]).sum(0) / count.clamp_min(1)
    variance = (belongs * (values[:, None] - mean).square()).sum(0) / (count - 1).clamp_min(1)
    return mean, torch.where(count > 1, (variance / count.clamp_min(1)).sqrt(), torch.inf)


def _shapes(critic: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """What a state of the critic must look like."""
    return [(name, tuple(tensor.shape)) for name, tensor in critic.state_dict().items()]


def _mean(values: Tensor, law: CriticLaw) -> float:
    return float((values * law.frequencies).sum())
