"""Diffusion maps against the spectra of the circle and the sphere, and what bad points get."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pushforward.solvers import spectral
from pushforward.solvers.spectral import DiffusionMap, automatic_bandwidth, diffusion_map

N = 3000
FINE: dict[str, Any] = {"bandwidth": 0.003, "neighbours": 500}


def angles(density: str, n: int = N) -> np.ndarray:
    """On the circle, uniform, or half uniform and half von Mises with concentration 2."""
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 2 * np.pi, n)
    return t if density == "uniform" else np.where(rng.random(n) < 0.5, rng.vonmises(0, 2, n), t)


def ring(t: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([np.cos(t), np.sin(t)], 1))


def to_plane(found: DiffusionMap, t: np.ndarray) -> tuple[np.ndarray, float]:
    """The matrix that carries the first two coordinates to the circle best, and the share of the square that is left."""
    psi, target = found.coordinates[:, :2].numpy(), ring(t).numpy()
    matrix = np.linalg.lstsq(psi, target, rcond=None)[0]
    return matrix, float(np.square(target - psi @ matrix).mean() / np.square(target).mean())


@pytest.mark.parametrize("density", ["uniform", "uneven"])
def test_the_circle_whatever_the_density(density: str) -> None:
    t = angles(density)
    found = diffusion_map(ring(t), 6, **FINE)
    ratios = found.rates / found.rates[0]
    assert torch.allclose(ratios, torch.tensor([1.0, 1, 4, 4, 9, 9]).double(), rtol=0.08)
    assert float(found.rates[0]) == pytest.approx(1, abs=0.05)  # the Laplacian of the unit circle itself
    matrix, left = to_plane(found, t)
    assert left < 1e-3
    new = np.random.default_rng(1).uniform(0, 2 * np.pi, 500)
    error = found.extend(ring(new))[:, :2].numpy() @ matrix - ring(new).numpy()
    assert np.abs(error).max() < 0.06


def test_without_density_normalisation_the_circle_is_not_found() -> None:
    t = angles("uneven")
    found = diffusion_map(ring(t[:1500]), 6, **FINE, alpha=0.0)
    assert float(found.rates[1] / found.rates[0]) > 1.2
    assert to_plane(found, t[:1500])[1] > 0.02


def test_the_sphere_has_its_multiplicities() -> None:
    z = np.random.default_rng(0).normal(size=(1500, 3))
    x = torch.from_numpy(z / np.linalg.norm(z, axis=1, keepdims=True))
    rates = diffusion_map(x, 15, bandwidth=0.03, neighbours=400).rates
    for start, stop, value in ((0, 3, 2), (3, 8, 6), (8, 15, 12)):
        assert torch.allclose(rates[start:stop], torch.full((stop - start,), float(value)).double(), rtol=0.16)
    assert float(rates[3] / rates[2]) > 2
    assert float(rates[8] / rates[7]) > 1.5


def test_coordinates_are_eigenfunctions_of_unit_variance_under_the_stationary_law() -> None:
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    found = diffusion_map(x, 4, neighbours=40)
    psi, pi = found.coordinates, found.stationary
    assert float(pi.sum()) == pytest.approx(1)
    assert torch.allclose((psi * pi[:, None]).T @ psi, torch.eye(4).double(), atol=1e-8)
    assert torch.allclose(pi @ psi, torch.zeros(4).double(), atol=1e-8)
    kernel = torch.from_numpy(found.kernel.toarray()) / (found.density[:, None] * found.density)
    walk = kernel.fill_diagonal_(0) / kernel.sum(1, keepdim=True)
    assert torch.allclose(walk @ psi, found.eigenvalues * psi, atol=1e-8)


def test_the_iterative_and_the_dense_solver_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(190, 2, generator=torch.Generator().manual_seed(0))
    dense = diffusion_map(x, 3, neighbours=30)
    monkeypatch.setattr(spectral, "_DENSE_ROWS", 10)
    sparse = diffusion_map(x, 3, neighbours=30)
    assert torch.allclose(dense.eigenvalues, sparse.eigenvalues, atol=1e-10)
    assert torch.allclose(dense.coordinates, sparse.coordinates, atol=1e-6)
    assert torch.equal(sparse.coordinates, diffusion_map(x, 3, neighbours=30).coordinates)


def test_the_extension_is_the_identity_on_the_points() -> None:
    found = diffusion_map(ring(angles("uniform", 800)), 4, bandwidth=0.003, neighbours=150)
    assert (found.extend(found.points) - found.coordinates).abs().max() < 0.02


def test_far_points_get_coordinates_too() -> None:
    found = diffusion_map(ring(angles("uniform", 300)), 2, neighbours=40)
    out = found.extend(torch.tensor([[1e6, 0.0], [0.0, -50.0]]).double())
    assert bool(torch.isfinite(out).all())
    nearest = found.coordinates[(found.points - torch.tensor([0.0, -1.0])).square().sum(1).argmin()]
    assert torch.allclose(out[1], nearest / found.eigenvalues, atol=0.05)


def test_a_graph_of_two_parts_is_refused_or_joined() -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.concatenate([rng.normal(size=(120, 2)), rng.normal(size=(80, 2)) + 100]))
    with pytest.raises(ValueError, match=r"2 parts that no walk connects \(of 120, 80 points\)"):
        diffusion_map(x, 3, neighbours=20)
    found = diffusion_map(x, 3, neighbours=20, disconnected="join")
    assert found.parts == 2
    first = found.coordinates[:, 0]
    assert float(first[:120].std() + first[120:].std()) < 0.2 * float((first[:120].mean() - first[120:].mean()).abs())
    assert bool(torch.isfinite(found.coordinates).all())


def test_a_far_point_takes_up_no_coordinate() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 2)))
    alone = diffusion_map(x, 2, neighbours=30)
    x[0] = torch.tensor([30.0, 0.0])
    found = diffusion_map(x, 2, neighbours=30)
    assert found.parts == 1
    assert torch.allclose(found.eigenvalues, alone.eigenvalues, atol=0.01)
    correlation = torch.corrcoef(torch.stack([found.coordinates[1:, 0], alone.coordinates[1:, 0]]))[0, 1]
    assert abs(float(correlation)) > 0.97


def test_copies_are_allowed() -> None:
    t = np.concatenate([angles("uniform", 500)] * 2)
    found = diffusion_map(ring(t), 2, neighbours=60)
    assert bool(torch.isfinite(found.coordinates).all())
    assert torch.allclose(found.coordinates[:500], found.coordinates[500:], atol=0.02)
    assert to_plane(found, t)[1] < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 0}, "latent_dim: must be from 1 to 38 for 40 points, got 0"),
        ({"latent_dim": 39}, "latent_dim: must be from 1 to 38"),
        ({"neighbours": 40}, "neighbours: must be from 1 to 39 for 40 points, got 40"),
        ({"neighbours": 0}, "neighbours: must be from 1"),
        ({"bandwidth": 0.0}, "bandwidth: must be positive and finite, got 0.0"),
        ({"bandwidth": math.nan}, "bandwidth: must be positive"),
        ({"alpha": 1.5}, "alpha: must be from 0 to 1, got 1.5"),
        ({"bandwidth": 1e-9}, "parts that no walk connects"),
        ({"latent_dim": 35, "bandwidth": 1e6}, "latent_dim: the walk has only"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        diffusion_map(x, **{"latent_dim": 2, "neighbours": 10, **arguments})


def test_points_that_are_all_equal_are_refused() -> None:
    with pytest.raises(ValueError, match="all neighbours have distance 0"):
        diffusion_map(torch.ones(30, 2), 2, neighbours=5)
    with pytest.raises(ValueError, match="at least 3 rows"):
        diffusion_map(torch.ones(2, 2), 1, neighbours=1)


def test_the_automatic_bandwidth_leaves_copies_out() -> None:
    squared = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]])
    assert automatic_bandwidth(squared) == 2.0
