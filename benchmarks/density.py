"""Densities: GIS against normalizing flows, a Gaussian mixture, a kernel estimate and a Gaussian; and outliers.

    python benchmarks/density.py [synthetic] [tables] [outliers] [--sizes 300 1000 5000 100000] [--heavy-up-to N]
        [--only NAME ...] [--splits 5]

Every estimator gets the same rows and splits a fifth of them off for whatever it chooses. Figures are mean log-densities of fresh (or
held-out) rows, in nats a row, in units of the training rows' standard deviations, and CPU seconds of this process on
one thread. Peers: NSF (3 transforms) and MAF (5) of zuko, 64x64 hidden units, AdamW at 2e-3 on batches of 256, the best of the validation
rows, stopped after 40 epochs without a better one; ``pf.GaussianMixture``; a Gaussian kernel with the bandwidth that is likeliest on
the validation rows, then all rows; the Gaussian of the moments. Flows and bags are skipped above N rows (default 1500): they take minutes.
"""

from __future__ import annotations

import argparse
import gzip
import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles.densities import density  # noqa: E402

Estimate = Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]  # training rows -> log-density of rows
TEST_ROWS = 5000
SIZES = (300, 1000, 5000, 100_000)  # more rows than there are: all of them
HEAVY = ("GIS, 5 bags", "NSF", "MAF")
LAWS = ("autot10", "ica10", "gmm10")
DATA = Path(os.environ.get("PUSHFORWARD_DATA", "../shared/data"))


