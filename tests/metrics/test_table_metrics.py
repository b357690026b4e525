"""Table metrics against closed forms, plain loops and repetition."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pushforward import metrics
from pushforward.metrics.table_shapes import _difference
from pushforward.metrics.table_utility import _area_under, _determination, _measured, _variance


def mixed(n: int, seed: int, *, shift: float = 0.0, correlation: float = 0.6, gaps: float = 0.1) -> pd.DataFrame:
    """Two correlated numbers, one of them with gaps, and two categories, one of them tied to the first number."""
    rng = np.random.default_rng(seed)
    x, e, f = rng.standard_normal((3, n))
    y = correlation * x + np.sqrt(1 - correlation**2) * e
    y[rng.random(n) < gaps] = np.nan
    k = rng.choice(["u", "v", "w", None], n, p=[0.5, 0.25, 0.15, 0.1])
    return pd.DataFrame({"x": x + shift, "k": k, "y": y, "side": np.where(x + f > 0, "up", "down")})


def floor_of(found: metrics.Measurement) -> float:
    told = re.search(r"two sets of one law score ([\d.]+)", found.note)
    assert told
    return float(told[1])


def covers(found: metrics.Measurement, value: float) -> bool:
    return found.low <= value <= found.high


# ---------------------------------------------------------------- columns


def test_identical_tables_score_one() -> None:
    table = mixed(60, 0)
    found = metrics.table_quality(table, table.sample(frac=1, random_state=1))
    every = [found.shapes.mean, found.pairs.mean, found.overall, *found.shapes.columns.values()]
    assert [m.value for m in [*every, *found.pairs.pairs.values()]] == pytest.approx([1] * (3 + 4 + 6))
    assert all(m.high == 1 and m.n == 60 for m in every)


def test_column_shapes_by_hand() -> None:
    """A shift by a quarter of a lattice, and categories 10:10:0 against 15:0:5; gaps do not count."""
    real = pd.DataFrame({"a": np.r_[np.arange(20.0), np.nan], "k": [*"p" * 10, *"q" * 10, None]})
    samples = pd.DataFrame({"a": np.r_[np.arange(20.0) + 5, np.nan], "k": [*"p" * 15, *"r" * 5, None]})
    found = metrics.column_shapes(samples, real)
    assert found.columns["a"].value == pytest.approx(1 - 5 / 20)
    assert found.columns["k"].value == pytest.approx(1 - (0.25 + 0.5 + 0.25) / 2)
    assert found.mean.value == pytest.approx((0.75 + 0.5) / 2)


def test_disjoint_columns_score_zero() -> None:
    real = pd.DataFrame({"a": np.arange(20.0), "k": ["p"] * 20})
    samples = pd.DataFrame({"a": np.arange(20.0) + 100, "k": ["q"] * 20})
    assert [m.value for m in metrics.column_shapes(samples, real).columns.values()] == [0, 0]


def test_column_shapes_equal_scipy_and_pandas() -> None:
    from scipy.stats import ks_2samp

    samples, real = mixed(130, 1, shift=0.3).round(1), mixed(90, 2).round(1)
    found = metrics.column_shapes(samples, real).columns
    for name in ("x", "y"):
        expected = 1 - ks_2samp(real[name].dropna(), samples[name].dropna()).statistic
        assert found[name].value == pytest.approx(expected, abs=1e-12)
    for name in ("k", "side"):
        gap = real[name].value_counts(normalize=True).sub(samples[name].value_counts(normalize=True), fill_value=0)
        assert found[name].value == pytest.approx(1 - gap.abs().sum() / 2, abs=1e-12)


def test_empty_columns() -> None:
    """One that the samples leave empty scores 0; one that is empty in the real table is left out and said to be."""
    real = pd.DataFrame({"a": np.arange(20.0), "b": np.nan, "k": ["p", "q"] * 10})
    samples = pd.DataFrame({"a": np.nan, "b": np.arange(20.0), "k": [None] * 20})
    found = metrics.column_shapes(samples, real)
    assert {name: m.value for name, m in found.columns.items()} == {"a": 0, "k": 0}
    assert "1 columns that are empty in the real table left out" in found.mean.note
    with pytest.raises(ValueError, match="every column is empty"):
        metrics.column_shapes(real[["a"]], real[["a"]] * np.nan)


def test_dtypes_do_not_matter() -> None:
    """Nullable integers, objects, categories and booleans hold the same values as plain columns."""
    plain = pd.DataFrame({"n": [1.0, 2.0, np.nan, 4.0] * 10, "k": ["a", "b", "b", None] * 10, "t": [1, 0, 0, 1] * 10})
    other = pd.DataFrame(
        {
            "n": plain["n"].astype("Int64"),
            "k": plain["k"].astype("category"),
            "t": plain["t"].astype(bool).astype("category"),
        }
    )
    mixed_objects = plain.assign(n=pd.Series([1, 2, None, 4] * 10, dtype=object), t=plain["t"].astype(bool))
    for samples, real in itertools.permutations((other, mixed_objects), 2):
        assert metrics.table_quality(samples, real).overall.value == pytest.approx(1)


# ---------------------------------------------------------------- pairs


def test_pair_trends_by_hand() -> None:
    """Opposite slopes score 0; a table of counts that moves a quarter of its rows scores 3/4."""
    n = np.arange(20.0)
    real = pd.DataFrame({"a": n, "b": n, "k": ["p"] * 10 + ["q"] * 10, "l": ["s"] * 10 + ["t"] * 10})
    samples = pd.DataFrame({"a": n, "b": -n, "k": real["k"], "l": ["s"] * 5 + ["t"] * 15})
    found = metrics.pair_trends(samples, real).pairs
    assert found["a", "b"].value == pytest.approx(0)
    assert found["k", "l"].value == pytest.approx(0.75)
    assert found["a", "k"].value == pytest.approx(1)
    assert found["b", "k"].value == pytest.approx(
        0.1
    )  # all samples lie in the lowest bin, and of the real rows 0 and 1


def test_pair_trends_equal_a_loop() -> None:
    samples, real = mixed(140, 3, shift=0.5, correlation=-0.2), mixed(110, 4)
    found = metrics.pair_trends(samples, real)
    expected = {pair: slow_trend(samples, real, *pair) for pair in itertools.combinations(real.columns, 2)}
    assert {pair: m.value for pair, m in found.pairs.items()} == pytest.approx(expected, abs=1e-12)
    assert found.mean.value == pytest.approx(np.mean(list(expected.values())))


def slow_trend(samples: pd.DataFrame, real: pd.DataFrame, a: str, b: str) -> float:
    if {a, b} == {"x", "y"}:
        r, s = (table[[a, b]].dropna().corr().iloc[0, 1] for table in (real, samples))
        return float(1 - abs(r - s) / 2)
    tables = [pd.DataFrame({c: binned(table, real, c) for c in (a, b)}) for table in (real, samples)]
    shares = [table.value_counts(normalize=True) for table in tables]
    return float(1 - shares[0].sub(shares[1], fill_value=0).abs().sum() / 2)


def binned(table: pd.DataFrame, real: pd.DataFrame, name: str) -> list[str]:
    """Ten equal bins over the range of the real column, open outside; a gap is a value of its own."""
    if name in ("k", "side"):
        return ["gap" if value is None or value != value else value for value in table[name]]
    low, high = real[name].min(), real[name].max()
    inner = low + (high - low) * np.arange(1, 10) / 10
    return ["gap" if np.isnan(v) else str((v >= inner).sum()) for v in table[name]]


def test_shuffled_columns_keep_shapes_and_break_trends() -> None:
    real, rng = mixed(400, 5, correlation=0.95), np.random.default_rng(0)
    samples = pd.DataFrame({name: column.to_numpy()[rng.permutation(400)] for name, column in real.items()})
    found = metrics.table_quality(samples, real)
    assert found.shapes.mean.value == pytest.approx(1)
    assert found.pairs.pairs["x", "y"].value < 0.6
    assert found.pairs.mean.high < floor_of(found.pairs.mean)
    assert found.overall.value == pytest.approx((1 + found.pairs.mean.value) / 2)


def test_constant_columns() -> None:
    """Constant in the samples: no correlation. Constant in the real table: nothing to compare, left out."""
    n = np.arange(20.0)
    real = pd.DataFrame({"a": n, "b": n, "c": 1.0})
    found = metrics.pair_trends(pd.DataFrame({"a": n, "b": 3.0, "c": n}), real)
    assert {pair: m.value for pair, m in found.pairs.items()} == {("a", "b"): pytest.approx(0.5)}
    assert "2 pairs" in found.mean.note
    with pytest.raises(ValueError, match="two columns that are not constant"):
        metrics.pair_trends(real[["a"]], real[["a"]])


def test_only_numbers_and_only_categories() -> None:
    real = mixed(50, 6)
    for columns in (["x", "y"], ["k", "side"]):
        assert len(metrics.pair_trends(mixed(50, 7)[columns], real[columns]).pairs) == 1


@pytest.mark.parametrize(("shift", "correlation"), [(0.0, 0.6), (0.8, -0.5)])
def test_intervals_of_quality(shift: float, correlation: float) -> None:
    """They cover the mean score at these sizes, and the score of two sets of one law only where there is one law."""
    found = [
        metrics.table_quality(mixed(90, i, shift=shift, correlation=correlation), mixed(120, 1000 + i))
        for i in range(30)
    ]
    for column in (
        [q.shapes.mean for q in found],
        [q.pairs.mean for q in found],
        [q.overall for q in found],
        [q.shapes.columns["x"] for q in found],
        [q.pairs.pairs["x", "y"] for q in found],
    ):
        centre = np.mean([m.value for m in column])
        assert sum(covers(m, centre) for m in column) >= 27
        if shift == 0:
            assert np.mean([floor_of(m) for m in column]) == pytest.approx(centre, abs=0.01)
            assert sum(covers(m, floor_of(m)) for m in column) >= 27
    if shift:
        assert sum(covers(q.overall, floor_of(q.overall)) for q in found) <= 5


# ---------------------------------------------------------------- missing values


def test_missing_values_by_hand() -> None:
    real = pd.DataFrame({"a": [1.0] * 15 + [np.nan] * 5, "b": ["p"] * 15 + [None] * 5, "c": np.arange(20)})
    samples = pd.DataFrame({"a": [np.nan] * 10 + [1.0] * 10, "b": ["p"] * 10 + [None] * 10, "c": np.arange(20)})
    found = metrics.missing_values(samples, real)
    assert {name: m.value for name, m in found.shares.items()} == pytest.approx({"a": 0.25, "b": 0.25})
    assert found.patterns.value == pytest.approx(0)  # both or neither in the real table, one of the two in the samples
    assert metrics.missing_values(real, real).patterns.value == 1
    assert metrics.missing_values(real[["c"]], real[["c"]]).shares == {}


def test_interval_of_a_difference_of_shares() -> None:
    """56/70 against 48/80: the worked example (a) of Newcombe 1998, Table II, method 10."""
    found = _difference(np.arange(70) < 56, np.arange(80) < 48)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


# ---------------------------------------------------------------- scores of models


def test_area_under_the_curve_and_its_error() -> None:
    """Equal to scikit-learn's with ties; its interval covers the true area Phi(1 / sqrt 2) of N(0,1) against N(1,1)."""
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    positive = np.arange(90) < 30
    coarse = np.round(rng.standard_normal(90) + positive, 0)
    assert _area_under(coarse, positive).value == pytest.approx(roc_auc_score(positive, coarse), abs=1e-12)
    found = [_area_under(rng.standard_normal(90) + positive, positive) for _ in range(300)]
    errors = np.array([(one.value - 0.76025) / np.sqrt(_variance(one)) for one in found])
    assert np.mean(np.abs(errors) < 1.96) > 0.9
    assert abs(float(found[0].influence.mean())) < 1e-12


