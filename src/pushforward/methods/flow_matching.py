"""FlowMatching: noise carried to data by the flow of a regressed velocity, with pairs from optimal transport.

Lipman, Chen, Ben-Hamu, Nickel, Le: Flow matching for generative modeling, arXiv 2210.02747; Tong et al.: Improving and generalizing
flow-based generative models with minibatch optimal transport, arXiv 2302.00482; densities: Chen et al., Neural ODEs, arXiv 1806.07366, and
Grathwohl et al., FFJORD, arXiv 1810.01367.

Model: ``dx/dt = v_theta(x, t)`` from ``x(0) ~ N(0, I)`` to ``x(1)``, a row. The algorithm:

    1.  repeat until the budget is spent:
    2.      x1 <- a batch of n rows (standardised),   x0 <- n draws from N(0, I)
    3.      x0 <- x0 permuted so that sum |x1 - x0|^2 is least              (2302.00482, section 4.2; per class where there are labels)
    4.      t <- one uniform draw in each of the n parts of [0, 1]
    5.      x_t <- (1 - t) x0 + t x1
    6.      theta <- Adam on  |v_theta(x_t, t) - (x1 - x0)|^2               (2210.02747, eq. 23 with sigma_min = 0)
    7.  theta <- its moving average
    sample, decode:  x0 ~ N(0, I), Heun steps of the ODE from t = 0 to 1;   encode: the same steps from t = 1 to 0
    log_prob:  log N(x(0)) - integral_0^1 tr dv/dx dt                       (1806.07366, theorem 1)
               trace: exact up to 32 numbers a row, else the mean of e^T (dv/dx) e over four signs e   (1810.01367, eq. 7)

Departures from the papers:
    * Times are stratified over the batch: the same loss with less variance.
    * sigma_min = 0 and pairs without added noise: the path ends in the row itself.
    * Heun steps on a fixed grid instead of an adaptive solver: the cost is known beforehand, and 20 steps are enough for samples.
    * With labels the transport is within each class, since otherwise the noise would tell the class. The label is embedded with the time.
    * Adam follows a cosine, gradients are clipped at norm 1, and weights are averaged: usual care, not in the papers.

When to use: the best samples for the time where there is time (a minute of two cores on 8 x 8 images, a GPU on larger ones); densities.
When not: budgets of seconds, where a mixture is better; fast sampling (the network is asked 40 times for each row).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from pushforward import nets
from pushforward.denoising import DenoisingLaw, against, stratified_times
from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.parameters import check_decay, check_positive
from pushforward.run import Run
from pushforward.solvers.assignment import assign

_EXACT_TRACE = 32  # numbers a row up to which the trace of the Jacobian is exact
_PROBES = 4
_DENSITY_STEPS = 40  # at least, for log-densities
_FEWEST_STEPS, _MOST_STEPS = 2000, 20_000  # without a budget: 300 epochs, within these bounds


class FlowLaw(DenoisingLaw):
    """The law of the end of the flow of a velocity network ``v(x, t, labels)``, with its density."""

    def velocity(self, x: Tensor, t: float, labels: Tensor | None = None) -> Tensor:
        """``dx/dt`` of standardised rows ``[n, *event_shape]`` at time ``t``."""
        return self._ask(x, t, labels)

    @torch.no_grad()
    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-density ``[n]`` of rows ``[n, *event_shape]``; without labels, of the mixture of all classes.

        Above 32 numbers a row the trace is estimated, with the same probes for every row and call.
        """
        if self.classes == 1 or labels is not None:
            return self._in_parts(self._log_prob, x, labels, copies=len(self._probes()))
        spread = torch.arange(self.classes, device=x.device).repeat(len(x))
        parts = self.log_prob(x.repeat_interleave(self.classes, 0), spread).reshape(len(x), self.classes)
        return torch.logsumexp(parts + self.weights.log(), dim=1)

    def outlier_score(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Minus the log-density ``[n]``. On images it says how complex a picture is as much as how odd."""
        return -self.log_prob(x, labels)

    def _to_rows(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self._heun(z, labels, 0.0, 1.0)

    def _to_noise(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self._heun(x, labels, 1.0, 0.0)

    def _heun(self, x: Tensor, labels: Tensor | None, start: float, end: float) -> Tensor:
        for t, later in pairwise(_grid(start, end, self.steps)):
            slope = self.velocity(x, t, labels)
            ahead = self.velocity(x + (later - t) * slope, later, labels)
            x = x + (later - t) / 2 * (slope + ahead)
        return x

    def _log_prob(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Heun steps from rows to noise for the row and the integral of the trace together."""
        x, total = self.standardised(x), x.new_zeros(len(x))
        for t, later in pairwise(_grid(1.0, 0.0, max(self.steps, _DENSITY_STEPS))):
            slope, trace = self._velocity_and_trace(x, t, labels)
            ahead, trace_ahead = self._velocity_and_trace(x + (later - t) * slope, later, labels)
            x = x + (later - t) / 2 * (slope + ahead)
            total = total + (later - t) / 2 * (trace + trace_ahead)
        return self.latent.log_prob(x) + total - self.latent.uniform_dim * self.scale.log()

    def _velocity_and_trace(self, x: Tensor, t: float, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Velocity ``[n, *event_shape]`` and trace ``[n]`` of its Jacobian, from one backward pass for all probes."""
        probes = self._probes()
        count = len(probes)
        with torch.inference_mode(False), torch.enable_grad():
            copies = x.repeat_interleave(count, 0).requires_grad_()
            y = labels.repeat_interleave(count) if labels is not None else None
            slope = self.velocity(copies, t, y)
            e = probes.repeat(len(x), *(1 for _ in self.event_shape))
            (row,) = torch.autograd.grad((slope * e).sum(), copies)
        trace = (row * e).flatten(1).sum(1).reshape(len(x), count).sum(1)
        return slope.detach()[::count], trace if self._exact else trace / count

    @property
    def _exact(self) -> bool:
        return self.latent.uniform_dim <= _EXACT_TRACE

    def _probes(self) -> Tensor:
        """Vectors ``e`` whose ``e^T J e`` give the trace: all unit vectors in the sum, or some random signs in the mean."""
        d = self.latent.uniform_dim
        if self._exact:
            return torch.eye(d, device=self.device).reshape(d, *self.event_shape)
        signs = torch.randint(2, (_PROBES, *self.event_shape), generator=torch.Generator().manual_seed(0))
        return (2.0 * signs - 1).to(self.device)


class FlowMatching(Method):
    """Flow matching (2210.02747) with pairs from minibatch optimal transport (2302.00482).

    Args:
        coupling: pairs of noise and rows: ``"ot"`` assigns them within the batch, ``"independent"`` takes them as they come.
        steps: Heun steps from noise to a row; each asks the network twice.
        width: channels on the finest grid (images) or an eighth of the units of a layer (vectors, tables); a multiple of 8.
        learning_rate: of Adam; follows a cosine to zero.
        batch_size: rows a step.
        ema_decay: of the moving average of the weights that is sampled from.
    """

    paper: ClassVar[Paper] = Paper(
        title="Flow matching for generative modeling",
        authors="Lipman and Chen and Ben-Hamu and Nickel and Le",
        year=2022,
        arxiv="2210.02747",
        venue="ICLR 2023",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = FlowLaw

    def __init__(
        self,
        *,
        coupling: Literal["ot", "independent"] = "ot",
        steps: int = 20,
        width: int = 32,
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        ema_decay: float = 0.999,
    ) -> None:
        self.coupling: Literal["ot", "independent"] = coupling
        self.steps = steps
        self.width = width
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.ema_decay = ema_decay

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law = run.build("law", lambda: self._law(data.event_shape, data.classes))
        law.calibrate(data.x, data.labels)
        optimizer = run.track("adam", torch.optim.Adam(law.parameters(), lr=self.learning_rate, fused=True))
        average = run.average("average", law, self.ema_decay)
        epoch = max(1, len(data.x) // min(self.batch_size, len(data.x)))
        rows = run.rows(len(data.x), self.batch_size)
        half = run.value("half", lambda: law.half_pays(data.x[: self.batch_size]))
        for _ in run.loop(
            "train", default=f"{min(max(300 * epoch, _FEWEST_STEPS), _MOST_STEPS)} steps", steps_per_epoch=epoch
        ):
            optimizer.param_groups[0]["lr"] = self.learning_rate * 0.5 * (1 + math.cos(math.pi * run.fraction))
            batch = next(rows)
            x, labels = data.x[batch], None if data.labels is None else data.labels[batch]
            x1 = law.standardised(x)
            x0 = self._noise(x1, labels, run.generator)
            t = stratified_times(len(x), generator=run.generator)
            with nets.half(run.device, half):
                slope = law.network(torch.lerp(x0, x1, against(t, x)), t, labels)
            run.step(optimizer, (slope.float() - (x1 - x0)).square().mean(), clip=1.0)
        return cast(FlowLaw, average.module.requires_grad_(False).eval())

    def _noise(self, x1: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """Steps 2 and 3. Far tags keep rows and noise of different classes apart: no pairing across them can be best."""
        x0 = torch.randn(x1.shape, generator=generator, device=x1.device)
        if self.coupling == "independent":
            return x0
        ends = [x1.flatten(1), x0.flatten(1)]
        if labels is not None:
            farthest = sum(end.norm(dim=1).max() for end in ends)
            tags = farthest * nn.functional.one_hot(labels)
            ends = [torch.cat([end, tags], dim=1) for end in ends]
        return x0[assign(*ends).permutation]

    # ------------------------------------------------------------------ pieces

    def _build(self, event_shape: tuple[int, ...], classes: int) -> FlowLaw:
        with torch.random.fork_rng(devices=[]):
            return self._law(event_shape, classes)

    def _law(self, event_shape: tuple[int, ...], classes: int) -> FlowLaw:
        network = nets.timed_network(event_shape, classes, width=self.width)
        return FlowLaw(network, event_shape, classes, self.steps)

    def _check(self, data: TrainingSet) -> None:
        check_positive(self, "steps", "width", "learning_rate", "batch_size")
        if len(data.event_shape) == 3 and self.width % 8:
            raise ValueError(f"width: must be a multiple of 8 for images, got {self.width}; try 32.")
        check_decay(self.ema_decay, 0.999)


def _grid(start: float, end: float, steps: int) -> list[float]:
    """``steps + 1`` times at equal distances."""
    return [start + (end - start) * k / steps for k in range(steps + 1)]
