"""Splines and additive regressions against SciPy, direct formulas and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from pushforward.solvers.splines import (
    AdditiveSplines,
    BSplines,
    RankRegression,
    codes_of,
    column_means,
    curve_distances,
    penalised_fit,
    principal_coordinates,
    ranks_of,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def holes(*shape: int, seed: int = 1) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.7).double()


# ---------------------------------------------------------------------- B-splines


@pytest.mark.parametrize(("count", "degree"), [(4, 3), (5, 3), (9, 3), (6, 1), (3, 0)])
@pytest.mark.parametrize("order", [0, 1, 2, 4])
def test_values_and_derivatives_are_scipys(count: int, degree: int, order: int) -> None:
    splines = BSplines(count, degree)
    u = torch.linspace(0.001, 0.999, 41, dtype=torch.float64)
    got = splines.derivative(u, order) if order else splines(u)
    oracle = [BSpline(splines.knots.numpy(), row, degree) for row in np.eye(count)]
    wanted = np.stack([spline(u.numpy(), nu=order) for spline in oracle], axis=1)
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-9 * 10**order)


def test_they_sum_to_one_and_hold_arguments_to_the_interval() -> None:
    splines = BSplines(8)
    u = torch.tensor([[-1.0, 0.0, 0.3], [0.7, 1.0, 2.0]])
    values = splines(u)
    assert values.shape == (2, 3, 8)
    torch.testing.assert_close(values.sum(-1), torch.ones(2, 3))
    torch.testing.assert_close(torch.stack([values[0, 0, 0], values[1, 1, -1], values[1, 2, -1]]), torch.ones(3))


@pytest.mark.parametrize("order", [1, 2])
def test_the_penalty_is_the_integral(order: int) -> None:
    splines = BSplines(7)
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    values = splines.derivative(u, order)
    torch.testing.assert_close(splines.penalty(order), values.T @ values / len(u), rtol=1e-6, atol=1e-4)


def test_lines_are_not_rough() -> None:
    """A line has coefficients at the Greville abscissae (averages of neighbouring knots)."""
    splines = BSplines(7)
    line = torch.stack([splines.knots[i + 1 : i + 4].mean() for i in range(7)])
    u = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(splines(u) @ line, u)
    assert (line @ splines.penalty() @ line).abs() < 1e-9


def test_gradients_flow_to_the_argument() -> None:
    splines = BSplines(6)
    u = torch.linspace(0.05, 0.95, 9, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(splines(u)[:, 2].sum(), u)
    torch.testing.assert_close(gradient, splines.derivative(u.detach())[:, 2])


def test_too_few_functions() -> None:
    with pytest.raises(ValueError, match="count: splines of degree 3 need at least 4 functions, got 3"):
        BSplines(3)


# ---------------------------------------------------------------------- regression and distances


@pytest.mark.parametrize("weighted", [False, True])
def test_the_fit_is_stationary(weighted: bool) -> None:
    design, x, root = normal(40, 5), normal(40, 7, seed=1), normal(5, 5, seed=2)
    penalty, weights = root @ root.T, holes(40, 7) if weighted else None
    b = penalised_fit(design, x, penalty, weights)
    residuals = x - design @ b if weights is None else weights * (x - design @ b)
    assert (design.T @ residuals - penalty @ b).abs().max() < 1e-9


def test_weight_zero_leaves_an_entry_out() -> None:
    design, x, weights = normal(40, 5), normal(40, 3, seed=1), holes(40, 3)
    penalty = torch.eye(5, dtype=torch.float64)
    b = penalised_fit(design, x, penalty, weights)
    for column in range(3):
        kept = weights[:, column] > 0
        alone = penalised_fit(design[kept], x[kept, column, None], penalty)
        torch.testing.assert_close(b[:, column, None], alone)
    torch.testing.assert_close(penalised_fit(design, x, penalty, torch.ones_like(x)), penalised_fit(design, x, penalty))


@pytest.mark.parametrize("weighted", [False, True])
def test_distances_to_a_curve_are_those_of_brute_force(weighted: bool) -> None:
    x, b, basis = normal(30, 12), normal(4, 12, seed=1), normal(20, 4, seed=2)
    weights = holes(30, 12) if weighted else None
    gaps = (x[:, None] - (basis @ b)[None]).square()
    wanted = (gaps if weights is None else gaps * weights[:, None]).sum(-1)
    torch.testing.assert_close(curve_distances(x, b, basis, weights), wanted)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)])
def test_principal_coordinates_keep_the_gram_matrix(shape: tuple[int, int]) -> None:
    x = normal(*shape)
    turned = principal_coordinates(x)
    assert turned.shape[1] == 20
    torch.testing.assert_close(turned @ turned.T, x @ x.T)
    sizes = turned.norm(dim=0)
    assert bool((sizes[:-1] >= sizes[1:]).all())


def test_means_ranks_and_codes() -> None:
    x, weights = torch.tensor([[1.0, 5.0], [3.0, 7.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert column_means(x, None).tolist() == [2, 6]
    assert column_means(x, weights).tolist() == [2, 0]
    assert ranks_of(torch.tensor([0.3, -1.0, 0.3, 9.0])).tolist() == [1, 0, 2, 3]
    torch.testing.assert_close(codes_of(torch.tensor([[2, 1, 0]])).float(), torch.tensor([[0.6745, 0.0, -0.6745]]), atol=1e-4, rtol=0)


# ---------------------------------------------------------------------- additive models


@pytest.mark.parametrize("weighted", [False, True])
def test_rank_regression(weighted: bool) -> None:
    n, q = 60, 2
    regression = RankRegression(n, q, 5, 0.1, torch.device("cpu"))
    ranks = ranks_of(normal(n, q)).T
    x, weights = normal(n, 4, seed=3), holes(n, 4) if weighted else None
    weight = torch.ones_like(x) if weights is None else weights
    fit = regression.fit(x, ranks, weights)
    residuals = regression.residuals(x, ranks, fit.coefficients)
    assert fit.misfit == pytest.approx(float((weight * residuals.square()).sum()))
    parts = [regression.psi[ranks[l]] @ fit.coefficients[5 * l : 5 * l + 5] for l in range(q)]
    torch.testing.assert_close(sum(parts) + residuals, x)
    for l in range(q):
        curve = regression.psi @ fit.coefficients[5 * l : 5 * l + 5]
        gaps = ((residuals + parts[l])[:, None] - curve[None]).square()
        wanted = (gaps * weight[:, None]).sum(-1)
        got = regression.distances(x, ranks, fit.coefficients, l, weights)
        torch.testing.assert_close(got - got[:, :1], wanted - wanted[:, :1])
        torch.testing.assert_close(regression.distances(x, ranks, fit.coefficients, l, weights, every=7), got[:, ::7])
    shares = regression.shares(x, ranks, weights)
    assert float(shares.sum()) == pytest.approx(float((weight * x.square()).sum()) - fit.misfit)
    other = regression.fit(x, ranks.flip(1), weights)
    assert fit.objective > fit.misfit
    assert other.objective != fit.objective
    mirrored = regression.fit(x, n - 1 - ranks, weights)
    assert mirrored.objective == pytest.approx(fit.objective, rel=1e-5)  # the sign of a factor means nothing


def a_map(classes: int = 1, p: int = 12) -> AdditiveSplines:
    generator = AdditiveSplines(2, 5, p, classes)
    generator.coefficients = normal(classes, 10, p).float()
    generator.centre, generator.mean = normal(classes, 5, seed=1).float(), normal(classes, p, seed=2).float()
    return generator


def test_an_additive_map_is_the_sum_of_its_functions() -> None:
    z = normal(9, 2).float()
    one, three = a_map(), a_map(3)
    torch.testing.assert_close(one(z), one.mean[0] + sum(one.functions(z[:, l])[0, l] for l in range(2)))
    labels = torch.arange(9) % 3
    made = three(torch.cat([z, torch.nn.functional.one_hot(labels, 3)], dim=1))
    for k in range(3):
        mine = z[labels == k]
        functions = three.functions(mine[:, 0])[k, 0] + three.functions(mine[:, 1])[k, 1]
        torch.testing.assert_close(made[labels == k], three.mean[k] + functions)


@pytest.mark.parametrize("weighted", [False, True])
def test_nearest_codes_beat_a_fine_grid(weighted: bool) -> None:
    generator, z = a_map(p=40), normal(15, 2, seed=4).clamp(-2, 2).float()
    weights = holes(15, 40).float() if weighted else None
    x, ridge = generator(z) + 0.3 * normal(15, 40, seed=5).float(), torch.tensor(0.09)
    side = torch.linspace(-3, 3, 121)
    grid = torch.cartesian_prod(side, side)

    def objective(codes: Tensor) -> Tensor:
        gaps = (x[:, None] - generator(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])).square()
        return (gaps if weights is None else gaps * weights[:, None]).sum(-1) + ridge * codes.square().sum(-1)

    found = generator.nearest(x, 0, normal(100, 2, seed=6).float(), ridge, weights)
    best = objective(grid.expand(15, -1, 2)).amin(1)
    assert bool((objective(found[:, None])[:, 0] <= best * 1.01 + 1e-3).all())