def test_determination_and_its_error() -> None:
    """Equal to scikit-learn's; its interval covers the true 1 - 1/5 of y = 2 x + e predicted by 2 x."""
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    e, x = rng.standard_normal((2, 300, 150))
    one = _determination(e[0], 2 * x[0] + e[0])
    assert one.value == pytest.approx(r2_score(2 * x[0] + e[0], 2 * x[0]))
    found = [_determination(e[i], 2 * x[i] + e[i]) for i in range(300)]
    errors = np.array([(score.value - 0.8) / np.sqrt(_variance(score)) for score in found])
    assert 0.9 < np.mean(np.abs(errors) < 1.96) < 0.99


def test_perfect_scores_have_an_interval() -> None:
    score = _area_under(np.arange(60.0), np.arange(60) >= 30)
    found = _measured(score.value, _variance(score), score.limit, 60, "raw", "")
    assert (found.value, found.low, found.high) == pytest.approx((1, 0.9, 1))


# ---------------------------------------------------------------- detection


def test_detection_of_equal_laws_and_of_others() -> None:
    equal = metrics.detection_auc(mixed(150, 0), mixed(120, 1))
    assert covers(equal.logistic, 0.5)
    assert covers(equal.forest, 0.5)
    assert covers(equal.score, 1) or equal.score.value > 0.8
    moved = metrics.detection_auc(mixed(100, 0, shift=1.0), mixed(100, 1))
    assert moved.logistic.low > 0.6
    assert moved.score.value == pytest.approx(2 - 2 * moved.logistic.value)
    assert (moved.score.low, moved.score.high) == pytest.approx(
        (2 - 2 * moved.logistic.high, 2 - 2 * moved.logistic.low)
    )


