"""Generators on three small sets of pictures: Fashion-MNIST, brain slices and colour emoji, at about equal CPU time.

Every method keeps its default settings and gets as many optimiser steps as its share of ``--seconds`` of CPU time pays for (measured
in a short fit first). Numbers compare fresh samples with pictures that were not trained on:

* Fashion-MNIST: 1000 images to train, the 10 000 test images held out. Frechet and KID in the 128 features of a classifier that
  is trained on the other 59 000 labelled images and used for nothing else.
* Brain slices: 52 of 60 subjects to train, the other 8 held out, never a subject on both sides; features of a random convolutional network.
* Emoji: four of five to train; features of a random convolutional network. There are few held-out pictures: read intervals.

The first row, copies of training pictures, says what the numbers are where nothing new is made: no honest generator reaches its
Frechet distance, and its nearest-to-train is 0. "nearest" is the median (and 5 % quantile) distance of samples to the training
pictures over that of held-out pictures; "share" is CPU seconds.

    PUSHFORWARD_DATA=... python benchmarks/pictures.py fashion --seconds 120 --pictures docs/pictures
    PUSHFORWARD_DATA=... python benchmarks/pictures.py brains --seconds 120
    PUSHFORWARD_DATA=... python benchmarks/pictures.py emoji --seconds 120
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pushforward as pf
from pushforward import metrics, nets
from pushforward.data import fit_schema
from pushforward.features import Standardised
from pushforward.method import Method
from pushforward.report.grids import save_grid

PILOT = 30
Split = tuple[np.ndarray, np.ndarray, Any]


def fashion(seed: int) -> Split:
    """1000 training images, the test images, and the features of a classifier of the remaining ones."""
    data, test = pf.load_data("fashion-mnist"), pf.load_data("fashion-mnist:test")
    values, labels = np.asarray(data.values), np.asarray(data.labels)
    order = np.random.default_rng(seed).permutation(len(values))
    rest = order[1000:]
    schema = fit_schema(values[:1000])
    classifier = metrics.train_classifier(schema.encode(values[rest]), labels[rest], dim=128, n_steps=3000)
    print(f"classifier of {len(rest)} other images: {100 * classifier.accuracy:.1f} % right on images it has not seen")
    return values[order[:1000]], np.asarray(test.values), classifier


def brains(seed: int) -> Split:
    """Slices of 52 and of 8 other subjects."""
    with np.load(folder() / "brain-slices-64" / "brain_slices_64.npz") as file:
        images, subject = file["images"], file["subject"]
    held = np.random.default_rng(seed).permutation(np.unique(subject))[:8]
    return images[~np.isin(subject, held)], images[np.isin(subject, held)], random_features(images)


def emoji(seed: int) -> Split:
    """Four fifths and one fifth of the emoji."""
    with np.load(folder() / "noto-emoji-64" / "noto_emoji_faces_animals_64.npz") as file:
        images = file["images"]
    order = np.random.default_rng(seed).permutation(len(images))
    cut = len(images) * 4 // 5
    return images[order[:cut]], images[order[cut:]], random_features(images)


def folder() -> Path:
    return Path(os.environ["PUSHFORWARD_DATA"])


def random_features(images: np.ndarray) -> Any:
    """Sixteen features of a random convolutional network, with mean 0 and mean variance 1 on these pictures."""
    x = fit_schema(images).encode(images)
    net = nets.random_features(x.shape[1:], dim=16, seed=0)
    with torch.no_grad():
        return Standardised(net, net(x))


SETS: dict[str, Callable[[int], Split]] = {"fashion": fashion, "brains": brains, "emoji": emoji}
METHODS: dict[str, Callable[[], Method]] = {
    "NeuroSQL": lambda: pf.NeuroSQL(),
    "NeuroSQL in pixels": lambda: pf.NeuroSQL(space="data"),
    "NeuroSQL in pixels, bare": lambda: pf.NeuroSQL(space="data", noise="none"),
    "Gaussian mixture": lambda: pf.GaussianMixture(),
    "VAE": lambda: pf.VAE(prior="gaussian"),
    "VAE, mixture of codes": lambda: pf.VAE(),
    "flow matching": lambda: pf.FlowMatching(),
}


def fitted(make: Callable[[], Method], train: np.ndarray, seconds: float, seed: int) -> tuple[Method, float, int]:
    """A fit of about ``seconds`` of CPU time, its CPU time and its steps."""

    def run(steps: int) -> tuple[Method, float]:
        began = time.process_time()
        model = make().fit(
            train, budget=f"{steps} steps", run=pf.Run(seed=seed, validation=0, device="cpu", progress=False)
        )
        return model, time.process_time() - began

    (_, short), (_, long) = run(PILOT), run(3 * PILOT)
    pace = max((long - short) / (2 * PILOT), 1e-6)
    steps = int(min(max(seconds / pace, PILOT), 100_000)) if long > 1.1 * short else PILOT
    model, spent = run(steps)
    return model, spent, steps


def numbers(samples: Tensor, train: Tensor, held: Tensor, features: Any) -> list[str]:
    """The row of the table."""
    frechet = metrics.frechet_distance(samples, held, features=features, min_rows=2)
    kid = metrics.kid(samples[:2000], held[:2000], features=features)
    m = min(len(samples), len(held), 1000)
    precision, recall = metrics.precision_recall(samples[:m], held[:m])
    near = [metrics.nearest_ratio(samples[:m], train, held[:m], quantile=q).value for q in (0.5, 0.05)]
    return [
        f"{frechet.value:.3f}",
        f"{kid.value:.4f}",
        f"{precision.value:.2f}",
        f"{recall.value:.2f}",
        *(f"{v:.2f}" for v in near),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU seconds a method")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--pictures", type=Path, help="folder for grids of samples")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    train, held, features = SETS[chosen.set](chosen.seed)
    schema = fit_schema(train)
    x, unseen = schema.encode(train), schema.encode(held)
    count = min(max(len(held), 1000), 5000)
    print(f"{chosen.set}: {len(train)} to train, {len(held)} held out, {count} samples, one CPU thread")
    print("| | Frechet | KID | precision | recall | nearest | 5 % | CPU s | steps | samples / s |\n|---|" + "---|" * 9)
    print("| training pictures | " + " | ".join(numbers(x, x, unseen, features)) + " | | | |", flush=True)
    for name in chosen.methods:
        model, spent, steps = fitted(METHODS[name], train, chosen.seconds, chosen.seed)
        began = time.process_time()
        samples = model.sample(count, seed=chosen.seed)
        pace = count / (time.process_time() - began)
        row = numbers(schema.encode(samples), x, unseen, features)
        print(f"| {name} | " + " | ".join([*row, f"{spent:.0f}", str(steps), f"{pace:.0f}"]) + " |", flush=True)
        if chosen.pictures:
            path = chosen.pictures / f"{chosen.set}-{name.replace(',', '').replace(' ', '-').lower()}.png"
            save_grid(path, schema.as_images(schema.encode(samples[:64])))


if __name__ == "__main__":
    main()
