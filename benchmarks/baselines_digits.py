"""VAE, GAN and GaussianMixture on digits, at a budget of CPU seconds, beside what real digits would get.

1297 digits to train on and 500 to compare with (stratified, seed 0), pixels in [0, 1], as many samples as training digits. Features are 32
principal components of the training digits, divided by their common standard deviation.

    KID        1000 x unbiased squared kernel distance (u.v / 32 + 1)^3 of features, against test digits
    MMD2       10^4 x the same with a mean of three Gaussian kernels of pixels (0.1, 0.5 and 1 median squared distance)
    FPD        Frechet distance of features, against test digits
    P, R       precision and recall (5 neighbours) of features, against training digits
    NN         median distance of samples to training digits, over that of test digits; far below 1 is memorising

A budget is turned into steps by timing short fits, so the CPU seconds of the last column differ a little from it. GaussianMixture
takes its own time. Gates: GaussianMixture KID <= 13, FPD <= .95, R >= .85; VAE KID <= 13, FPD <= .95, R >= .90, and at most half the
FPD of its Gaussian prior; GAN R >= .3 (it has not collapsed).

    python benchmarks/baselines_digits.py [--seconds 60] [--seeds 1] [--only VAE]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor

import pushforward as pf
from pushforward import metrics
from pushforward.data import Data
from pushforward.method import Method
from pushforward.methods import GAN, VAE, GaussianMixture
from pushforward.methods.vae import AutoencoderLaw
from pushforward.mixtures import fitted_mixture

COLUMNS = ("KID", "MMD2", "FPD", "P", "R", "NN", "CPU s")
ON_DRAWS = "VAE, mixture on posterior draws"
SHORT, LONG = 20, 60  # steps of the fits that are timed
GATES: dict[str, tuple[float, float, float]] = {  # largest KID and FPD, least recall
    "GaussianMixture": (13.0, 0.95, 0.85),
    "VAE": (13.0, 0.95, 0.90),
    "GAN": (np.inf, np.inf, 0.3),
}
METHODS: dict[str, Callable[[], Method]] = {
    "GaussianMixture": lambda: GaussianMixture(),
    "GaussianMixture, 60 components": lambda: GaussianMixture(components=60),
    "GaussianMixture, one component": lambda: GaussianMixture(components=1),
    "VAE": lambda: VAE(),
    "VAE, Gaussian prior": lambda: VAE(prior="gaussian"),
    ON_DRAWS: lambda: VAE(),
    "VAE, with decoder noise": lambda: VAE(noise=True),
    "GAN": lambda: GAN(),
    "GAN, no penalty": lambda: GAN(penalty=0.0),
}


class Protocol:
    """The split, the features and the numbers."""

    def __init__(self) -> None:
        from sklearn.model_selection import train_test_split

        data = pf.load_data("digits")
        x, y = np.asarray(data.values).reshape(-1, 64), np.asarray(data.labels)
        self.train, self.test = train_test_split(x, test_size=500, stratify=y, random_state=0)
        pixels = torch.as_tensor(self.train / 16.0)
        self.mean = pixels.mean(0)
        self.axes = torch.linalg.svd(pixels - self.mean, full_matrices=False)[2][:32].T
        self.scale = ((pixels - self.mean) @ self.axes).std(correction=0)

    def features(self, x: np.ndarray) -> Tensor:
        """Scaled principal scores [n, 32] of digits [n, 64]."""
        return (torch.as_tensor(x / 16.0) - self.mean) @ self.axes / self.scale

    def score(self, x: np.ndarray) -> list[float]:
        """The columns but the last, for samples [n, 64] in [0, 16]."""
        f, train, test = (self.features(rows) for rows in (x, self.train, self.test))
        quality = metrics.precision_recall(f, train)
        return [
            1e3 * metrics.kid(f, test).value,
            1e4 * pixel_mmd(*(torch.as_tensor(rows / 16.0) for rows in (x, self.test))),
            metrics.frechet_distance(f, test).value,
            quality.precision.value,
            quality.recall.value,
            self.nearest(x) / self.nearest(self.test),
        ]

    def nearest(self, x: np.ndarray) -> float:
        """Median distance to the training digits."""
        return float(torch.cdist(torch.as_tensor(x / 16.0), torch.as_tensor(self.train / 16.0)).amin(1).median())

    def fit(self, make: Callable[[], Method], budget: str | None, seed: int) -> tuple[Method, float]:
        """A fit and its CPU seconds."""
        run = pf.Run(seed=seed, validation=0, device="cpu", progress=False)
        began = time.process_time()
        model = make().fit(self.train.reshape(-1, 8, 8), budget=budget, run=run)
        return model, time.process_time() - began

    def steps(self, make: Callable[[], Method], seconds: float) -> int:
        """How many steps that many CPU seconds allow."""
        self.fit(make, "5 steps", 0)
        short, long = (self.fit(make, f"{steps} steps", 0)[1] for steps in (SHORT, LONG))
        each = max((long - short) / (LONG - SHORT), 1e-4)
        return max(1, int((seconds - short) / each) + SHORT)


def pixel_mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased squared MMD of pixels [n, 64] with a mean of three Gaussian kernels."""
    among = torch.cdist(y, y).square()
    median = among[~torch.eye(len(y), dtype=torch.bool)].median()

    def kernel(square: Tensor) -> Tensor:
        return torch.stack([(-square / (2 * width * median)).exp() for width in (0.1, 0.5, 1.0)]).mean(0)

    def own(k: Tensor) -> float:
        return float((k.sum() - k.trace()) / (len(k) * (len(k) - 1)))

    pairs = (kernel(torch.cdist(x, x).square()), kernel(among))
    return own(pairs[0]) + own(pairs[1]) - 2 * float(kernel(torch.cdist(x, y).square()).mean())


