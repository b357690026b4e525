"""FlowMatching: densities against the truth, traces, there and back, pairs within classes, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn

import pushforward as pf
from pushforward import denoising, nets
from pushforward.denoising import stratified_times
from pushforward.methods import FlowMatching
from pushforward.methods.flow_matching import FlowLaw

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
SMALL: dict[str, Any] = {"width": 8, "learning_rate": 3e-3}
ROOT = np.array([[1.0, 0.0], [0.8, 0.6]])
CENTRES = np.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.5]])


def fit(data: Any, trained: int = 300, condition: Any = None, **settings: Any) -> FlowMatching:
    run = pf.Run(validation=0, **QUIET)
    return FlowMatching(**{**SMALL, **settings}).fit(data, condition=condition, budget=f"{trained} steps", run=run)


def law_of(model: FlowMatching) -> FlowLaw:
    assert isinstance(model.law_, FlowLaw)
    return model.law_


def gaussian(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2)) @ ROOT.T


def clusters(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[n, 2]`` of an equal mixture of three round Gaussians, and the number of the centre."""
    rng = np.random.default_rng(seed)
    k = np.arange(n) % 3
    return CENTRES[k] + 0.4 * rng.normal(size=(n, 2)), k


def clusters_log_density(x: np.ndarray) -> np.ndarray:
    parts = [multivariate_normal(centre, 0.16 * np.eye(2)).pdf(x) for centre in CENTRES]
    return np.log(np.mean(parts, axis=0))


def log_stretch(model: FlowMatching) -> float:
    """Sum of the logarithms of the scales of the schema: what log-densities gain by encoding."""
    ends = model.schema_.encode(np.array([[0.0, 0.0], [1.0, 1.0]]))
    return -float((ends[1] - ends[0]).log().sum())


def grid_integral(model: FlowMatching) -> float:
    axis = torch.linspace(-5, 5, 51)
    points = torch.cartesian_prod(axis, axis)
    return float(law_of(model).log_prob(points).exp().sum() * 0.2**2)


@pytest.fixture(scope="module")
def round_trip() -> FlowMatching:
    return fit(gaussian(2000))


@pytest.fixture(scope="module")
def three() -> FlowMatching:
    return fit(clusters(2100)[0], 400)


# ---------------------------------------------------------------------- densities


def test_the_density_of_a_gaussian(round_trip: FlowMatching) -> None:
    fresh = gaussian(500, seed=1)
    truth = multivariate_normal(np.zeros(2), ROOT @ ROOT.T).logpdf(fresh) + log_stretch(round_trip)
    error = round_trip.log_prob(fresh) - truth
    assert np.abs(error).mean() < 0.15
    assert abs(error.mean()) < 0.05
    assert grid_integral(round_trip) == pytest.approx(1, abs=0.03)


def test_the_density_of_a_mixture(three: FlowMatching) -> None:
    fresh = clusters(600, seed=1)[0]
    error = three.log_prob(fresh) - clusters_log_density(fresh) - log_stretch(three)
    assert np.abs(error).mean() < 0.3
    assert abs(error.mean()) < 0.12
    assert grid_integral(three) == pytest.approx(1, abs=0.03)


def test_outliers_have_a_low_density(three: FlowMatching) -> None:
    inside, outside = three.outlier_score(clusters(30, seed=2)[0]), three.outlier_score(np.array([[0.0, -3.0]]))
    assert outside.min() > inside.max()


class Straight(nn.Module):
    """The velocity that carries N(0, 1) to N(mean, scale^2) in every coordinate, known in closed form."""

    def __init__(self, mean: float, scale: float) -> None:
        super().__init__()
        self.mean, self.scale = mean, scale

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        t = denoising.against(t, x)
        slope = (t * self.scale**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * self.scale**2)
        return self.mean + slope * (x - t * self.mean)


