"""Copies of training rows are flagged, fresh rows are not: digits and a mixed table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pushforward import metrics
from pushforward.data import fit_schema, load_data, take_rows


def shuffled(x: Tensor) -> Tensor:
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]


def check(x: Tensor, n: int) -> None:
    """Splits rows into training, held-out and fresh ones, the latter two of size ``n``."""
    held, fresh, train = x[:n], x[n : 2 * n], x[2 * n :]
    copies = train[torch.randint(len(train), (n,), generator=torch.Generator().manual_seed(1))]
    assert metrics.memorisation(copies, train, held).p_value < 1e-6
    assert metrics.memorisation(fresh, train, held).p_value > 0.01
    mixed = torch.cat([copies[: n // 3], fresh[n // 3 :]])
    assert metrics.memorisation(mixed, train, held).p_value < 1e-3


def digits() -> Tensor:
    from sklearn.datasets import load_digits

    return shuffled(torch.tensor(load_digits().images / 8 - 1, dtype=torch.float32)[:, None])


def test_copied_digits_are_flagged() -> None:
    check(digits(), 400)


def test_copied_digits_are_flagged_in_features() -> None:
    x = digits()
    pca = metrics.PCAFeatures.fit(x, 20)
    check(pca(x), 300)


@pytest.mark.data
def test_copied_adults_are_flagged(real_data: Path) -> None:
    """Encoded rows of the census table; many real rows repeat others, so that ties at distance 0 are common."""
    frame = take_rows(load_data(real_data / "adult" / "adult-train.csv.gz").values, torch.arange(8000).numpy())
    check(shuffled(fit_schema(frame).encode(frame)), 1000)
