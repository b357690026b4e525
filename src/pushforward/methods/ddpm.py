"""DDPM: a denoising diffusion model, sampled by DDIM.

Ho, Jain, Abbeel: Denoising diffusion probabilistic models, arXiv 2006.11239; cosine schedule: Nichol, Dhariwal, arXiv 2102.09672;
DDIM: Song, Meng, Ermon, arXiv 2010.02502; the target v: Salimans, Ho, arXiv 2202.00512.

Model: rows are dissolved in noise, ``x_t = a_t x_0 + s_t e`` with ``a_t^2 + s_t^2 = 1``, ``t = 1 .. T``, and a network undoes it.
The algorithm:

    1.  f(t) = cos^2((t/T + .008) / 1.008 * pi/2),   beta_t = min(1 - f(t) / f(t-1), .999)      (2102.09672, eq. 17)
        a_t^2 = prod_{r <= t} (1 - beta_r),   s_t^2 = 1 - a_t^2
    2.  repeat until the budget is spent:
    3.      x_0 <- a batch of n rows (standardised),   e <- n draws from N(0, I),   t <- n levels, stratified
    4.      x_t <- a_t x_0 + s_t e,   v <- v_theta(x_t, t / T)
    5.      theta <- Adam on  |s_t x_t + a_t v - e|^2                      (2006.11239, eq. 14, for what v says about e)
    6.  theta <- its moving average
    sample, decode:  z_T ~ N(0, I);  for levels t > u in S equal steps from T to 0, with v = v_theta(z_t, t / T):
        x_0 = a_t z_t - s_t v,   e = s_t z_t + a_t v,   z_u = a_u x_0 + s_u e      (2010.02502, eq. 12 with sigma = 0)
    encode:  the same steps from level 0 to T

Departures from the papers:
    * The network predicts v = a_t e - s_t x_0 and not e: at the last levels there is hardly a signal, and x_0 cannot be had from e
      there without clipping it, for which tables have no bounds. The loss is the paper's all the same: that of v itself weighs
      rows with much noise more, and gives worse samples. (benchmarks/flow_digits.py prints the three.)
    * Levels are stratified over the batch: the same loss with less variance.
    * Adam follows a cosine, gradients are clipped at norm 1: usual care, not in the papers.
    * The label is embedded with the time; there is no guidance, which would trade variety for typicality.

When to use: as the reference that everyone knows. When not: FlowMatching trains the same network as fast, has densities, and needs
fewer steps for a row; budgets of seconds belong to a mixture.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from pushforward import nets
from pushforward.denoising import DenoisingLaw, against, stratified_times
from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.parameters import check_decay, check_positive
from pushforward.run import Run

_LARGEST_BETA = 0.999
_OFFSET = 0.008
_FEWEST_STEPS, _MOST_STEPS = 2000, 20_000  # without a budget: 300 epochs, within these bounds


class DiffusionLaw(DenoisingLaw):
    """The law of rows that DDIM steps make of noise.

    Args:
        network: predicts ``v`` from a noisy row, the level ``t / T`` and the class number; see `DenoisingLaw`.
        event_shape: shape of one row.
        classes: number of classes, 1 for none.
        steps: DDIM steps.
        levels: number ``T`` of noise levels.
    """

    signal: Tensor
    noise: Tensor

    def __init__(self, network: nn.Module, event_shape: tuple[int, ...], classes: int, steps: int, levels: int) -> None:
        super().__init__(network, event_shape, classes, steps)
        self.levels = levels
        kept = cosine_schedule(levels)
        self.register_buffer("signal", kept.sqrt().float(), persistent=False)
        self.register_buffer("noise", (1 - kept).sqrt().float(), persistent=False)

    def noised(self, x: Tensor, e: Tensor, t: Tensor) -> Tensor:
        """Standardised rows ``[n, *event_shape]`` with noise ``e`` at levels ``t`` ``[n]``, from 1 to T."""
        return against(self.signal[t], x) * x + against(self.noise[t], x) * e

    def misfit(self, z: Tensor, v: Tensor, e: Tensor, t: Tensor) -> Tensor:
        """Squared errors ``[n, *event_shape]`` of the noise in ``z``, at levels ``t``, by what the network says."""
        return (against(self.noise[t], z) * z + against(self.signal[t], z) * v - e).square()

    def _to_rows(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self._along(z, labels, self._stops(self.levels, 0))

    def _to_noise(self, x: Tensor, labels: Tensor | None) -> Tensor:
        return self._along(x, labels, self._stops(0, self.levels))

    def _stops(self, start: int, end: int) -> list[int]:
        stops = torch.linspace(start, end, min(self.steps, self.levels) + 1, dtype=torch.float64)
        return [int(level) for level in stops.round()]

    def _along(self, z: Tensor, labels: Tensor | None, stops: list[int]) -> Tensor:
        for t, u in pairwise(stops):
            v = self._ask(z, max(t, 1) / self.levels, labels)
            x, e = self.signal[t] * z - self.noise[t] * v, self.noise[t] * z + self.signal[t] * v
            z = self.signal[u] * x + self.noise[u] * e
        return z


class DDPM(Method):
    """Denoising diffusion (2006.11239) on the cosine schedule (2102.09672), sampled by DDIM (2010.02502).

    Args:
        levels: number ``T`` of noise levels; the paper's is 1000.
        steps: DDIM steps from noise to a row, at most ``levels``.
        width: channels on the finest grid (images) or an eighth of the units of a layer (vectors, tables); a multiple of 8.
        learning_rate: of Adam; follows a cosine to zero.
        batch_size: rows a step; the paper's is 128.
        ema_decay: of the moving average of the weights that is sampled from; the paper's is .9999, for 800 000 steps.
    """

    paper: ClassVar[Paper] = Paper(
        title="Denoising diffusion probabilistic models",
        authors="Ho and Jain and Abbeel",
        year=2020,
        arxiv="2006.11239",
        venue="NeurIPS 2020",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = DiffusionLaw

    def __init__(
        self,
        *,
        levels: int = 1000,
        steps: int = 50,
        width: int = 32,
        learning_rate: float = 1e-3,
        batch_size: int = 128,
        ema_decay: float = 0.999,
    ) -> None:
        self.levels = levels
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
            x, labels = law.standardised(data.x[batch]), None if data.labels is None else data.labels[batch]
            e = torch.randn(x.shape, generator=run.generator, device=run.device)
            t = 1 + (self.levels * stratified_times(len(x), generator=run.generator)).long().clamp_max(self.levels - 1)
            z = law.noised(x, e, t)
            with nets.half(run.device, half):
                v = law.network(z, t / self.levels, labels)
            run.step(optimizer, law.misfit(z, v.float(), e, t).mean(), clip=1.0)
        return cast(DiffusionLaw, average.module.requires_grad_(False).eval())

    # ------------------------------------------------------------------ pieces

    def _build(self, event_shape: tuple[int, ...], classes: int) -> DiffusionLaw:
        with torch.random.fork_rng(devices=[]):
            return self._law(event_shape, classes)

    def _law(self, event_shape: tuple[int, ...], classes: int) -> DiffusionLaw:
        network = nets.timed_network(event_shape, classes, width=self.width)
        return DiffusionLaw(network, event_shape, classes, self.steps, self.levels)

    def _check(self, data: TrainingSet) -> None:
        check_positive(self, "levels", "steps", "width", "learning_rate", "batch_size")
        if self.steps > self.levels:
            raise ValueError(f"steps: must be at most levels={self.levels}, got {self.steps}.")
        if len(data.event_shape) == 3 and self.width % 8:
            raise ValueError(f"width: must be a multiple of 8 for images, got {self.width}; try 32.")
        check_decay(self.ema_decay, 0.999)


def cosine_schedule(levels: int) -> Tensor:
    """Squared signal ``a_t^2`` at levels ``t = 0 .. T``, float64 ``[T + 1]``: 1 at first, almost 0 at last (2102.09672, eq. 17)."""
    t = torch.arange(levels + 1, dtype=torch.float64) / levels
    f = torch.cos((t + _OFFSET) / (1 + _OFFSET) * math.pi / 2).square()
    betas = (1 - f[1:] / f[:-1]).clamp(max=_LARGEST_BETA)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])
