"""Losses of two players: values of the formulas, and their optima against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.objectives.adversarial import LOSSES, LossName


def values(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def s(t: float) -> float:
    return math.log(1 + math.exp(t))


@pytest.mark.parametrize(
    ("name", "critic", "generator"),
    [
        ("hinge", (0 + 0.5) / 2 + (0 + 3) / 2, 0.0),
        ("non_saturating", (s(-2) + s(-0.5)) / 2 + (s(-2) + s(2)) / 2, (s(-2) + s(2)) / 2),
        ("wasserstein", 0.0 - 1.25, 0.0),
    ],
)
def test_values_of_the_formulas(name: LossName, critic: float, generator: float) -> None:
    real, made = values(2.0, 0.5), values(-2.0, 2.0)
    assert LOSSES[name].critic(real, made).item() == pytest.approx(critic)
    assert LOSSES[name].generator(made).item() == pytest.approx(generator)


@pytest.mark.parametrize(("name", "best"), [("hinge", 1.0), ("non_saturating", math.log(3.0))])
def test_the_best_critic_at_a_point_that_is_data_three_times_of_four(name: LossName, best: float) -> None:
    """The margin with the hinge, the log-odds log 3 with the logistic loss."""
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    sure = torch.full((1,), 99.0, dtype=torch.float64)
    on_data = torch.stack([LOSSES[name].critic(u[None], -sure) for u in grid])
    on_made = torch.stack([LOSSES[name].critic(sure, u[None]) for u in grid])
    assert grid[(0.75 * on_data + 0.25 * on_made).argmin()].item() == pytest.approx(best, abs=2e-3)


def test_only_the_non_saturating_generator_learns_most_where_it_is_worst() -> None:
    made = values(-5.0, 5.0)
    (slope,) = torch.autograd.grad(LOSSES["non_saturating"].generator(made), made)
    assert slope.tolist() == pytest.approx([-0.5, 0.0], abs=0.01)
    for name in ("hinge", "wasserstein"):
        (slope,) = torch.autograd.grad(LOSSES[name].generator(made), made)  # type: ignore[index]
        assert slope.tolist() == [-0.5, -0.5]
