"""The stability of two learning rates: closed form of the Dirac game, play, a game in several dimensions, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.objectives.dirac_game import dirac_game_radius
from pushforward.objectives.game_stability import GameStability

ZERO = torch.zeros(1)


def dirac(a: float, b: float, eps: float) -> GameStability:
    """``min_theta max_psi theta psi - eps psi^2 / 2`` at its equilibrium."""
    return pf.diagnostics.game_stability(
        lambda theta, psi: -psi, lambda theta, psi: theta - eps * psi, ZERO, ZERO, generator_rate=a, critic_rate=b
    )


@pytest.mark.parametrize(
    ("a", "b", "radius", "stable"), [(0.02, 0.2, 0.992, True), (0.2, 0.2, 1.01, False), (0.02, 0.02, 0.9992, True)]
)
def test_three_pairs_of_rates_in_the_dirac_game(a: float, b: float, radius: float, stable: bool) -> None:
    found = dirac(a, b, 0.1)
    assert found.radius == pytest.approx(math.sqrt(1 - 0.1 * b + a * b), abs=1e-12)
    assert found.radius == pytest.approx(radius, abs=5e-4 if radius != 0.9992 else 5e-5)
    assert found.stable is stable
    assert found.verdict.startswith("stable" if stable else "unstable")
    assert found.drift == 0


@pytest.mark.parametrize("a", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("eps", [0.0, 0.4, 3.0])
def test_real_eigenvalues_as_well(a: float, eps: float) -> None:
    """At a double eigenvalue the numerical one moves by the root of the rounding error."""
    assert dirac(a, 0.7, eps).radius == pytest.approx(dirac_game_radius(a, 0.7, eps), abs=1e-6)


def test_the_radius_foretells_the_play_of_a_small_adversarial_network() -> None:
    """A shift against a logistic critic with an R1 penalty of weight gamma, on data at 0: the Jacobian at (0, 0) is that of the Dirac
    game with theta psi / 2 in place of theta psi (the slope of the logistic function at 0), and eps = gamma."""
    gamma, a, b = 0.6, 0.4, 0.5

    def critic_loss(theta: Tensor, psi: Tensor) -> Tensor:
        return torch.nn.functional.softplus(psi * theta).sum() + 0.5 * gamma * psi.square().sum()

    def critic_field(theta: Tensor, psi: Tensor) -> Tensor:
        return -torch.func.grad(critic_loss, argnums=1)(theta, psi)

    def generator_field(theta: Tensor, psi: Tensor) -> Tensor:
        return psi * torch.sigmoid(-psi * theta)

    found = pf.diagnostics.game_stability(generator_field, critic_field, ZERO, ZERO, generator_rate=a, critic_rate=b)
    assert found.radius == pytest.approx(math.sqrt(1 - b * gamma + a * b / 4), abs=1e-9)
    theta, psi, start = torch.tensor([1e-3]).double(), torch.zeros(1).double(), 1e-3
    for _ in range(60):
        theta, psi = theta + a * generator_field(theta, psi), psi + b * critic_field(theta, psi)
    shrunk = float(torch.cat([theta, psi]).norm()) / start
    assert math.log(shrunk) / 60 == pytest.approx(math.log(found.radius), abs=0.01)


def test_fields_may_be_gradients_by_autograd() -> None:
    def field(theta: Tensor, psi: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad((theta * psi - 0.05 * psi.square()).sum(), psi, create_graph=True)
        return slope

    with torch.no_grad():
        found = pf.diagnostics.game_stability(
            lambda theta, psi: -psi, field, ZERO, ZERO, generator_rate=0.02, critic_rate=0.2
        )
    assert found.radius == pytest.approx(dirac_game_radius(0.02, 0.2, 0.1), abs=1e-12)
    assert found.drift == 0


def test_shapes_of_both_players_and_a_point_that_is_no_equilibrium() -> None:
    matrix = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).double()
    theta, psi = torch.zeros(2, 1), torch.ones(3)
    found = pf.diagnostics.game_stability(
        lambda t, p: -(matrix @ p)[:, None],
        lambda t, p: t[:, 0] @ matrix,
        theta,
        psi,
        generator_rate=0.1,
        critic_rate=0.4,
    )
    size = torch.linalg.svdvals(matrix).max().item()
    assert found.radius == pytest.approx(math.sqrt(1 + 0.04 * size**2), abs=1e-10)  # a bilinear game spirals outwards
    assert found.drift == pytest.approx(0.1 * float(matrix.sum(1).norm()))
    assert "no equilibrium" in found.verdict
    assert found.eigenvalues.shape == (5,)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="critic_rate: must be positive"):
        dirac(0.1, 0.0, 0.1)
    with pytest.raises(ValueError, match=r"generator_field: a step of shape \[1\]"):
        pf.diagnostics.game_stability(
            lambda t, p: t.repeat(2), lambda t, p: p, ZERO, ZERO, generator_rate=0.1, critic_rate=0.1
        )
    with pytest.raises(ValueError, match="generator_rate: must be positive and finite, got nan"):
        dirac(math.nan, 0.1, 0.1)
    with pytest.raises(ValueError, match="critic_field: its step has no graph"):
        pf.diagnostics.game_stability(
            lambda t, p: -p, lambda t, p: (t - p).detach(), ZERO, ZERO, generator_rate=0.1, critic_rate=0.1
        )
    with pytest.raises(ValueError, match="not finite"):
        pf.diagnostics.game_stability(
            lambda t, p: -p.sqrt(), lambda t, p: t, ZERO, ZERO, generator_rate=0.1, critic_rate=0.1
        )
    with pytest.raises(ValueError, match="2000 numbers together"):
        pf.diagnostics.game_stability(
            lambda t, p: t, lambda t, p: p, torch.zeros(2001), ZERO, generator_rate=0.1, critic_rate=0.1
        )
