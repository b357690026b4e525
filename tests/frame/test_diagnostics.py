"""Congested transport: the closed form of two Gaussians of the plane, what tells a wrong critic apart, bad input."""

from __future__ import annotations

import math

import pytest
import torch

import pushforward as pf
from oracles.congested import CELLS, REACH, Radial
from pushforward import nets
from pushforward.objectives import critics, penalties

CASE = Radial(0.5, 2.0, 1.0)


def trained(steps: int = 600, rows: int = 256, width: int = 64) -> torch.nn.Module:
    """A critic learned with the one-sided penalty of weight 1."""
    torch.manual_seed(0)
    net, draw = nets.mlp_critic((2,), (width,) * 3, activation=torch.nn.SiLU), torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(net.parameters(), lr=2e-3, fused=True)
    for k in range(steps):
        adam.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * k / steps))
        x, y = 0.5 * torch.randn(rows, 2, generator=draw), 2 * torch.randn(rows, 2, generator=draw)
        gap, gradient = critics.dual_terms(net, x, y, penalties.interpolates(x, y, generator=draw))
        adam.zero_grad()
        (penalties.one_sided_penalty(penalties.slopes(gradient)) - gap).backward()
        adam.step()
    return net


def test_the_closed_form_has_the_published_numbers() -> None:
    assert CASE.flux() == pytest.approx(1.8800, abs=1e-4)
    assert CASE.congestion() == pytest.approx(1.2550, abs=1e-3)
    assert Radial(0.5, 2.0, 10.0).congestion() == pytest.approx(0.1255, abs=1e-4)


@pytest.mark.parametrize("penalty", [1.0, 10.0])
def test_the_exact_critic_has_the_numbers_of_the_closed_form(penalty: float) -> None:
    case = Radial(0.5, 2.0, penalty)
    found = pf.diagnostics.congestion(case.critic, *case.samples(100_000, seed=1), penalty)
    assert found.flux == pytest.approx(case.flux(), abs=0.02)
    assert found.congestion == pytest.approx(case.congestion(), abs=0.03 / penalty)
    assert found.dual == pytest.approx(case.flux() + case.congestion(), abs=0.03)
    assert found.raw == pytest.approx(case.flux() + 2 * case.congestion(), abs=0.05)
    assert abs(found.gap) < 0.05
    assert found.residual < 0.02
    assert found.scale == pytest.approx(1, abs=0.02)
    assert found.share == pytest.approx(case.congestion() / (case.flux() + case.congestion()), abs=0.01)


def test_the_momentum_is_the_flow_over_the_density() -> None:
    r = torch.linspace(0.3, 5.0, 40)
    at = torch.stack([r, torch.zeros_like(r)], 1)
    q = pf.diagnostics.momentum_field(CASE.critic, at, 1.0)
    cell = (r.double() / REACH * CELLS).round().long()
    torch.testing.assert_close(-q[:, 0].double(), (CASE.flow / CASE.density)[cell], rtol=0.01, atol=1e-3)
    assert q[:, 1].abs().max() == 0


def test_a_learned_critic_reads_the_same() -> None:
    net = trained()
    x, y = CASE.samples(100_000, seed=2)
    found = pf.diagnostics.congestion(net, x, y, 1.0)
    assert found.dual == pytest.approx(3.135, abs=0.05)
    assert found.flux == pytest.approx(1.880, abs=0.04)
    assert found.congestion == pytest.approx(1.255, abs=0.05)
    assert found.residual < 0.05
    assert pf.diagnostics.congestion(net, x, y, 0.5).residual > 0.4
    assert pf.diagnostics.congestion(net, x, y, 2.0).residual > 0.4


def test_an_untrained_critic_and_a_wrong_weight_are_told_apart() -> None:
    x, y = CASE.samples(20_000, seed=3)
    torch.manual_seed(0)
    untrained = pf.diagnostics.congestion(nets.mlp_critic((2,), activation=torch.nn.SiLU), x, y, 1.0)
    assert untrained.residual > 0.9
    assert untrained.flux < 0.1
    for wrong in (0.5, 2.0):
        found = pf.diagnostics.congestion(CASE.critic, x, y, wrong)
        assert found.residual > 0.4
        assert found.scale == pytest.approx(wrong, rel=0.05)


def test_images_and_samples_of_different_size() -> None:
    torch.manual_seed(0)
    critic = nets.critic((1, 6, 5), width=8)
    found = pf.diagnostics.congestion(critic, torch.randn(30, 1, 6, 5), torch.randn(50, 1, 6, 5) + 1, 10.0)
    assert found.n == 50
    assert found.points.shape == found.momentum.shape == (50, 1, 6, 5)


def test_between_two_equal_points_nothing_flows() -> None:
    """A critic of slope 1 / 2 moves nothing; one of slope 5 does, at a price of (5 - 1)^2, and is found out by every number."""
    at = torch.ones(30, 2)
    still, steep = (pf.diagnostics.congestion(lambda x, s=s: s * x[:, 0], at, at[:20], 1.0) for s in (0.5, 5.0))
    assert still.flux == still.congestion == still.share == still.raw == still.gap == 0
    assert (steep.flux, steep.congestion, steep.raw, steep.gap) == (8, 16, 0, 40)
    assert steep.residual > 1 > still.residual
    assert math.isnan(steep.scale)
    assert "tensor" not in repr(steep)


def test_bad_input_is_named() -> None:
    x, y = CASE.samples(10, seed=0)
    with pytest.raises(ValueError, match="target: rows of the source's shape"):
        pf.diagnostics.congestion(CASE.critic, x, y[:, :1], 1.0)
    with pytest.raises(ValueError, match="penalty: the positive weight.*-1"):
        pf.diagnostics.congestion(CASE.critic, x, y, -1.0)
    with pytest.raises(ValueError, match="critic: one value a row"):
        pf.diagnostics.congestion(torch.nn.Linear(2, 1), x, y, 1.0)
    with pytest.raises(ValueError, match="two rows"):
        pf.diagnostics.congestion(CASE.critic, x[:1], y, 1.0)
