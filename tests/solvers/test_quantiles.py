"""Quantiles and lattices against laws whose quantile functions are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oracles import LINES, Line
from pushforward.laws import Ball, Gaussian, Uniform
from pushforward.solvers import empirical_quantiles, lattice


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class OnLine:
    """A law on the line that is driven by its quantile function."""

    uniform_dim = 1

    def __init__(self, line: Line) -> None:
        self.line = line

    def from_uniform(self, u: Tensor) -> Tensor:
        return self.line.quantile(u)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_exact_quantiles_on_the_line(line: Line) -> None:
    n = 999
    points = lattice(OnLine(line), n, generator=seeded(), scramble=False)
    levels = torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)
    assert points.shape == (n, 1)
    torch.testing.assert_close(points[:, 0], line.quantile(levels).float())


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_scrambled_quantiles_are_stratified_and_fresh(line: Line) -> None:
    generator, n = seeded(), 512
    a, b = (lattice(OnLine(line), n, generator=generator)[:, 0].double() for _ in range(2))
    edges = line.quantile(torch.arange(1, n, dtype=torch.float64) / n)
    for points in (a, b):
        assert torch.equal(torch.bucketize(points, edges), torch.arange(n))
        assert points.mean().item() == pytest.approx(line.mean, abs=0.02)
    assert not torch.equal(a, b)


@pytest.mark.parametrize(("law", "shape"), [(Gaussian((8,)), (8,)), (Uniform((2, 3)), (2, 3)), (Ball(4), (4,))])
@pytest.mark.parametrize("scramble", [True, False])
def test_lattices_fill_their_law(law: Gaussian | Uniform | Ball, shape: tuple[int, ...], scramble: bool) -> None:
    n = 1000
    points = lattice(law, n, generator=seeded(), scramble=scramble)
    assert points.shape == (n, *shape)
    assert points.dtype == torch.float32
    assert bool(torch.isfinite(points).all())
    drawn = law.sample(200_000, generator=seeded(1))
    torch.testing.assert_close(points.mean(0), drawn.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(points.var(0), drawn.var(0), atol=0.06, rtol=0)


def test_a_lattice_is_more_even_than_draws() -> None:
    law, n = Gaussian((8,)), 1024
    even = lattice(law, n, generator=seeded()).mean(0).norm()
    drawn = law.sample(n, generator=seeded()).mean(0).norm()
    assert even < 0.2 * drawn


def test_ball_radii_are_uniform() -> None:
    radius = lattice(Ball(5), 2048, generator=seeded()).norm(dim=1).sort().values
    torch.testing.assert_close(radius, (torch.arange(2048) + 0.5) / 2048, atol=2e-3, rtol=0)


def test_same_seed_same_lattice_and_the_global_generator_is_left_alone() -> None:
    law = Gaussian((3,))
    state = torch.random.get_rng_state()
    a, b, c = (lattice(law, 300, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert len(a.unique(dim=0)) == 300
    fixed = [lattice(law, 300, generator=seeded(s), scramble=False) for s in (1, 2)]
    assert torch.equal(*fixed)
    assert torch.equal(state, torch.random.get_rng_state())


def test_bad_lattices_are_refused() -> None:
    with pytest.raises(ValueError, match="n=0"):
        lattice(Gaussian((2,)), 0, generator=seeded())
    with pytest.raises(ValueError, match="21201"):
        lattice(Uniform((30_000,)), 4, generator=seeded())


def test_empirical_quantiles_are_the_order_statistics() -> None:
    values = torch.randn(3, 4, 101, generator=seeded(), dtype=torch.float64)
    levels = torch.arange(1, 102, dtype=torch.float64) / 102
    assert torch.equal(empirical_quantiles(values, levels), values.sort(-1).values)
    ordered = values.sort(-1).values
    between = empirical_quantiles(values, (levels[:-1] + levels[1:]) / 2)
    torch.testing.assert_close(between, (ordered[..., 1:] + ordered[..., :-1]) / 2)
    ends = empirical_quantiles(values, torch.tensor([0.0, 1.0]))
    assert torch.equal(ends, torch.stack([ordered[..., 0], ordered[..., -1]], dim=-1))


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_empirical_quantiles_converge(line: Line) -> None:
    levels = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    found = empirical_quantiles(line.sample(100_000, seeded()), levels)
    torch.testing.assert_close(found, line.quantile(levels), atol=0.04, rtol=0)


def test_one_sample_and_bad_samples() -> None:
    assert torch.equal(empirical_quantiles(torch.tensor([2.0]), torch.tensor([0.0, 0.5, 1.0])), torch.full((3,), 2.0))
    with pytest.raises(ValueError, match="at least one sample"):
        empirical_quantiles(torch.zeros(0), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="1 NaN"):
        empirical_quantiles(torch.tensor([0.0, torch.nan]), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="levels"):
        empirical_quantiles(torch.zeros(3), torch.tensor([1.5]))
