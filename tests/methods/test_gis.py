"""GIS: log-determinant, inverse and integral; known densities and the paper's parts one by one; bad input."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pushforward as pf
from oracles.densities import density
from pushforward import sliced
from pushforward.methods.gis import _Fits
from pushforward.sliced import Bounds, slide, slide_back, whitening
from pushforward.solvers import gaussianize as solver
from pushforward.solvers.atoms import _collinear, spread_atoms
from pushforward.solvers.gaussianize import gaussianize
from pushforward.solvers.rational_quadratic import Spline
from pushforward.solvers.slices import random_frames

QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "validation": 0}


def fit(
    x: Any, run: dict[str, Any] | None = None, condition: Any = None, budget: str | None = None, **settings: Any
) -> pf.GIS:
    return pf.GIS(**settings).fit(x, condition=condition, budget=budget, run=pf.Run(**{**QUIET, **(run or {})}))


def units(model: pf.GIS) -> float:
    """What log_prob's scale adds to the log-density in the data's own units."""
    return -float(np.log(model.schema_.coder.scale).sum())


def gap(name: str, model: pf.GIS, n: int = 4000) -> float:
    """Mean log-density of fresh rows: the truth's less the model's."""
    law = density(name)
    x = law.rows(n, seed=999)
    return float(law.log_prob(x.astype(float)).mean() - model.log_prob(x).mean() - units(model))


@pytest.fixture(scope="module")
def spiral() -> pf.GIS:
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 3 * np.pi, 1500)
    x = np.stack([t * np.cos(t), t * np.sin(t), t], 1) + 0.5 * rng.normal(size=(1500, 3))
    return fit(x.astype(np.float32))


@pytest.fixture(scope="module")
def moons() -> pf.GIS:
    return fit(density("moons").rows(2000, 0))


# ------------------------------------------------------------------ what a density must be


def test_the_log_determinant_is_that_of_the_jacobian(spiral: pf.GIS) -> None:
    law = spiral.law_.double()
    assert int(law.ends[-1]) >= 25
    x = 2 * torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def one(row: torch.Tensor) -> torch.Tensor:
        return law.encode(row[None])[0]

    jacobians = torch.stack([torch.autograd.functional.jacobian(one, row) for row in x])
    z = law.encode(x)
    base = -0.5 * z.square().sum(1) - 1.5 * np.log(2 * np.pi)
    assert (law.log_prob(x) - base - torch.linalg.slogdet(jacobians).logabsdet).abs().max() < 1e-3
    spiral.law_.float()


def test_codes_and_rows_are_inverse_to_each_other(spiral: pf.GIS) -> None:
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    assert (spiral.law_.decode(spiral.law_.encode(x)) - x).abs().max() < 1e-4


def test_the_density_integrates_to_one(moons: pf.GIS) -> None:
    axis = torch.linspace(-6, 6, 601)
    grid = torch.cartesian_prod(axis, axis)
    total = moons.law_.log_prob(grid).double().exp().sum() * 0.02**2
    assert abs(float(total) - 1) < 0.005


def test_a_gaussian_is_learned_as_one() -> None:
    rng = np.random.default_rng(0)
    root = np.array([[1.0, 0.0], [1.2, 0.5]])
    x, fresh = rng.normal(size=(5000, 2)) @ root.T, rng.normal(size=(5000, 2)) @ root.T
    model = fit(x.astype(np.float32))

    def truth(rows: np.ndarray) -> float:
        z = np.linalg.solve(root, rows.T)
        return float(-0.5 * (z**2).sum(0).mean() - np.log(2 * np.pi) - np.log(np.diag(root)).sum())

    held = float(model.log_prob(fresh.astype(np.float32)).mean()) + units(model)
    train = float(model.log_prob(x.astype(np.float32)).mean()) + units(model)
    assert abs(held - truth(fresh)) < 0.05
    assert (train - truth(x)) - (held - truth(fresh)) < 0.1


def test_samples_have_the_law(moons: pf.GIS) -> None:
    law = density("moons")
    drawn = moons.sample(4000, seed=0)
    fresh = law.rows(4000, 5)
    assert law.log_prob(drawn.astype(float)).mean() > law.log_prob(fresh.astype(float)).mean() - 0.6  # a Gaussian is 4 below
    assert np.abs(np.cov(drawn.T) - np.cov(fresh.T)).max() < 0.1


# ------------------------------------------------------------------ known densities; each part is needed


def test_a_rotated_product_in_ten_coordinates() -> None:
    """The gap to the truth is at most 0.48 nat with 1000 rows; alone, a Gaussian loses 1.9."""
    model = fit(density("ica10").rows(1000, 0))
    assert gap("ica10", model) < 0.48
    bagged = fit(density("ica10").rows(1000, 0), bags=5)
    assert gap("ica10", bagged) < gap("ica10", model) - 0.02
    assert len(bagged.law_.ends) == 5


def test_full_moves_overfit_and_pulled_tails_matter() -> None:
    x = density("auto10").rows(1000, 0)
    whole = gap("auto10", fit(x))
    assert whole < 1.2
    assert gap("auto10", fit(x, alpha=0.0, alpha_tails=0.0)) > whole + 0.2
    assert gap("auto10", fit(x, bandwidth=0.05)) > whole + 0.1


def test_the_papers_small_moves_are_as_good_and_slower() -> None:
    x = density("ica10").rows(1000, 1)
    slow = fit(x, alpha=1 - 0.02 * 3, alpha_tails=1 - 0.001 * 3)
    fast = fit(x)
    assert gap("ica10", slow) == pytest.approx(gap("ica10", fast), abs=0.1)
    assert int(slow.law_.ends[-1]) > 2 * int(fast.law_.ends[-1])


@pytest.mark.parametrize(("rows", "d", "alpha"), [(200, 16, 0.87), (200, 15, 0.8), (1600, 16, 0.8), (200, 4, 0.75)])
def test_moves_are_smaller_for_few_rows_in_many_coordinates(rows: int, d: int, alpha: float) -> None:
    x = np.random.default_rng(0).exponential(size=(rows, d)).astype(np.float32)
    usual, given = (fit(x, budget="3 steps", **settings) for settings in ({}, {"alpha": alpha}))
    assert np.array_equal(usual.sample(20, seed=0), given.sample(20, seed=0))


def test_two_bandwidths_are_tried_where_there_are_few_coordinates() -> None:
    model = fit(density("8g").rows(1000, 0))
    assert gap("8g", model) < 0.27
    narrow, wide = (fit(density("8g").rows(1000, 0), bandwidth=b) for b in (0.5, 1.0))
    assert gap("8g", model) <= max(gap("8g", narrow), gap("8g", wide))


def test_whitening_and_bounds_are_densities_too() -> None:
    rng = np.random.default_rng(3)
    x = np.stack([rng.beta(0.7, 0.7, 3000), rng.exponential(size=3000)], 1).astype(np.float32)
    for settings in (
        {"bounds": "range"},
        {"bounds": "below"},
        {"whiten": True},
        {"whiten": True, "bounds": "range", "bags": 2},
    ):
        model = fit(x, **settings)
        assert np.isfinite(model.log_prob(x)).all()
        drawn = model.sample(2000, seed=0)
        if "bounds" in settings:
            assert drawn.min() > -0.01
            outside = model.log_prob(np.array([[-0.5, 1.0]], dtype=np.float32))
            assert np.isneginf(outside).all()
        assert np.abs(drawn.mean(0) - x.mean(0)).max() < 0.1


def test_classes_have_laws_of_their_own() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["left", "right"])[rng.integers(0, 2, 1500)]
    shift = np.where(labels == "left", -2.0, 2.0)[:, None] * np.array([1.0, 0.0, 0.5])
    x = (rng.normal(size=(1500, 3)) * np.where(labels == "left", 0.5, 1.0)[:, None] + shift).astype(np.float32)
    model = fit(x, condition=labels)
    drawn = model.sample(3000, seed=0, condition="left")
    assert np.abs(drawn.mean(0) - [-2, 0, -1]).max() < 0.1
    assert np.abs(drawn.std(0) - 0.5).max() < 0.1
    truth = -0.5 * 3 * (1 + np.log(2 * np.pi)) - 3 * np.log(0.5)
    fresh = (0.5 * rng.normal(size=(3000, 3)) + [-2, 0, -1]).astype(np.float32)
    assert -model.outlier_score(fresh, condition="left").mean() + units(model) == pytest.approx(truth, abs=0.1)
    assert (model.outlier_score(fresh, condition="right") > model.outlier_score(fresh, condition="left")).mean() > 0.95


# ------------------------------------------------------------------ p-values, budgets, resume


def test_p_values_are_uniform_on_fresh_rows_and_small_for_outliers() -> None:
    law = density("auto10")
    for bags in (1, 5):
        model = fit(law.rows(1000, 0), bags=bags)
        p = model.p_value(law.rows(3000, 7))
        assert np.abs(np.quantile(p, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.1
        assert (model.p_value(np.full((3, 10), 8.0, dtype=np.float32)) < 0.01).all()
        assert model.law_.calibration.shape == (bags, 1000 // 5)


@pytest.mark.parametrize(("bags", "rows", "fits"), [(1, 500, 16), (5, 200, 8)])
def test_false_alarms_come_as_often_as_the_p_value_says(bags: int, rows: int, fits: int) -> None:
    """At 5 % and 1 %, within three standard errors: given its m validation rows a fit's rate is Beta(k, m + 1 - k)."""
    law = density("ica3")
    rates = []
    for seed in range(fits):
        p = fit(law.rows(rows, seed), bags=bags, run={"seed": seed}).p_value(law.rows(2000, 1000 + seed))
        rates.append([(p <= level).mean() for level in (0.05, 0.01)])
    m = rows // 5 * bags
    for rate, level in zip(np.mean(rates, axis=0), (0.05, 0.01), strict=True):
        share = np.floor(level * (m + 1)) / (m + 1)
        assert abs(rate - share) < 3 * np.sqrt(share * (1 - share) * (1 / m + 1 / 2000) / fits)


