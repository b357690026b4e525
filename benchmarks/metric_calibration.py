"""Do the intervals hold? Two samples of one law, again and again: how often each 95 % interval contains what it should.

The number that equal laws give is known for most metrics (column "null"). Where it is not, marked ~, the mean over the repeats
stands for it: precision and recall; the plain Frechet distance, whose mean at these sizes is its floor; density and coverage where
distances tie. Then the same for two laws that differ by a known distance. The last table is of p-values: shares below .05 and .5
for equal laws.

    python benchmarks/metric_calibration.py [--repeats 100] [--rows 200]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from pushforward import metrics
from pushforward.metrics import Measurement
from pushforward.metrics.manifold import coverage_of_equal_laws

Draw = Callable[[int, torch.Generator], Tensor]
Metric = Callable[[Tensor, Tensor], Measurement]


def gaussian(d: int) -> Draw:
    return lambda n, rng: torch.randn(n, d, generator=rng)


def heavy(n: int, rng: torch.Generator) -> Tensor:
    """Four dimensions with a common scale of density ~ s^-7: moments below the sixth exist."""
    return torch.randn(n, 4, generator=rng) / torch.rand(n, 1, generator=rng) ** (1 / 6)


def words(n: int, rng: torch.Generator) -> Tensor:
    """Six columns of three categories each, one-hot."""
    return torch.nn.functional.one_hot(torch.randint(3, (n, 6), generator=rng), 3).flatten(1).float()


LAWS: dict[str, Draw] = {
    "Gaussian, 1-D": gaussian(1),
    "Gaussian, 4-D": gaussian(4),
    "Gaussian, 32-D": gaussian(32),
    "heavy tails, 4-D": heavy,
    "categories, 18-D": words,
}


def two_sample_metrics(n: int) -> dict[str, tuple[Metric, float | None]]:
    """Metrics of two samples, and what equal laws give; None: the mean over the repeats."""
    logistic = LogisticRegression()
    return {
        "Frechet": (metrics.frechet_distance, None),
        "Frechet, infinite n": (metrics.frechet_infinite, 0),
        "KID": (metrics.kid, 0),
        "energy distance": (metrics.energy_distance, 0),
        "MMD": (lambda x, y: metrics.mmd_test(x, y, n_permutations=1).distance, 0),
        "sliced W2": (metrics.sliced_wasserstein, 0),
        "max-sliced W2": (metrics.max_sliced_wasserstein, 0),
        "precision": (lambda x, y: metrics.precision_recall(x, y).precision, None),
        "recall": (lambda x, y: metrics.precision_recall(x, y).recall, None),
        "density": (lambda x, y: metrics.density_coverage(x, y).density, 1),
        "coverage": (lambda x, y: metrics.density_coverage(x, y).coverage, coverage_of_equal_laws(n, n, 5)),
        "mean pixel distance": (metrics.mean_pixel_distance, 0),
        "C2ST AUC, logistic": (lambda x, y: metrics.classifier_test(x, y, classifier=logistic).auc, 0.5),
        "C2ST accuracy, logistic": (lambda x, y: metrics.classifier_test(x, y, classifier=logistic).accuracy, 0.5),
        "C2ST AUC, forest": (lambda x, y: metrics.classifier_test(x, y).auc, 0.5),
    }


def train_metrics(train: Tensor) -> dict[str, tuple[Metric, float | None]]:
    """Metrics that also need training rows."""
    return {
        "W2 ratio": (lambda x, y: metrics.wasserstein_ratio(x, train, y), 1),
        "nearest ratio, median": (lambda x, y: metrics.nearest_ratio(x, train, y), 1),
        "nearest ratio, 5 %": (lambda x, y: metrics.nearest_ratio(x, train, y, quantile=0.05), 1),
    }


def report(name: str, found: list[Measurement], null: float | None, seconds: float) -> None:
    values = np.array([m.value for m in found])
    truth = values.mean() if null is None else null
    hits = np.mean([m.low <= truth <= m.high for m in found])
    half = np.mean([(m.high - m.low) / 2 for m in found])
    print(
        f"  {name:24} {'~' if null is None else ' '}{truth:8.4f} {values.mean():9.4f} {values.std():8.4f} {half:10.4f}"
        f" {100 * hits:7.0f} % {1000 * seconds / len(found):8.0f}",
        flush=True,
    )


def measure(name: str, metric: Metric, pairs: list[tuple[Tensor, Tensor]], null: float | None) -> None:
    """One line; a metric that cannot be had here says why."""
    started = time.process_time()
    try:
        found = [metric(x, y) for x, y in pairs]
    except ValueError as refusal:
        print(f"  {name:24}  refused: {refusal}", flush=True)
        return
    report(name, found, null, time.process_time() - started)


def header(title: str) -> None:
    print(f"\n{title}\n  {'':24} {'null':>9} {'mean':>9} {'sd':>8} {'half width':>10} {'contained':>9} {'CPU ms':>8}")


def equal_laws(n: int, repeats: int) -> None:
    for law, draw in LAWS.items():
        header(f"Equal laws: {law}, {n} rows a side")
        rng = torch.Generator().manual_seed(0)
        pairs = [(draw(n, rng), draw(n, rng)) for _ in range(repeats)]
        for name, (metric, null) in {**two_sample_metrics(n), **train_metrics(draw(4 * n, rng))}.items():
            tied = draw is words and name in {"density", "coverage"}  # closed balls hold more rows where distances tie
            measure(name, metric, pairs, None if tied else null)


def different_laws(n: int, repeats: int) -> None:
    """N(0, I) and N(.2, 1.3^2 I): closed forms for the Frechet distance, the directions and the mean."""
    d, rng = 4, torch.Generator().manual_seed(1)
    header(f"N(0, I) and N(.2, 1.3^2 I) in {d}-D, {n} rows a side")
    pairs = [(torch.randn(n, d, generator=rng), 0.2 + 1.3 * torch.randn(n, d, generator=rng)) for _ in range(repeats)]
    measure("Frechet, infinite n", metrics.frechet_infinite, pairs, d * (0.2**2 + 0.3**2))
    measure("sliced W2", metrics.sliced_wasserstein, pairs, 0.2**2 + 0.3**2)
    measure("mean pixel distance", metrics.mean_pixel_distance, pairs, 0.2)


def p_values(n: int, repeats: int) -> None:
    print(f"\np-values of equal laws, {n} rows a side, 4-D: shares below .05 and .5")
    rng = torch.Generator().manual_seed(2)
    train, draws = torch.randn(4 * n, 4, generator=rng), [torch.randn(2, n, 4, generator=rng) for _ in range(repeats)]
    tests: dict[str, Callable[[Tensor, Tensor], float]] = {
        "MMD": lambda x, y: metrics.mmd_test(x, y, n_permutations=199).p_value,
        "C2ST, logistic": lambda x, y: metrics.classifier_test(x, y, classifier=LogisticRegression()).p_value,
        "memorisation": lambda x, y: metrics.memorisation(x, train, y).p_value,
    }
    for name, test in tests.items():
        found = np.array([test(x, y) for x, y in draws])
        print(f"  {name:24} {np.mean(found < 0.05):.3f} {np.mean(found < 0.5):.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100, help="pairs of samples for each line (default 100)")
    parser.add_argument("--rows", type=int, default=200, help="rows of each sample (default 200)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    equal_laws(options.rows, options.repeats)
    different_laws(options.rows, options.repeats)
    p_values(options.rows, options.repeats)


if __name__ == "__main__":
    main()
