"""The Wasserstein-1 benchmark: known pairs against their definition, and what it says of critics that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

import pushforward as pf
from pushforward.cli import main
from pushforward.metrics import RayPairs, ray_pairs, w1_benchmark
from pushforward.metrics.w1_board import W1Board, W1Score, judge
from pushforward.metrics.w1_solvers import SOLVERS, Training, named
from pushforward.nets.constraints import GradientNormalised
from pushforward.nets.critics import mlp_critic


def draw(pairs: RayPairs, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return pairs.sample(n, generator=torch.Generator().manual_seed(seed))


def best_critic(pairs: RayPairs):
    return lambda x: -pairs.potential(x.double())


@pytest.mark.parametrize(("dim", "funnels"), [(1, 3), (2, 4), (8, 4), (8, 16), (32, 16), (128, 256)])
@pytest.mark.parametrize("power", [1.0, 8.0, 100.0])
def test_pairs_are_optimal(dim: int, funnels: int, power: float) -> None:
    """``u(y) - u(x) = |x - y|`` for a 1-Lipschitz u: no plan between the two laws can cost less."""
    pairs = ray_pairs(dim, funnels=funnels, power=power)
    x, y = draw(pairs, 500)
    assert torch.isfinite(x).all()
    assert x.abs().max() <= 2.5
    assert (pairs.potential(y) - pairs.potential(x) - (x - y).norm(dim=1)).abs().max() < 1e-9
    assert (pairs.potential(x)[:-1] - pairs.potential(x)[1:]).abs().le((x[:-1] - x[1:]).norm(dim=1) + 1e-9).all()
    moved = (x - y).norm(dim=1)
    assert moved.max() < 1e-12 if power == 1 else moved.mean() > 0.2


def test_the_distance_is_that_of_an_assignment() -> None:
    x, y = draw(ray_pairs(3), 600)
    cost = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    least = cost[linear_sum_assignment(cost)].mean()
    assert least == pytest.approx(float((x - y).norm(dim=1).mean()), rel=1e-9)


def test_slopes_are_gradients_of_the_best_critic() -> None:
    pairs = ray_pairs(5)
    x = draw(pairs, 500)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(-pairs.potential(x).sum(), x)
    assert torch.allclose(gradient, pairs.slope(x.detach()), atol=1e-6)
    assert torch.allclose(gradient.norm(dim=1), torch.ones(500, dtype=torch.float64))


def test_points_at_a_centre_and_on_axes_stay_finite() -> None:
    pairs = ray_pairs(4)
    y = pairs.centres.repeat(2, 1)
    y[4:, 0] += 0.1  # rays along an axis never meet the walls of the others
    x = pairs.source_of(y)
    assert torch.isfinite(x).all()
    assert torch.isfinite(pairs.slope(x)).all()
    assert (x - pairs.centres.repeat(2, 1)).norm(dim=1).max() <= 0.1 + 1e-12


def test_the_best_critic_is_perfect_and_its_negative_the_worst() -> None:
    pairs = ray_pairs(8)
    board = w1_benchmark({"worst": lambda x: pairs.potential(x.double()), "best": best_critic(pairs)}, pairs)
    (best,), (worst,) = board.scores["best"], board.scores["worst"]
    assert board.names == ["best", "worst"]
    assert best.cosine == pytest.approx(1, abs=2e-3)  # rows are float32, and some lie 1e-6 from a centre
    assert best.l2 == pytest.approx(0, abs=4e-3)
    assert best.estimate == pytest.approx(best.truth, rel=1e-6)
    assert worst.cosine == pytest.approx(-1, abs=2e-3)
    assert worst.l2 == pytest.approx(4, abs=4e-3)
    assert "best" in str(board).splitlines()[1]


def test_a_fitted_method_is_judged_on_the_scale_of_the_rows() -> None:
    """A stand-in whose critic is the best one, seen through standardised columns."""
    pairs = ray_pairs(3)
    x, y = draw(pairs, 2000)
    model = pf.GAN(latent_dim=2, width=4).fit(y.numpy(), budget="1 steps", run=pf.Run(progress=False, validation=0))
    coder = model.schema_.coder
    mean, scale = torch.as_tensor(coder.mean), torch.as_tensor(coder.scale)
    model.critic_ = lambda z: best_critic(pairs)(z * scale + mean) / scale.mean()
    score = judge(model, pairs)
    assert score.cosine == pytest.approx(1, abs=5e-3)
    assert score.estimate == pytest.approx(score.truth, rel=1e-4)


def test_what_cannot_be_judged_is_refused() -> None:
    pairs = ray_pairs(2)
    with pytest.raises(ValueError, match="one value a row"):
        judge(nn.Linear(2, 2), pairs)
    with pytest.raises(ValueError, match="Wasserstein loss has no bound"):
        judge(GradientNormalised(mlp_critic((2,))), pairs)
    with pytest.raises(ValueError, match="a critic or a fitted method"):
        judge(3, pairs)
    with pytest.raises(ValueError, match="dim: must be positive"):
        ray_pairs(0)
    with pytest.raises(ValueError, match="steps: must be positive"):
        Training(steps=0)
    with pytest.raises(ValueError, match="there is no 'QP'"):
        named(["GP", "QP"])


@pytest.mark.parametrize("name", list(SOLVERS))
def test_every_solver_learns_something(name: str) -> None:
    """In the plane, 120 steps: gradients point the right way; no global generator is touched."""
    pairs, how = ray_pairs(2, seed=1), Training(steps=120, batch=64, rate=3e-3)
    before = torch.random.get_rng_state()
    score = judge(SOLVERS[name](pairs, how), pairs, rows=512)
    assert torch.equal(before, torch.random.get_rng_state())
    assert score.cosine > 0.2
    assert 0 < score.estimate < 2 * score.truth


@pytest.mark.parametrize("name", ["GP", "SN"])
def test_equal_seeds_give_equal_critics(name: str) -> None:
    pairs, found = ray_pairs(2), []
    for seed in (3, 4):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # of the global generator, which must not matter
            found.append(judge(SOLVERS[name](pairs, Training(steps=10, batch=32)), pairs, rows=64))
    assert found[0] == found[1]


def test_the_board_takes_means() -> None:
    board = W1Board({"a": [W1Score(0.5, 1, 2, 3), W1Score(0.7, 1, 4, 3)], "b": [W1Score(0.9, 0, 3, 3)]})
    assert board.names == ["b", "a"]
    assert board.mean("a", "estimate") == 3
    assert np.isclose(board.mean("a", "cosine"), 0.6)


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--dim", "2", "--seeds", "1", "--steps", "5", "--batch", "16", "--solvers", "GP,SN"]
    assert main(["benchmark", "w1", *flags]) == 0
    printed = capsys.readouterr().out
    assert {"GP", "SN"} <= {line.split()[0] for line in printed.splitlines()}
    assert main(["benchmark", "w2"]) == 2
    assert "one benchmark, w1" in capsys.readouterr().err


def test_clipping_leaves_the_biases_free() -> None:
    """As published: matrices in the box, biases not; estimates are steeper than with biases in the box, cosines lower."""
    pairs = ray_pairs(8)
    found = SOLVERS["clipping"](pairs, Training(steps=60, batch=64))
    layers = [layer for layer in found.critic.modules() if isinstance(layer, nn.Linear)]
    assert max(float(layer.weight.detach().abs().max()) for layer in layers) <= 0.04 + 1e-7
    assert max(float(layer.bias.detach().abs().max()) for layer in layers) > 0.05
