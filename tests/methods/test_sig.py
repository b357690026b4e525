"""SIG: closed forms in low dimension, digits against its own ablations, labels, memory, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward import patches
from pushforward.methods.sig import SlicedLaw, level_of
from pushforward.metrics import frechet_distance
from pushforward.solvers.rational_quadratic import Spline
from pushforward.solvers.slices import random_frames

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
COVARIANCE = np.array([[1.0, 0.6], [0.6, 0.5]])


def gaussian(n: int = 3000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal([1.0, -2.0], COVARIANCE, n)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(pf.load_data("digits").values).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    return images[order[:1437]], images[order[1437:]]


@pytest.fixture(scope="module")
def on_a_gaussian() -> pf.SIG:
    return pf.SIG(layers=10, knots=30).fit(gaussian(), run=pf.Run(validation=0, **QUIET))


def test_a_gaussian_comes_out_as_it_is(on_a_gaussian: pf.SIG) -> None:
    new = on_a_gaussian.sample(20_000, seed=0)
    assert np.abs(new.mean(0) - [1.0, -2.0]).max() < 0.06
    assert np.abs(np.cov(new.T) - COVARIANCE).max() < 0.06


def test_its_density_is_one_and_near_the_truth(on_a_gaussian: pf.SIG) -> None:
    held = gaussian(2000, seed=1)
    scale = np.log(gaussian().std(0)).sum()  # log_prob is that of standardised rows
    centred = held - [1.0, -2.0]
    truth = -0.5 * np.einsum("ni,ij,nj->n", centred, np.linalg.inv(COVARIANCE), centred) - np.log(2 * np.pi)
    truth -= 0.5 * np.log(np.linalg.det(COVARIANCE))
    assert abs((on_a_gaussian.log_prob(held) - scale - truth).mean()) < 0.1
    axis = torch.linspace(-6, 6, 301)
    grid = torch.cartesian_prod(axis, axis)
    assert float(on_a_gaussian.law_.log_prob(grid).exp().sum()) * 0.04**2 == pytest.approx(1, abs=0.01)


def test_codes_lead_back_to_their_rows(on_a_gaussian: pf.SIG) -> None:
    rows = gaussian(200, seed=2)
    assert np.abs(on_a_gaussian.reconstruct(rows) - rows).max() < 1e-3
    codes = on_a_gaussian.encode(rows)
    assert codes.shape == (200, 2)
    assert np.abs(np.cov(codes.T) - np.eye(2)).max() < 0.3
    law, x = on_a_gaussian.law_, torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    z = law.encode(x)
    kept = z.clone()
    law.decode(z)
    assert torch.equal(z, kept)


def test_no_rows_are_no_rows(on_a_gaussian: pf.SIG) -> None:
    none = gaussian(1)[:0]
    assert on_a_gaussian.log_prob(none).shape == (0,)
    assert on_a_gaussian.encode(none).shape == on_a_gaussian.reconstruct(none).shape == (0, 2)


def test_outliers_score_higher(on_a_gaussian: pf.SIG) -> None:
    assert on_a_gaussian.outlier_score([[1.0, -4.5]])[0] > np.quantile(on_a_gaussian.outlier_score(gaussian(500)), 0.99)


def test_digits_need_directions_patches_and_many_particles(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """The acceptance test with 8 instead of 40 layers a stage; benchmarks/sig.py has all of it."""
    train, test = digits
    held = torch.as_tensor(test).flatten(1).float()

    def distance(**changes: Any) -> float:
        model = pf.SIG(**{"layers": 8, **changes}).fit(train, run=pf.Run(validation=0, **QUIET))
        if not changes:  # small patches cost density at real rows; the score of outliers goes without them
            assert model.log_prob(test).mean() < -model.outlier_score(test).mean() - 20
            assert np.array_equal(model.reconstruct(test), test)
        samples = torch.as_tensor(model.sample(1437, seed=0)).flatten(1).float()
        return frechet_distance(samples, held, min_rows=2).value

    ours = distance()
    assert ours < 40
    assert distance(iterations=0) > 1.3 * ours
    assert distance(layers=56, hierarchy=False) > 1.2 * ours
    assert distance(oversampling=1.0) > 1.05 * ours


def test_classes_are_made_by_splines_of_their_own() -> None:
    images = np.random.default_rng(0).integers(0, 40, (300, 4, 4)).astype(np.uint8)
    labels = np.repeat(["low", "high", "middle"], 100)
    images[labels == "high"] += 200
    images[labels == "middle"] += 100
    model = pf.SIG(layers=4).fit(images, condition=labels, run=pf.Run(validation=0, **QUIET))
    for label, mean in (("low", 20), ("middle", 120), ("high", 220)):
        assert abs(model.sample(300, seed=0, condition=label).mean() - mean) < 15
    shares = np.sort(model.sample(900, seed=0).mean((1, 2)))
    assert abs(shares[:300].mean() - 20) < 15
    assert abs(shares[600:].mean() - 220) < 15
    law, x = model.law_, model.schema_.encode(images[:5])
    given = torch.stack([law.log_prob(x, torch.full((5,), c)) for c in range(3)])
    torch.testing.assert_close(law.log_prob(x), given.logsumexp(0) - np.log(3))


def test_colours_stay_together_and_the_density_is_that_of_the_jacobian() -> None:
    """Red images with a dark left and blue ones with a dark right, and no others; of sides 4 and 5."""
    rng = np.random.default_rng(0)
    blue = rng.random(240) < 0.5
    images = rng.integers(0, 30, (240, 4, 5, 3))
    images[~blue, :, 2:, 0] += 200
    images[blue, :, :3, 2] += 200
    model = pf.SIG(layers=4).fit(images.astype(np.uint8), run=pf.Run(validation=0, **QUIET))
    assert {stage.patch.channels for stage in model.law_} == {1, 3}
    new = model.sample(400, seed=0).astype(float)
    assert new.shape == (400, 4, 5, 3)
    left, right = new[:, :, :2].mean((1, 2)), new[:, :, 3:].mean((1, 2))
    is_blue = left[:, 2] > 100
    assert abs(is_blue.mean() - blue.mean()) < 0.1
    assert ((right[:, 0] < 100) == is_blue).mean() > 0.9
    assert np.median(np.abs(new[is_blue][:, :, :2, 2] - 215)) < 25
    law, x = model.law_.double(), model.schema_.encode(new[:1].astype(np.uint8)).double()
    z = law.encode(x)
    jacobians = [torch.autograd.functional.jacobian(lambda row: law.encode(row[None])[0], one) for one in x]
    log_det = torch.stack([torch.linalg.slogdet(one.reshape(60, 60)).logabsdet for one in jacobians])
    torch.testing.assert_close(law.log_prob(x) - law.source.log_prob(z), log_det, atol=1e-3, rtol=0)


def test_whole_numbers_are_spread_over_their_level() -> None:
    assert level_of(torch.randint(0, 17, (50, 1, 4, 4)).float() / 8 - 1) == pytest.approx(1 / 8)
    assert level_of(torch.randn(50, 1, 4, 4)) == 0.0
    assert level_of(torch.tensor([0.0, 0.1, 0.75]).repeat(16).reshape(3, 1, 4, 4)) == 0.0


def test_a_budget_of_steps_is_spread_over_the_stages() -> None:
    images = np.random.default_rng(0).random((40, 6, 6)).astype(np.float32)
    model = pf.SIG(knots=8, iterations=2).fit(images, budget="10 steps", run=pf.Run(**QUIET))
    assert [record["patch"] for record in model.history_] == [6, 6, 5, 5, 4, 4, 3, 3, 2, 2]
    assert [len(stage) for stage in model.law_] == [2, 2, 2, 2, 2]
    assert all(record["loss"] >= 0 for record in model.history_)


def test_a_wall_budget_reaches_the_small_patches_and_has_no_more_than_its_slots() -> None:
    images = np.random.default_rng(0).random((40, 6, 6)).astype(np.float32)
    model = pf.SIG(knots=8, iterations=2).fit(images, budget="2s", run=pf.Run(**QUIET))
    counts = torch.tensor([len(stage) for stage in model.law_])
    assert int(counts.min()) > 0
    assert int(counts.max()) <= 17  # 16 slots a stage, and the last one again where less time is left free after it
    assert model.run_["seconds"] == pytest.approx(2, abs=0.2)
    assert [record["patch"] for record in model.history_] == sorted((r["patch"] for r in model.history_), reverse=True)


def test_splines_of_whole_images_are_smoother() -> None:
    images = np.random.default_rng(0).random((1200, 3, 3)).astype(np.float32)
    for hierarchy, knots in ((True, 34), (False, 30)):
        model = pf.SIG(layers=1, iterations=1, hierarchy=hierarchy).fit(images, run=pf.Run(validation=0, **QUIET))
        assert model.law_.stages[0].layer(0).spline.x.shape[-1] == knots


class Stopped(Exception):
    """The test's own end of a run."""


