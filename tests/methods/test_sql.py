"""SQL: acceptance numbers, monotone search, missing values, functions, and what it promises."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import pushforward as pf
from pushforward.methods.sql import _Search
from pushforward.solvers.gram import GramRows, WeightedRows
from pushforward.solvers.principal import principal_scores

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
ALL: dict[str, Any] = {"validation": 0, **QUIET}
HARMONICS = np.arange(1, 5)


def trigonometric(p: int, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """A random smooth curve in p dimensions, centred under N(0, 1) (the simulation of the authors' study)."""
    theta = rng.normal(size=(p, 8))
    theta /= np.square(theta).mean(1, keepdims=True)
    a, b = theta[:, :4] / HARMONICS, theta[:, 4:] / HARMONICS

    def curve(z: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * np.outer(z, HARMONICS) / 8
        mean = a @ np.exp(-np.square(2 * np.pi * HARMONICS / 8) / 2)  # E cos(w Z) = exp(-w^2 / 2)
        return (np.cos(angle) @ a.T + np.sin(angle) @ b.T - mean) / 2

    return curve


def simulate(n: int, p: int, q: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows ``[n, p]``, their factors ``[n, q]`` and the rows without noise."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, q))
    signal = sum(trigonometric(p, rng)(z[:, l]) for l in range(q))
    return signal + noise * rng.normal(size=(n, p)), z, np.asarray(signal)


def agreement(z: np.ndarray, found: Any) -> float:
    """Mean |correlation| of factors ``[n, q]``, matched as well as they can be."""
    q = z.shape[1]
    r = np.abs(np.corrcoef(z.T, np.asarray(found).T)[:q, q:])
    return max(float(np.mean([r[i, order[i]] for i in range(q)])) for order in itertools.permutations(range(q)))


def fitted(x: Any, budget: Any = None, run: dict[str, Any] | None = None, **settings: Any) -> pf.SQL:
    return pf.SQL(**settings).fit(x, budget=budget, run=pf.Run(**(run or ALL)))


# ---------------------------------------------------------------------- acceptance


def test_three_factors() -> None:
    """SQL-1; principal scores alone give .58 to .80."""
    found, plain = [], []
    for seed in range(5):
        x, z, _ = simulate(500, 200, 3, seed)
        found.append(agreement(z, fitted(x, latent_dim=3).codes_))
        plain.append(agreement(z, principal_scores(torch.as_tensor(x / x.std(0)), 3)))
    assert np.mean(found) >= 0.96
    assert max(plain) < 0.85


def test_one_factor() -> None:
    """SQL-2; principal scores give .85."""
    found, plain = [], []
    for seed in range(5):
        x, z, _ = simulate(150, 200, 1, seed)
        found.append(agreement(z, fitted(x, latent_dim=1, basis=4).codes_))
        plain.append(agreement(z, principal_scores(torch.as_tensor(x / x.std(0)), 1)))
    assert np.median(found) >= 0.965
    assert np.median(plain) < 0.92


def test_more_starts_escape_a_poor_optimum() -> None:
    one, many, objectives = [], [], []
    for seed in (0, 4, 5):
        x, z, _ = simulate(300, 40, 2, seed)
        single, several = (fitted(x, starts=starts) for starts in (1, 12))
        one.append(agreement(z, single.codes_))
        many.append(agreement(z, several.codes_))
        objectives.append((several.history_[-1]["objective"], single.history_[-1]["objective"]))
    assert all(several <= single for several, single in objectives)
    assert max(one) < 0.7
    assert min(many) > 0.85


# ---------------------------------------------------------------------- the search


@pytest.mark.parametrize("assignment", ["exact", "greedy"])
def test_the_objective_never_increases(assignment: Any) -> None:
    x, _, _ = simulate(200, 50, 2, 0)
    history = fitted(x, assignment=assignment, starts=1).history_
    pairs = [(a, b) for a, b in itertools.pairwise(history) if a["basis"] == b["basis"]]
    assert len(pairs) > 10
    assert all(b["objective"] <= a["objective"] for a, b in pairs)
    assert history[-1]["explained_variance"] > history[0]["explained_variance"]


def test_the_exact_stage_ends_where_no_assignment_of_a_factor_is_better() -> None:
    """The last ranks, against SciPy's optimum: what is left to gain is below the tolerance of the search."""
    x, _, _ = simulate(200, 50, 2, 1)
    model = fitted(x, smoothing=0.01)
    encoded, law = model.schema_.encode(x).double().numpy(), model.law_
    codes = np.asarray(model.codes_, dtype=np.float64)
    lattice = np.sort(codes[:, 0])
    parts = law.generator.functions(torch.as_tensor(lattice).float())[0].double().numpy()  # type: ignore[operator, union-attr]
    place = np.argsort(np.argsort(codes, axis=0), axis=0)
    own = np.stack([parts[l][place[:, l]] for l in range(2)])
    for l in range(2):
        rest = encoded - encoded.mean(0) - own[1 - l]
        cost = np.square(rest[:, None] - parts[l][None]).sum(-1)
        rows, columns = linear_sum_assignment(cost)
        assert np.square(rest - own[l]).sum() <= cost[rows, columns].sum() * (1 + 2e-4)


def test_codes_are_the_quantiles_of_every_factor() -> None:
    model = fitted(simulate(120, 30, 2, 0)[0])
    wanted = torch.special.ndtri(torch.arange(1, 121) / 121)
    assert model.codes_.shape == (120, 2)
    for l in range(2):
        torch.testing.assert_close(model.codes_[:, l].sort().values, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("p", [150, 30])
def test_only_the_gram_matrix_matters(p: int) -> None:
    """The search on the Gram matrix takes the same steps as the one on all columns with weights of one."""
    n = 60
    x = torch.as_tensor(simulate(n, p, 2, 0)[0])
    sides = (GramRows(x + 5), WeightedRows(x - x.mean(0), torch.ones_like(x)))
    gram, whole = (_Search(rows, n, x.device, pf.SQL(), 2) for rows in sides)
    for search in (gram, whole):
        generator = torch.Generator().manual_seed(0)
        for _ in range(60):
            search.step(generator)
    assert whole.at == gram.at
    assert torch.equal(whole.ranks, gram.ranks)
    assert whole.fit.objective == pytest.approx(gram.fit.objective, rel=1e-9)
    assert whole.fit.misfit == pytest.approx(gram.fit.misfit, rel=1e-9)
    torch.testing.assert_close(whole.fit.shares(), gram.fit.shares())
    ours, theirs = (fit.distances(1, slice(None), every=3).double() for fit in (gram.fit, whole.fit))
    torch.testing.assert_close(ours - ours[:, :1], theirs - theirs[:, :1], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("p", [150, 30])
def test_scores_are_the_leading_singular_vectors(p: int) -> None:
    x = torch.as_tensor(simulate(60, p, 2, 0)[0])
    wanted = torch.linalg.svd(x - x.mean(0), full_matrices=False).U[:, :4]
    torch.testing.assert_close((GramRows(x).scores(4).T @ wanted).abs(), torch.eye(4).double(), atol=1e-6, rtol=0)


def test_the_same_seed_gives_the_same_fit_and_resuming_is_bitwise(tmp_path: Path) -> None:
    x = simulate(150, 40, 2, 3)[0]
    whole, again = (fitted(x, "90 steps") for _ in range(2))
    assert np.array_equal(whole.sample(50, seed=0), again.sample(50, seed=0))

    def killed(record: dict[str, Any]) -> None:
        if record["step"] >= 25:
            raise RuntimeError("killed")

    run = pf.Run(out=tmp_path / "run", checkpoint_every=0.0, callback=killed, **ALL)
    with pytest.raises(RuntimeError, match="killed"):
        pf.SQL().fit(x, budget="90 steps", run=run)
    resumed = pf.resume(tmp_path / "run", x, progress=False)
    assert np.array_equal(resumed.sample(50, seed=0), whole.sample(50, seed=0))
    assert [r["objective"] for r in resumed.history_] == [r["objective"] for r in whole.history_]


def test_without_a_budget_a_killed_search_ends_the_same(tmp_path: Path) -> None:
    x = simulate(120, 30, 1, 3)[0]
    whole = fitted(x, latent_dim=1, starts=3)

    def killed(record: dict[str, Any]) -> None:
        if record["step"] >= 5:
            raise RuntimeError("killed")

    run = pf.Run(out=tmp_path / "run", checkpoint_every=0.0, callback=killed, **ALL)
    with pytest.raises(RuntimeError, match="killed"):
        pf.SQL(latent_dim=1, starts=3).fit(x, run=run)
    resumed = pf.resume(tmp_path / "run", x, progress=False)
    assert np.array_equal(resumed.sample(50, seed=0), whole.sample(50, seed=0))


def test_greedy_is_nearly_as_good() -> None:
    x, z, _ = simulate(300, 100, 2, 0)
    exact, greedy = (fitted(x, assignment=kind) for kind in ("exact", "greedy"))
    assert exact.history_[-1]["objective"] <= greedy.history_[-1]["objective"] * 1.0002
    assert agreement(z, greedy.codes_) > agreement(z, exact.codes_) - 0.02


# ---------------------------------------------------------------------- what was learned


def test_functions_and_explained_variance(tmp_path: Path) -> None:
    x, z, signal = simulate(600, 60, 2, 1, noise=0.3)
    model = fitted(x, noise="none")
    assert model.functions_.shape == (2, 101, 60)
    assert model.function_grid_.shape == (101,)
    path = np.stack([model.function_grid_, np.full(101, 0.3, dtype=np.float32)], axis=1)
    steps = np.diff(model.schema_.encode(model.decode(path)).numpy(), axis=0)
    np.testing.assert_allclose(
        steps, np.diff(model.functions_[0], axis=0), atol=2e-2
    )  # decode clips at the range of the data
    shares = model.explained_variance_
    assert shares[0] >= shares[1] > 0.2
    assert shares.sum() == pytest.approx(model.history_[-1]["explained_variance"], abs=1e-3)
    encoded = model.schema_.encode(x)
    by_column = 1 - (encoded - model.law_.decode(model.codes_)).square().mean(0) / encoded.var(0, unbiased=False)  # type: ignore[operator]
    np.testing.assert_allclose(model.column_shares_.sum(0), by_column, atol=1e-4)
    np.testing.assert_allclose(model.column_shares_.mean(1), shares, atol=1e-4)  # columns have variance 1
    error = np.square(model.decode(model.codes_.numpy()) - signal).mean() / signal.var(0).mean()
    assert error < 0.15
    model.save(tmp_path / "m")
    again: Any = pf.load(tmp_path / "m")
    np.testing.assert_array_equal(again.functions_, model.functions_)
    np.testing.assert_array_equal(again.explained_variance_, shares)
    assert agreement(z, again.codes_) > 0.97


def test_new_rows_are_encoded() -> None:
    x, z, _ = simulate(700, 150, 2, 2)
    model = fitted(x[:500])
    assert agreement(z[500:], model.encode(x[500:])) > 0.95
    assert agreement(np.asarray(model.codes_), model.encode(x[:500])) > 0.98


def test_outliers_score_higher() -> None:
    x, _, _ = simulate(500, 60, 2, 0, noise=0.3)
    model = fitted(x[:400])
    usual = model.outlier_score(x[400:])
    shuffled = np.random.default_rng(0).permuted(x[400:], axis=0)
    assert np.quantile(model.outlier_score(shuffled), 0.1) > np.quantile(usual, 0.9)


@pytest.mark.parametrize("noise", ["gaussian", "local"])
def test_samples_have_the_spread_of_the_data(noise: Any) -> None:
    x, _, _ = simulate(500, 40, 2, 4)
    new = fitted(x, noise=noise).sample(2000, seed=0)
    np.testing.assert_allclose(new.std(0).mean(), x.std(0).mean(), rtol=0.04)
    covariance, wanted = np.cov(new.T), np.cov(x.T)
    assert np.linalg.norm(covariance - wanted) < 0.35 * np.linalg.norm(wanted)


def test_every_class_has_functions_of_its_own() -> None:
    labels = np.repeat(["a", "b"], 200)
    first, second = (simulate(200, 50, 1, seed)[0] for seed in (0, 1))
    x = np.concatenate([first, second + 3.0])
    model = pf.SQL(latent_dim=1).fit(x, condition=labels, run=pf.Run(**ALL))
    assert model.functions_.shape == (2, 1, 101, 50)
    for label, rows in (("a", first), ("b", second + 3.0)):
        new = model.sample(1500, seed=0, condition=label)
        np.testing.assert_allclose(new.mean(0), rows.mean(0), atol=0.25)
        assert np.linalg.norm(np.cov(new.T) - np.cov(rows.T)) < 0.5 * np.linalg.norm(np.cov(rows.T))
    assert (
        np.abs(model.decode(np.zeros((1, 1)), condition="a") - model.decode(np.zeros((1, 1)), condition="b")).mean() > 2
    )


# ---------------------------------------------------------------------- missing values


def with_holes(x: np.ndarray, share: Any, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The table with holes, which entries are holes, and the array with column means in their place."""
    missing = np.random.default_rng(seed + 9).random(x.shape) < share
    holey = np.where(missing, np.nan, x)
    return pd.DataFrame(holey), missing, np.where(missing, np.nanmean(holey, axis=0), x)


def errors(missing_share: Callable[[np.random.Generator], Any], seed: int) -> tuple[float, float, float, float]:
    """Agreement of codes and relative error of the holes' signal: with weights, and with zeroing."""
    x, z, signal = simulate(400, 120, 2, seed)
    frame, missing, zeroed = with_holes(x, missing_share(np.random.default_rng(seed)), seed)
    weighted, plain = fitted(frame, starts=4), fitted(zeroed, starts=4)
    coder: Any = weighted.schema_.coder
    made = weighted.law_.decode(weighted.codes_)[:, ~weighted.law_.flags].numpy()  # type: ignore[operator, union-attr]
    filled = np.stack([column.transform.decode(made[:, j]) for j, column in enumerate(coder.columns)], axis=1)

    def error(values: np.ndarray) -> float:
        return float(np.linalg.norm((values - signal)[missing]) / np.linalg.norm(signal[missing]))

    other = plain.decode(plain.codes_.numpy())
    return agreement(z, weighted.codes_), agreement(z, plain.codes_), error(filled), error(other)


def test_missing_at_random_fills_in_better_than_zeroing_at_equal_codes() -> None:
    """20 % at random: zeroing shrinks all functions alike, so codes survive, but what it fills in is worse."""
    found = np.mean([errors(lambda rng: 0.2, seed) for seed in range(2)], axis=0)
    assert found[0] > found[1] - 0.005
    assert found[2] < 0.95 * found[3]


def test_rows_with_many_holes_are_better_than_zeroed() -> None:
    """60 % in a third of the rows: zeroing draws these rows to the centre."""
    found = np.mean(
        [errors(lambda rng: np.where(rng.random((400, 1)) < 0.33, 0.6, 0.0), seed) for seed in range(4)], axis=0
    )
    assert found[0] > found[1] + 0.01
    assert found[2] < 0.9 * found[3]


def test_holes_come_back_in_samples_and_do_not_move_codes() -> None:
    x, z, _ = simulate(400, 80, 1, 0)
    frame, _, _ = with_holes(x, 0.2, 0)
    model = fitted(frame, latent_dim=1)
    assert model.sample(1000, seed=0).isna().mean().mean() == pytest.approx(0.2, abs=0.06)
    emptier = frame.mask(np.random.default_rng(3).random(frame.shape) < 0.3)
    assert agreement(z, model.encode(emptier)) > 0.93
    assert np.median(model.outlier_score(emptier)) < 1.2 * np.median(model.outlier_score(frame))


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"latent_dim": 7},
            "latent_dim: from 1 to 6 factors can be told apart in 6 columns and 100 training rows, got 7",
        ),
        ({"latent_dim": 0}, "latent_dim: from 1 to"),
        ({"basis": 3}, "basis: at least 4"),
        (
            {"basis": 50},
            "basis: 2 factors of 50 functions make 100 coefficients a column, too many for 100 training rows",
        ),
        ({"smoothing": 0.0}, "smoothing: must be positive"),
        ({"starts": 0}, "starts: must be at least 1"),
        ({"assignment": "fast"}, "assignment: must be one of 'exact', 'greedy', got 'fast'"),
        ({"noise": "loud"}, "noise: must be one of"),
    ],
)
def test_arguments_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(np.random.default_rng(0).normal(size=(100, 6)), "2 steps", **settings)


def test_more_factors_than_rows() -> None:
    with pytest.raises(ValueError, match="latent_dim: from 1 to 20 factors"):
        fitted(np.random.default_rng(0).normal(size=(20, 50)), latent_dim=30)


def test_a_class_with_too_few_rows() -> None:
    x, labels = np.random.default_rng(0).normal(size=(100, 6)), np.array(["rare"] * 6 + ["usual"] * 94)
    with pytest.raises(ValueError, match="basis: .* 6 training rows of the smallest class"):
        pf.SQL().fit(x, condition=labels, run=pf.Run(**ALL))


def test_a_column_without_any_value() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 4)), columns=list("abcd")).assign(empty=np.nan)
    message = r"Column 'empty' holds no value in any training row. Fix: df.drop\(columns=\['empty'\]\)"
    with pytest.raises(pf.DataError, match=message), pytest.warns(UserWarning, match="empty"):
        fitted(frame)


