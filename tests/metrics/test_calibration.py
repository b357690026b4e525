"""Every interval contains, for two samples of one law, what equal laws give: at least 90 times of 100.

Small samples here; ``benchmarks/metric_calibration.py`` has more of everything, for more laws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pushforward import metrics
from pushforward.metrics import Measurement
from pushforward.metrics.manifold import coverage_of_equal_laws

N, REPEATS = 60, 100
Metric = Callable[[Tensor, Tensor], Measurement]


def gaussian(seed: int) -> Tensor:
    """Two samples of one law, ``[2, n, 3]``."""
    return torch.randn(2, N, 3, generator=torch.Generator().manual_seed(seed))


def categories(seed: int) -> Tensor:
    """Three columns of three categories, one-hot."""
    draws = torch.randint(3, (2, N, 3), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(draws, 3).flatten(2).float()


def logistic(x: Tensor, y: Tensor) -> metrics.ClassifierTest:
    from sklearn.linear_model import LogisticRegression

    return metrics.classifier_test(x, y, classifier=LogisticRegression())


TRAIN = torch.randn(4 * N, 3, generator=torch.Generator().manual_seed(999))

# Metric, and what equal laws give; None: not known in closed form, the mean over the repeats stands for it.
CONTINUOUS: dict[str, tuple[Metric, float | None]] = {
    "w2_ratio": (lambda x, y: metrics.wasserstein_ratio(x, TRAIN, y), 1),
    "nearest_ratio": (lambda x, y: metrics.nearest_ratio(x, TRAIN, y), 1),
    "nearest_ratio_5": (lambda x, y: metrics.nearest_ratio(x, TRAIN, y, quantile=0.05), 1),
    "precision": (lambda x, y: metrics.precision_recall(x, y).precision, None),
    "recall": (lambda x, y: metrics.precision_recall(x, y).recall, None),
    "density": (lambda x, y: metrics.density_coverage(x, y).density, 1),
    "coverage": (lambda x, y: metrics.density_coverage(x, y).coverage, coverage_of_equal_laws(N, N, 5)),
}
ANY: dict[str, tuple[Metric, float | None]] = {
    "frechet": (metrics.frechet_distance, None),
    "frechet_infinite": (metrics.frechet_infinite, 0),
    "kid": (metrics.kid, 0),
    "energy": (metrics.energy_distance, 0),
    "mmd": (lambda x, y: metrics.mmd_test(x, y, n_permutations=1).distance, 0),
    "sliced": (metrics.sliced_wasserstein, 0),
    "max_sliced": (metrics.max_sliced_wasserstein, 0),
    "mean_pixel": (metrics.mean_pixel_distance, 0),
    "c2st_auc": (lambda x, y: logistic(x, y).auc, 0.5),
    "c2st_accuracy": (lambda x, y: logistic(x, y).accuracy, 0.5),
}
CASES = [(name, gaussian) for name in (*CONTINUOUS, *ANY)] + [(name, categories) for name in ANY]


@pytest.mark.parametrize(("name", "draw"), CASES, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_interval_contains_what_equal_laws_give(name: str, draw: Callable[[int], Tensor]) -> None:
    metric, null = (CONTINUOUS | ANY)[name]
    found = [metric(*draw(seed)) for seed in range(REPEATS)]
    truth = np.mean([m.value for m in found]) if null is None else null
    assert sum(m.low <= truth <= m.high for m in found) >= 90
    assert all(m.low <= m.value <= m.high for m in found)
    assert {m.n for m in found} <= {N, N // 2}


@pytest.mark.parametrize("name", [*CONTINUOUS, *ANY])
def test_intervals_shrink(name: str) -> None:
    """Four times the rows: an interval of at most 0.75 times the width, on average; it does not hide in width."""
    metric, _ = (CONTINUOUS | ANY)[name]
    rng = torch.Generator().manual_seed(3)
    small, large = (
        np.mean([m.high - m.low for m in (metric(*torch.randn(2, n, 3, generator=rng)) for _ in range(8))])
        for n in (N, 4 * N)
    )
    if name not in {"w2_ratio", "nearest_ratio", "nearest_ratio_5"}:  # these need more training rows, too
        assert large < 0.75 * small
