"""The optimal univariate WGAN: its value against linear programmes, its Lipschitz constant, its codes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import pushforward as pf
from pushforward.methods.univariate_wgan import StaircaseLaw

STAR = np.array([[0.0, 0.0], *([math.cos(a), math.sin(a)] for a in 2 * np.pi * np.arange(3) / 3)])


def fitted(x: np.ndarray, **settings: Any) -> pf.UnivariateWGAN:
    return pf.UnivariateWGAN(**settings).fit(
        x, budget="5 steps", run=pf.Run(progress=False, validation=0, device="cpu")
    )


def curve(law: StaircaseLaw, m: int) -> np.ndarray:
    """The curve at the middles of ``m`` equal parts of [0, 1], float64."""
    u = (torch.arange(m, dtype=torch.float64) + 0.5) / m
    return law.decode(u[:, None]).flatten(1).numpy()


def distance(model: pf.UnivariateWGAN, m: int) -> float:
    """W1 of the curve and its rows, each row split into ``m`` equal parts, by an exact assignment."""
    rows = model.law_.rows.flatten(1).double().numpy()
    made, targets = curve(model.law_, m * len(rows)), np.repeat(rows, m, axis=0)
    cost = np.linalg.norm(made[:, None] - targets[None], axis=2)
    return float(cost[linear_sum_assignment(cost)].mean())


@pytest.mark.parametrize(("n", "d", "seed"), [(4, 2, 0), (7, 2, 1), (9, 2, 2), (9, 5, 3), (20, 2, 4)])
@pytest.mark.parametrize("more", [1.0, 3.0])
def test_the_value_is_the_distance(n: int, d: int, seed: int, more: float) -> None:
    x = np.random.default_rng(seed).random((n, d))
    least = fitted(x).lipschitz_
    model = fitted(x, lipschitz=more * least)
    assert model.lipschitz_ == pytest.approx(more * least)
    assert distance(model, 1200 // n) == pytest.approx(model.value_, rel=0.01)


def test_a_walk_is_nearer_than_every_path() -> None:
    """The star: 5/4K is the bound for a path, 4/4K what a curve with the same K reaches."""
    k = 4 * fitted(STAR).lipschitz_
    walk, path = fitted(STAR, lipschitz=k), fitted(STAR, lipschitz=k, revisit=False)
    assert walk.value_ == pytest.approx(0.8 * path.value_, rel=1e-5)
    assert distance(walk, 250) == pytest.approx(walk.value_, rel=0.01)
    assert distance(walk, 250) < 0.9 * distance(path, 250) <= 0.91 * path.value_


@pytest.mark.parametrize("revisit", [True, False])
def test_the_curve_keeps_its_lipschitz_constant(revisit: bool) -> None:
    model = fitted(np.random.default_rng(5).random((40, 3)), revisit=revisit)
    law = model.law_
    s = torch.rand(20_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = s + 1e-3 * torch.rand(20_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * (1 - s)
    slope = (law.decode(t) - law.decode(s)).norm(dim=1) / (t - s)[:, 0]
    assert float(slope.max()) <= model.lipschitz_ * (1 + 1e-6)
    assert float(slope.max()) >= model.lipschitz_ * (1 - 1e-6)
    assert law.times[0, 0] == 0
    assert law.times[-1, 1] == 1
    assert (law.times.flatten().diff() >= -1e-12).all()


def test_each_row_has_its_share_of_the_mass() -> None:
    law = fitted(np.random.default_rng(6).random((12, 2))).law_
    made, rows = curve(law, 60_000), law.rows.flatten(1).double().numpy()
    nearest = np.linalg.norm(made[:, None] - rows[None], axis=2).argmin(1)
    assert np.bincount(nearest, minlength=12) / 60_000 == pytest.approx(np.full(12, 1 / 12), abs=1e-3)


def test_an_infeasible_constant_is_refused_with_the_smallest_one() -> None:
    x = np.random.default_rng(7).random((10, 2))
    least = fitted(x).lipschitz_
    with pytest.raises(ValueError, match=f"smallest feasible K is {least:.6g}"):
        fitted(x, lipschitz=0.99 * least)
    with pytest.raises(ValueError, match="must be positive"):
        fitted(x, lipschitz=-1.0)
    paths = fitted(x, revisit=False)
    law = paths.law_
    legs = law.rows[law.walk].diff(dim=0).norm(dim=1)
    assert paths.lipschitz_ <= 10 * float(legs.max()) * (1 + 1e-6)  # n times the longest leg is always enough


def test_codes_go_there_and_back() -> None:
    x = np.random.default_rng(8).random((30, 2))
    model = fitted(x)
    assert model.reconstruct(x) == pytest.approx(x, abs=1e-5)
    u = np.random.default_rng(9).random((200, 1))
    points = model.decode(u)
    assert model.decode(model.encode(points)) == pytest.approx(points, abs=1e-4)
    off = points + 0.01 * np.random.default_rng(10).normal(size=points.shape)
    encoded = model.schema_.encode(off).double()
    ours = (model.law_.decode(model.law_.encode(encoded)) - encoded).norm(dim=1)
    best = torch.cdist(encoded, torch.from_numpy(curve(model.law_, 40_000))).min(1).values
    assert float((ours - best).max()) < 1e-4


def test_classes_have_their_own_curves(tmp_path: Path) -> None:
    x = np.random.default_rng(11).random((21, 2))
    labels = np.array(["a"] * 12 + ["b"] * 8 + ["c"])
    model = pf.UnivariateWGAN().fit(x, condition=labels, run=pf.Run(progress=False, validation=0, device="cpu"))
    assert model.reconstruct(x, condition=labels) == pytest.approx(x, abs=1e-5)
    assert model.sample(5, condition="c") == pytest.approx(np.repeat(x[-1:], 5, axis=0), abs=1e-6)
    model.save(tmp_path / "m")
    assert pf.load(tmp_path / "m").value_ == model.value_ > 0


def test_kill_and_resume_give_the_same_curve(tmp_path: Path) -> None:
    x = np.random.default_rng(12).random((60, 2))

    def run(out: str, **more: Any) -> pf.Run:
        return pf.Run(out=tmp_path / out, progress=False, device="cpu", checkpoint_every=0.0, **more)

    whole = pf.UnivariateWGAN().fit(x, budget="12 steps", run=run("whole"))

    class Killed(Exception):
        pass

    first = run("part")
    checkpoint, count = first.checkpoint, iter(range(100))

    def stop() -> None:
        checkpoint()
        if next(count) == 5:
            raise Killed

    first.checkpoint = stop  # type: ignore[method-assign]
    with pytest.raises(Killed):
        pf.UnivariateWGAN().fit(x, budget="12 steps", run=first)
    again = pf.UnivariateWGAN().fit(x, budget="12 steps", run=run("part", resume=True))
    assert np.array_equal(again.sample(50, seed=0), whole.sample(50, seed=0))
