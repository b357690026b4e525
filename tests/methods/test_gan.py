"""GAN: moments of Gaussians, the penalty, classes, and networks for any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward import nets
from pushforward.methods import GAN

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
SMALL: dict[str, Any] = {"latent_dim": 4, "width": 16, "learning_rate": 2e-3}


def fit(data: Any, steps: int = 600, condition: Any = None, **settings: Any) -> GAN:
    run = pf.Run(validation=0, **QUIET)
    return GAN(**{**SMALL, **settings}).fit(data, condition=condition, budget=f"{steps} steps", run=run)


def correlated(n: int = 2000) -> np.ndarray:
    """Rows of a Gaussian in the plane with correlation 0.8."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]]) + 5.0


def test_a_gaussian_on_the_line() -> None:
    x = 3.0 * np.random.default_rng(0).normal(size=(2000, 1)) - 7.0
    new = fit(x).sample(4000, seed=0)
    assert new.mean() == pytest.approx(-7.0, abs=0.45)
    assert new.std() == pytest.approx(3.0, rel=0.15)


def test_a_correlated_gaussian_in_the_plane() -> None:
    x = correlated()
    new = fit(x).sample(4000, seed=0)
    assert np.allclose(new.mean(0), x.mean(0), atol=0.15)
    assert np.allclose(np.cov(new.T), np.cov(x.T), atol=0.2)


def test_both_modes_are_found() -> None:
    rng = np.random.default_rng(0)
    x = rng.choice([-4.0, 4.0], (2000, 1)) + 0.5 * rng.normal(size=(2000, 1))
    new = fit(x).sample(2000, seed=0)
    assert 0.35 < (new > 0).mean() < 0.65


def test_labels_choose_the_mode_and_have_their_frequencies() -> None:
    rng = np.random.default_rng(0)
    k = (rng.random(2000) < 0.25).astype(int)
    x = np.array([-4.0, 4.0])[k][:, None] + 0.5 * rng.normal(size=(2000, 1))
    model = fit(x, 400, condition=k)
    for label, centre in enumerate((-4.0, 4.0)):
        assert model.sample(500, seed=0, condition=label).mean() == pytest.approx(centre, abs=0.5)
    assert float(model.law_.frequencies[1]) == pytest.approx(k.mean(), abs=1e-6)  # type: ignore[arg-type, union-attr, index]


def test_the_penalty_is_the_mean_squared_slope_of_the_critic() -> None:
    """On a linear critic it is gamma / 2 |w|^2, here eightfold because it comes every eighth step."""
    critic = nn.Linear(3, 1).requires_grad_(True)
    x, made = torch.zeros(5, 3), torch.ones(5, 3)
    bare, full = (
        GAN(penalty=2.0)._critic_loss(critic, x.clone(), made, None, penalised=penalised) for penalised in (False, True)
    )
    assert float((full - bare).detach()) == pytest.approx(8 * float(critic.weight.detach().square().sum()), rel=1e-5)


def test_a_number_of_numpy_is_as_good_as_any() -> None:
    settings = [{"penalty": 2.0, "latent_dim": 4}, {"penalty": np.float64(2.0), "latent_dim": np.int64(4)}]
    assert np.array_equal(*(fit(correlated(100), 9, **given).sample(5, seed=0) for given in settings))


def test_the_critic_is_kept() -> None:
    model = fit(correlated(), 5)
    assert model.critic_(torch.zeros(3, 2)).shape == (3, 1)


@pytest.mark.parametrize(
    ("settings", "name"), [({"penalty": -1.0}, "penalty"), ({"width": 0}, "width"), ({"ema_decay": 1.0}, "ema_decay")]
)
def test_arguments_out_of_range_are_named(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        fit(correlated(50), 3, **settings)


@pytest.mark.parametrize("shape", [(1, 9, 7), (3, 64, 64), (1, 1, 1), (3, 5, 1), (1, 28, 28), (4,)])
def test_networks_take_any_size(shape: tuple[int, ...]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator, critic = nets.gan_generator(6, shape, width=8), nets.gan_critic(shape, 3, width=8)
        z = torch.randn(3, 6)
    made = generator(z).detach()
    assert made.shape == (3, *shape)
    assert critic(made).shape == (3, 3)
    assert torch.allclose(made[:1], generator(z[:1]).detach(), atol=1e-5)  # no statistics of the batch
    assert float(made.std(0).mean()) > 0.01  # different codes, different pictures, from the start


@pytest.mark.parametrize("make", [lambda shape: nets.DCGenerator(3, shape), lambda shape: nets.DCCritic(shape, 1)])
def test_networks_refuse_other_shapes(make: Any) -> None:
    with pytest.raises(ValueError, match="event_shape"):
        make((1, 0, 3))
