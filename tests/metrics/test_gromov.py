"""Gromov-Wasserstein distances of shapes that are alike, moved, or different."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from pushforward.metrics import gromov
from pushforward.metrics.gromov import gromov_wasserstein

needs_pot = pytest.mark.skipif(gromov.find_solver() is None, reason="POT is not installed (extra: metrics)")


def ring(n: int, seed: int = 0) -> Tensor:
    t = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    return torch.from_numpy(np.stack([np.cos(t), np.sin(t)], 1))


def line(n: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).uniform(size=(n, 1)))


@needs_pot
def test_a_ring_is_nearer_to_a_ring_than_to_a_line() -> None:
    same, other = gromov_wasserstein(ring(300), ring(300, 1)), gromov_wasserstein(line(300), ring(300))
    assert same.high < 0.02 < other.low
    assert same.low <= same.value <= same.high
    assert same.n == 150
    assert "two draws of y" in same.note


@needs_pot
def test_it_sees_neither_place_nor_turn_nor_unit() -> None:
    x, y = ring(200), ring(200, 1)
    turn = torch.linalg.qr(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).double()).Q
    one, two = gromov_wasserstein(x, y, points=60), gromov_wasserstein(7 + 30 * x @ turn.T, y, points=60)
    assert two.value == pytest.approx(one.value, rel=1e-6)


@needs_pot
def test_triangles_have_a_closed_form() -> None:
    """Sides 3, 4, 8 and 3, 4, 9: the best plan pairs equal sides, and 2 of 9 pairs of corners differ by 1."""
    first, second = (torch.tensor([[0.0, 3, c], [3, 0, 4], [c, 4, 0]]).double() for c in (8, 9))
    solve = gromov.find_solver()
    assert solve is not None
    assert gromov._distance(solve, first, second) == pytest.approx(2 / 9)


@needs_pot
def test_the_same_call_gives_the_same_number_and_leaves_the_generators_alone() -> None:
    torch.manual_seed(3)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    assert gromov_wasserstein(ring(60), line(60)) == gromov_wasserstein(ring(60), line(60))
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


@needs_pot
def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="points=5 are too few"):
        gromov_wasserstein(ring(100), ring(100), points=5)
    with pytest.raises(ValueError, match="too few"):
        gromov_wasserstein(ring(30), ring(100))
    with pytest.raises(ValueError, match="all rows of a draw are equal"):
        gromov_wasserstein(torch.ones(50, 2), ring(100))


def test_a_missing_pot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"pip install 'pushforward\[metrics\]'"):
        gromov_wasserstein(ring(60), ring(60))