def test_what_the_coordinates_of_a_table_say() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=40), "colour": ["red", "blue", None, "red"] * 10, "same": 1})
    frame["gap"], frame["empty"] = np.where(rng.random(40) < 0.3, np.nan, rng.normal(size=40)), np.nan
    with pytest.warns(UserWarning, match="hold one value"):
        found = pf.data.fit_schema(frame).coordinates()
    assert found.labels == ("size", "colour = blue", "colour = red", "colour = missing", "gap", "gap missing")
    assert found.indicator == (-1, -1, -1, -1, 5, -1)
    assert found.empty == ("empty",)


@pytest.mark.parametrize(("shape", "wanted"), [((30, 3), ("x1", "x2", "x3")), ((30, 2, 2), ("x1", "x2", "x3", "x4"))])
def test_what_the_coordinates_of_arrays_say(shape: tuple[int, ...], wanted: tuple[str, ...]) -> None:
    found = pf.data.fit_schema(np.random.default_rng(0).random(shape)).coordinates()
    assert (found.labels, found.indicator, found.empty) == (wanted, (-1,) * len(wanted), ())


def test_coordinates_of_vectors_keep_their_number_where_constant_columns_are_left_out() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    x[:, 1] = 2.0
    with pytest.warns(UserWarning, match="constant"):
        assert pf.data.fit_schema(x).coordinates().labels == ("x1", "x3")


def test_equal_rows_take_no_more_than_three_times_as_long() -> None:
    """CPU time, the least of three fits; half the rows are one row, every row comes ten times, or there are 20 different rows."""
    x, _, _ = simulate(400, 30, 2, 0)
    equal = [
        np.repeat(x[:40], 10, axis=0),
        np.repeat(x[:20], 20, axis=0),
        np.concatenate([x[:200], np.repeat(x[:1], 200, axis=0)]),
    ]

    def seconds(rows: np.ndarray) -> float:
        began = time.process_time()
        fitted(rows, starts=3)
        return time.process_time() - began

    plain = min(seconds(x) for _ in range(3))
    assert all(min(seconds(rows) for _ in range(3)) < 3 * plain for rows in equal)


def test_constant_columns_and_equal_rows_are_no_trouble() -> None:
    x = np.random.default_rng(0).normal(size=(80, 5))
    x[:, 2] = 7.0
    x[40:] = x[:40]
    with pytest.warns(UserWarning, match="constant"):
        model = fitted(x, basis=4)
    assert (model.sample(5, seed=0)[:, 2] == 7.0).all()
