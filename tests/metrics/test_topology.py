"""Homology of circles, pairs of circles and spheres; stretch of known maps."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from pushforward.metrics import topology
from pushforward.metrics.topology import farthest_points, homology_match, lifetimes, stretch_ratio

needs_ripser = pytest.mark.skipif(topology.find_ripser() is None, reason="ripser is not installed (extra: topology)")


def ring(n: int, seed: int = 0, centre: float = 0.0) -> Tensor:
    t = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    return torch.from_numpy(np.stack([np.cos(t) + centre, np.sin(t)], 1))


@needs_ripser
def test_a_circle_has_one_loop_of_known_lifetime() -> None:
    t = torch.arange(60).double() * 2 * np.pi / 60
    found = lifetimes(torch.stack([t.cos(), t.sin()], 1))
    # born when neighbours touch, dead when an inscribed triangle closes (60 is divisible by 3)
    assert found.births[1] == pytest.approx(2 * np.sin(np.pi / 60), abs=1e-5)
    assert found.top(1) == pytest.approx(np.sqrt(3) - 2 * np.sin(np.pi / 60), abs=1e-5)
    assert found.top(1, 1) == 0
    assert (found.betti(0, 0.5), found.betti(1, 0.5)) == (1, 1)


@needs_ripser
def test_parts_loops_and_voids_are_counted() -> None:
    pair = torch.cat([ring(150), ring(150, 1, centre=10.0)])
    found = lifetimes(pair, points=200)
    assert (found.betti(0, 3.0), found.betti(1, 0.5)) == (2, 2)
    z = np.random.default_rng(0).normal(size=(400, 3))
    sphere = lifetimes(torch.from_numpy(z / np.linalg.norm(z, axis=1, keepdims=True)), most_dim=2, points=80)
    assert (sphere.betti(0, 0.8), sphere.betti(1, 0.8), sphere.betti(2, 0.4)) == (1, 0, 1)


@needs_ripser
def test_samples_of_a_circle_match_and_a_disc_does_not() -> None:
    good = homology_match(ring(400), ring(600, 1))
    assert 0.9 < good.top_ratio < 1.1
    assert good.second_ratio < 0.1
    assert good.betti == (1, 1)
    radius = torch.from_numpy(np.random.default_rng(2).uniform(size=(400, 1)) ** 0.5)
    disc = homology_match(ring(400) * radius, ring(600, 1))
    assert disc.top_ratio < 0.4
    assert disc.betti == (1, 0)


@needs_ripser
def test_the_same_call_gives_the_same_numbers() -> None:
    one, two = (homology_match(ring(300), ring(300, 1)) for _ in range(2))
    assert one.top_ratio == two.top_ratio


def test_the_landmarks_are_spread() -> None:
    x = torch.cat([torch.zeros(50, 2), torch.tensor([[10.0, 0], [0, 10], [-10, 0], [0, -10]])])
    assert {50, 51, 52, 53} <= set(farthest_points(x, 5).tolist())


def test_a_missing_ripser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ripser", None)
    with pytest.raises(ImportError, match="pip install"):
        lifetimes(ring(30))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        lifetimes(ring(5))
    with pytest.raises(ValueError, match="most_dim"):
        lifetimes(ring(50), most_dim=3)


def test_the_stretch_of_a_similarity_is_one_in_any_unit() -> None:
    z = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)).double()
    turn = torch.linalg.qr(torch.randn(5, 2, generator=torch.Generator().manual_seed(1)).double())[0]
    assert torch.allclose(stretch_ratio(z, 1e3 * z @ turn.T), torch.ones(100).double())


def test_the_stretch_of_a_linear_map_is_at_most_its_condition_number() -> None:
    z = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)).double()
    found = stretch_ratio(z, z * torch.tensor([6.0, 2.0]).double())
    assert float(found.max()) <= 3 + 1e-9
    assert float(found.mean()) > 2.5


def test_copies_of_a_code_have_no_stretch() -> None:
    z = torch.tensor([[0.0], [0.0], [1.0], [2.0], [4.0]])
    assert torch.allclose(stretch_ratio(z, 3 * z, neighbours=3), torch.ones(5).double())
    with pytest.raises(ValueError, match="one row for each code"):
        stretch_ratio(z, z[:3])
