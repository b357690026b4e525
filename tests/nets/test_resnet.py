"""Residual networks: any size and number of channels, rows on their own, the projection head, spectral normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pushforward import nets

SHAPES = [(1, 8, 8), (1, 1, 1), (3, 5, 1), (2, 9, 7), (1, 28, 28), (3, 64, 64), (1, 50, 33), (4,)]


def seeded(make, *given, **named):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*given, **named)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("classes", [1, 3])
def test_any_size(shape: tuple[int, ...], classes: int) -> None:
    generator = seeded(nets.residual_generator, 6, shape, width=8)
    critic = seeded(nets.residual_critic, shape, width=8, classes=classes)
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    made = generator(z)
    assert made.shape == (4, *shape)
    assert float(made.detach().std(0).mean()) > 0.01
    torch.testing.assert_close(made[:1], generator(z[:1]), atol=1e-5, rtol=1e-4)  # no statistics of the batch
    value = critic(made)
    assert value.shape == ((4,) if classes == 1 else (4, 3))
    torch.testing.assert_close(value[:1], critic(made[:1]), atol=1e-4, rtol=1e-4)
    assert torch.autograd.grad(value.sum(), made)[0].flatten(1).norm(dim=1).min() > 0


def test_the_grid_is_halved_to_four_and_fine_grids_are_narrow() -> None:
    features = seeded(nets.ResFeatures, (3, 64, 64), width=32)
    assert len(features.blocks) == 4 + 1 + 1  # 64, 32, 16, 8 are halved, one block at 4, and a ReLU
    assert features.n_features == 32
    assert features.blocks[0].main[0].out_channels == 32
    assert seeded(nets.ResGenerator, 5, (3, 64, 64), width=32).out[2].in_channels == 16


def test_a_projection_has_a_common_part_and_one_of_each_class() -> None:
    head = seeded(nets.Projection, 5, 3)
    f = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    own = head(f) - head.common(f)
    torch.testing.assert_close(own, f @ head.own.weight.T)
    with torch.no_grad():
        head.own.weight.zero_()
    assert head(f).std(1).max() == 0


def test_every_layer_is_normalised() -> None:
    critic = nets.spectral_normalised(seeded(nets.residual_critic, (1, 8, 8), width=8, classes=2))
    layers = [part for part in critic.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    assert len(layers) > 5
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=2e-2)


@pytest.mark.parametrize("make", [lambda shape: nets.ResGenerator(3, shape), nets.ResFeatures])
def test_other_shapes_are_refused(make) -> None:
    with pytest.raises(ValueError, match="event_shape"):
        make((1, 0, 3))