def mixture_on_draws(model: Method, digits: np.ndarray) -> None:
    """Replace the mixture of a VAE by one fitted to a draw from the posterior of each of the digits [n, 64]."""
    law = cast(AutoencoderLaw, model.law_)
    x = model.schema_.encode(Data(digits.reshape(-1, 8, 8)))
    z = law.draw_codes(x, None, torch.Generator().manual_seed(0))
    law.latent = fitted_mixture(z, None, floor=1e-3 * float(z.var(0).mean()), seed=0)


def measured(protocol: Protocol, name: str, seconds: float, seeds: int) -> np.ndarray:
    """One row of numbers for each seed."""
    make = METHODS[name]
    budget = None if name.startswith("GaussianMixture") else f"{protocol.steps(make, seconds)} steps"
    rows = []
    for seed in range(seeds):
        model, spent = protocol.fit(make, budget, seed)
        if name == ON_DRAWS:
            mixture_on_draws(model, protocol.train)
        samples = np.asarray(model.sample(len(protocol.train), seed=seed)).reshape(-1, 64)
        rows.append([*protocol.score(samples), spent])
    return np.array(rows)


def verdict(name: str, rows: np.ndarray) -> str:
    if name not in GATES:
        return ""
    kid, fpd, recall = GATES[name]
    mean = rows.mean(0)
    return "passes" if mean[0] <= kid and mean[2] <= fpd and mean[4] >= recall else "fails"


def show(name: str, rows: np.ndarray, note: str = "") -> None:
    cells = [
        f"{mean:>8.3g}" + (f" ({spread:.2g})" if len(rows) > 1 else "")
        for mean, spread in zip(rows.mean(0), rows.std(0), strict=True)
    ]
    print(f"{name:<32}" + "".join(f"{cell:>17}" if len(rows) > 1 else cell for cell in cells) + f"  {note}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=60.0, help="CPU seconds of a fit")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--only", default="", help="only the methods with this text in their name")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    protocol = Protocol()
    print(f"budget {given.seconds:g} CPU seconds, {given.seeds} seeds" + (": mean (spread)" if given.seeds > 1 else ""))
    print(f"{'':<32}" + "".join(f"{name:>{17 if given.seeds > 1 else 8}}" for name in COLUMNS))
    show("training digits themselves", np.array([[*protocol.score(protocol.train), 0.0]]))
    again = np.random.default_rng(0).integers(0, len(protocol.train), len(protocol.train))
    show("a bootstrap of them", np.array([[*protocol.score(protocol.train[again]), 0.0]]))
    for name in METHODS:
        if given.only in name:
            rows = measured(protocol, name, given.seconds, given.seeds)
            show(name, rows, verdict(name, rows))


if __name__ == "__main__":
    main()