@pytest.mark.parametrize("after", [1, 7])
@pytest.mark.parametrize("classes", [False, True])
def test_a_killed_run_goes_on_bitwise(after: int, classes: bool, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 5, 6)).astype(np.uint8)
    labels = np.arange(40) % 2 if classes else None
    seen: list[Any] = []

    def stop(record: dict[str, Any]) -> None:
        seen.append(record)
        if len(seen) == after + 2:
            raise Stopped

    def fit(**run: Any) -> pf.SIG:
        model = pf.SIG(knots=8, iterations=3)
        return model.fit(images, condition=labels, budget="12 steps", run=pf.Run(**QUIET, **run))

    whole = fit()
    with pytest.raises(Stopped):
        fit(out=tmp_path / "r", checkpoint_every=0, callback=stop)
    again = fit(out=tmp_path / "r", checkpoint_every=0, resume=True)
    assert np.array_equal(whole.sample(50, seed=0), again.sample(50, seed=0))
    assert len(again.history_) == 12


def test_layers_move_many_columns_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(spline: Spline, u: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        sizes.append(u.numel())
        return u

    monkeypatch.setattr(patches, "values", counted)
    stage = patches.PatchLayers((1, 28, 28), patches.Patch(1, 2, 2, 4, 1))
    knots = torch.randn(196, 4, 1, 5).sort(-1).values
    frame = random_frames(196, 4, 4, torch.Generator().manual_seed(0))
    columns = torch.randn(784, 3000)
    kept = columns.clone()
    stage.add((1, 1), frame, Spline(knots, knots, knots)).move_(columns, None)
    assert sum(sizes) == 784 * 3000
    assert max(sizes) <= 2**18
    torch.testing.assert_close(columns, kept)  # a spline that does nothing moves nothing


@pytest.mark.parametrize(
    ("argument", "value"), [("layers", 0), ("knots", 3), ("oversampling", 0.0), ("iterations", -1)]
)
def test_arguments_out_of_range(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=argument):
        pf.SIG(**{argument: value}).fit(gaussian(50), run=pf.Run(**QUIET))


def awkward() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    return {
        "equal columns": np.concatenate([x, x], axis=1),
        "whole numbers": rng.integers(0, 3, (200, 4)).astype(float),
        "mostly one value": np.where(rng.random((200, 4)) < 0.9, 0.0, x),
        "equal rows": np.repeat(x[:4], 50, axis=0),
        "fewer rows than columns": rng.normal(size=(12, 40)),
        "long tails": rng.standard_t(1, (200, 4)),
    }


@pytest.mark.parametrize("name", awkward())
def test_awkward_data_give_finite_samples(name: str) -> None:
    x = awkward()[name]
    model = pf.SIG(layers=5).fit(x, run=pf.Run(validation=0, **QUIET))
    new = model.sample(200, seed=0)
    assert np.isfinite(new).all()
    assert np.isfinite(model.log_prob(x)).all()
    spread = np.median(np.abs(x - np.median(x, 0)), 0).mean() + x.std(0).mean() * (name != "long tails")
    assert np.abs(np.median(new, 0) - np.median(x, 0)).max() < 1.5 * spread


def test_a_law_of_classes_asks_for_them() -> None:
    law = SlicedLaw((1, 4, 4), [], 2)
    with pytest.raises(ValueError, match="labels"):
        law.decode(torch.zeros(1, 16))
