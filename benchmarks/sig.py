"""SIG on digits and on Fashion-MNIST, with its ablations, and the time of a layer at every patch size.

* ``digits``: 1437 of the 8x8 digits (whole numbers 0 .. 16) to train, 360 to test, 40 layers a stage. "Frechet" is the distance of
  raw pixels of 1437 samples to the test images, mean of five draws (that of the training images is printed first; it is large because
  samples are few, and "all five" is that of all 7185 samples together), "AUC" that of a random forest that tells samples from
  training images (5-fold; .5 is perfect), "nearest" the median distance of samples to the training images over that of test images.
* ``fashion``: 10 000 images to train, 15 layers a stage; CPU seconds of a layer at every patch size, the size of the model, Frechet and
  KID against the 10 000 test images in the features of a classifier of the other 50 000 images.
* ``ood``: 45 layers of whole images on 10 000 Fashion-MNIST images; how well `outlier_score` tells test images from MNIST and from mirrored
  test images (AUROC), beside one Gaussian with full covariance, and the mean log-density of 2000 other images, neither trained on nor
  tested (log p). Published, full set: MNIST .990, left-right .631, up-down .821.
* ``emoji``: colour, 181 emoji of 64x64 to train and 46 held out, 8 layers a stage; Frechet and KID of 1000 samples against the held-out
  ones in the features of a random convolutional network, as in benchmarks/pictures.py.
* ``long``: what `fit` reports of copying after budgets of ``--budgets`` on few images (1437 digits, 1000 of Fashion-MNIST), and the AUC.
* ``speed``: seconds of a layer at every patch size with 360 000 particles; the authors' code takes, on one H200 and for as
  many, 3.0 / 6.1 / 13.2 / 14.3 / 18 s at patch 28 / 14 / 7 / 6 / 5.

    python benchmarks/sig.py digits
    python benchmarks/sig.py long --budgets 60s 300s
    PUSHFORWARD_DATA=... python benchmarks/sig.py fashion --pictures docs/pictures
    PUSHFORWARD_DATA=... python benchmarks/sig.py emoji --pictures docs/pictures
    PUSHFORWARD_DATA=... python benchmarks/sig.py ood
    PUSHFORWARD_DATA=... python benchmarks/sig.py speed --device cuda
"""

from __future__ import annotations

import argparse
import math
import resource
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pushforward as pf
from pushforward import metrics
from pushforward.data import fit_schema
from pushforward.report.grids import save_grid

AUTHORS_NUMBERS = 1199  # stored for a spline with 400 knots, all in float32
Images = np.ndarray[Any, np.dtype[Any]]


# ---------------------------------------------------------------------- digits


def digits(chosen: argparse.Namespace) -> None:
    """The acceptance numbers and the ablations."""
    data = np.asarray(pf.load_data("digits").values).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(data))
    train, test = data[order[:1437]], data[order[1437:]]
    layers = chosen.layers or 40
    rows: dict[str, Callable[[], Any]] = {
        "SIG": lambda: pf.SIG(layers=layers),
        "400 knots": lambda: pf.SIG(layers=layers, knots=400),
        "15 evaluations a search": lambda: pf.SIG(layers=layers, iterations=15),
        "100 layers a stage": lambda: pf.SIG(layers=100),
        "random directions": lambda: pf.SIG(layers=layers, iterations=0),
        "no hierarchy": lambda: pf.SIG(layers=7 * layers, hierarchy=False),
        "as many particles as rows": lambda: pf.SIG(layers=layers, oversampling=1.0),
        "Gaussian mixture": lambda: pf.GaussianMixture(),
    }
    print(f"training images: Frechet {frechet(train, test):.1f}, AUC of two halves {auc(train[::2], train[1::2]):.3f}")
    print("| | layers | Frechet | all five | AUC | nearest | CPU s | MB | |\n|---|" + "---|" * 8, flush=True)
    for name, make in rows.items():
        if chosen.rows and name not in chosen.rows:
            continue
        for seed in range(chosen.seeds):
            began = time.process_time()
            model = make().fit(train, run=quiet(seed))
            spent = time.process_time() - began
            draws = [model.sample(len(train), seed=draw) for draw in range(5)]
            samples = draws[0]
            small = np.mean([frechet(draw, test) for draw in draws])
            numbers = small, auc(train, samples), nearest(samples[: len(test)], train, test)
            many = frechet(np.concatenate(draws), test)
            passes = numbers[0] <= 36 and numbers[1] <= 0.68 and numbers[2] >= 0.95 and spent < 30
            values = f"{numbers[0]:.1f} | {many:.1f} | {numbers[1]:.3f} | {numbers[2]:.2f} | {spent:.1f} | {megabytes(model):.2f}"
            count = len(model.history_) if isinstance(model, pf.SIG) else "-"
            print(f"| {name} | {count} | {values} | {'passes' if passes else 'fails'} |", flush=True)