def method(make: Callable[[], pf.Method]) -> Estimate:
    def estimate(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        model = make().fit(x, run=pf.Run(validation=0, progress=False, device="cpu"))
        kept = model.schema_.coder.scale[model.schema_.coder.scale > 0]
        return lambda rows: model.log_prob(rows) - np.log(kept).sum()

    return estimate


def flow(name: str) -> Estimate:
    """A flow of zuko, with early stopping."""

    def estimate(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        import zuko

        d = x.shape[1]
        torch.manual_seed(0)
        model = zuko.flows.NSF(d, transforms=3, hidden_features=(64, 64)) if name == "NSF" else None
        model = model if model is not None else zuko.flows.MAF(d, transforms=5, hidden_features=(64, 64))
        train_flow(model, torch.from_numpy(x))

        def log_prob(rows: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return model().log_prob(torch.from_numpy(rows)).numpy()

        return log_prob

    return estimate


def train_flow(model: torch.nn.Module, x: torch.Tensor) -> None:
    held = len(x) // 5
    rows, others = x[:-held], x[-held:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    best, state, waited = -math.inf, None, 0
    while waited < 40:
        for part in torch.randperm(len(rows)).split(256):
            optimizer.zero_grad()
            (-model().log_prob(rows[part]).mean()).backward()
            optimizer.step()
        with torch.no_grad():
            level = float(model().log_prob(others).mean())
        waited = 0 if level > best else waited + 1
        if level > best:
            best, state = level, {key: value.clone() for key, value in model.state_dict().items()}
    if state is not None:
        model.load_state_dict(state)


def kernel(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Gaussian kernels; the bandwidth is chosen on a fifth of the rows."""
    held = len(x) // 5
    widths = np.geomspace(0.05, 1.5, 15)
    levels = [kernel_log_prob(x[-held:], x[:-held], width).mean() for width in widths]
    width = widths[int(np.argmax(levels))]
    return lambda rows: kernel_log_prob(rows, x, width)


def kernel_log_prob(rows: np.ndarray, points: np.ndarray, width: float) -> np.ndarray:
    points_t, d = torch.from_numpy(points), points.shape[1]
    parts = [
        torch.logsumexp(-torch.cdist(part, points_t).square() / (2 * width**2), 1)
        for part in torch.from_numpy(rows).split(1000)
    ]
    return torch.cat(parts).numpy() - math.log(len(points)) - d * math.log(width) - d / 2 * math.log(2 * math.pi)


def gaussian(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    mean, covariance = x.mean(0), np.cov(x.T.astype(float))
    constant = -0.5 * (np.linalg.slogdet(covariance)[1] + x.shape[1] * math.log(2 * math.pi))
    return lambda rows: constant - 0.5 * ((rows - mean) * np.linalg.solve(covariance, (rows - mean).T).T).sum(1)


ESTIMATORS: dict[str, Estimate] = {
    "GIS": method(lambda: pf.GIS()),
    "GIS, 5 bags": method(lambda: pf.GIS(bags=5)),
    "NSF": flow("NSF"),
    "MAF": flow("MAF"),
    "Gaussian mixture": method(lambda: pf.GaussianMixture()),
    "kernels": kernel,
    "Gaussian": gaussian,
}


def row(label: str, x: np.ndarray, fresh: np.ndarray, truth: float | None, heavy_up_to: int) -> None:
    """One line of a table: every estimator's mean log-density and CPU seconds."""
    cells = []
    for name, estimate in ESTIMATORS.items():
        if name in HEAVY and len(x) > heavy_up_to:
            cells.append("not run")
            continue
        began = time.process_time()
        log_prob = estimate(x)
        spent = time.process_time() - began
        cells.append(f"{float(np.mean(log_prob(fresh))):.3f} ({spent:.1f})")
    true = f"{truth:.3f}" if truth is not None else ""
    print(f"| {label} | {len(x)} | {true} | " + " | ".join(cells) + " |", flush=True)


def header() -> None:
    print("\n| | rows | truth | " + " | ".join(ESTIMATORS) + " |\n|" + "---|" * (3 + len(ESTIMATORS)))


def scaled(x: np.ndarray, fresh: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, scale = x.mean(0), x.std(0)
    return ((x - mean) / scale).astype(np.float32), ((fresh - mean) / scale).astype(np.float32), scale


def synthetic(sizes: list[int], heavy_up_to: int, only: list[str] | None) -> None:
    header()
    for name in only or LAWS:
        law = density(name)
        for n in sizes:
            x, fresh = law.rows(n, 21), law.rows(TEST_ROWS, 22)
            x, scaled_fresh, scale = scaled(x, fresh)
            truth = float(law.log_prob(fresh.astype(float)).mean() + np.log(scale).sum())
            row(name, x, scaled_fresh, truth, heavy_up_to)


def gamma() -> np.ndarray:
    """The gamma class of the MAGIC telescope's events, ``[12332, 10]``."""
    stored = np.load(DATA / "adbench-small" / "22_magic.gamma.npz")
    return stored["X"][stored["y"] == 0].astype(float)


def power_plant() -> np.ndarray:
    """The combined cycle power plant's records, ``[9568, 5]``."""
    with gzip.open(DATA / "uci-small" / "power-plant.txt.gz", "rt") as lines:
        return np.loadtxt(lines)


def tables(sizes: list[int], heavy_up_to: int, only: list[str] | None) -> None:
    """90 / 10 by numpy's default_rng(0), standardised by the training rows; asked for: above -5.73 and above -3.70 with all rows."""
    header()
    for name, read in (("magic.gamma's gammas", gamma), ("power-plant", power_plant)):
        if only and name not in only:
            continue
        values = read()
        order = np.random.default_rng(0).permutation(len(values))
        cut = len(values) - len(values) // 10
        for n in sorted({min(n, cut) for n in sizes}):
            x, fresh, scale = scaled(values[order[:cut]], values[order[cut:]])
            row(name, x[:n], fresh, None, heavy_up_to)


def outliers(splits: int, only: list[str] | None) -> None:
    """Half of the inliers to train; AUROC of the score for the other half against the outliers: means (and sd) over splits."""
    names = [name for name in ESTIMATORS if name not in ("NSF", "MAF")]
    print("\n| | rows | asked for | " + " | ".join(names) + " |\n|" + "---|" * (3 + len(names)))
    for file, asked in (("22_magic.gamma", 0.868), ("2_annthyroid", 0.944), ("38_thyroid", 0.988)):
        if only and file not in only:
            continue
        areas = np.array([area_of_split(file, names, split) for split in range(splits)])
        cells = [f"{mean:.3f} ({sd:.3f})" for mean, sd in zip(areas.mean(0), areas.std(0), strict=True)]
        print(
            f"| {file} | {len(inliers_and_outliers(file)[0]) // 2} | {asked} | " + " | ".join(cells) + " |", flush=True
        )


def inliers_and_outliers(file: str) -> tuple[np.ndarray, np.ndarray]:
    stored = np.load(DATA / "adbench-small" / f"{file}.npz")
    return stored["X"][stored["y"] == 0].astype(float), stored["X"][stored["y"] == 1].astype(float)


def area_of_split(file: str, names: list[str], split: int) -> list[float]:
    """AUROC of every estimator; numpy's default_rng(split) halves the inliers."""
    from sklearn.metrics import roc_auc_score

    inliers, others = inliers_and_outliers(file)
    train, rest = np.array_split(inliers[np.random.default_rng(split).permutation(len(inliers))], 2)
    x, seen, _ = scaled(train, np.concatenate([rest, others]))
    labels = np.r_[np.zeros(len(rest)), np.ones(len(others))]
    return [float(roc_auc_score(labels, -np.nan_to_num(ESTIMATORS[name](x)(seen), neginf=-1e30))) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help="synthetic, tables, outliers; all of them if none is given"
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--heavy-up-to", type=int, default=1500)
    parser.add_argument("--only", nargs="+", help="only these laws or tables")
    parser.add_argument("--splits", type=int, default=5, help="of the outliers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if "synthetic" in arguments.parts or not arguments.parts:
        synthetic([n for n in arguments.sizes if n <= 10_000], arguments.heavy_up_to, arguments.only)
    if "tables" in arguments.parts or not arguments.parts:
        tables(arguments.sizes, arguments.heavy_up_to, arguments.only)
    if "outliers" in arguments.parts or not arguments.parts:
        outliers(arguments.splits, arguments.only)


if __name__ == "__main__":
    main()
