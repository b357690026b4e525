"""Shapes for any image size, small first outputs, no batch statistics, gradients everywhere, and a fit that works."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pushforward import nets

SIZES = [(1, 8, 8), (1, 28, 28), (3, 17, 31), (3, 64, 64), (2, 128, 96), (1, 1, 1), (1, 3, 2), (4, 5, 70), (1, 33, 33)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_mlp_has_the_layers_asked_for() -> None:
    net = nets.mlp(3, (5, 7), 2, activation=nn.ReLU)
    assert [type(layer) for layer in net] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert net(torch.zeros(4, 3)).shape == (4, 2)
    assert len(nets.mlp(3, (), 2)) == 1


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_conv_generator_makes_any_size(shape: tuple[int, int, int]) -> None:
    net = nets.ConvGenerator(5, shape, width=16)
    images = net(torch.randn(3, 5))
    assert images.shape == (3, *shape)
    assert images.is_contiguous()
    assert images.std(correction=0) < 0.5
    images.square().sum().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None]
    assert silent == []


@pytest.mark.parametrize("width", [1, 8, 24, 56, 96])
def test_any_width_is_possible(width: int) -> None:
    assert nets.ConvGenerator(2, (1, 28, 28), width=width)(torch.randn(2, 2)).shape == (2, 1, 28, 28)


def test_rows_do_not_influence_each_other() -> None:
    net, z = nets.ConvGenerator(4, (1, 12, 12), width=16), torch.randn(6, 4)
    torch.testing.assert_close(net(z)[:2], net(z[:2]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net.train()(z), net.eval()(z))


def test_construction_follows_the_global_generator() -> None:
    def weights() -> torch.Tensor:
        torch.manual_seed(3)
        return nn.utils.parameters_to_vector(nets.ConvGenerator(4, (1, 9, 9), width=16).parameters())

    assert torch.equal(weights(), weights())


def test_generator_follows_the_event_shape() -> None:
    image = nets.generator(2, (1, 8, 9))
    assert any(isinstance(part, nets.ConvGenerator) for part in image.modules())
    made = image(100 * torch.randn(3, 2))
    assert made.shape == (3, 1, 8, 9)
    assert made.abs().max() <= 1  # encoded images lie in [-1, 1]
    assert nets.generator(2, (7,))(torch.randn(3, 2)).shape == (3, 7)


@pytest.mark.parametrize(
    ("latent", "shape", "width", "named"),
    [
        (0, (1, 8, 8), 8, "latent_dim"),
        (2, (1, 0, 8), 8, "event_shape"),
        (2, (3, 4), 8, "event_shape"),
        (2, (5,), 0, "width"),
    ],
)
def test_generator_refuses_impossible_sizes(latent: int, shape: tuple[int, ...], width: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        nets.generator(latent, shape, width=width)


def test_conv_generator_fits_smooth_images() -> None:
    """Bars whose place and tilt are two coordinates of z: the error falls far below the variance."""
    z = torch.rand(256, 2) * 2 - 1
    grid = torch.linspace(-1, 1, 12)
    x = torch.tanh(4 * (grid[None, None, :, None] * z[:, 0, None, None, None] + grid + z[:, 1, None, None, None] / 2))
    net = nets.ConvGenerator(2, (1, 12, 12), width=16)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        loss = (net(z) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.03 * x.var().item()


def test_ema_is_the_weighted_mean_with_a_warm_up() -> None:
    source = nn.Linear(1, 1, bias=False)
    ema = nets.EMA(source, decay=0.5)
    expected = source.weight.item()
    for step, value in enumerate([2.0, -1.0, 4.0, 0.5, 3.0, 1.0, 7.0, 2.0, 1.0, 5.0]):
        nn.init.constant_(source.weight, value)
        ema.update(source)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert ema.module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert int(ema.steps) == 10


def test_ema_copies_buffers_and_resumes_from_its_state() -> None:
    source = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    ema = nets.EMA(source, decay=0.9)
    source(torch.randn(16, 3))
    ema.update(source)
    assert torch.equal(ema.module[1].running_mean, source[1].running_mean)
    again = nets.EMA(source, decay=0.9)
    again.load_state_dict(ema.state_dict())
    for average in (ema, again):
        average.update(source)
    assert all(torch.equal(a, b) for a, b in zip(ema.state_dict().values(), again.state_dict().values(), strict=True))


def test_ema_asks_for_no_gradient_and_leaves_the_source_alone() -> None:
    source = nn.Linear(2, 2)
    before = source.weight.clone()
    ema = nets.EMA(source, decay=0.0)
    ema.update(source)
    assert not any(p.requires_grad for p in ema.parameters())
    assert source.weight.requires_grad
    assert torch.equal(source.weight, before)
    assert torch.equal(ema(torch.ones(1, 2)), source(torch.ones(1, 2)))


def test_ema_refuses_a_decay_of_one() -> None:
    with pytest.raises(ValueError, match="decay"):
        nets.EMA(nn.Linear(1, 1), decay=1.0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 40, 27), (2, 1, 5), (6,)], ids=str)
def test_random_features_depend_on_the_seed_alone(shape: tuple[int, ...]) -> None:
    state = torch.get_rng_state()
    one, same, other = (nets.random_features(shape, dim=20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.randn(5, *shape)
    assert one(x).shape == (5, 20)
    assert torch.equal(one(x), same(x))
    assert not torch.allclose(one(x), other(x))


def test_random_features_keep_the_mean_squared_distance_after_calibration() -> None:
    x = torch.rand(50, 1, 16, 16) * torch.rand(50, 1, 1, 1)
    features = nets.random_features((1, 16, 16), dim=64, seed=0).calibrate(x)
    ratio = features(x).var(dim=0).sum() / x.flatten(1).var(dim=0).sum()
    assert float(ratio) == pytest.approx(1.0, rel=1e-4)


def test_random_features_are_differentiable_and_have_no_parameters() -> None:
    features = nets.random_features((1, 8, 8), seed=0)
    x = torch.randn(2, 1, 8, 8, requires_grad=True)
    features(x).square().sum().backward()
    assert x.grad is not None
    assert list(features.parameters()) == []


def test_random_features_keep_their_values_across_versions() -> None:
    """Drawn in float64 on the CPU: the first filter is part of what a reported number means."""
    features = nets.random_features((1, 8, 8), dim=4, seed=0)
    values = features(torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8))[0]
    torch.testing.assert_close(values, torch.tensor([-1.39664, 0.45796, -1.36331, -1.25394]), atol=1e-4, rtol=1e-4)
