"""Centred residuals against the moments of known residuals, within classes, and without keeping one."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.residuals import CentredResiduals
from pushforward.solvers.by_class import drawn_rows

K = 6


def fitted(bias: float, n: int = 1536, p: int = 40) -> tuple[CentredResiduals, torch.Tensor, torch.Tensor]:
    """A law of residuals of mean ``bias`` and unit variance, their codes and themselves."""
    g = torch.Generator().manual_seed(0)
    codes, residuals = torch.randn(n, 3, generator=g), bias + torch.randn(n, p, generator=g)
    law = CentredResiduals(K)
    law.fit(codes, residuals, g)
    return law, codes, residuals


def test_the_second_moment_is_that_of_the_residuals_less_the_noise_of_their_mean() -> None:
    for bias in (0.0, 2.0):
        law, codes, residuals = fitted(bias)
        drawn = law(codes, None, torch.Generator().manual_seed(1), residuals)
        kept = bias**2 / (bias**2 + 1 / K)  # James and Stein
        assert math.isclose(float(drawn.mean()), kept * bias, abs_tol=0.02)
        spread = 1 - 1 / K + kept**2 / K
        assert math.isclose(float(drawn.var(0).mean()), spread, rel_tol=0.03)


def test_a_regression_without_bias_is_left_alone() -> None:
    law, _, _ = fitted(0.0)
    assert float(law.means.square().mean()) < 0.02 / K
    clear, _, _ = fitted(3.0)
    assert 2.9 < float(clear.means.mean()) < 3.0


def test_no_residual_is_kept() -> None:
    law, _, residuals = fitted(1.0, n=96)
    stored = torch.cat([law.means, law.factors.flatten(0, 1)])
    assert law.factors.shape[1] == K - 1
    assert float(torch.cdist(stored, residuals).min()) > 1


def test_each_class_has_its_own() -> None:
    g = torch.Generator().manual_seed(0)
    codes, labels = torch.randn(200, 2, generator=g), torch.arange(200) % 2
    law = CentredResiduals(K)
    law.fit(codes, (10.0 * labels - 5)[:, None] + 0.1 * torch.randn(200, 4, generator=g), g, labels)
    drawn = law(codes, labels, g, torch.zeros(200, 4))
    assert torch.equal(drawn.mean(1) > 0, labels == 1)


def test_fewer_rows_than_a_group_are_repeated() -> None:
    law, g = CentredResiduals(K), torch.Generator().manual_seed(0)
    law.fit(torch.zeros(2, 1), torch.tensor([[1.0], [-1.0]]), g)
    drawn = law(torch.zeros(500, 1), None, g, torch.zeros(500, 1))
    assert bool(torch.isfinite(drawn).all())
    assert 0.8 < float(drawn.std()) < 1.2


def test_a_class_of_one_row_keeps_nothing_of_it() -> None:
    g, labels = torch.Generator().manual_seed(0), torch.tensor([0] * 30 + [1])
    law = CentredResiduals(K)
    law.fit(torch.randn(31, 2, generator=g), 5 + torch.randn(31, 3, generator=g), g, labels)
    alone = law.labels == 1
    assert float(law.means[alone].abs().max()) == 0
    assert float(law.factors[alone].abs().max()) < 1e-5


def test_blocks_give_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    law, codes, residuals = fitted(1.0, n=200)
    whole = law(codes, None, torch.Generator().manual_seed(1), residuals)
    monkeypatch.setattr("pushforward.residuals._NUMBERS", 7 * (K - 1) * 40)
    assert torch.equal(law(codes, None, torch.Generator().manual_seed(1), residuals), whole)


def test_drawn_rows_are_in_order_and_have_every_class() -> None:
    labels = torch.tensor([0] * 50 + [1, 2])
    found = drawn_rows(52, 10, labels, torch.Generator().manual_seed(0), labels.device)
    assert len(found) == 10
    assert {50, 51} < set(found.tolist())
    assert bool((found.diff() > 0).all())
    plain = drawn_rows(52, 10, None, torch.Generator().manual_seed(0), labels.device)
    assert len(set(plain.tolist())) == 10
    assert torch.equal(drawn_rows(5, 10, None, torch.Generator().manual_seed(0), labels.device), torch.arange(5))
