"""NeuroSQL on digits against its ablations and a VAE with the same decoder, at equal optimiser steps (notes: NS-2, NS-3).

1200 digits to train, 597 to test; every method gets the same network, batch size and number of steps; samples are g(z) without
residual, except in the last row. Gate for the default: mean W2 ratio <= 1.0 and Frechet <= .42 and recall >= .30; each
alternative fails at least one of them.

    python benchmarks/neurosql_digits.py [--seeds 3] [--steps 2000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward import metrics, nets
from pushforward.data import load_data
from pushforward.solvers import assign

LATENT = 16
BATCH = 128
COLUMNS = ("W2 ratio", "Frechet", "precision", "recall", "nearest", "nearest 5%", "Frechet px")


def split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training digits [1200, 8, 8], their labels, and test digits [597, 8, 8]."""
    data = load_data("digits")
    order = np.random.default_rng(seed).permutation(len(data))
    values, labels = np.asarray(data.values), np.asarray(data.labels)
    return values[order[:1200]], labels[order[:1200]], values[order[1200:]]


def neurosql(**changes: object) -> Callable[[np.ndarray, int, int, int], np.ndarray]:
    """A fit of NeuroSQL with some arguments changed: samples [n, 8, 8]."""

    def run(train: np.ndarray, n: int, steps: int, seed: int) -> np.ndarray:
        settings = {"latent_dim": LATENT, "noise": "none", **changes}
        model = pf.NeuroSQL(**settings).fit(train, budget=f"{steps} steps", run=pf.Run(seed=seed, validation=0, device="cpu"))
        return np.asarray(model.sample(n, seed=seed))

    return run


def minibatch_ot(train: np.ndarray, n: int, steps: int, seed: int) -> np.ndarray:
    """Fresh latents for each batch, assigned to it alone."""
    x = torch.as_tensor(train / 8.0 - 1.0, dtype=torch.float32)[:, None]
    torch.manual_seed(seed)
    net = nets.generator(LATENT, (1, 8, 8))
    for rows, rate, optimizer in schedule(net, len(x), steps):
        z = torch.randn(len(rows), LATENT)
        with torch.no_grad():
            pairs = assign(x[rows], net(z)).permutation
        descend(optimizer, (net(z[pairs]) - x[rows]).square().mean(), rate)
    with torch.no_grad():
        return ((net(torch.randn(n, LATENT))[:, 0] + 1) * 8).clamp(0, 16).numpy()


def vae(latent: int) -> Callable[[np.ndarray, int, int, int], np.ndarray]:
    """A VAE with the same decoder and a learned noise variance (sigma-VAE)."""

    def run(train: np.ndarray, n: int, steps: int, seed: int) -> np.ndarray:
        x = torch.as_tensor(train / 8.0 - 1.0, dtype=torch.float32)[:, None]
        torch.manual_seed(seed)
        decoder, encoder = nets.generator(latent, (1, 8, 8)), nets.mlp(64, (256, 256), 2 * latent)
        for rows, rate, optimizer in schedule(nn.ModuleList([decoder, encoder]), len(x), steps):
            mean, log_scale = encoder(x[rows].flatten(1)).chunk(2, dim=1)
            z = mean + log_scale.exp() * torch.randn_like(mean)
            kl = (0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale).sum(1).mean()
            misfit = (decoder(z) - x[rows]).square().mean()
            descend(optimizer, 32 * misfit.log() + kl, rate)
        with torch.no_grad():
            return ((decoder(torch.randn(n, latent))[:, 0] + 1) * 8).clamp(0, 16).numpy()

    return run


def schedule(net: nn.Module, n: int, steps: int):  # noqa: ANN201 - a generator of (rows, rate, optimizer)
    """Shuffled batches and the cosine schedule that NeuroSQL uses."""
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for step in range(steps):
        if step % (n // BATCH) == 0:
            order = torch.randperm(n)
        k = step % (n // BATCH)
        yield order[k * BATCH : (k + 1) * BATCH], 2e-3 * 0.5 * (1 + np.cos(np.pi * step / steps)), optimizer


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    optimizer.param_groups[0]["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


METHODS: dict[str, Callable[[np.ndarray, int, int, int], np.ndarray]] = {
    "NeuroSQL": neurosql(),
    "fixed lattice (paper)": neurosql(lattice="fixed", reassign_every=1),
    "never reassigned": neurosql(initial="random", reassign_every=10**9),
    "mini-batch OT": minibatch_ot,
    "VAE d=8": vae(8),
    "VAE d=16": vae(16),
    "NeuroSQL d=8 + local": neurosql(latent_dim=8, noise="local"),
}


def score(samples: np.ndarray, train: np.ndarray, test: np.ndarray, classifier: nn.Module) -> list[float]:
    fake, real, held = (torch.as_tensor(x / 8.0 - 1.0, dtype=torch.float32)[:, None] for x in (samples, train, test))
    quality = metrics.precision_recall(fake, held)
    return [
        metrics.wasserstein_ratio(fake, real, held).value,
        metrics.frechet_distance(fake, held, features=classifier).value,
        quality.precision.value,
        quality.recall.value,
        metrics.nearest_ratio(fake, real, held).value,
        metrics.nearest_ratio(fake, real, held, quantile=0.05).value,
        metrics.frechet_distance(fake, held).value,
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=2000)
    arguments.add_argument("--only", default="")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    print(f"{given.steps} steps of {BATCH}, {given.seeds} seeds: mean (spread)")
    print(f"{'':<24}" + "".join(f"{name:>16}" for name in COLUMNS) + f"{'CPU s':>8}")
    for name, method in METHODS.items():
        if given.only not in name:
            continue
        rows, began = [], time.process_time()
        for seed in range(given.seeds):
            train, labels, test = split(seed)
            x = torch.as_tensor(train / 8.0 - 1.0, dtype=torch.float32)[:, None]
            classifier = metrics.train_classifier(x, torch.as_tensor(labels), seed=0)
            began_fit = time.process_time()
            samples = method(train, len(test), given.steps, seed)
            rows.append([*score(samples, train, test, classifier), time.process_time() - began_fit])
        table = np.array(rows)
        mean, spread = table.mean(0), table.std(0)
        gate = "" if "local" in name else "  passes" if mean[0] <= 1.0 and mean[1] <= 0.42 and mean[3] >= 0.3 else "  fails"
        numbers = "".join(f"{m:>10.3f} ({s:.2f})" for m, s in zip(mean[:-1], spread[:-1], strict=True))
        print(f"{name:<24}{numbers}{mean[-1]:>8.1f}{gate}", flush=True)


if __name__ == "__main__":
    main()