def test_forest_sees_what_a_linear_model_does_not() -> None:
    found = metrics.detection_auc(mixed(120, 0, correlation=-0.9, gaps=0), mixed(120, 1, correlation=0.9, gaps=0))
    assert covers(found.logistic, 0.5)
    assert found.forest.low > 0.7


def test_detection_interval_covers_chance() -> None:
    """Logistic regression and a forest on two samples of one law."""
    found = [metrics.detection_auc(mixed(50, i, gaps=0), mixed(50, 100 + i, gaps=0)) for i in range(5)]
    assert sum(covers(m, 0.5) for both in found for m in both[:2]) >= 9


# ---------------------------------------------------------------- train on synthetic, test on real


def test_copies_train_as_well_as_the_rows() -> None:
    train, test = mixed(150, 0), mixed(100, 1)
    for target in ("side", "y"):
        found = metrics.train_synthetic_test_real(train.copy(), train, test, target)
        for kind in found:
            assert kind.synthetic.value == kind.real.value
            assert (kind.difference.value, kind.difference.low, kind.difference.high) == (0, 0, 0)


def test_shuffled_targets_train_nothing() -> None:
    train, test = mixed(300, 0), mixed(200, 1)
    shuffled = train.assign(side=train["side"].sample(frac=1, random_state=0).to_numpy())
    found = metrics.train_synthetic_test_real(shuffled, train, test, "side").linear
    assert found.real.low > 0.7
    assert found.difference.high < 0
    assert "AUC, trained on 300 samples" in found.synthetic.note


