"""Directions of the max-K-sliced Wasserstein distance against closed forms, and their value by another computation."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from torch import Tensor

from oracles.densities import density
from pushforward.solvers.slices import find_slices, orthonormal, random_frames, sliced_distance


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def standardised(name: str, n: int, seed: int = 0) -> Tensor:
    x = density(name).rows(n, seed)
    return torch.from_numpy((x - x.mean(0)) / x.std(0))[None]


def value_by_numpy(x: np.ndarray, slices: np.ndarray, target: np.ndarray | None = None) -> float:
    """F by sorting in numpy, float64."""
    u = np.sort(x.astype(float) @ slices, axis=0)
    n = len(u)
    t = ndtri((np.arange(n) + 0.5) / n)[:, None] if target is None else np.sort(target.astype(float) @ slices, axis=0)
    return float(((u - t) ** 2).mean())


def test_frames_are_orthonormal() -> None:
    for frames in (random_frames(5, 9, 4, generator()), random_frames(2, 6, 6, generator())):
        assert (frames.mT @ frames - torch.eye(frames.shape[2])).abs().max() < 1e-6
    tilted = torch.randn(3, 8, 3, generator=generator())
    q, r = torch.linalg.qr(tilted)
    assert torch.allclose(orthonormal(tilted), q * r.diagonal(dim1=1, dim2=2).sign()[:, None], atol=1e-5)


def test_the_wide_direction_of_a_gaussian_is_found() -> None:
    """W2^2 between N(0, diag(s^2)) and N(0, I) along a is (|S a| - 1)^2: largest along the axis of the largest s."""
    x = torch.randn(2, 4000, 5, generator=generator()) * torch.tensor([1.0, 3.0, 1.0, 0.6, 1.0])
    found = find_slices(x, count=2, iterations=40, generator=generator(1))
    assert (found[:, 1, :].square().sum(1) > 0.999).all()
    assert (found[:, 3, :].square().sum(1) > 0.97).all()
    assert sliced_distance(x, found) == pytest.approx(torch.full((2,), (4 + 0.16) / 2), rel=0.05)


def test_the_shift_between_two_samples_is_found() -> None:
    """Two samples that differ by a translation m alone have F = (a.m)^2, largest along m."""
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0])
    x = torch.randn(3, 500, 4, generator=generator())
    found = find_slices(x + shift, target=x, count=1, iterations=30, generator=generator(1))[:, :, 0]
    assert ((found @ shift).abs() > 0.999 * shift.norm()).all()
    distance = sliced_distance(x + shift, found[:, :, None], x)
    assert distance == pytest.approx(shift.square().sum().expand(3), rel=2e-3)


def test_the_value_on_a_hard_law_in_little_time_and_by_another_computation() -> None:
    x = standardised("auto30", 8000)
    find_slices(x[:, :500], count=8, iterations=3, generator=generator())
    random = sliced_distance(x, random_frames(1, 30, 8, generator(5))).item()
    axes = sliced_distance(x, torch.eye(30)[None, :, :8].contiguous()).item()
    spent = []
    for seed in range(3):
        began = time.process_time()
        found = find_slices(x, count=8, iterations=40, generator=generator(seed))
        spent.append(time.process_time() - began)
        value = sliced_distance(x, found).item()
        assert value == pytest.approx(value_by_numpy(x[0].numpy(), found[0].double().numpy()), abs=1e-4)
        assert value > 4 * max(random, axes)
        assert (found.mT @ found - torch.eye(8)).abs().max() < 1e-6
    assert min(spent) < 1.0  # measured by a benchmark; here only that it is not seconds


def test_two_samples_by_another_computation() -> None:
    x, y = standardised("ica10", 1000), torch.randn(1, 1000, 10, generator=generator())
    found = find_slices(x, target=y, count=3, iterations=20, generator=generator(3))
    expected = value_by_numpy(x[0].numpy(), found[0].double().numpy(), y[0].numpy())
    assert sliced_distance(x, found, y).item() == pytest.approx(expected, abs=1e-4)


def test_equal_weights_change_nothing() -> None:
    x = standardised("auto10", 600)
    plain = find_slices(x, count=4, iterations=15, generator=generator())
    weighted = find_slices(x, count=4, iterations=15, generator=generator(), weights=torch.full((600,), 0.3))
    assert torch.equal(plain, weighted)


def test_whole_weights_are_repeated_rows() -> None:
    """A row of weight 2 counts like two rows, whose Gaussian quantiles are averaged within their interval."""
    x = standardised("moons", 900)
    weights = torch.randint(1, 4, (900,), generator=generator())
    frame = random_frames(1, 2, 2, generator(4))
    repeated = x.repeat_interleave(weights, dim=1)
    near = sliced_distance(x, frame, weights=weights.float())
    assert near.item() == pytest.approx(sliced_distance(repeated, frame).item(), abs=2e-3)


def test_weights_of_zero_remove_rows() -> None:
    x = torch.cat([standardised("auto10", 400), 50 + torch.randn(1, 100, 10, generator=generator())], dim=1)
    weights = torch.cat([torch.rand(400, generator=generator()) + 0.5, torch.zeros(100)])
    frame = random_frames(1, 10, 3, generator(4))
    part = sliced_distance(x[:, :400], frame, weights=weights[:400])
    assert sliced_distance(x, frame, weights=weights).item() == pytest.approx(part.item(), rel=1e-4)


def test_problems_of_a_batch_do_not_touch_each_other() -> None:
    x = torch.stack([standardised("auto10", 500)[0], standardised("ica10", 500)[0]])
    starts = random_frames(2, 10, 3, generator())
    both = find_slices(x, count=3, iterations=4, generator=generator(), start=starts)
    for one in range(2):
        alone = find_slices(x[[one]], count=3, iterations=4, generator=generator(), start=starts[[one]])
        assert torch.allclose(both[one], alone[0], atol=2e-3)  # summed in another order


@pytest.mark.parametrize("x", [torch.ones(1, 50, 3), torch.zeros(2, 2, 3)], ids=["equal rows", "zeros"])
def test_data_without_spread_still_give_frames(x: Tensor) -> None:
    found = find_slices(x, count=2, iterations=10, generator=generator())
    assert (found.mT @ found - torch.eye(2)).abs().max() < 1e-5


def test_bad_arguments_are_refused() -> None:
    x = torch.zeros(1, 10, 3)
    with pytest.raises(ValueError, match="count: from 1 to d"):
        find_slices(x, count=4, iterations=2, generator=generator())
    with pytest.raises(ValueError, match="target: samples of the shape"):
        find_slices(x, target=torch.zeros(1, 9, 3), count=1, iterations=2, generator=generator())
    with pytest.raises(ValueError, match="weights: 10 numbers"):
        find_slices(x, count=1, iterations=2, generator=generator(), weights=torch.ones(9))
