"""Choices inside NeuroSQL that were tried on digits, at about equal CPU time, and the residual law on one fitted generator.

The split, the metrics and the floor are those of neurosql_digits.py; samples are bare, g(z), in the first table.

    python benchmarks/neurosql_choices.py [--seeds 3]
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pushforward as pf
from neurosql_digits import COLUMNS, encoded, floor_of, score, split
from pushforward import metrics
from pushforward.residuals import nearest_rows, neighbour_groups

VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "default": ({}, 2000),
    "batch 64": ({"batch_size": 64}, 3000),
    "width 32": ({"width": 32}, 4000),
    "latent_dim 8": ({"latent_dim": 8}, 2000),
    "latent_dim 32": ({"latent_dim": 32}, 2000),
    "features pca": ({"features": "pca"}, 2000),
    "features random": ({"features": "random"}, 1200),
    "uniform latent": ({"latent": "uniform"}, 2000),
}


def fit(seed: int, steps: int, **settings: Any) -> tuple[Any, float]:
    train, _, _ = split(seed)
    began = time.process_time()
    run = pf.Run(seed=seed, validation=0, device="cpu")
    model = pf.NeuroSQL(**{"noise": "none", "space": "data", **settings}).fit(train, budget=f"{steps} steps", run=run)
    return model, time.process_time() - began


def residual_laws(model: Any, x: Tensor, seed: int) -> dict[str, Tensor]:
    """Samples [597, 1, 8, 8] with residuals combined from different neighbours, on the same codes and weights."""
    law, rng = model.law_, torch.Generator().manual_seed(seed)
    z = law.latent.sample(597, generator=rng)
    weights = torch.randn(597, 4, generator=rng)
    weights /= weights.norm(dim=1, keepdim=True)
    with torch.no_grad():
        mean, residuals = law.decode(z), (x - law.decode(law.codes)).flatten(1)
    groups = neighbour_groups(law.codes, 4)
    picks = {
        "groups (default)": groups[nearest_rows(z, law.codes[groups].mean(1))],
        "four nearest codes": torch.cdist(z, law.codes).topk(4, largest=False).indices,
        "any four codes": torch.randint(len(x), (597, 4), generator=rng),
    }
    return {
        name: (mean + torch.einsum("nk,nkd->nd", weights, residuals[rows]).reshape(mean.shape)).clamp(-1, 1)
        for name, rows in picks.items()
    }


def show(name: str, rows: list[list[float]], seconds: float) -> None:
    mean, spread = np.mean(rows, 0), np.std(rows, 0)
    print(f"{name:<24}" + "".join(f"{m:>9.3f} ({s:.2f})" for m, s in zip(mean, spread, strict=True)) + f"{seconds:>8.1f}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=3)
    seeds = range(arguments.parse_args().seeds)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sets = [split(seed) for seed in seeds]
    judges = [metrics.train_classifier(encoded(train), torch.as_tensor(labels), seed=0) for train, labels, _ in sets]
    floors = [floor_of(encoded(a), encoded(b), judge) for (a, _, b), judge in zip(sets, judges, strict=True)]
    floor = float(np.mean(floors))

    def judged(samples: Tensor, seed: int) -> list[float]:
        return score(samples, encoded(sets[seed][0]), encoded(sets[seed][2]), judges[seed], floor)

    print(f"{len(seeds)} seeds: mean (spread)\n{'':<24}" + "".join(f"{name:>15}" for name in COLUMNS) + f"{'CPU s':>8}")
    for name, (settings, steps) in VARIANTS.items():
        fits = [fit(seed, steps, **settings) for seed in seeds]
        rows = [judged(encoded(np.asarray(model.sample(597, seed=seed))), seed) for seed, (model, _) in enumerate(fits)]
        show(f"{name}, {steps}", rows, float(np.mean([seconds for _, seconds in fits])))
    for d in (8, 16):
        models = [fit(seed, 2000, latent_dim=d)[0] for seed in seeds]
        drawn = [residual_laws(model, encoded(sets[seed][0]), seed) for seed, model in enumerate(models)]
        for name in drawn[0]:
            show(f"d={d}, {name}", [judged(samples[name], seed) for seed, samples in enumerate(drawn)], 0.0)


if __name__ == "__main__":
    main()
