"""U-Net and timed perceptron: any size, gradients everywhere, times and classes matter, nothing at first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pushforward import nets
from pushforward.nets import precision
from pushforward.nets.timed import TimeEmbedding
from pushforward.nets.unet import grids_of, patch_of

SIZES = [(1, 8, 8), (1, 9, 7), (3, 9, 7), (1, 28, 28), (3, 17, 31), (1, 1, 1), (1, 1, 5), (1, 3, 2), (1, 5, 70)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def woken(net: nn.Module) -> nn.Module:
    """The network with its zero weights filled, so that it says something."""
    with torch.no_grad():
        for weights in net.parameters():
            if not weights.any():
                weights.normal_(std=0.05)
    return net


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_any_size_comes_back_and_every_weight_has_a_gradient(shape: tuple[int, int, int]) -> None:
    net = woken(nets.UNet(shape, classes=3, width=8))
    out = net(torch.randn(4, *shape), torch.rand(4), torch.tensor([0, 1, 2, 1]))
    assert out.shape == (4, *shape)
    assert out.is_contiguous()
    out.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    if min(shape[1:]) > 1:
        assert [name for name, p in net.named_parameters() if not p.grad.any()] == []


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 128, 96), (3, 256, 256)], ids=str)
def test_large_images_come_back(shape: tuple[int, int, int]) -> None:
    with torch.no_grad():
        out = woken(nets.UNet(shape, width=8))(torch.randn(1, *shape), torch.rand(1))
    assert out.shape == (1, *shape)


@pytest.mark.parametrize(
    ("size", "patch", "grids"),
    [
        ((8, 8), 1, [(8, 8), (4, 4)]),
        ((9, 7), 1, [(9, 7), (5, 4)]),
        ((28, 28), 2, [(14, 14), (7, 7)]),
        ((33, 20), 2, [(17, 10), (9, 5), (5, 3)]),
        ((64, 64), 2, [(32, 32), (16, 16), (8, 8), (4, 4)]),
        ((256, 256), 4, [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]),
        ((1, 1), 1, [(1, 1)]),
    ],
)
def test_grids_follow_from_the_size(size: tuple[int, int], patch: int, grids: list[tuple[int, int]]) -> None:
    assert patch_of(size) == patch
    assert grids_of(size) == grids


def test_nothing_is_said_at_first() -> None:
    for shape in ((1, 9, 7), (5,)):
        net = nets.timed_network(shape, width=8)
        assert not net(torch.randn(3, *shape), torch.rand(3)).any()


@pytest.mark.parametrize("shape", [(1, 9, 7), (5,)], ids=str)
def test_time_and_class_change_the_output(shape: tuple[int, ...]) -> None:
    net = woken(nets.timed_network(shape, classes=2, width=8))
    x, t, y = torch.randn(2, *shape), torch.tensor([0.2, 0.2]), torch.tensor([0, 1])
    base = net(x, t, y)
    assert (base - net(x, t, 1 - y)).abs().max() > 1e-4
    assert (base - net(x, t + 0.01, y)).abs().max() > 1e-4
    with pytest.raises(ValueError, match="labels"):
        net(x, t)


@pytest.mark.parametrize("shape", [(3, 9, 7), (5,)], ids=str)
def test_rows_do_not_influence_each_other(shape: tuple[int, ...]) -> None:
    net, x, t = woken(nets.timed_network(shape, width=16)), torch.randn(6, *shape), torch.rand(6)
    torch.testing.assert_close(net(x, t)[:2], net(x[:2], t[:2]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net.train()(x, t), net.eval()(x, t))


def test_places_far_apart_see_each_other() -> None:
    """Attention and the coarse grids carry a change in one corner to the other."""
    net, x = woken(nets.UNet((1, 28, 28), width=8)), torch.randn(1, 1, 28, 28)
    other = x.clone()
    other[0, 0, 0, 0] += 3.0
    t = torch.full((1,), 0.5)
    assert (net(x, t) - net(other, t))[0, 0, -1, -1].abs() > 1e-6


def test_a_translation_is_learned() -> None:
    """The task of a denoiser in small: say which of two noises was added, given the time."""
    net = nets.UNet((1, 8, 8), width=8)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    clean = torch.tanh(torch.linspace(-2, 2, 8)[:, None] * torch.ones(8)).expand(32, 1, 8, 8)
    for _ in range(60):
        noise, t = torch.randn_like(clean), 0.2 + 0.6 * torch.rand(32)
        a = t[:, None, None, None]
        loss = (net(a * clean + (1 - a) * noise, t) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


def test_convolutions_keep_the_fast_layout() -> None:
    kernels = [p for p in nets.UNet((1, 28, 28)).parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_times_a_thousandth_apart_are_told_apart() -> None:
    embedding = TimeEmbedding(32)
    angles = torch.tensor([0.5, 0.501])[:, None] * embedding.waves
    assert (angles.sin()[0] - angles.sin()[1]).abs().max() > 0.1


def test_impossible_sizes_are_refused() -> None:
    for shape, width, named in (((1, 0, 8), 8, "event_shape"), ((3, 4), 8, "event_shape"), ((1, 8, 8), 12, "width")):
        with pytest.raises(ValueError, match=named):
            nets.timed_network(shape, width=width)
    with pytest.raises(ValueError, match="width"):
        nets.timed_network((4,), width=0)


@pytest.mark.parametrize("able", [True, False])
def test_a_cpu_trains_large_images_in_half_precision_where_it_can(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By rule, without a trial, so that equal seeds give equal samples."""
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: able)
    calls: list[int] = []
    found = [nets.half_pays(lambda: calls.append(1), torch.device("cpu"), side * side) for side in (8, 28, 64, 256)]
    assert found == [False, False, able, able]
    assert calls == []


def test_the_trial_runs_in_the_precision_that_it_times() -> None:
    layer, seen = nn.Linear(4, 4), []
    for enabled in (True, False):
        assert precision._seconds(lambda: seen.append(layer(torch.ones(2, 4)).dtype), torch.device("cpu"), enabled) >= 0
    assert set(seen[: len(seen) // 2]) == {torch.bfloat16}
    assert set(seen[len(seen) // 2 :]) == {torch.float32}