def test_regression_reaches_its_known_share() -> None:
    """y = .8 x + .6 e: R2 is .64 for the linear model."""
    train, test = (mixed(n, seed, correlation=0.8, gaps=0.05)[["x", "y"]] for n, seed in ((400, 0), (400, 1)))
    found = metrics.train_synthetic_test_real(mixed(400, 2, correlation=0.8)[["x", "y"]], train, test, "y").linear
    assert covers(found.real, 0.64)
    assert covers(found.synthetic, 0.64)
    assert found.synthetic.n == int(test["y"].notna().sum())


def test_three_classes_and_classes_that_are_missing() -> None:
    """Average of one class against the rest; with one class in the samples nothing is learned: one half."""
    from sklearn.metrics import roc_auc_score

    def classes(n: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        k = rng.integers(3, size=n)
        return pd.DataFrame({"a": rng.standard_normal(n) + k, "k": np.array(["p", "q", "r"])[k]})

    train, test = classes(200, 0), classes(150, 1)
    found = metrics.train_synthetic_test_real(train[train["k"] != "q"], train, test, "k").linear
    assert 0.5 < found.synthetic.value < found.real.value
    one = metrics.train_synthetic_test_real(train.assign(k="p"), train, test, "k")
    assert one.linear.synthetic.value == one.forest.synthetic.value == 0.5
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train[["a"]])
    model = LogisticRegression().fit(scaler.transform(train[["a"]]), train["k"])
    expected = roc_auc_score(test["k"], model.predict_proba(scaler.transform(test[["a"]])), multi_class="ovr")
    assert found.real.value == pytest.approx(expected, abs=1e-3)


def test_two_numbers_are_classes() -> None:
    """0 and 1 in the real rows; samples that are not quite 0 or 1 count as the nearer one."""
    train, test = (
        mixed(n, seed).assign(side=lambda t: (t["side"] == "up").astype(int)) for n, seed in ((150, 0), (90, 1))
    )
    samples = train.assign(side=train["side"] * 0.9 + 0.05)
    found = metrics.train_synthetic_test_real(samples, train, test, "side").forest
    assert found.synthetic.value == found.real.value > 0.5
    assert found.real.note.startswith("AUC")


