"""Splines against closed forms, numerical derivatives and zuko; maps to the Gaussian against exact distribution functions."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from pushforward.solvers.gaussianize import gaussianize, knots_for
from pushforward.solvers.rational_quadratic import (
    Spline,
    blend,
    inverse,
    slopes_of_knots,
    strictly_increasing,
    transform,
    values,
)


def random_spline(*shape: int, seed: int = 0) -> Spline:
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.rand(*shape, generator=generator).add(0.05).cumsum(-1).sub(2) for _ in range(2))
    return Spline(x, y, torch.rand(*shape, generator=generator) * 2 + 0.2)


def points(*shape: int, seed: int = 1) -> Tensor:
    return 6 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_knots_and_tails_have_the_values_that_were_asked_for() -> None:
    spline = random_spline(3, 8)
    at_knots, log_slope = transform(spline, spline.x)
    assert torch.allclose(at_knots, spline.y, atol=1e-6)
    assert torch.allclose(log_slope.exp(), spline.slopes, rtol=1e-4)
    below, above = transform(spline, spline.x[:, :1] - 5)[0], transform(spline, spline.x[:, -1:] + 7)[0]
    assert torch.allclose(below, spline.y[:, :1] - 5 * spline.slopes[:, :1], atol=1e-5)
    assert torch.allclose(above, spline.y[:, -1:] + 7 * spline.slopes[:, -1:], atol=1e-5)


def test_a_line_is_a_line_and_a_moebius_map_is_exact() -> None:
    """With equal slopes a spline is that line; y = x / (1 + x) is rational quadratic, so its knots and slopes give it back."""
    x = torch.linspace(-2, 3, 7)
    u = points(200)
    line, log_slope = transform(Spline(x, 2 * x + 1, torch.full((7,), 2.0)), u)
    assert torch.allclose(line, 2 * u + 1, atol=1e-5)
    assert torch.allclose(log_slope, torch.full_like(u, math.log(2)), atol=1e-6)
    x = torch.tensor([0.0, 0.3, 1.0, 2.5])
    u = torch.linspace(0, 2.5, 101)
    value, log_slope = transform(Spline(x, x / (1 + x), (1 + x) ** -2), u)
    assert torch.allclose(value, u / (1 + u), atol=1e-6)
    assert torch.allclose(log_slope, -2 * torch.log1p(u), atol=2e-6)


@pytest.mark.parametrize("n", [4, 500])
def test_inverse_and_derivative(n: int) -> None:
    spline = Spline(*(part.double() for part in random_spline(2, 3, 9)))
    u = points(2, 3, n).double().requires_grad_()
    v, log_slope = transform(spline, u)
    (slope,) = torch.autograd.grad(v.sum(), u)
    assert torch.allclose(slope.log(), log_slope, atol=1e-9)
    back, inverse_log_slope = inverse(spline, v)
    assert torch.allclose(back, u, atol=1e-9)
    assert torch.allclose(inverse_log_slope, -log_slope, atol=1e-8)
    assert torch.allclose(values(spline, u), v, atol=1e-9)
    single = Spline(*(part.float() for part in spline))
    assert (inverse(single, transform(single, u.float())[0])[0] - u).abs().max() < 2e-5


def test_classes_choose_their_splines() -> None:
    spline = random_spline(2, 3, 5, 9)  # [B, K, C, M]
    u, labels = points(2, 3, 300), torch.randint(0, 5, (300,), generator=torch.Generator().manual_seed(0))
    v, log_slope = transform(spline, u, labels)
    back, _ = inverse(spline, v, labels)
    for k in range(5):
        rows = labels == k
        one = Spline(*(part[:, :, k] for part in spline))
        alone, alone_slope = transform(one, u[:, :, rows])
        assert torch.equal(v[:, :, rows], alone)
        assert torch.equal(log_slope[:, :, rows], alone_slope)
    assert (back - u).abs().max() < 1e-4


def test_against_zuko() -> None:
    zuko = pytest.importorskip("zuko")
    generator = torch.Generator().manual_seed(3)
    widths, heights = torch.randn(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    derivatives = torch.randn(4, 5, generator=generator)
    other = zuko.transforms.MonotonicRQSTransform(widths[:, None], heights[:, None], derivatives[:, None], bound=3.0)
    spline = Spline(other.horizontal[:, 0], other.vertical[:, 0], other.derivatives[:, 0])
    u = 1.2 * torch.randn(4, 200, generator=generator)
    v, log_slope = transform(spline, u)
    expected, expected_slope = other.call_and_ladj(u)
    inside = u.abs() < 3
    assert torch.allclose(v[inside], expected[inside], atol=1e-5)
    assert torch.allclose(log_slope[inside], expected_slope[inside], atol=1e-4)


def test_slopes_are_exact_for_parabolas() -> None:
    x = torch.tensor([0.1, 0.4, 1.0, 1.1, 2.0], dtype=torch.float64)
    slopes = slopes_of_knots(x, x**2, lower=torch.tensor(7.0, dtype=torch.float64))
    assert torch.allclose(slopes[1:-1], 2 * x[1:-1])
    assert slopes[0] == 7
    assert slopes[-1] == pytest.approx(3.1)


def test_ties_are_opened_and_the_rest_is_left() -> None:
    flat = strictly_increasing(torch.tensor([[0.0, 1.0, 1.0, 1.0, 2.0], [-3.0, -1.0, 0.0, 1.0, 5.0]]))
    assert (flat.diff(dim=-1) > 0).all()
    assert (flat - torch.tensor([[0.0, 1.0, 1.0, 1.0, 2.0], [-3.0, -1.0, 0.0, 1.0, 5.0]])).abs().max() < 1e-4
    assert torch.equal(flat[1], torch.tensor([-3.0, -1.0, 0.0, 1.0, 5.0]))
    assert (strictly_increasing(torch.full((1, 50), 1e6)).diff(dim=-1) > 0).all()


def test_blending_ends_at_the_identity() -> None:
    spline, u = random_spline(2, 7), points(2, 50)
    same, log_slope = transform(blend(spline, 1.0, 1.0), u)
    assert torch.allclose(same, u, atol=1e-5)
    assert log_slope.abs().max() < 1e-4
    assert torch.equal(blend(spline, 0.0, 0.0).slopes, spline.slopes)


# ------------------------------------------------------------------ maps to the Gaussian


def laws(n: int) -> Tensor:
    """Rows of quantiles: Gaussian, shifted Gaussian, bimodal by transformation, Laplace."""
    p = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    z = torch.from_numpy(ndtri(p.numpy()))
    laplace = torch.where(p < 0.5, (2 * p).log(), -(2 * (1 - p)).log())
    return torch.stack([z, 2 * z + 1, z + 0.6 * z.sign() + z**3 / 20, laplace]).float()


def test_gaussian_data_are_left_alone_and_affine_images_undone() -> None:
    u = laws(5000)
    v, log_slope = transform(gaussianize(u[:2]), u[:2])
    inside = u[0].abs() < 3
    assert (v - u[0])[:, inside].abs().max() < 0.01
    assert (log_slope[0, inside]).abs().max() < 0.08
    assert (log_slope[1, inside] + math.log(2)).abs().max() < 0.08


def test_plain_quantiles_give_gaussian_scores() -> None:
    u = laws(2000)
    spline = gaussianize(u, bandwidth=0, knots=100)
    v, _ = transform(spline, u)
    inside = u[0].abs() < 2.5
    assert (v - u[0])[:, inside].abs().max() < 0.03


def test_the_kernel_estimate_against_its_sum() -> None:
    u = laws(700)
    spline = gaussianize(u, knots=40)
    factor = 700**-0.2
    width = factor * u.std(1, correction=0)
    share = ndtr(((spline.x[:, :, None] - u[:, None]) / width[:, None, None]).double().numpy()).mean(-1)
    assert torch.from_numpy(math.sqrt(1 + factor**2) * ndtri(share)).sub(spline.y).abs().max() < 1e-3


def test_far_tails_keep_their_digits_on_both_sides() -> None:
    u = torch.cat([laws(5000)[:1], -laws(5000)[:1]])
    spline = gaussianize(u)
    assert torch.allclose(spline.y[0], -spline.y[1].flip(0), atol=2e-3)


def test_the_regression_takes_up_heavy_tails() -> None:
    """Beyond the last knot of a law whose tail is three times as wide, the map has a slope near a third."""
    z = laws(5000)[0]
    wide = z + 2 * (z - 2).clamp_min(0)
    slopes = gaussianize(wide[None], bandwidth=0.1).slopes[0]
    assert slopes[-1] == pytest.approx(1 / 3, abs=0.05)
    assert slopes[0] == pytest.approx(1, abs=0.1)


def test_weights_count_rows() -> None:
    u = laws(1500)[2:]
    weights = torch.randint(0, 3, (1500,), generator=torch.Generator().manual_seed(0))
    repeated = u.repeat_interleave(weights, dim=1)
    one = gaussianize(u, weights=weights.float(), knots=30)
    two = gaussianize(
        repeated,
        knots=30,
        bandwidth=(repeated.shape[1] * (weights.float() ** 2).sum() / weights.sum() ** 2).item() ** 0.2,
    )
    v, w = transform(one, u)[0], transform(two, u)[0]
    assert (v - w).abs()[:, 20:-20].max() < 0.03
    equal = gaussianize(u, weights=torch.full((1500,), 2.0))
    assert all(torch.equal(a, b) for a, b in zip(equal, gaussianize(u), strict=True))


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_few_samples_constants_and_atoms_give_increasing_maps(n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    u = torch.stack([torch.randn(n, generator=generator), torch.ones(n), torch.arange(n).remainder(2).float()])
    for bandwidth in (0.0, 1.0):
        v, log_slope = transform(gaussianize(u, bandwidth=bandwidth), u)
        assert torch.isfinite(v).all()
        assert torch.isfinite(log_slope).all()
        assert all(part.isfinite().all() for part in gaussianize(u, bandwidth=bandwidth))
    assert knots_for(n) >= 5
    assert knots_for(10**6) == 200