@pytest.mark.parametrize("shape", [(3,), (40,), (1, 5, 4)], ids=str)
def test_the_true_velocity_gives_the_true_law(shape: tuple[int, ...]) -> None:
    """The integrator alone: samples, codes and densities of a Gaussian, with exact traces and with probes."""
    law = FlowLaw(Straight(0.7, 0.5), shape, 1, steps=40)
    law.scale = torch.tensor(2.0)
    x = law.sample(4000, generator=torch.Generator().manual_seed(0))
    assert x.mean().item() == pytest.approx(1.4, abs=0.05)
    assert x.std().item() == pytest.approx(1.0, abs=0.03)
    truth = torch.distributions.Normal(1.4, 1.0).log_prob(x[:50]).flatten(1).sum(1)
    torch.testing.assert_close(law.log_prob(x[:50]), truth, atol=0.01, rtol=1e-3)
    torch.testing.assert_close(law.encode(x[:50]), (x[:50] - 1.4).flatten(1), atol=0.02, rtol=0)


def speaking(shape: tuple[int, ...], classes: int = 1) -> FlowLaw:
    """A law with a random network."""
    torch.manual_seed(0)
    network = nets.timed_network(shape, classes, width=8)
    with torch.no_grad():
        for weights in network.parameters():
            if not weights.any():
                weights.normal_(std=0.1)
    return FlowLaw(network.eval(), shape, classes, steps=4)


def true_trace(law: FlowLaw, x: Tensor, t: float) -> Tensor:
    def velocity(row: Tensor) -> Tensor:
        return law.velocity(row[None], t)[0].flatten()

    return torch.stack([torch.autograd.functional.jacobian(velocity, row).reshape(row.numel(), -1).trace() for row in x])


