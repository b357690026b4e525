"""Two-player methods at a budget of CPU seconds: 8x8 digits, eight Gaussians in the plane, and two laws that nearly coincide.

    python benchmarks/gans.py digits     1438 digits to train on, 359 to compare with (stratified, seed 0); 1438 samples
    python benchmarks/gans.py plane      exact W1 (by assignment) from 1000 samples to 1000 rows of the target with equal modes
    python benchmarks/gans.py gaussian   a correlated Gaussian in the plane: largest errors of mean and covariance
        [--which defaults|variants|paper] [--method NAME] [--seconds 25] [--seeds 3]

Digits: features are 32 principal components of the training digits, divided by their common standard deviation. KID is 1000 x the
unbiased squared kernel distance and FD the Frechet distance of features to those of the test digits, R the recall (5 neighbours)
of training digits, NN the median distance of samples to training digits over that of test digits. Plane: radius 4, standard deviation
0.2, 8000 training rows; the sampling floor is that of 1000 fresh rows of the target. A budget is turned into steps by timing short fits.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pushforward as pf
from pushforward import metrics
from pushforward.method import Method
from ttc import balanced, eight_gaussians, exact_w1

SHORT, LONG = 3, 13  # steps of the fits that are timed
PAPER: dict[str, Any] = {"schedule": "constant", "batch_size": 64}
Makers = dict[str, Callable[[], Method]]
DEFAULTS: Makers = {
    "GAN": lambda: pf.GAN(),
    "WGAN": lambda: pf.WGAN(),
    "WGANGP": lambda: pf.WGANGP(),
    "WGANGP, two-sided": lambda: pf.WGANGP(one_sided=False),
    "SNGAN": lambda: pf.SNGAN(),
    "GraN": lambda: pf.GraN(),
}
VARIANTS: Makers = {
    "GAN, critic twice as fast": lambda: pf.GAN(critic_learning_rate=2e-3),
    "SNGAN, non-saturating": lambda: pf.SNGAN(loss="non_saturating"),
    "GraN, hinge": lambda: pf.GraN(loss="hinge"),
    "GraN, eps 0.001": lambda: pf.GraN(eps=1e-3),
    "GraN, eps 0.1": lambda: pf.GraN(eps=0.1),
}
PAPERS: Makers = {
    "WGAN, paper": lambda: pf.WGAN(clip=0.01, critic_steps=5, learning_rate=5e-5, **PAPER),
    "WGANGP, paper": lambda: pf.WGANGP(one_sided=False, critic_steps=5, learning_rate=1e-4, width=64, **PAPER),
    "SNGAN, paper": lambda: pf.SNGAN(critic_steps=5, learning_rate=2e-4, width=128, **PAPER),
}
METHODS = {"defaults": DEFAULTS, "variants": VARIANTS, "paper": PAPERS}


class Digits:
    """The split, the features and the numbers of 8x8 digits."""

    columns = ("KID", "FD", "R", "NN")

    def __init__(self) -> None:
        from sklearn.model_selection import train_test_split

        data = pf.load_data("digits")
        x, y = np.asarray(data.values), np.asarray(data.labels)
        self.train, self.test = train_test_split(x, test_size=359, stratify=y, random_state=0)
        pixels = self._pixels(self.train)
        self.mean = pixels.mean(0)
        self.axes = torch.linalg.svd(pixels - self.mean, full_matrices=False)[2][:32].T
        self.scale = ((pixels - self.mean) @ self.axes).std(correction=0)

    def score(self, x: np.ndarray) -> list[float]:
        """The columns, for samples [n, 8, 8]."""
        f, train, test = (self._features(rows) for rows in (x, self.train, self.test))
        near = [torch.cdist(self._pixels(rows), self._pixels(self.train)).amin(1).median() for rows in (x, self.test)]
        return [
            1e3 * metrics.kid(f, test).value,
            metrics.frechet_distance(f, test).value,
            metrics.precision_recall(f, train).recall.value,
            float(near[0] / near[1]),
        ]

    def references(self) -> dict[str, list[float]]:
        """What real rows get."""
        again = np.random.default_rng(0).integers(0, len(self.train), len(self.train))
        return {"a bootstrap of the training digits": self.score(self.train[again])}

    def _pixels(self, x: np.ndarray) -> Tensor:
        return torch.as_tensor(x.reshape(len(x), -1) / 16.0)

    def _features(self, x: np.ndarray) -> Tensor:
        return (self._pixels(x) - self.mean) @ self.axes / self.scale


class Plane:
    """Eight Gaussians on a circle."""

    columns = ("W1",)

    def __init__(self) -> None:
        self.train = eight_gaussians(8000, seed=1).numpy()

    def score(self, x: np.ndarray) -> list[float]:
        """Mean of exact distances of 1000 samples at a time to the balanced target."""
        rows = torch.as_tensor(x).float().split(1000)
        return [float(np.mean([exact_w1(part, balanced(1000, seed=70 + k)) for k, part in enumerate(rows[:3])]))]

    def references(self) -> dict[str, list[float]]:
        """What real rows get."""
        return {"the target itself (sampling floor)": self.score(eight_gaussians(3000, seed=2).numpy())}


class Correlated:
    """A Gaussian that a generator reaches soon, so that two laws nearly coincide for most of the fit."""

    columns = ("mean", "cov")

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.train = rng.normal(size=(4000, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])

    def score(self, x: np.ndarray) -> list[float]:
        """Largest absolute errors."""
        mean, cov = np.abs(x.mean(0) - self.train.mean(0)).max(), np.abs(np.cov(x.T) - np.cov(self.train.T)).max()
        return [float(mean), float(cov)]

    def references(self) -> dict[str, list[float]]:
        """What real rows get."""
        rng = np.random.default_rng(1)
        return {"fresh rows": self.score(rng.normal(size=(4000, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]]))}


Task = Digits | Plane | Correlated
TASKS: dict[str, type[Task]] = {"digits": Digits, "plane": Plane, "gaussian": Correlated}


def fit(make: Callable[[], Method], x: np.ndarray, budget: str, seed: int) -> tuple[Method, float]:
    """A fit and its CPU seconds."""
    began = time.process_time()
    model = make().fit(x, budget=budget, run=pf.Run(seed=seed, validation=0, device="cpu", progress=False))
    return model, time.process_time() - began


def steps_for(make: Callable[[], Method], x: np.ndarray, seconds: float) -> int:
    """How many steps that many CPU seconds allow."""
    fit(make, x, "2 steps", 0)
    short, long = (fit(make, x, f"{steps} steps", 0)[1] for steps in (SHORT, LONG))
    return max(1, int(seconds / max((long - short) / (LONG - SHORT), 1e-4)))


def measured(task: Task, make: Callable[[], Method], seconds: float, seeds: int) -> tuple[int, np.ndarray]:
    """Steps of a fit, and a row of numbers with the CPU seconds for each seed."""
    steps, rows = steps_for(make, task.train, seconds), []
    for seed in range(seeds):
        model, spent = fit(make, task.train, f"{steps} steps", seed)
        samples = np.asarray(model.sample(max(3000 if isinstance(task, Plane) else 0, len(task.train)), seed=seed))
        rows.append([*task.score(samples), spent])
    return steps, np.array(rows)


def show(name: str, rows: np.ndarray, steps: int | str = "") -> None:
    cells = [
        f"{mean:.3g}" + (f" ({spread:.2g})" if len(rows) > 1 else "")
        for mean, spread in zip(rows.mean(0), rows.std(0), strict=True)
    ]
    print(f"{name:<36}{steps:>7}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("task", choices=sorted(TASKS))
    arguments.add_argument("--seconds", type=float, default=25.0, help="CPU seconds of a fit")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--which", choices=sorted(METHODS), default="defaults", help="the settings")
    arguments.add_argument("--method", default="", help="this one alone")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    task = TASKS[given.task]()
    print(f"{given.task}, {given.seconds:g} CPU seconds, {given.seeds} seeds: mean (spread)")
    print(f"{'':<36}{'steps':>7}" + "".join(f"{name:>16}" for name in (*task.columns, "CPU s")))
    for name, numbers in task.references().items():
        show(name, np.array([numbers]))
    for name, make in METHODS[given.which].items():
        if given.method not in ("", name):
            continue
        steps, rows = measured(task, make, given.seconds, given.seeds)
        show(name, rows, steps)


if __name__ == "__main__":
    main()
