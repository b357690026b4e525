"""Critic constraints against closed forms."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pushforward.nets.constraints import (
    FullSort,
    GradientBounded,
    GradientNormalised,
    MaxMin,
    clip_weights,
    refuse_unbounded,
    settle,
    sorting_critic,
    spectral_normalised,
)
from pushforward.nets.critics import conv_critic, mlp_critic


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(make, *given, seed: int = 0, **named) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(*given, **named).double()


def slopes(critic: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    return gradient.flatten(1).norm(dim=1)


# ---------------------------------------------------------------------- clipping


def test_the_best_clipped_linear_critic_has_every_weight_in_a_corner() -> None:
    """For means that differ by ``s`` the largest gap of a linear critic in the box is ``c |s|_1``."""
    shift, critic = torch.tensor([1.0, -2.0, 0.5]), nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        (-critic(shift)).sum().backward()
        optimizer.step()
        clip_weights(critic, 0.1)
    assert critic(shift).item() == pytest.approx(0.1 * 3.5, rel=1e-6)
    with pytest.raises(ValueError, match="bound: must be positive"):
        clip_weights(critic, 0.0)


# ---------------------------------------------------------------------- spectral normalisation


@pytest.mark.parametrize("training", [True, False])
def test_singular_values_become_one(training: bool) -> None:
    critic = spectral_normalised(built(mlp_critic, (5,), (20, 20))).train(training)
    for layer in critic.modules():
        if isinstance(layer, nn.Linear):
            assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=2e-3)
    assert slopes(critic, rows(200, 5)).max() <= 1 + 1e-2


def test_the_gradient_goes_through_the_singular_value() -> None:
    """With converged vectors it is that of ``W / |W|_2``, for which scaling W changes nothing: <grad, W> = 0."""
    layer = nn.Linear(4, 6, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(rows(6, 4, seed=1))
    plain = layer.weight.detach().clone().requires_grad_()
    spectral_normalised(layer)
    settle(layer, 500)
    x = rows(30, 4)
    layer(x).square().sum().backward()
    (x @ (plain / torch.linalg.matrix_norm(plain, 2)).T).square().sum().backward()
    original = layer.parametrizations.weight.original
    assert torch.allclose(original.grad, plain.grad, rtol=1e-6, atol=1e-8)
    assert abs((original.grad * original).sum()) < 1e-6


def test_new_weights_need_settling() -> None:
    layer = spectral_normalised(nn.Linear(40, 40, bias=False).double())
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(rows(40, 40, seed=3))
    layer.eval()
    assert torch.linalg.matrix_norm(layer.weight, 2) > 1.3  # vectors of the old weights, which evaluation mode keeps
    settle(layer, 200)
    assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=1e-2)
    assert not layer.training


def test_a_normalised_convolution_can_be_steeper_than_one() -> None:
    """A box kernel: the reshaped matrix has norm 3 c, the convolution 9 c (in the limit of large images)."""
    box = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    nn.init.constant_(box.weight, 0.7)
    spectral_normalised(box)
    flat = torch.ones(1, 1, 40, 40)
    assert float((box(flat).norm() / flat.norm()).detach()) == pytest.approx(3, rel=0.05)


def test_it_keeps_the_global_generator_and_refuses_empty_critics() -> None:
    layer = nn.Linear(2, 2)
    before = torch.random.get_rng_state()
    spectral_normalised(layer)
    assert torch.equal(before, torch.random.get_rng_state())
    with pytest.raises(ValueError, match="nothing to normalise"):
        spectral_normalised(nn.Flatten())


def test_a_copy_has_its_own_vectors() -> None:
    critic = spectral_normalised(built(mlp_critic, (3,), (8,)))
    other = copy.deepcopy(critic)
    other.load_state_dict(critic.state_dict())
    x = rows(5, 3)
    assert torch.equal(critic.eval()(x), other.eval()(x))


# ---------------------------------------------------------------------- sorted activations


@pytest.mark.parametrize("activation", [FullSort, MaxMin])
def test_orthogonal_layers_and_sorting_keep_the_slope_at_one(activation: type[nn.Module]) -> None:
    critic = built(sorting_critic, (6,), (6, 6, 6), activation=activation)
    x = rows(300, 6)
    assert torch.allclose(slopes(critic, x), torch.ones(300, dtype=torch.float64), atol=1e-10)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        critic(x).square().mean().backward()
        optimizer.step()
    assert torch.allclose(slopes(critic, x), torch.ones(300, dtype=torch.float64), atol=1e-10)
    wide = built(sorting_critic, (6,), (32, 32), activation=activation)
    y = rows(300, 6, seed=1)
    assert ((wide(x) - wide(y)).abs() <= (x - y).norm(dim=1) * (1 + 1e-10)).all()


def test_sorting_is_sorting() -> None:
    x = torch.tensor([[3.0, -1.0, 2.0, 5.0]])
    assert FullSort()(x).tolist() == [[-1, 2, 3, 5]]
    assert MaxMin()(x).tolist() == [[3, 5, 2, -1]]


# ---------------------------------------------------------------------- gradient normalisation


@pytest.mark.parametrize("shape", [(4,), (2, 8, 8)], ids=["perceptron", "convolutional"])
def test_gran_has_the_slope_of_its_formula(shape: tuple[int, ...]) -> None:
    plain = built(mlp_critic, shape) if len(shape) == 1 else built(conv_critic, shape, width=4)
    x = rows(50, *shape)
    normal = slopes(plain, x)
    for bound, eps in ((1.0, 0.1), (2.5, 0.01)):
        found = slopes(GradientNormalised(plain, bound=bound, eps=eps), x)
        assert (found - bound * normal.square() / (normal.square() + eps)).abs().max() < 1e-10
        assert found.max() < bound


def test_gran_refuses_smooth_critics_and_the_wasserstein_loss() -> None:
    with pytest.raises(ValueError, match="Tanh is not piecewise linear"):
        GradientNormalised(mlp_critic((2,), activation=nn.Tanh))
    with pytest.raises(ValueError, match="must be positive"):
        GradientNormalised(mlp_critic((2,)), eps=0.0)
    with pytest.raises(ValueError, match="Wasserstein loss has no bound"):
        refuse_unbounded(nn.Sequential(GradientNormalised(mlp_critic((2,)))))
    refuse_unbounded(mlp_critic((2,)))


def test_of_classes_the_rows_own_value_is_normalised_and_none_is_guessed() -> None:
    plain, x, labels = built(mlp_critic, (4,), (8,), classes=3), rows(3, 4), torch.tensor([2, 0, 1])
    gran = GradientNormalised(plain, eps=0.01)
    for k in range(3):
        own = copy.deepcopy(plain)
        own[1][-1].weight.data = plain[1][-1].weight.data[k : k + 1]
        own[1][-1].bias.data = plain[1][-1].bias.data[k : k + 1]
        wanted = GradientNormalised(nn.Sequential(own, nn.Flatten(0)), eps=0.01)(x)
        assert torch.allclose(gran(x, labels)[labels == k], wanted[labels == k])
    with pytest.raises(
        ValueError, match=r"one value a row, shape \[3\], is needed, got \[3, 3\]; with classes, give labels"
    ):
        gran(x)


def test_why_gran_refuses_the_wasserstein_loss() -> None:
    """It jumps where the slope of f changes: ``f = |x| + 100`` on one side of 0, twice that slope on the other."""
    critic = nn.Sequential(nn.Linear(1, 2), nn.LeakyReLU(0.5), nn.Linear(2, 1), nn.Flatten(0)).double()
    with torch.no_grad():
        critic[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
        critic[0].bias.zero_()
        critic[2].weight.copy_(torch.tensor([[1.0, 0.0]]))
        critic[2].bias.fill_(100.0)
    gran = GradientNormalised(critic)
    left, right = gran(torch.tensor([[-1e-6], [1e-6]], dtype=torch.float64))
    assert abs((right - left).item()) > 50
    assert slopes(gran, torch.tensor([[-1.0], [1.0]], dtype=torch.float64)).max() < 1


def test_gn_is_bounded_and_has_the_slope_of_its_formula() -> None:
    plain, x = built(mlp_critic, (4,)), rows(200, 4)
    values, normal = plain(x).detach().abs(), slopes(plain, x)
    bounded = GradientBounded(plain)
    assert bounded(x).abs().max() < 1
    assert (slopes(bounded, x) - normal.square() / (normal + values).square()).abs().max() < 1e-10


@pytest.mark.parametrize("wrap", [GradientNormalised, GradientBounded])
def test_both_train_their_weights_and_work_without_gradients(wrap: type[nn.Module]) -> None:
    critic, x = wrap(built(mlp_critic, (3,), (16, 16))), rows(20, 3)
    critic(x).sum().backward()
    assert all(p.grad is not None for name, p in critic.named_parameters() if "weight" in name)
    with torch.no_grad():
        assert not critic(x).requires_grad
    zero = wrap(built(mlp_critic, (3,), (16,)))
    for p in zero.parameters():
        nn.init.zeros_(p)
    assert torch.isfinite(zero(x)).all()