def test_bad_targets() -> None:
    table = mixed(60, 0)
    with pytest.raises(ValueError, match="target='sid' is not a column of train. Perhaps you meant 'side'"):
        metrics.train_synthetic_test_real(table, table, table, "sid")
    with pytest.raises(ValueError, match="nothing to predict it from"):
        metrics.train_synthetic_test_real(table[["x"]], table[["x"]], table[["x"]], "x")
    with pytest.raises(ValueError, match="fewer than two classes"):
        metrics.train_synthetic_test_real(table, table, table.assign(side="up"), "side")
    with pytest.raises(ValueError, match="one value in every row"):
        metrics.train_synthetic_test_real(table, table, table.assign(x=1.0), "x")
    with pytest.raises(ValueError, match="samples: 0 rows with a target"):
        metrics.train_synthetic_test_real(table.assign(side=None), table, table, "side")


# ---------------------------------------------------------------- nearest records


def test_distances_by_hand() -> None:
    """Training column 0 and 2 has unit deviation: 1 for a deviation, for a gap, and for another category."""
    train = pd.DataFrame({"a": [0.0, 2.0] * 10, "b": [0.0, 2.0] * 10, "k": ["p", "q"] * 10})
    held = pd.DataFrame({"a": [0.0] * 10, "b": [np.nan] + [10.0] * 9, "k": ["r"] * 10})
    moved = pd.DataFrame({"a": [0.0] * 10, "b": [3.0] * 10, "k": ["p"] * 10})
    found = metrics.nearest_records(moved, train, held)
    # to (0, 0, p): 3; to (2, 2, q): sqrt(4 + 1 + 1)
    assert found.to_train.value == pytest.approx(np.sqrt(6))
    # held rows at (0, 10, r): 10 - 2 above and another category, or 10
    assert found.held_to_train.value == pytest.approx(np.sqrt(4 + 64 + 1))
    assert found.copies.value == found.held_copies.value == 0
    with_gap = metrics.nearest_records(train.assign(b=np.nan).iloc[:10], train, held)
    assert with_gap.to_train.value == pytest.approx(np.sqrt(2))  # b at the mean, 1 away, and 1 for the gap


def test_copies_are_caught() -> None:
    train, held = mixed(300, 0), mixed(150, 1)
    found = metrics.nearest_records(train.sample(200, replace=True, random_state=0), train, held)
    assert found.closer_to_train.value == found.copies.value == 1
    assert found.closer_to_train.low > found.expected == pytest.approx(2 / 3)
    assert found.to_train.value == found.ratio.value == 0
    assert found.held_copies.value == 0


def test_fresh_rows_are_as_near_as_expected() -> None:
    found = metrics.nearest_records(mixed(3000, 2), mixed(2000, 0), mixed(1000, 1))
    assert found.expected == pytest.approx(2 / 3)
    assert found.closer_to_train.value == pytest.approx(found.expected, abs=0.05)
    assert covers(found.closer_to_train, found.expected)
    assert found.to_train.value == pytest.approx(found.held_to_train.value, rel=0.1)
    assert found.held_ratio.low < found.ratio.high
    assert found.ratio.low < found.held_ratio.high


def test_share_closer_to_train_covers_what_is_expected() -> None:
    found = [
        metrics.nearest_records(mixed(200, i), mixed(60, 1000 + i), mixed(40, 2000 + i)).closer_to_train
        for i in range(60)
    ]
    assert sum(covers(m, 0.6) for m in found) >= 53
    assert np.mean([m.value for m in found]) == pytest.approx(0.6, abs=0.02)
    assert np.std([m.value for m in found]) == pytest.approx(np.mean([m.high - m.low for m in found]) / 3.92, rel=0.3)


def test_nearest_distances_equal_a_loop() -> None:
    columns = ["x", "y"]
    samples, train, held = (mixed(n, n, gaps=0)[columns] for n in (40, 50, 30))
    scale = train.std(ddof=0)
    brute = [
        np.sqrt((((train - row) / scale) ** 2).sum(axis=1)).nsmallest(2).to_numpy() for _, row in samples.iterrows()
    ]
    found = metrics.nearest_records(samples, train, held)
    assert found.to_train.value == pytest.approx(np.median([two[0] for two in brute]), rel=1e-4)
    assert found.ratio.value == pytest.approx(np.median([two[0] / two[1] for two in brute]), rel=1e-4)


# ---------------------------------------------------------------- what is refused, and what is left alone


