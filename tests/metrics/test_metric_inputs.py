"""What metrics do with two sides that do not fit, and with feature maps that do not give rows of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from pushforward import metrics

PAIRS: list[Callable[..., Any]] = [
    metrics.frechet_distance,
    metrics.frechet_infinite,
    metrics.kid,
    metrics.energy_distance,
    metrics.mmd_test,
    metrics.precision_recall,
    metrics.density_coverage,
    metrics.classifier_test,
    metrics.sliced_wasserstein,
    metrics.max_sliced_wasserstein,
    metrics.mean_pixel_distance,
    metrics.wasserstein2,
]
TRIPLES: list[Callable[..., Any]] = [
    metrics.memorisation,
    metrics.nearest_ratio,
    metrics.wasserstein_ratio,
    metrics.held_out_report,
]


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("metric", [*PAIRS, *TRIPLES], ids=lambda f: f.__name__)
def test_sides_of_different_width_are_refused(metric: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="must agree"):
        metric(*[rows(60, 3 + (i == 0)) for i in range(2 if metric in PAIRS else 3)])


@pytest.mark.parametrize(
    "metric", [metrics.kid, metrics.precision_recall, metrics.memorisation], ids=lambda f: f.__name__
)
def test_sides_of_different_precision_are_compared(metric: Callable[..., Any]) -> None:
    x, y, z = rows(60, 3), rows(60, 3).flip(0) + 1, rows(60, 3).roll(1, 0) - 1
    sides = (x, y) if metric in PAIRS else (x, y, z)
    assert metric(x.double(), *sides[1:]) == metric(*(side.double() for side in sides))


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (lambda x: (x > 0).long(), "torch.int64"),
        (lambda x: x[:1], r"shape \[1, 3\] for 60 rows"),
        (lambda x: x.numpy(), "ndarray"),
        (lambda x: x.sum(), r"shape \[\]"),
    ],
)
def test_feature_maps_must_give_a_row_for_each_row(features: Callable[[Tensor], Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        metrics.kid(rows(60, 3), rows(60, 3), features=features)


def test_rows_without_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x: its shape is \[60, 0\]"):
        metrics.kid(rows(60, 0), rows(60, 0))
    with pytest.raises(ValueError, match=r"x: its shape is \[\]"):
        metrics.energy_distance(torch.tensor(1.0), rows(60, 3))


def test_permutation_p_value_counts_ties_whatever_they_round_to() -> None:
    """Two values: relabellings with as many ones on the first side have equal discrepancies, and rounding must not part them."""
    from scipy.stats import hypergeom

    rng, n = torch.Generator().manual_seed(0), 60
    for _ in range(5):
        ones = torch.randint(2, (2 * n,), generator=rng)
        rows = ones[:, None] * torch.tensor([1.0, 0.37, 2.0])
        counts = torch.arange(2 * n + 1)
        far = (2 * counts - ones.sum()).abs() >= (2 * ones[:n].sum() - ones.sum()).abs()
        exact = float((hypergeom.pmf(counts.numpy(), 2 * n, int(ones.sum()), n) * far.numpy()).sum())
        found = metrics.mmd_test(rows[:n], rows[n:], n_permutations=1999).p_value
        assert abs(found - exact) < 4 * (exact * (1 - exact) / 2000) ** 0.5 + 1 / 2000


def test_no_error_on_the_test_rows_is_no_certainty() -> None:
    """Where neither model is wrong, the difference of their scores has the width that so few test rows leave."""
    kind = np.arange(60) % 2
    frame = pd.DataFrame({"size": kind + np.linspace(0, 0.5, 60), "kind": np.where(kind == 0, "a", "b")})
    found = metrics.train_synthetic_test_real(frame, frame, frame, "kind").forest
    assert found.difference.value == 0
    assert found.difference.low == -found.difference.high == pytest.approx(-3 / 30)
