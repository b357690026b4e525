"""FlowMatching and DDPM on digits, at a budget of CPU seconds, beside what real digits would get; and the cost of a step.

The split, the features, the columns and the turning of seconds into steps are those of baselines_digits.py. With --long there is a second
round at five times the budget. Gates at 60 seconds: KID <= 8, FPD <= .75, R >= .92; at 300 seconds, FlowMatching: KID <= 2, FPD <= .62.

--profile prints CPU milliseconds of a training step of the network instead, at several sizes: as it is, with its weights and activations
in the usual memory layout, and in bfloat16.

    python benchmarks/flow_digits.py [--seconds 60] [--long] [--seeds 1] [--only DDPM] [--profile]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from baselines_digits import COLUMNS, Protocol, show
from pushforward import nets
from pushforward.denoising import against
from pushforward.method import Method
from pushforward.methods import DDPM, FlowMatching
from pushforward.methods.ddpm import DiffusionLaw

SIZES: list[tuple[tuple[int, int, int], int]] = [
    ((1, 8, 8), 128),
    ((1, 28, 28), 64),
    ((3, 64, 64), 32),
    ((3, 256, 256), 8),
]
GATES: dict[tuple[str, float], tuple[float, float, float]] = {  # largest KID and FPD, least recall
    ("FlowMatching", 60.0): (8.0, 0.75, 0.92),
    ("DDPM", 60.0): (8.0, 0.75, 0.92),
    ("FlowMatching", 300.0): (2.0, 0.62, 0.94),
}


class _NoiseLaw(DiffusionLaw):
    """The network predicts the noise, and rows are clipped to the range of the data."""

    def misfit(self, z: Tensor, v: Tensor, e: Tensor, t: Tensor) -> Tensor:
        return (v - e).square()

    def _along(self, z: Tensor, labels: Tensor | None, stops: list[int]) -> Tensor:
        low, high = ((end - self.centre) / self.scale for end in (-1.0, 1.0))
        for t, u in pairwise(stops):
            e = self._ask(z, max(t, 1) / self.levels, labels)
            x = ((z - self.noise[t] * e) / self.signal[t].clamp_min(1e-6)).clamp(low, high)
            e = (z - self.signal[t] * x) / self.noise[t].clamp_min(1e-6)
            z = self.signal[u] * x + self.noise[u] * e
        return z


class _VLossLaw(DiffusionLaw):
    """The loss is the squared error of v."""

    def misfit(self, z: Tensor, v: Tensor, e: Tensor, t: Tensor) -> Tensor:
        return super().misfit(z, v, e, t) / against(self.signal[t].clamp_min(1e-4), z).square()


class _Variant(DDPM):
    """DDPM with another law."""

    kind: ClassVar[type[DiffusionLaw]]

    def _law(self, event_shape: tuple[int, ...], classes: int) -> DiffusionLaw:
        network = nets.timed_network(event_shape, classes, width=self.width)
        return self.kind(network, event_shape, classes, self.steps, self.levels)


class _NoiseDDPM(_Variant):
    kind = _NoiseLaw


class _VLossDDPM(_Variant):
    kind = _VLossLaw


METHODS: dict[str, Callable[[], Method]] = {
    "FlowMatching": lambda: FlowMatching(),
    "FlowMatching, independent pairs": lambda: FlowMatching(coupling="independent"),
    "FlowMatching, 10 Heun steps": lambda: FlowMatching(steps=10),
    "DDPM": lambda: DDPM(),
    "DDPM, loss in v": lambda: _VLossDDPM(),
    "DDPM, network says the noise": lambda: _NoiseDDPM(),
}


def measured(protocol: Protocol, name: str, seconds: float, seeds: int) -> np.ndarray:
    """One row of numbers for each seed."""
    make = METHODS[name]
    budget = f"{protocol.steps(make, seconds)} steps"
    rows = []
    for seed in range(seeds):
        model, spent = protocol.fit(make, budget, seed)
        samples = np.asarray(model.sample(len(protocol.train), seed=seed)).reshape(-1, 64)
        rows.append([*protocol.score(samples), spent])
    return np.array(rows)


def verdict(name: str, seconds: float, rows: np.ndarray) -> str:
    if (name, seconds) not in GATES:
        return ""
    kid, fpd, recall = GATES[name, seconds]
    mean = rows.mean(0)
    return "passes" if mean[0] <= kid and mean[2] <= fpd and mean[4] >= recall else "fails"


def table(protocol: Protocol, seconds: float, seeds: int, only: str) -> None:
    print(f"budget {seconds:g} CPU seconds, {seeds} seeds" + (": mean (spread)" if seeds > 1 else ""))
    print(f"{'':<32}" + "".join(f"{name:>{17 if seeds > 1 else 8}}" for name in COLUMNS))
    for name in METHODS:
        if only in name:
            rows = measured(protocol, name, seconds, seeds)
            show(name, rows, verdict(name, seconds, rows))


def step_ms(shape: tuple[int, int, int], batch: int, layout: torch.memory_format, half: bool) -> tuple[float, float]:
    """Least CPU milliseconds of five training steps, and of five forward passes."""
    torch.manual_seed(0)
    network = nets.timed_network(shape).to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    x, t = torch.randn(batch, *shape), torch.rand(batch)

    def step() -> None:
        with nets.half(x.device, half):
            out = network(x, t)
        optimizer.zero_grad()
        (out.float() - x).square().mean().backward()
        optimizer.step()

    def forward() -> None:
        with torch.no_grad(), nets.half(x.device, half):
            network(x, t)

    return least_ms(step), least_ms(forward)


def least_ms(work: Callable[[], None]) -> float:
    spent = []
    for _ in range(7):
        began = time.process_time()
        work()
        spent.append(1e3 * (time.process_time() - began))
    return min(spent[2:])


class _PlainLayout:
    """Inside, nothing is turned into channels-last memory: what the U-Net would cost without."""

    def __enter__(self) -> None:
        self._kept = Tensor.contiguous
        Tensor.contiguous = lambda x, memory_format=torch.contiguous_format: self._kept(x)  # type: ignore[method-assign]

    def __exit__(self, *error: object) -> None:
        Tensor.contiguous = self._kept  # type: ignore[method-assign]


def profile() -> None:
    print(f"{'CPU ms of a step (forward alone)':<34}{'weights':>9}{'as it is':>16}{'usual layout':>16}{'bfloat16':>16}")
    for shape, batch in SIZES:
        weights = sum(p.numel() for p in nets.timed_network(shape).parameters())
        last, plain = torch.channels_last, torch.contiguous_format
        cells = [step_ms(shape, batch, last, False)]
        with _PlainLayout():
            cells.append(step_ms(shape, batch, plain, False))
        cells.append(step_ms(shape, batch, last, True))
        print(
            f"{'x'.join(map(str, shape)) + f', batch {batch}':<34}{weights / 1e3:>8.0f}k"
            + "".join(f"{f'{step:.0f} ({forward:.0f})':>16}" for step, forward in cells),
            flush=True,
        )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=60.0, help="CPU seconds of a fit")
    arguments.add_argument("--long", action="store_true", help="also at five times the budget")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--only", default="", help="only the methods with this text in their name")
    arguments.add_argument("--profile", action="store_true", help="the cost of a step instead")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if given.profile:
        profile()
        return
    protocol = Protocol()
    show("training digits themselves", np.array([[*protocol.score(protocol.train), 0.0]]))
    again = np.random.default_rng(0).integers(0, len(protocol.train), len(protocol.train))
    show("a bootstrap of them", np.array([[*protocol.score(protocol.train[again]), 0.0]]))
    for seconds in (given.seconds, 5 * given.seconds) if given.long else (given.seconds,):
        table(protocol, seconds, given.seeds, given.only)


if __name__ == "__main__":
    main()