def test_generators() -> None:
    """The global generators are left alone, the same generator gives the same numbers."""
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    tables = mixed(60, 0), mixed(60, 1), mixed(60, 2)

    def everything(seed: int) -> list[object]:
        rng = torch.Generator().manual_seed(seed)
        found = [metrics.table_quality(*tables[:2], generator=rng), metrics.detection_auc(*tables[:2], generator=rng)]
        return [*found, metrics.nearest_records(*tables, generator=rng)]

    assert everything(3) == everything(3)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[:15], "samples: 15 rows are too few for this metric; give at least 20"),
        (lambda t: t.rename(columns={"x": "z"}), "samples: its columns are not those of the real table; they differ by 'x', 'z'"),
        (lambda t: t.assign(x="word"), "samples: column 'x' holds 'word' among numbers"),
        (lambda t: t.assign(x=np.inf), "samples: column 'x' holds inf among numbers"),
        (lambda t: t.assign(x=pd.Timestamp("2024-01-01")), "samples: column 'x' holds dates"),
        (lambda t: pd.concat([t, t["x"]], axis=1), "samples: several columns have the same name"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_by_name(change: object, message: str) -> None:
    table = mixed(60, 0)
    for metric in (metrics.column_shapes, metrics.pair_trends, metrics.missing_values, metrics.table_quality):
        with pytest.raises(ValueError, match=re.escape(message)):
            metric(change(table), table)  # type: ignore[operator]


def test_few_rows_are_refused() -> None:
    few = mixed(40, 0)
    with pytest.raises(ValueError, match="40 rows are too few for this metric; give at least 50"):
        metrics.detection_auc(few, mixed(60, 1))
    with pytest.raises(ValueError, match="train: 40 rows are too few"):
        metrics.train_synthetic_test_real(mixed(60, 1), few, mixed(60, 2), "side")
    with pytest.raises(ValueError, match="held: 5 rows are too few for this metric; give at least 10"):
        metrics.nearest_records(few, few, few.iloc[:5])
    with pytest.raises(ValueError, match="no columns"):
        metrics.column_shapes(few, few[[]])


# ---------------------------------------------------------------- tables of the world


def test_a_mixture_of_gaussians_on_breast_cancer() -> None:
    """370 training and 199 held-out rows of 30 numbers and a class; 1000 samples."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.mixture import GaussianMixture
    from sklearn.model_selection import train_test_split

    bunch = load_breast_cancer(as_frame=True)
    frame = bunch.data.assign(kind=np.asarray(bunch.target_names)[bunch.target])
    train, held = train_test_split(frame, test_size=199, random_state=0, stratify=frame["kind"])
    parts = []
    for kind, rows in train.groupby("kind"):
        numbers = rows.drop(columns="kind")
        law = GaussianMixture(4, reg_covar=1e-3, random_state=0).fit((numbers - numbers.mean()) / numbers.std())
        drawn = law.sample(round(1000 * len(rows) / len(train)))[0]
        parts.append((pd.DataFrame(drawn, columns=numbers.columns) * numbers.std() + numbers.mean()).assign(kind=kind))
    samples = pd.concat(parts, ignore_index=True)
    quality = metrics.table_quality(samples, held)
    assert quality.shapes.mean.value > 0.90
    assert quality.pairs.mean.value > 0.92
    assert metrics.detection_auc(samples, held).score.value > 0.8
    assert metrics.train_synthetic_test_real(samples, train, held, "kind").forest.synthetic.value > 0.97
    near = metrics.nearest_records(samples, train, held)
    assert near.to_train.value == pytest.approx(2.31, abs=0.3)
    assert near.copies.value == 0


@pytest.mark.data
def test_adult_bootstrap_and_fresh_rows(real_data: Path) -> None:
    from pushforward.data import load_data

    frame = load_data(real_data / "adult" / "adult-train.csv.gz").values
    train, held, fresh = frame[:4000], frame[4000:6000], frame[6000:8000]
    copied = metrics.nearest_records(train.sample(2000, replace=True, random_state=0), train, held)
    assert copied.closer_to_train.value == pytest.approx(1, abs=1e-3)
    assert copied.copies.value == 1
    found = metrics.nearest_records(fresh, train, held)
    assert found.closer_to_train.value == pytest.approx(2 / 3, abs=0.05)
    assert covers(found.closer_to_train, 2 / 3)
    quality = metrics.table_quality(fresh, held)
    for one in (quality.shapes.mean, quality.pairs.mean, quality.overall, metrics.missing_values(fresh, held).patterns):
        assert covers(one, floor_of(one))