def frechet(x: Images, y: Images) -> float:
    """Frechet distance of raw pixels."""
    from scipy.linalg import sqrtm

    (m, a), (n, b) = ((z.mean(0), np.cov(z.T)) for z in (rows_of(x), rows_of(y)))
    root = np.real(sqrtm(sqrtm(a).real @ b @ sqrtm(a).real))
    return float((m - n) @ (m - n) + np.trace(a + b - 2 * root))


def auc(x: Images, y: Images) -> float:
    """How well a random forest tells two samples apart."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    labels = np.repeat([0, 1], [len(x), len(y)])
    forest = RandomForestClassifier(200, random_state=0)
    told = cross_val_predict(forest, np.concatenate([rows_of(x), rows_of(y)]), labels, cv=5, method="predict_proba")
    return float(roc_auc_score(labels, told[:, 1]))


def nearest(samples: Images, train: Images, test: Images) -> float:
    """Median distance to the training images over that of the test images."""
    return metrics.nearest_ratio(*(torch.as_tensor(rows_of(x)).float() for x in (samples, train, test))).value


def long(chosen: argparse.Namespace) -> None:
    """Copying after long budgets on few images, a fifth of them held out."""
    few = {"digits": np.asarray(pf.load_data("digits").values).astype(np.uint8)}
    if chosen.rows is None or "fashion" in chosen.rows:
        few["fashion"] = fashion_images()[0][:1250]
    names = ("w2_ratio", "recall", "nearest_ratio", "nearest_ratio_5", "memorisation_p")
    print(f"| | layers | CPU s | AUC | {' | '.join(names)} |\n|---|---|---|---|" + "---|" * len(names), flush=True)
    for data in chosen.rows or few:
        for budget in chosen.budgets:
            began = time.process_time()
            run = pf.Run(seed=0, validation=0.2, device=chosen.device, progress=False)
            model = pf.SIG().fit(few[data], budget=budget, run=run)
            spent = time.process_time() - began
            train = np.random.default_rng(0).permutation(few[data][model.train_rows_])
            told = auc(train, model.sample(len(train), seed=0))
            values = " | ".join(f"{model.validation_[name]:.3f}" for name in names)
            print(f"| {data}, {budget} | {len(model.history_)} | {spent:.0f} | {told:.3f} | {values} |", flush=True)


# ---------------------------------------------------------------------- Fashion-MNIST


def fashion(chosen: argparse.Namespace) -> None:
    """Time, size and quality on 10 000 images."""
    train, rest, labels, test = fashion_images()
    clock = Clock(chosen.device)
    layers = chosen.layers or 15
    began = time.process_time()
    model = pf.SIG(layers=layers).fit(train, run=quiet(0, chosen.device, clock))
    spent = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(train)} images, {len(model.history_)} layers: {spent:.0f} CPU s, peak {peak:.2f} GiB; " + clock.line())
    authors = authors_megabytes(model)
    print(
        f"model {megabytes(model):.1f} MB; the authors' format {authors:.1f} MB: {authors / megabytes(model):.1f} times as much"
    )
    began = time.process_time()
    samples = model.sample(10_000, seed=0)
    print(f"10 000 samples in {time.process_time() - began:.1f} CPU s", flush=True)
    schema = fit_schema(train)
    if chosen.pictures:
        save_grid(chosen.pictures / "sig-fashion.png", schema.as_images(schema.encode(samples[:60])), columns=10)
    features = metrics.train_classifier(schema.encode(rest), labels, dim=128, n_steps=chosen.classifier_steps)
    print(f"classifier of {len(rest)} other images: {100 * features.accuracy:.1f} % right on images it has not seen")
    x, made, held = (schema.encode(images) for images in (train, samples, test))
    print("| | Frechet | KID | precision | recall | nearest | 5 % |\n|---|" + "---|" * 6)
    for name, rows in (("training images", x), ("SIG", made)):
        values = [metrics.frechet_distance(rows, held, features=features).value]
        values.append(metrics.kid(rows[:2000], held[:2000], features=features).value)
        values += [part.value for part in metrics.precision_recall(rows[:1000], held[:1000])]
        values += [metrics.nearest_ratio(rows[:1000], x, held[:1000], quantile=q).value for q in (0.5, 0.05)]
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |", flush=True)


def emoji(chosen: argparse.Namespace) -> None:
    """Small colour pictures: numbers and samples."""
    import pictures

    train, held, features = pictures.emoji(0)
    schema = fit_schema(train)
    x, unseen = schema.encode(train), schema.encode(held)
    print("| | layers | Frechet | KID | precision | recall | nearest | 5 % | CPU s |\n|---|" + "---|" * 8)
    print("| training emoji | | " + " | ".join(pictures.numbers(x, x, unseen, features)) + " | |", flush=True)
    for seed in range(chosen.seeds):
        began = time.process_time()
        model = pf.SIG(layers=chosen.layers or 8).fit(train, run=quiet(seed, chosen.device))
        spent = time.process_time() - began
        samples = schema.encode(model.sample(1000, seed=0))
        row = " | ".join(pictures.numbers(samples, x, unseen, features))
        print(f"| SIG, seed {seed} | {len(model.history_)} | {row} | {spent:.0f} |", flush=True)
        if chosen.pictures and not seed:
            save_grid(chosen.pictures / "sig-emoji.png", schema.as_images(samples[:40]), columns=10)


def ood(chosen: argparse.Namespace) -> None:
    """AUROC of test images against MNIST and against mirrored test images."""
    train, rest, _, test = fashion_images()
    schema = fit_schema(train)
    inside = test[:2000]
    others = {
        "MNIST": np.asarray(pf.load_data("mnist:test").values)[:2000],
        "left-right": inside[:, :, ::-1].copy(),
        "up-down": inside[:, ::-1].copy(),
    }
    layers = chosen.layers or 45
    print(f"| | CPU s | log p | {' | '.join(others)} |\n|---|---|---|" + "---|" * len(others))
    for seed in range(chosen.seeds):
        began = time.process_time()
        model = pf.SIG(layers=layers, hierarchy=False, knots=chosen.knots).fit(train, run=quiet(seed, chosen.device))
        spent = time.process_time() - began
        likely = -model.outlier_score(rest[:2000]).mean()
        row = against(model.outlier_score, inside, others)
        knots = chosen.knots or "default"
        print(f"| SIG, {layers} layers, {knots} knots, seed {seed} | {spent:.0f} | {likely:.0f} | {row} |", flush=True)
    began = time.process_time()
    score = gaussian_score(schema.encode(train).flatten(1).double())
    line = against(lambda images: score(schema.encode(images).flatten(1).double()), inside, others)
    print(f"| Gaussian, full covariance | {time.process_time() - began:.0f} | | {line} |")
    print("| published (2007.00674), 60 000 images | | | 0.990 | 0.631 | 0.821 |")


def gaussian_score(x: torch.Tensor, ridge: float = 1e-3) -> Callable[[torch.Tensor], np.ndarray[Any, Any]]:
    """Mahalanobis distances from rows ``[n, p]``."""
    mean, precision = x.mean(0), torch.linalg.inv(torch.cov(x.T) + ridge * torch.eye(x.shape[1], dtype=x.dtype))
    return lambda rows: (((rows - mean) @ precision) * (rows - mean)).sum(1).numpy()


def against(score: Callable[[Images], Any], inside: Images, others: dict[str, Images]) -> str:
    """AUROC of each set of outliers."""
    from sklearn.metrics import roc_auc_score

    inner = score(inside)
    labels = np.repeat([0, 1], len(inside))
    return " | ".join(f"{roc_auc_score(labels, np.r_[inner, score(images)]):.3f}" for images in others.values())


def speed(chosen: argparse.Namespace) -> None:
    """One layer to warm up and ``--layers`` layers more at every patch size, with 6 particles for each of 60 000 images."""
    data = pf.load_data("fashion-mnist")
    clock = Clock(chosen.device)
    pf.SIG(layers=chosen.layers or 3).fit(np.asarray(data.values), run=quiet(0, chosen.device, clock))
    print(f"{chosen.device}, 60 000 images, 360 000 particles; {clock.line()}")


# ---------------------------------------------------------------------- shared


class Clock:
    """Seconds of every layer by patch size: CPU seconds on the CPU, wall seconds on a card."""

    def __init__(self, device: str) -> None:
        self.now = time.process_time if device == "cpu" else time.perf_counter
        self.last, self.spent = self.now(), defaultdict[int, list[float]](list)

    def __call__(self, record: dict[str, Any]) -> None:
        """Called with the record of every layer."""
        now = self.now()
        self.spent[int(record["patch"])].append(now - self.last)
        self.last = now

    def line(self) -> str:
        """The median of every size, the first layer of all left out."""
        each = {side: np.median(seconds[1:] or seconds) for side, seconds in self.spent.items()}
        return "seconds a layer: " + ", ".join(f"{side}: {seconds:.2f}" for side, seconds in each.items())


def fashion_images() -> tuple[Images, Images, Images, Images]:
    """10 000 to train, the other 50 000 and their labels, the test images."""
    data, test = pf.load_data("fashion-mnist"), pf.load_data("fashion-mnist:test")
    images, labels = np.asarray(data.values), np.asarray(data.labels)
    order = np.random.default_rng(0).permutation(len(images))
    return images[order[:10_000]], images[order[10_000:]], labels[order[10_000:]], np.asarray(test.values)


def quiet(seed: int, device: str = "cpu", callback: Clock | None = None) -> pf.Run:
    return pf.Run(seed=seed, validation=0, device=device, progress=False, callback=callback)


def megabytes(model: Any) -> float:
    return sum(part.numel() * part.element_size() for part in model.law_.state_dict().values()) / 1e6


def authors_megabytes(model: Any) -> float:
    """What the same layers take with 1199 float32 numbers a spline, and float32 directions."""
    frames = [stage.frames for stage in model.law_.stages]
    return sum(4 * (f.numel() + AUTHORS_NUMBERS * math.prod(f.shape[:2]) * f.shape[3]) for f in frames) / 1e6


def rows_of(images: Images) -> Images:
    return images.reshape(len(images), -1).astype(float)


PARTS = {"digits": digits, "long": long, "fashion": fashion, "emoji": emoji, "ood": ood, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--layers", type=int, help="layers of a stage")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--knots", type=int, help="of a spline, for outliers")
    parser.add_argument("--rows", nargs="*", help="only these rows of the table of digits, or data of `long`")
    parser.add_argument("--budgets", nargs="*", default=["60s"], help="of `long`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--classifier-steps", type=int, default=1000)
    parser.add_argument("--pictures", type=Path, help="folder for a grid of samples")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    PARTS[chosen.part](chosen)


if __name__ == "__main__":
    main()