def test_the_exact_trace_is_that_of_the_jacobian() -> None:
    law, x = speaking((5,)), torch.randn(7, 5)
    slope, trace = law._velocity_and_trace(x, 0.3, None)
    torch.testing.assert_close(slope, law.velocity(x, 0.3), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(trace, true_trace(law, x, 0.3), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("shape", [(40,), (1, 6, 7)], ids=str)
def test_probes_agree_with_the_trace_in_the_mean(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    law, x, count = speaking(shape), torch.randn(2, *shape), 3000
    signs = 2.0 * torch.randint(2, (count, *shape), generator=torch.Generator().manual_seed(1)) - 1
    singles = []
    for part in signs.split(1000):
        monkeypatch.setattr(law, "_probes", lambda part=part: part)
        singles.append(law._velocity_and_trace(x, 0.3, None)[1])
    truth = true_trace(law, x, 0.3)
    spread = torch.stack(singles).std(0) + 0.02 * truth.abs() + 1e-3
    assert ((torch.stack(singles).mean(0) - truth).abs() < 4 * spread).all()


def test_a_density_depends_on_its_row_alone() -> None:
    law, x = speaking((1, 6, 7)), torch.randn(5, 1, 6, 7)
    torch.testing.assert_close(law.log_prob(x)[3:], law.log_prob(x[3:]), atol=1e-3, rtol=1e-4)
    with torch.inference_mode():
        assert law.log_prob(torch.randn(2, 1, 6, 7)).isfinite().all()


def test_without_labels_the_density_is_that_of_the_mixture() -> None:
    law, x = speaking((3,), classes=2), torch.randn(4, 3)
    law.weights = torch.tensor([0.25, 0.75])
    parts = [law.log_prob(x, torch.full((4,), k)).exp() for k in (0, 1)]
    torch.testing.assert_close(law.log_prob(x).exp(), 0.25 * parts[0] + 0.75 * parts[1], atol=1e-6, rtol=1e-3)


# ---------------------------------------------------------------------- there and back


def test_encode_then_decode_returns_the_row(round_trip: FlowMatching, three: FlowMatching) -> None:
    law, x = law_of(round_trip), torch.randn(300, 2)
    assert (law.decode(law.encode(x)) - x).abs().max() < 1e-3
    law, x = law_of(three), three.schema_.encode(clusters(300, seed=3)[0])
    assert torch.quantile((law.decode(law.encode(x)) - x).norm(dim=1), 0.95) < 1e-2


def test_codes_are_gaussian(three: FlowMatching) -> None:
    z = three.encode(clusters(900, seed=4)[0])
    assert np.abs(z.mean(0)).max() < 0.15
    assert np.abs(np.cov(z.T) - np.eye(2)).max() < 0.2


def test_pictures_come_back() -> None:
    ramp = np.linspace(0, 1, 60)[:, None, None] * np.ones((1, 6, 5))
    pictures = (255 * (0.8 * ramp + 0.2 * np.random.default_rng(0).random((60, 6, 5)))).astype(np.uint8)
    model = fit(pictures, 60, batch_size=32)
    assert np.abs(model.reconstruct(pictures[:8]).astype(float) - pictures[:8]).max() <= 2
    assert model.encode(pictures[:3]).shape == (3, 30)
    assert model.interpolate(pictures[:2], pictures[-2:], steps=4).shape == (8, 6, 5)
    assert np.isfinite(model.log_prob(pictures[:3])).all()


def test_parts_of_any_size_give_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    law = speaking((1, 6, 7))
    whole = law.sample(9, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(denoising, "_MOST_NUMBERS", 100)
    torch.testing.assert_close(law.sample(9, generator=torch.Generator().manual_seed(2)), whole, atol=1e-5, rtol=1e-4)


# ---------------------------------------------------------------------- pairs and labels


def rows_of(pairs: Tensor, pool: Tensor) -> Tensor:
    """Which row of the pool each row is."""
    found = torch.cdist(pairs.flatten(1), pool.flatten(1)).argmin(1)
    assert torch.equal(pool[found], pairs)
    return found


def test_transport_permutes_the_noise_and_shortens_the_way() -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(1)) * 2
    free = FlowMatching(coupling="independent")._noise(x, None, torch.Generator().manual_seed(5))
    paired = FlowMatching()._noise(x, None, torch.Generator().manual_seed(5))
    assert len(rows_of(paired, free).unique()) == 64
    assert (paired - x).square().sum() < 0.6 * (free - x).square().sum()


def test_with_labels_transport_stays_within_the_class() -> None:
    """The noise that a class is paired with has the law of all noise, whatever the class looks like."""
    labels = torch.arange(90) % 3
    x = torch.randn(90, 1, 2, 2, generator=torch.Generator().manual_seed(1)) + 5.0 * labels[:, None, None, None]
    free = FlowMatching(coupling="independent")._noise(x, labels, torch.Generator().manual_seed(5))
    paired = FlowMatching()._noise(x, labels, torch.Generator().manual_seed(5))
    found = rows_of(paired, free)
    assert torch.equal(labels[found], labels)
    assert len(found.unique()) == 90
    assert not torch.equal(found, torch.arange(90))


def test_labels_choose_the_cluster() -> None:
    x, k = clusters(900)
    model = fit(x, 250, condition=k, batch_size=64)
    drawn = np.concatenate([model.sample(60, seed=0, condition=c) for c in range(3)])
    nearest = np.linalg.norm(drawn[:, None] - CENTRES, axis=2).argmin(1)
    assert (nearest == np.repeat(np.arange(3), 60)).mean() > 0.97
    assert np.linalg.norm(drawn.mean(0) - CENTRES.mean(0)) < 0.2
    given = law_of(model).log_prob(torch.zeros(1, 2), torch.tensor([0]))
    assert given.isfinite().all()


def test_times_are_one_in_each_part() -> None:
    t = stratified_times(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal((50 * t).floor(), torch.arange(50.0))


# ---------------------------------------------------------------------- runs and refusals


def test_a_stopped_run_goes_on_bitwise(tmp_path: Path) -> None:
    def fitted(out: Path, **more: Any) -> np.ndarray:
        run = pf.Run(out=out, validation=0, **QUIET, **more)
        return np.asarray(FlowMatching(width=8).fit(gaussian(80), budget="40 steps", run=run).sample(5, seed=0))

    def stop(record: dict[str, Any]) -> None:
        if record["step"] >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "a", callback=stop, checkpoint_every=0)
    assert (tmp_path / "a" / "checkpoint.pt").exists()
    assert np.array_equal(fitted(tmp_path / "a", resume=True), fitted(tmp_path / "b"))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"width": 0}, "width"),
        ({"batch_size": -1}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"coupling": "best"}, "coupling"),
    ],
)
def test_impossible_arguments_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        fit(gaussian(20), 1, **settings)


def test_an_odd_width_is_refused_for_images_only() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        fit(np.random.default_rng(0).random((20, 6, 6)), 1, width=12)
    assert math.isfinite(fit(gaussian(20), 1, width=3).log_prob(gaussian(1))[0])