def test_no_validation_row_has_a_say_in_its_own_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the definition: the layer, of any start, that the other validation rows find best."""
    seen: list[torch.Tensor] = []
    update = _Fits._leave_one_out

    def watched(self: _Fits, log_prob: torch.Tensor) -> None:
        seen.append(log_prob)
        update(self, log_prob)

    monkeypatch.setattr(_Fits, "_leave_one_out", watched)
    law = fit(density("ica10").rows(60, 0), patience=3, budget="60 steps").law_
    scores = torch.stack(seen).double()
    m = scores.shape[1]
    others = (scores.sum(1, keepdim=True) - scores) / (m - 1)
    honest = -scores.gather(0, others.argmax(0, keepdim=True))[0].float() + law.scale.log().sum()
    torch.testing.assert_close(law.calibration[0], honest.sort().values)
    chosen = -scores[scores.mean(1).argmax()].float() + law.scale.log().sum()
    assert law.calibration.mean() > chosen.mean()  # the rows that choose flatter themselves


def test_a_budget_of_layers_is_kept_and_patience_ends_without_one() -> None:
    x = density("ica10").rows(400, 0)
    short = fit(x, budget="6 steps")
    assert int(short.law_.ends[-1]) <= 5
    free = fit(x)
    assert free.history_[-1]["layers"] <= int(free.law_.ends[-1]) + 1 + 10


def test_more_starts_are_likelier_on_the_rows_they_are_chosen_by() -> None:
    x = density("ica10").rows(400, 0)
    one, many = fit(x, patience=4), fit(x, patience=4, budget="200 steps")
    best = [max(-record["best"] for record in model.history_) for model in (one, many)]
    assert best[1] >= best[0]


def test_killed_and_resumed_is_bitwise_the_same(tmp_path: Path) -> None:
    x = density("auto10").rows(300, 0)

    class Killed(Exception):
        pass

    def kill(record: dict[str, Any]) -> None:
        if record["step"] >= 20:
            raise Killed

    settings = {"bags": 2, "patience": 3, "whiten": True}
    whole = fit(x, budget="70 steps", **settings)
    with pytest.raises(Killed):
        fit(x, run={"out": tmp_path / "run", "checkpoint_every": 0.0, "callback": kill}, budget="70 steps", **settings)
    again = pf.resume(tmp_path / "run", x, progress=False)
    assert np.array_equal(whole.sample(50, seed=0), again.sample(50, seed=0))
    assert torch.equal(whole.law_.calibration, again.law_.calibration)


# ------------------------------------------------------------------ input that is not kind


def awkward(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    changed = {
        "constant": lambda: x * [1, 0, 1, 1],
        "duplicated": lambda: x[:, [0, 1, 2, 0]],
        "integers": lambda: np.round(2 * x),
        "two values": lambda: np.where(x > 0, 1.0, 0.0),
        "atoms": lambda: np.where(x > 0.5, x, 0.0),
        "equal rows": lambda: x[rng.integers(0, 20, 300)],
        "fewer rows than columns": lambda: rng.normal(size=(12, 30)),
        "two rows": lambda: x[:2],
        "heavy tails": lambda: x / rng.random((300, 4)) ** 2,
        "huge": lambda: x * 1e6 + 1e7,
    }
    return changed[kind]().astype(np.float32)


KINDS = ["constant", "duplicated", "integers", "two values", "atoms", "equal rows"] + [
    "fewer rows than columns",
    "two rows",
    "heavy tails",
    "huge",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_awkward_data_end_in_time_with_finite_numbers(kind: str) -> None:
    x = awkward(kind)
    began = time.process_time()
    model = fit(x)
    assert time.process_time() - began < 2.0
    assert np.isfinite(model.log_prob(x)).all()
    assert np.isfinite(model.sample(100, seed=0)).all()


def test_not_a_number_is_refused_at_once() -> None:
    x = awkward("integers")
    x[3, 2] = np.nan
    with pytest.raises(pf.DataError, match="NaN"):
        fit(x)


@pytest.mark.parametrize(
    "settings", [{"slices": 5}, {"slices": 0}, {"knots": 4}, {"alpha": 1.5}, {"patience": 0}, {"bags": 0}]
)
def test_settings_out_of_range_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))}: must be from"):
        fit(awkward("integers"), **settings)


# ------------------------------------------------------------------ the maps alone


def test_a_sliced_layer_moves_only_along_its_slices() -> None:
    frame = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0)))[0]
    knots = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.5, 1.0]])
    spline = Spline(knots, 2 * knots, torch.full_like(knots, 2.0))
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    y, log_det = slide(x, frame, spline)
    assert torch.allclose(y, x + x @ frame @ frame.T, atol=1e-5)  # twice as far along the frame
    assert torch.allclose(log_det, torch.full((50,), 2 * np.log(2).item()), atol=1e-5)
    back, log_back = slide_back(y, frame, spline)
    assert torch.allclose(back, x, atol=1e-5)
    assert torch.allclose(log_back, -log_det, atol=1e-5)


def test_whitening_is_the_symmetric_root_with_a_shrunk_covariance() -> None:
    x = (
        torch.randn(100_000, 3, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.tensor([2.0, 1.0, 0.5]))
        + 1
    )
    y, log_det = slide(x, *(lambda a, s: (a, Spline(*(p[:, 0] for p in s))))(*whitening(x)))
    assert torch.allclose(torch.cov(y.T), torch.eye(3), atol=0.01)
    assert y.mean(0).abs().max() < 1e-3
    assert log_det.mean() == pytest.approx(0.0, abs=0.02)  # log 2 + log 1 + log 0.5
    few, _ = slide(x[:4, :], *(lambda a, s: (a, Spline(*(p[:, 0] for p in s))))(*whitening(x[:4])))
    assert few.abs().max() < 10


def test_many_rows_are_moved_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    knots = torch.randn(5, 3, 8, generator=generator).sort(-1).values
    spline, labels = Spline(knots, 2 * knots, torch.ones_like(knots)), torch.randint(0, 3, (101,), generator=generator)
    x, frame = torch.randn(101, 7, generator=generator), random_frames(1, 7, 5, generator)[0]
    whole = slide(x, frame, spline, labels)
    monkeypatch.setattr(sliced, "_AT_ONCE", {"cpu": 100})
    torch.testing.assert_close(slide(x, frame, spline, labels), whole)
    torch.testing.assert_close(slide_back(whole[0], frame, spline, labels), (x, -whole[1]), atol=1e-4, rtol=1e-4)
    u = torch.randn(9, 400, generator=generator)
    once = gaussianize(u)
    monkeypatch.setattr(solver, "_CHUNK", 1000)
    torch.testing.assert_close(gaussianize(u), once, atol=1e-3, rtol=1e-3)


def test_collinear_columns_are_found() -> None:
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    assert not _collinear(x)
    assert _collinear(torch.cat([x, x[:, :1] - x[:, 1:2]], dim=1))


def test_bounds_against_autograd() -> None:
    lower = torch.tensor([0.0, -torch.inf, 1.0, -torch.inf], dtype=torch.float64)
    upper = torch.tensor([2.0, 3.0, torch.inf, torch.inf], dtype=torch.float64)
    bounds = Bounds(lower, upper)
    x = torch.tensor([[0.1, 2.0, 1.2, -5.0], [1.99, -4.0, 9.0, 0.3]], dtype=torch.float64)
    z, log_det = bounds.inverse_and_log_det(x)
    assert torch.allclose(bounds(z), x, atol=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda row: bounds.inverse_and_log_det(row[None])[0][0], x[0])
    assert torch.linalg.slogdet(jacobian).logabsdet == pytest.approx(log_det[0].item())
    assert torch.isneginf(bounds.inverse_and_log_det(x + torch.tensor([5.0, 0, 0, 0]))[1]).all()
    with pytest.raises(ValueError, match="upper"):
        Bounds(upper, lower)


def test_atoms_are_spread_and_whole_numbers_still_told_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.stack(
        [torch.randn(500, generator=generator), torch.randint(-3, 4, (500,), generator=generator) / 2.0], dim=1
    )
    spread = spread_atoms(x, generator=generator)
    assert torch.equal(spread[:, 0], x[:, 0])
    assert torch.equal((spread[:, 1] * 2).round(), x[:, 1] * 2)
    assert len(spread[:, 1].unique()) > 490
    doubled = torch.cat([x[:, :1], x[:, :1]], dim=1)
    assert torch.linalg.matrix_rank(spread_atoms(doubled, generator=generator), rtol=1e-4) == 2
