"""Metrics of pairs of pictures against closed forms and plain loops."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from pushforward import metrics
from pushforward.errors import NotSupported


def pictures(n: int = 12, channels: int = 1, side: int = 16, seed: int = 0) -> Tensor:
    """Smooth pictures in [-1, 1]."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=rng) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


def noise(x: Tensor, size: float, seed: int = 1) -> Tensor:
    return (x + size * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))).clamp(-1, 1)


@pytest.fixture
def needs_torchmetrics() -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed: pip install torchmetrics")


# ---------------------------------------------------------------- through torchmetrics


@pytest.mark.usefixtures("needs_torchmetrics")
def test_psnr_of_a_known_offset() -> None:
    """An offset of .1 on a scale of 2 wide, and one of 10 on one of 255."""
    x = pictures()
    found = metrics.psnr(x + 0.1, x)
    assert found.value == pytest.approx(20 * math.log10(2 / 0.1), abs=1e-3)
    assert (found.low, found.high, found.n) == (pytest.approx(found.value), pytest.approx(found.value), 12)
    bytes_ = torch.full((10, 3, 8, 8), 100, dtype=torch.uint8)
    assert metrics.psnr(bytes_ + 10, bytes_).value == pytest.approx(20 * math.log10(255 / 10), abs=1e-3)


@pytest.mark.usefixtures("needs_torchmetrics")
def test_psnr_of_equal_pairs() -> None:
    x = pictures()
    assert metrics.psnr(x, x).value == math.inf
    some = torch.cat([x[:5], x[5:] + 0.1])
    found = metrics.psnr(some, x)
    assert found.value == pytest.approx(20 * math.log10(20), abs=1e-3)
    assert "5 equal pairs left out" in found.note


@pytest.mark.usefixtures("needs_torchmetrics")
def test_psnr_interval_covers_the_mean() -> None:
    """Pictures with a uniformly drawn offset d of .1 to .3: the mean of 20 log10(2 / d)."""
    from scipy.integrate import quad

    truth = quad(lambda d: 20 * math.log10(2 / d) / 0.2, 0.1, 0.3)[0]
    rng, hits = torch.Generator().manual_seed(0), 0
    for _ in range(60):
        offsets = 0.1 + 0.2 * torch.rand(40, 1, 1, 1, generator=rng)
        found = metrics.psnr(offsets.expand(40, 1, 2, 2), torch.zeros(40, 1, 2, 2))
        hits += found.low <= truth <= found.high
    assert hits >= 53


@pytest.mark.usefixtures("needs_torchmetrics")
def test_ssim_of_equal_pictures_is_one_and_falls_with_noise() -> None:
    x = pictures(channels=3)
    assert metrics.ssim(x, x).value == pytest.approx(1, abs=1e-6)
    values = [metrics.ssim(noise(x, size), x).value for size in (0.05, 0.2, 0.8)]
    assert 1 > values[0] > values[1] > values[2]


@pytest.mark.usefixtures("needs_torchmetrics")
def test_ssim_equals_a_loop_over_windows() -> None:
    x = pictures(n=10, side=12)
    y = noise(x, 0.2)
    expected = [slow_ssim(a.numpy(), b.numpy()) for a, b in zip((y[:, 0] + 1) / 2, (x[:, 0] + 1) / 2, strict=True)]
    assert metrics.ssim(y, x).value == pytest.approx(np.mean(expected), abs=1e-4)


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Every pixel's window of 11 by 11 pixels, the picture mirrored at its edges; on the scale [0, 1]."""
    along = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(along, along) / along.sum() ** 2
    a, b = (np.pad(v.astype(np.float64), 5, mode="reflect") for v in (a, b))
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            u, v = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mu, mv = (weights * u).sum(), (weights * v).sum()
            uu, vv = (weights * (u - mu) ** 2).sum(), (weights * (v - mv) ** 2).sum()
            uv = (weights * (u - mu) * (v - mv)).sum()
            values.append((2 * mu * mv + 1e-4) * (2 * uv + 9e-4) / ((mu**2 + mv**2 + 1e-4) * (uu + vv + 9e-4)))
    return float(np.mean(values))


