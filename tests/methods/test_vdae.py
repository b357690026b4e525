"""VDAE on a circle: its spectrum, its step, its walks; kill and resume; what bad data get."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

import pushforward as pf
from pushforward.method import Method
from pushforward.methods import vdae
from pushforward.methods.vdae import VDAE
from pushforward.residuals import GaussianResiduals
from pushforward.walks import DiffusionLaw, IndexWalk

QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "validation": 0}
SMALL: dict[str, Any] = {"latent_dim": 2, "neighbours": 32, "width": 16}
FRAME = np.linalg.qr(np.random.default_rng(5).normal(size=(8, 8)))[0][:2]


def angles(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 2 * np.pi, n)


def circle(t: np.ndarray, noise: float = 0.02, seed: int = 1) -> np.ndarray:
    """Points [n, 8] on a noisy circle in a plane of R^8."""
    clean = np.stack([np.cos(t), np.sin(t)], 1) @ FRAME
    return (clean + noise * np.random.default_rng(seed).normal(size=clean.shape)).astype(np.float32)


def off(x: np.ndarray) -> np.ndarray:
    """Distance from the clean circle."""
    flat = x @ FRAME.T
    out = x - flat @ FRAME
    return np.hypot(np.linalg.norm(flat, axis=1) - 1, np.linalg.norm(out, axis=1))


def uneven(x: np.ndarray) -> float:
    """Total variation between twelve arcs and their equal shares."""
    t = np.arctan2(*(x @ FRAME.T).T[::-1])
    return float(0.5 * np.abs(np.histogram(t, 12, (-np.pi, np.pi))[0] / len(x) - 1 / 12).sum())


@cache
def model() -> Method:
    return VDAE(**SMALL).fit(circle(angles(500)), budget="600 steps", run=pf.Run(**QUIET))


def law_of(fitted: Method) -> DiffusionLaw:
    return cast(DiffusionLaw, fitted.law_)


def test_the_coordinates_are_the_circle() -> None:
    codes = model().codes_
    radius = codes.norm(dim=1)
    assert float(radius.std() / radius.mean()) < 0.1
    assert float(model().spectrum_[1] / model().spectrum_[0]) > 0.95
    assert int(law_of(model()).parts) == 1


def test_samples_lie_on_the_circle_and_all_around_it() -> None:
    data, new = circle(angles(500)), model().sample(500, seed=0)
    assert np.quantile(off(new), 0.95) <= np.quantile(off(data), 0.95)
    assert uneven(new) < uneven(data) + 0.08


def test_a_long_walk_from_one_point_covers_the_circle() -> None:
    law, g = law_of(model()), torch.Generator().manual_seed(0)
    index = law.walk.move(torch.zeros(500, dtype=torch.int64), model().mixing_steps(), g)
    made = model().schema_.decode(law.decode(law.draw(law.codes[index], g)).detach())
    assert np.quantile(off(made), 0.95) <= np.quantile(off(circle(angles(500))), 0.95)
    assert uneven(made) < 0.15
    near = law.walk.move(torch.zeros(500, dtype=torch.int64), 3, g)
    assert uneven(model().schema_.decode(law.decode(law.codes[near]).detach())) > 0.5


def test_a_step_is_along_the_circle() -> None:
    law = law_of(model())
    factor = law.factor(law.codes)
    covariance = factor @ factor.transpose(1, 2)
    radial = law.codes / law.codes.norm(dim=1, keepdim=True)
    tangent = torch.stack([-radial[:, 1], radial[:, 0]], 1)
    spread = [torch.einsum("ni,nij,nj->n", v, covariance, v).sqrt().median() for v in (tangent, radial)]
    assert float(spread[0] / spread[1]) > 2


def test_new_rows_get_the_coordinates_of_their_neighbours() -> None:
    new = circle(angles(200, seed=7), seed=8)
    codes = torch.from_numpy(model().encode(new))
    near = model().codes_[torch.cdist(torch.from_numpy(new), torch.from_numpy(circle(angles(500)))).argmin(1)]
    assert float((codes - near).norm(dim=1).median()) < 0.15
    assert np.quantile(off(model().reconstruct(new)), 0.95) < np.quantile(off(new), 0.95)


def test_interpolations_stay_on_the_circle() -> None:
    ends = circle(np.array([0.0, 2.5]), noise=0.0)
    path = model().interpolate(ends[:1], ends[1:], steps=9)
    assert off(path).max() < 0.2


def test_a_walk_begins_at_its_row_and_goes_on_in_small_steps() -> None:
    data = circle(angles(500))
    path = model().walk_from(17, steps=12, seed=3)
    assert path.shape == (13, 8)
    assert np.linalg.norm(path[0] - data[model().landmark_rows_[17]]) < 0.5
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 0.9
    assert np.array_equal(path, model().walk_from(17, steps=12, seed=3))
    assert model().walk_from(0, steps=5, kind="network").shape == (6, 8)
    bad: list[dict[str, Any]] = [{"row": 500}, {"row": -1}, {"row": 1.5}, {"row": True}, {"steps": 2.5}, {"steps": -1}]
    for arguments in bad:
        with pytest.raises(ValueError, match="row, steps: whole numbers from 0 to 499"):
            model().walk_from(**arguments)
    unknown: Any = "random"
    with pytest.raises(ValueError, match="kind: must be one of anchored, single, network, got 'random'"):
        model().walk_from(kind=unknown)


def test_a_step_to_a_near_row_is_likelier_than_one_to_the_other_side() -> None:
    t = angles(50, seed=3)
    here = circle(t)
    near, far = (model().transition_log_prob(circle(t + shift, seed=9), here) for shift in (0.05, 2.0))
    assert (near > far).mean() > 0.95
    with pytest.raises(ValueError, match="as many rows"):
        model().transition_log_prob(here[:3], here)


class Fixed(nn.Module):
    """The same factor everywhere."""

    def __init__(self, factor: torch.Tensor) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.factor.expand(len(z), -1, -1)


def test_a_linear_law_has_the_transition_density_of_a_gaussian() -> None:
    factor, matrix = torch.tensor([[0.5, 0.0], [0.3, 0.4]]), torch.tensor([[1.0, 0.5], [-0.5, 2.0], [0.3, 0.3]])
    decoder = nn.Linear(2, 3, bias=False).requires_grad_(False)
    decoder.weight.copy_(matrix)
    encoder = nn.Linear(3, 2, bias=False).requires_grad_(False)
    encoder.weight.copy_(torch.linalg.pinv(matrix))
    options: dict[str, Any] = {"latent_dim": 2, "kind": "single", "steps": 0, "residuals": GaussianResiduals()}
    law = DiffusionLaw(encoder, Fixed(factor), decoder, (3,), **options)
    law.noise_variance = torch.tensor(0.8)
    law.residuals.fit(torch.zeros(1, 2), torch.full((1, 3), 0.8**0.5), torch.Generator())
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=g) @ matrix.T
    later = x + 0.8 * torch.randn(400, 3, generator=g)
    step = matrix @ factor
    truth = MultivariateNormal(x, step @ step.T + 0.8 * torch.eye(3)).log_prob(later)
    found = law.transition_log_prob(later, x)
    assert float((found - truth).abs().mean()) < 0.15
    assert abs(float((found - truth).mean())) < 0.03
    law.codes = x @ encoder.weight.T
    drawn = law.sample(20_000, generator=g)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(x.T) + step @ step.T + 0.8 * torch.eye(3), atol=0.25)


@pytest.mark.parametrize("walk", ["single", "network"])
def test_the_other_walks_give_samples(walk: str) -> None:
    options: dict[str, Any] = {**SMALL, "walk": walk, "walk_steps": 2, "noise": "gaussian"}
    new = VDAE(**options).fit(circle(angles(120)), budget="60 steps", run=pf.Run(**QUIET)).sample(9, seed=0)
    assert new.shape == (9, 8)
    assert np.isfinite(new).all()


def test_samples_have_the_spread_of_the_data_off_the_circle() -> None:
    data, law, g = circle(angles(500)), law_of(model()), torch.Generator().manual_seed(0)
    z = law.draw(law.codes[torch.randint(500, (500,), generator=g)], g)
    means, new = model().schema_.decode(law.decode(z).detach()), model().sample(500, seed=0)
    spread = [np.median(off(x)) / np.median(off(data)) for x in (means, new)]
    assert spread[0] < 0.5
    assert 0.85 < spread[1] < 1.05


def test_residuals_are_no_copies() -> None:
    """A combination of six residuals gives back a training row hardly ever."""
    data, new = torch.from_numpy(circle(angles(500))), torch.from_numpy(model().sample(500, seed=0))
    fresh = torch.from_numpy(circle(angles(500, seed=7), seed=8))
    near = [torch.cdist(x, data).amin(1) for x in (new, fresh)]
    assert float(near[0].median() / near[1].median()) > 0.75
    assert float(near[0].quantile(0.05) / near[1].quantile(0.05)) > 0.5


def test_many_numbers_keep_the_residuals_of_some_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vdae, "_RESIDUAL_NUMBERS", 8 * 120)
    fitted = VDAE(**SMALL).fit(circle(angles(300)), budget="60 steps", run=pf.Run(**QUIET))
    factors = law_of(fitted).residuals.get_buffer("factors")
    assert factors.shape == (16, 5, 8)
    assert np.isfinite(fitted.sample(30, seed=0)).all()


def test_a_wall_budget_limits_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vdae, "_PROBE", 100)  # rows that are timed, and used in any case
    monkeypatch.setattr(vdae, "_SPECTRAL_SHARE", 1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = VDAE(**SMALL).fit(circle(angles(300)), budget="1s", run=pf.Run(**QUIET))
    assert len(fitted.codes_) == 100
    assert fitted.run_["seconds"] < 1.3


def test_classes_stay_apart() -> None:
    t = angles(300)
    labels = np.where(np.sin(t) > 0, "up", "down")
    fitted = VDAE(**SMALL).fit(circle(t), condition=labels, budget="400 steps", run=pf.Run(**QUIET))
    for label, sign in (("up", 1), ("down", -1)):
        y = (fitted.sample(200, seed=0, condition=label) @ FRAME.T)[:, 1]
        assert (sign * y > -0.15).mean() > 0.95


def test_rare_classes_are_among_few_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vdae, "_RESIDUAL_NUMBERS", 8 * 40)
    data, labels = circle(angles(200)), np.array(["many"] * 198 + ["one", "other"])
    options: dict[str, Any] = {**SMALL, "landmarks": 40}
    fitted = VDAE(**options).fit(data, condition=labels, budget="10 steps", run=pf.Run(**QUIET))
    assert len(fitted.landmark_rows_) == 40
    assert {198, 199} <= set(fitted.landmark_rows_.tolist())
    for label in ("many", "one", "other"):
        assert np.isfinite(fitted.sample(5, seed=0, condition=label)).all()
    options["landmarks"] = 4
    with pytest.raises(ValueError, match="landmarks: one row of each of 5 classes is needed, got 4"):
        VDAE(**options).fit(data, condition=np.arange(200) % 5, budget="5 steps", run=pf.Run(**QUIET))


def test_kill_and_resume_is_bitwise_the_same(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    data = circle(angles(150))
    whole = VDAE(**SMALL).fit(data, budget="150 steps", run=pf.Run(**QUIET, out=tmp_path / "whole"))
    for when in ("embed", "walk"):

        def kill_in(record: dict[str, Any], stage: str = when) -> None:
            if record["stage"] == stage and record["step"] >= 40:
                raise Killed

        out = tmp_path / when
        with pytest.raises(Killed):
            run = pf.Run(**QUIET, out=out, checkpoint_every=0, callback=kill_in)
            VDAE(**SMALL).fit(data, budget="150 steps", run=run)
        again = VDAE(**SMALL).fit(data, budget="150 steps", run=pf.Run(**QUIET, out=out, resume=True))
        assert np.array_equal(again.sample(50, seed=0), whole.sample(50, seed=0))
        assert again.run_["status"] == "finished"


@pytest.mark.parametrize("stage", ["bistochastic", "_factors", "VDAE._noise_variance", "VDAE._keep_residuals"])
def test_killed_between_the_loops_and_resumed(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    def kill(*_: object) -> None:
        raise Killed

    data, run = circle(angles(80)), {**QUIET, "out": tmp_path / "run", "checkpoint_every": 0}
    whole = VDAE(**SMALL).fit(data, budget="30 steps", run=pf.Run(**QUIET))
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(f"pushforward.methods.vdae.{stage}", kill)
        VDAE(**SMALL).fit(data, budget="30 steps", run=pf.Run(**run))
    early = stage in ("bistochastic", "_factors")
    assert (tmp_path / "run" / "checkpoint.pt").exists() != early
    again = VDAE(**SMALL).fit(data, budget="30 steps", run=pf.Run(**run, resume=not early))
    assert np.array_equal(again.sample(50, seed=0), whole.sample(50, seed=0))
    assert np.array_equal(again.encode(data), whole.encode(data))


def test_a_loaded_model_walks_and_encodes_the_same(tmp_path: Path) -> None:
    model().save(tmp_path / "model")
    again: Any = pf.load(tmp_path / "model")
    assert np.array_equal(again.walk_from(3, steps=5), model().walk_from(3, steps=5))
    assert np.array_equal(again.encode(circle(angles(30))), model().encode(circle(angles(30))))
    assert np.array_equal(again.sample(30, seed=1), model().sample(30, seed=1))
    assert again.mixing_steps() == model().mixing_steps()
    assert np.array_equal(again.landmark_rows_, model().landmark_rows_)


@pytest.mark.parametrize("size", [1e6, 1e30])
def test_a_huge_outlier_does_no_harm(size: float) -> None:
    data = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    data[0] = size
    fitted = VDAE(**SMALL).fit(data, budget="20 steps", run=pf.Run(**QUIET))
    assert np.isfinite(fitted.sample(50, seed=0)).all()
    assert np.isfinite(fitted.encode(data)).all()


@pytest.mark.parametrize("copies", [60, 90])
def test_many_copies_of_a_row_beside_others(copies: int) -> None:
    others = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    data = np.concatenate([np.repeat(others[:1], copies, axis=0), others])
    fitted = VDAE(latent_dim=2, neighbours=10, local=4, width=8).fit(data, budget="20 steps", run=pf.Run(**QUIET))
    assert np.isfinite(fitted.sample(50, seed=0)).all()


def test_images_of_odd_sizes_and_tables_with_gaps() -> None:
    rng = np.random.default_rng(0)
    slow = np.linspace(0, 170, 60)[:, None, None, None]
    pictures = (rng.integers(0, 80, (60, 5, 7, 3)) + slow).astype(np.uint8)
    new = VDAE(**SMALL).fit(pictures, budget="10 steps", run=pf.Run(**QUIET)).sample(5, seed=0)
    assert new.shape == (5, 5, 7, 3)
    assert new.dtype == np.uint8
    table = pd.DataFrame(
        {"a": rng.normal(size=150), "b": rng.integers(0, 9, 150), "c": rng.choice(["x", "y", "z"], 150)}
    )
    table.loc[::7, "a"], table.loc[3, "c"] = np.nan, None
    fitted = VDAE(**SMALL).fit(table, budget="10 steps", run=pf.Run(**QUIET))
    drawn = fitted.sample(200, seed=0)
    assert list(drawn.dtypes) == list(table.dtypes)
    assert 0 < drawn["a"].isna().sum() < 120
    assert np.isfinite(fitted.encode(table)).all()


def test_noise_of_many_dimensions_is_refused() -> None:
    with pytest.raises(ValueError, match="no slow motion"):
        VDAE(latent_dim=2, neighbours=49).fit(
            np.random.default_rng(0).normal(size=(50, 500)), budget="5 steps", run=pf.Run(**QUIET)
        )


def test_a_step_budget_is_kept() -> None:
    run = pf.Run(**QUIET)
    VDAE(**SMALL).fit(circle(angles(120)), budget="50 steps", run=run)
    assert run.steps == 50


def test_two_clusters_are_joined_and_said() -> None:
    rng = np.random.default_rng(0)
    data = np.concatenate([rng.normal(size=(90, 3)), rng.normal(size=(60, 3)) + 60]).astype(np.float32)
    with pytest.warns(UserWarning, match="has 2 parts"):
        fitted = VDAE(latent_dim=2, neighbours=16, width=8).fit(data, budget="300 steps", run=pf.Run(**QUIET))
    share = (fitted.sample(400, seed=0).mean(1) > 30).mean()
    assert share == pytest.approx(0.4, abs=0.08)


def test_copies_and_landmarks() -> None:
    data = np.concatenate([circle(angles(100))] * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = VDAE(**SMALL, landmarks=80).fit(data, budget="30 steps", run=pf.Run(**QUIET))
    assert fitted.codes_.shape == (80, 2)
    assert len(set(fitted.landmark_rows_.tolist())) == 80
    assert np.isfinite(fitted.sample(20, seed=0)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 59}, "latent_dim: must be from 1 to 58"),
        ({"neighbours": 0}, "neighbours: must be from 1"),
        ({"local": 0}, "local: must be from 1"),
        ({"bandwidth": -1.0}, "bandwidth: must be positive"),
        ({"alpha": 2.0}, "alpha: must be from 0 to 1"),
        ({"walk_steps": -1}, "walk_steps"),
        ({"latent_dim": 50, "bandwidth": 1e3}, "latent_dim: the walk has only"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VDAE(**{**SMALL, **arguments}).fit(circle(angles(60)), budget="5 steps", run=pf.Run(**QUIET))


def test_a_row_with_more_copies_than_neighbours_is_refused() -> None:
    data = np.repeat(np.eye(4, dtype=np.float32), 20, axis=0)
    with pytest.raises(ValueError, match="more copies than neighbours"):
        VDAE(latent_dim=2, neighbours=8).fit(data, budget="5 steps", run=pf.Run(**QUIET))


def test_an_index_walk_steps_with_its_probabilities() -> None:
    walk = IndexWalk()
    walk.columns, walk.running = torch.tensor([0, 1, 0, 2, 2]), torch.tensor([0.25, 1, 1.5, 2, 3]).double()
    g = torch.Generator().manual_seed(0)
    found = walk.step(torch.zeros(20_000, dtype=torch.int64), g)
    assert float((found == 1).double().mean()) == pytest.approx(0.75, abs=0.015)
    assert (walk.step(torch.full((50,), 2), g) == 2).all()
    kept = walk.step(torch.ones(2000, dtype=torch.int64), g, torch.tensor([0, 1, 1]))
    assert set(kept.tolist()) == {1, 2}
