"""DDPM: the schedule's identities, DDIM with the true network, and laws that are learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward.denoising import against
from pushforward.methods import DDPM
from pushforward.methods.ddpm import DiffusionLaw, cosine_schedule

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
SMALL: dict[str, Any] = {"width": 8, "learning_rate": 3e-3}
CENTRES = np.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.5]])


def fit(data: Any, trained: int = 400, condition: Any = None, **settings: Any) -> DDPM:
    run = pf.Run(validation=0, **QUIET)
    return DDPM(**{**SMALL, **settings}).fit(data, condition=condition, budget=f"{trained} steps", run=run)


def clusters(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[n, 2]`` of an equal mixture of three round Gaussians, and the number of the centre."""
    rng = np.random.default_rng(seed)
    k = np.arange(n) % 3
    return CENTRES[k] + 0.4 * rng.normal(size=(n, 2)), k


# ---------------------------------------------------------------------- the schedule


@pytest.mark.parametrize("levels", [1, 10, 1000])
def test_the_cosine_schedule(levels: int) -> None:
    kept = cosine_schedule(levels)
    assert kept.shape == (levels + 1,)
    assert kept[0] == 1
    assert (kept.diff() < 0).all()
    assert kept[-1] < 2e-3
    assert (1 - kept[1:] / kept[:-1]).max() <= 0.999 + 1e-12


def test_the_schedule_is_the_ratio_of_cosines_until_it_is_clipped() -> None:
    kept, t = cosine_schedule(1000), torch.arange(999, dtype=torch.float64) / 1000
    f = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
    torch.testing.assert_close(kept[:999], f / f[0], atol=1e-12, rtol=1e-9)


class Silent(nn.Module):
    """Says nothing."""

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)


def test_the_noise_can_be_had_from_the_noisy_row_and_v() -> None:
    law = DiffusionLaw(Silent(), (1, 3, 2), 1, steps=10, levels=100)
    x, e, t = torch.randn(100, 1, 3, 2), torch.randn(100, 1, 3, 2), torch.arange(1, 101)
    a, s = against(law.signal[t], x), against(law.noise[t], x)
    torch.testing.assert_close(a.square() + s.square(), torch.ones(100, 1, 1, 1))
    torch.testing.assert_close(law.noised(x, e, t), a * x + s * e)
    assert law.misfit(law.noised(x, e, t), a * e - s * x, e, t).max() < 1e-10
    torch.testing.assert_close(law.misfit(law.noised(x, e, t), a * e - s * x + 1 / a, e, t), torch.ones_like(x))


def test_steps_lead_from_one_end_to_the_other() -> None:
    law = DiffusionLaw(Silent(), (2,), 1, steps=7, levels=100)
    down, up = law._stops(100, 0), law._stops(0, 100)
    assert (down[0], down[-1], len(down)) == (100, 0, 8)
    assert up == down[::-1]
    assert DiffusionLaw(Silent(), (2,), 1, steps=100, levels=100)._stops(100, 0) == list(range(100, -1, -1))


# ---------------------------------------------------------------------- DDIM with the true network


class TrueV(nn.Module):
    """The conditional mean of v for data N(mean, scale^2), in closed form."""

    def __init__(self, mean: float, scale: float, levels: int) -> None:
        super().__init__()
        self.mean, self.scale, self.levels = mean, scale, levels
        self.register_buffer("kept", cosine_schedule(levels).float())

    def forward(self, z: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        kept = against(self.get_buffer("kept")[(t * self.levels).round().long()], z)
        a, s = kept.sqrt(), (1 - kept).sqrt()
        off = (z - a * self.mean) / (kept * self.scale**2 + 1 - kept)
        return a * s * off - s * (self.mean + a * self.scale**2 * off)


@pytest.mark.parametrize(("steps", "within"), [(50, 0.06), (500, 0.01)])
def test_the_true_network_gives_the_true_law(steps: int, within: float) -> None:
    law = DiffusionLaw(TrueV(0.7, 0.5, 1000), (4,), 1, steps=steps, levels=1000)
    law.scale = torch.tensor(2.0)
    z = torch.randn(200, 4)
    x = law.decode(z)
    torch.testing.assert_close(x, 1.4 + z, atol=3 * within, rtol=within)
    torch.testing.assert_close(law.encode(1.4 + z), z, atol=4 * within, rtol=within)


# ---------------------------------------------------------------------- what it learns


def test_a_mixture_is_learned() -> None:
    x, _ = clusters(1500)
    model = fit(x, 600)
    drawn = model.sample(1500, seed=0)
    away = np.linalg.norm(drawn[:, None] - CENTRES, axis=2)
    shares = np.bincount(away.argmin(1), minlength=3) / len(drawn)
    assert np.abs(shares - 1 / 3).max() < 0.08
    assert (away.min(1) < 1.3).mean() > 0.93  # .995 of the data
    assert np.abs(np.cov(drawn.T) - np.cov(x.T)).max() < 0.35


def test_encode_then_decode_returns_the_row_nearly() -> None:
    x, _ = clusters(600)
    model = fit(x, 300, steps=200)
    gap = np.linalg.norm(model.reconstruct(x[:100]) - x[:100], axis=1)
    assert np.median(gap) < 0.05
    z = model.encode(x)
    assert np.abs(z.mean(0)).max() < 0.25
    assert np.abs(z.std(0) - 1).max() < 0.25


def test_labels_choose_the_cluster() -> None:
    x, k = clusters(900)
    model = fit(x, 300, condition=k, batch_size=64)
    drawn = np.concatenate([model.sample(60, seed=0, condition=c) for c in range(3)])
    nearest = np.linalg.norm(drawn[:, None] - CENTRES, axis=2).argmin(1)
    assert (nearest == np.repeat(np.arange(3), 60)).mean() > 0.95


def test_pictures_are_made() -> None:
    """Pictures of one brightness each: samples are as flat, and as bright on the average."""
    rng = np.random.default_rng(0)
    flat = (255 * rng.uniform(0.2, 0.8, (200, 1, 1)) * np.ones((1, 9, 7))).astype(np.uint8)
    drawn = fit(flat, 120, batch_size=32, steps=20).sample(100, seed=0).astype(float)
    assert drawn.std((1, 2)).mean() < 0.5 * flat.std()
    assert abs(drawn.mean() - flat.mean()) < 15
    assert drawn.mean((1, 2)).std() > 0.5 * flat.mean((1, 2)).std()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"levels": 0}, "levels"),
        ({"steps": 0}, "steps"),
        ({"levels": 20, "steps": 21}, "steps"),
        ({"width": 0}, "width"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"ema_decay": 1.0}, "ema_decay"),
    ],
)
def test_impossible_arguments_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        fit(clusters(20)[0], 1, **settings)


def test_an_odd_width_is_refused_for_images() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        fit(np.random.default_rng(0).random((20, 6, 6)), 1, width=12)