@pytest.mark.usefixtures("needs_torchmetrics")
def test_ms_ssim() -> None:
    x = pictures(n=10, side=176)
    assert metrics.ms_ssim(x, x).value == pytest.approx(1, abs=1e-6)
    assert 0 < metrics.ms_ssim(noise(x, 0.6), x).value < metrics.ms_ssim(noise(x, 0.2), x).value < 1


@pytest.mark.usefixtures("needs_torchmetrics")
def test_bytes_and_floats_agree() -> None:
    x = (255 * (pictures() + 1) / 2).round().to(torch.uint8)
    y = (255 * (noise(pictures(), 0.1) + 1) / 2).round().to(torch.uint8)
    for metric in (metrics.psnr, metrics.ssim):
        found = metric(y, x), metric(y / 127.5 - 1, x / 127.5 - 1), metric(y, x / 127.5 - 1)
        assert [m.value for m in found] == pytest.approx([found[0].value] * 3, rel=1e-4)


def test_without_torchmetrics_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    for metric in (metrics.psnr, metrics.ssim):
        with pytest.raises(NotSupported, match="Fix: pip install torchmetrics"):
            metric(pictures(), pictures())


# ---------------------------------------------------------------- a network's distance


def test_perceptual_distance_by_hand() -> None:
    """Responses (1, 0) and (0, 1) after scaling: squared difference 2; a second layer that is equal adds nothing."""

    def network(x: Tensor) -> list[Tensor]:
        first = torch.cat([(x > 0).float() * 3, (x <= 0).float() * 5], dim=1)
        return [first, torch.ones(len(x), 4, 2, 2)]

    positive, negative = torch.full((10, 1, 6, 6), 0.5), torch.full((10, 1, 6, 6), -0.5)
    assert metrics.perceptual_distance(positive, negative, network).value == pytest.approx(2)
    half = torch.cat([positive[:, :, :3], negative[:, :, :3]], dim=2)
    found = metrics.perceptual_distance(half, negative, network, weights=[torch.tensor([1.0, 0.0]), torch.ones(4)])
    assert found.value == pytest.approx(0.5)
    assert metrics.perceptual_distance(half, half, network).value == 0
    assert found.features == "function"


def test_perceptual_distance_needs_a_network_and_weights_that_fit() -> None:
    x = pictures()
    with pytest.raises(NotSupported, match="give network="):
        metrics.perceptual_distance(x, x)
    with pytest.raises(ValueError, match=r"the channels of the layers, \[1\]"):
        metrics.perceptual_distance(x, x, lambda v: [v], weights=[torch.ones(2)])


# ---------------------------------------------------------------- what is refused


@pytest.mark.usefixtures("needs_torchmetrics")
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (pictures(9), pictures(9), "9 are too few for an interval; give at least 10"),
        (pictures(12), pictures(11), "give two of the shape"),
        (pictures()[:, 0], pictures()[:, 0], "give two of the shape"),
        (pictures() * 2, pictures(), "pictures: some values lie outside"),
        (pictures(), pictures() * math.nan, "reference: some values lie outside .* or are NaN"),
        (pictures().long(), pictures(), "pictures: values are torch.int64"),
    ],
)
def test_bad_pairs_are_refused(x: Tensor, y: Tensor, message: str) -> None:
    for metric in (metrics.psnr, metrics.ssim):
        with pytest.raises(ValueError, match=message):
            metric(x, y)


def test_small_pictures_are_refused() -> None:
    x = pictures(side=8)
    with pytest.raises(ValueError, match="8x8 pixels are too few, at least 11x11 .* use psnr"):
        metrics.ssim(x, x)
    x = pictures(side=64)
    with pytest.raises(ValueError, match="64x64 pixels are too few, at least 176x176 .* use ssim"):
        metrics.ms_ssim(x, x)
