"""Critics give one value a row, and the penalties on their slope have the values and derivatives of the formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pushforward import nets
from pushforward.objectives import critics, penalties

SHAPES = [(1,), (5,), (2, 3), (1, 8, 8), (3, 17, 31), (2, 1, 1)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("activation", sorted(nets.ACTIVATIONS))
def test_one_value_a_row_and_rows_on_their_own(shape: tuple[int, ...], activation: str) -> None:
    critic = nets.critic(shape, width=8, activation=nets.ACTIVATIONS[activation])
    x = torch.randn(4, *shape)
    assert critics.critic_values(critic, x).shape == (4,)
    torch.testing.assert_close(critic(x)[1:2], critic(x[1:2]), atol=1e-5, rtol=1e-4)


def test_a_critic_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"critic: one value a row, shape \[4\].*\[4, 1\]"):
        critics.critic_values(nn.Linear(3, 1), torch.zeros(4, 3))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 4, 5)], ids=str)
def test_the_slope_of_a_linear_critic_is_that_of_its_weights(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, requires_grad=True)
    x, y = torch.randn(6, *shape), torch.randn(6, *shape)

    def critic(z: torch.Tensor) -> torch.Tensor:
        return (z * weight).flatten(1).sum(1)

    gap, gradient = critics.dual_terms(critic, x, y, penalties.interpolates(x, y))
    norm = weight.norm()
    torch.testing.assert_close(gap, (weight * (x - y).mean(0)).sum())
    torch.testing.assert_close(penalties.slopes(gradient), norm.expand(6))
    for penalty, value in (
        (penalties.one_sided_penalty, (norm - 1).clamp_min(0).square()),
        (penalties.two_sided_penalty, (norm - 1).square()),
    ):
        torch.testing.assert_close(penalty(penalties.slopes(gradient)), value)
        (found,) = torch.autograd.grad(penalty(penalties.slopes(gradient)), weight, retain_graph=True)
        torch.testing.assert_close(found, 2 * (norm - 1) * weight.detach() / norm)  # d/dw (|w| - 1)^2, |w| > 1 here


def test_the_two_penalties_differ_below_the_bound_only() -> None:
    slope = torch.tensor([0.0, 0.5, 1.0, 3.0])
    assert penalties.one_sided_penalty(slope).item() == pytest.approx(1.0)
    assert penalties.two_sided_penalty(slope).item() == pytest.approx((1 + 0.25 + 4) / 4)
    assert penalties.one_sided_penalty(slope, bound=2.0).item() == pytest.approx(0.25)


@pytest.mark.parametrize("penalty", [penalties.one_sided_penalty, penalties.two_sided_penalty])
def test_a_slope_of_exactly_zero_gives_finite_gradients(penalty: object) -> None:
    critic = nets.mlp_critic((3,), (4,))
    for weight in critic.parameters():
        nn.init.zeros_(weight)
    x = torch.randn(5, 3)
    gap, gradient = critics.dual_terms(critic, x, x, x)
    (gap + penalty(penalties.slopes(gradient))).backward()  # type: ignore[operator]
    assert all(torch.isfinite(p.grad).all() for p in critic.parameters())


def test_interpolates_lie_on_their_segments_one_place_a_row() -> None:
    x, y = torch.zeros(200, 1, 2, 3), torch.ones(200, 1, 2, 3)
    z = penalties.interpolates(x, y, generator=torch.Generator().manual_seed(0))
    assert torch.equal(z.flatten(1).amin(1), z.flatten(1).amax(1))
    assert z.std().item() == pytest.approx(12**-0.5, abs=0.03)
    with pytest.raises(ValueError, match="y: rows of the shape of x"):
        penalties.interpolates(x, y[:, 0])
