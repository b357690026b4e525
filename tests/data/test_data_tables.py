"""Tables: there and back with dtypes, atoms, missing values and categories, and what is refused."""

from __future__ import annotations

import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.data import Schema, fit_schema
from pushforward.data.ranks import RankTransform
from pushforward.errors import DataError


def mixed(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    ages = rng.integers(17, 90, n)
    income = np.where(rng.random(n) < 0.92, 0.0, rng.lognormal(8, 1, n))
    colours = pd.Categorical(rng.choice(["red", "green"], n), categories=["blue", "green", "red"], ordered=True)
    gaps = rng.random(n) < 0.1
    frame = {
        "age": ages,
        "small": rng.integers(-5, 5, n).astype(np.int8),
        "income": income,
        "price": rng.normal(10, 3, n).round(2),
        "single": rng.random(n).astype(np.float32).round(1),
        "gap": np.where(gaps, np.nan, rng.normal(size=n)),
        "nullable": pd.array(ages, dtype="Int64"),
        "flag": rng.random(n) < 0.3,
        "maybe": pd.array(np.where(gaps, None, ages > 40), dtype="boolean"),
        "colour": colours,
        "grade": pd.Categorical(rng.integers(1, 4, n)),
        "town": pd.Series(rng.choice(["a", "b", "c"], n)).mask(gaps),
        "object": pd.Series(rng.choice(["x", "y"], n), dtype=object).where(~gaps, None),
        "text": pd.Series(rng.choice(["x", "y"], n)).astype("string[python]").mask(gaps),
        7: rng.normal(size=n) * 1e5,
    }
    out = pd.DataFrame(frame)
    out.loc[gaps, "nullable"] = pd.NA
    return out


def test_a_mixed_table_comes_back_with_columns_order_and_dtypes() -> None:
    frame = mixed()
    schema = fit_schema(frame)
    back = schema.decode(schema.encode(frame))
    pd.testing.assert_frame_equal(back, frame, rtol=1e-5, atol=1e-5)
    assert back["price"].equals(frame["price"])
    assert back["single"].equals(frame["single"])
    assert schema.kind == "table"


def test_samples_stay_in_range_dtype_and_categories() -> None:
    frame = mixed()
    schema = fit_schema(frame)
    wild = schema.decode(torch.randn(500, *schema.event_shape, generator=torch.Generator().manual_seed(0)) * 3)
    assert list(wild.columns) == list(frame.columns)
    assert (wild.dtypes == frame.dtypes).all()
    for name in ["age", "small", "income", "price", "gap", 7]:
        assert wild[name].min() >= frame[name].min()
        assert wild[name].max() <= frame[name].max()
    assert set(wild["colour"]) <= {"green", "red"}
    assert (wild["price"].round(2) == wild["price"]).all()
    assert wild["gap"].isna().any()
    assert wild["town"].isna().any()


def test_a_table_schema_is_plain_small_and_exact() -> None:
    rng = np.random.default_rng(0)
    frame = mixed(1000).join(pd.DataFrame(rng.normal(size=(1000, 10)), columns=[f"n{i}" for i in range(10)]))
    schema = fit_schema(frame)
    text = yaml.safe_dump(schema.to_dict())
    assert len(text) < 200_000
    again = Schema.from_dict(yaml.safe_load(text))
    assert again.to_dict() == schema.to_dict()
    assert torch.equal(again.encode(frame), schema.encode(frame))
    z = torch.randn(50, *schema.event_shape)
    pd.testing.assert_frame_equal(again.decode(z), schema.decode(z))


def test_continuous_columns_become_standard_normal() -> None:
    x = fit_schema(pd.DataFrame({"a": np.random.default_rng(0).lognormal(size=5000)}))
    z = x.encode(pd.DataFrame({"a": np.random.default_rng(1).lognormal(size=5000)})).numpy()[:, 0]
    assert abs(z.mean()) < 0.06
    assert abs(z.std() - 1) < 0.05
    deep = np.quantile(
        x.decode(torch.randn(20000, 1, generator=torch.Generator().manual_seed(0)))["a"], [0.01, 0.5, 0.99]
    )
    np.testing.assert_allclose(deep, np.exp([-2.326, 0, 2.326]), rtol=0.2)


def test_an_atom_comes_back_exactly_and_with_its_share() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(20_000) < 0.92, 0.0, rng.lognormal(8, 1, 20_000))
    schema = fit_schema(pd.DataFrame({"gain": values}))
    drawn = schema.decode(torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0)))["gain"]
    assert (drawn == 0).mean() == pytest.approx(0.92, abs=0.01)
    blurred = schema.encode(pd.DataFrame({"gain": np.zeros(100)})) + 0.3 * torch.randn(100, 1)
    assert (schema.decode(blurred)["gain"] == 0).all()


def test_rank_order_of_categories_weighs_as_much_as_one_number() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=2000), "b": rng.choice(list("pqrs"), 2000)})
    variance = fit_schema(frame).encode(frame).var(0)
    assert variance[0] == pytest.approx(1, abs=0.05)
    assert variance[1:].sum() == pytest.approx(1, abs=0.05)


values = st.lists(st.floats(-1e5, 1e5) | st.sampled_from([0.0, 1.0, 2.5]), min_size=2, max_size=60)


@settings(max_examples=80, deadline=None)
@given(values)
def test_the_rank_transform_is_monotone_and_comes_back(values: list[float]) -> None:
    x = np.array(values)
    if np.ptp(x) == 0:
        return
    transform = RankTransform.fit(x)
    z = transform.encode(x)
    order = np.argsort(x, kind="stable")
    assert np.isfinite(z).all()
    assert (np.diff(z[order]) >= -1e-12).all()
    np.testing.assert_allclose(transform.decode(z), x, rtol=1e-9, atol=1e-9 * np.ptp(x))
    ends = transform.decode(np.array([-50.0, 50.0]))
    assert ends.tolist() == [x.min(), x.max()]


def test_large_columns_keep_few_knots_and_their_law() -> None:
    x = np.random.default_rng(0).standard_t(3, 50_000)
    transform = RankTransform.fit(x)
    assert len(transform.values) < 1000
    levels = np.linspace(0.001, 0.999, 99)
    z = torch.special.ndtri(torch.from_numpy(levels)).numpy()
    np.testing.assert_allclose(transform.decode(z), np.quantile(x, levels), rtol=0.05, atol=0.02)


def two_samples(x: np.ndarray, y: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance."""
    both = np.concatenate([x, y])
    shares = [np.searchsorted(np.sort(a), both, side="right") / len(a) for a in (x, y)]
    return float(np.abs(shares[0] - shares[1]).max())


COLUMNS = {
    "normal": lambda rng: rng.normal(size=300),
    "heavy": lambda rng: rng.lognormal(0, 2, 300),
    "two modes": lambda rng: np.where(rng.random(300) < 0.5, rng.normal(0, 0.1, 300), rng.normal(9, 0.1, 300)),
    "mostly zero": lambda rng: np.where(rng.random(300) < 0.8, 0.0, rng.lognormal(8, 1, 300)),
    "whole": lambda rng: rng.integers(17, 90, 300).astype(float),
    "large whole": lambda rng: np.floor(rng.lognormal(5, 2, 300)),
    "cents": lambda rng: rng.normal(10, 3, 300).round(2),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_gaussian_codes_decode_to_the_law_of_a_small_column(name: str) -> None:
    x = COLUMNS[name](np.random.default_rng(3))
    schema = fit_schema(pd.DataFrame({"a": x}))
    drawn = schema.decode(torch.randn(50_000, 1, generator=torch.Generator().manual_seed(0)))["a"].to_numpy()
    assert two_samples(drawn, x) < 0.05
    back = schema.decode(schema.encode(pd.DataFrame({"a": x})))["a"].to_numpy()
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-6 * np.ptp(x))
    if name in ("whole", "large whole", "cents"):
        np.testing.assert_array_equal(back, x)


def test_held_out_values_come_back() -> None:
    rng = np.random.default_rng(0)
    schema = fit_schema(pd.DataFrame({"a": rng.normal(size=200)}))
    fresh = rng.uniform(-1.5, 1.5, 500)
    back = schema.decode(schema.encode(pd.DataFrame({"a": fresh})))["a"]
    np.testing.assert_allclose(back, fresh, atol=1e-5)


@pytest.mark.parametrize("n", [20, 300, 5000])
@pytest.mark.parametrize("name", ["continuous", "mostly zero"])
def test_a_schema_holds_no_single_rows(n: int, name: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    x = np.where(rng.random(n) < 0.5, 0.0, x) if name == "mostly zero" else x
    stored = fit_schema(pd.DataFrame({"a": x})).to_dict()["coder"]["columns"][0]["transform"]
    kept = np.array(stored["values"].split(), dtype=float)
    assert len(kept) <= n / 4 + 5
    assert set(kept) & set(x) <= {x.min(), x.max(), 0.0}


def test_rare_values_of_a_discrete_column_are_not_stored() -> None:
    x = np.repeat([1.0, 2.0, 3.0, 7.0, 9.0], [200, 150, 100, 1, 50])
    schema = fit_schema(pd.DataFrame({"a": x}))
    assert "7" not in schema.to_dict()["coder"]["columns"][0]["transform"]["values"].split()
    assert schema.decode(schema.encode(pd.DataFrame({"a": x})))["a"].tolist() == x.tolist()


def test_text_that_is_really_numbers_is_read_as_numbers() -> None:
    frame = pd.DataFrame({"a": ["1", "2.5", "?", "4", "7", "8"], "code": ["01", "02", "01", "02", "01", "02"]})
    with pytest.warns(UserWarning, match=r"\('a'\) hold numbers as text"):
        schema = fit_schema(frame)
    back = schema.decode(schema.encode(frame))
    assert back["a"].dtype == np.float64
    assert np.isnan(back["a"][2])
    assert back["code"].tolist() == frame["code"].tolist()


def test_decimal_objects_are_not_called_text() -> None:
    frame = pd.DataFrame({"cost": [Decimal("1.10"), Decimal("2.25"), Decimal("3.40"), None] * 5, "x": range(20)})
    with pytest.warns(UserWarning, match=r"\('cost'\) hold numbers as Python objects: samples have plain numbers") as caught:
        schema = fit_schema(frame)
    assert not any("text" in str(warning.message) for warning in caught)
    assert schema.decode(schema.encode(frame))["cost"].dropna().tolist() == [1.1, 2.25, 3.4] * 5


def test_dates_are_left_out_and_named() -> None:
    days = pd.date_range("2024-01-01", periods=20)
    frame = pd.DataFrame({"when": days, "text": days.strftime("%Y-%m-%d"), "day": days.date, "x": range(20)})
    with pytest.warns(UserWarning, match="'when', 'text', 'day'.*dates"):
        schema = fit_schema(frame)
    assert list(schema.decode(schema.encode(frame)).columns) == ["x"]


CONSTANTS: list[Any] = [
    np.full(20, 3),
    np.full(20, 2.5),
    pd.Series(["a"] * 20),
    pd.Categorical(["a"] * 20),
    np.full(20, np.nan),
    pd.array([None] * 20, dtype="Int64"),
    pd.Series([None] * 20, dtype=object),
    np.full(20, True),
    pd.array([4] * 20, dtype="Int32"),
]


@pytest.mark.parametrize("constant", CONSTANTS, ids=lambda column: str(column.dtype))
def test_constant_columns_are_named_and_restored(constant: Any) -> None:
    frame = pd.DataFrame({"x": np.arange(20), "same": constant})
    with pytest.warns(UserWarning, match="'same'.*one value in every row"):
        schema = fit_schema(frame)
    assert schema.event_shape == (1,)
    pd.testing.assert_frame_equal(schema.decode(schema.encode(frame)), frame)
    pd.testing.assert_frame_equal(Schema.from_dict(schema.to_dict()).decode(schema.encode(frame)), frame)


@pytest.mark.parametrize("column", [[5.0, np.nan] * 10, pd.array([5, None] * 10, dtype="Int64")])
def test_one_number_and_missing_values(column: Any) -> None:
    frame = pd.DataFrame({"a": column})
    schema = fit_schema(frame)
    pd.testing.assert_frame_equal(schema.decode(schema.encode(frame)), frame)


def test_arrow_columns() -> None:
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"i": [1, 2, 3, None], "f": [0.5, None, 1.5, 2.5]})
    frame = frame.astype({"i": pd.ArrowDtype(pa.int64()), "f": pd.ArrowDtype(pa.float64())})
    schema = fit_schema(frame)
    pd.testing.assert_frame_equal(schema.decode(schema.encode(frame)), frame)


def refused(frame: pd.DataFrame) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError) as caught:
            fit_schema(frame)
    assert "Fix:" in str(caught.value)
    return str(caught.value)


def test_bad_tables_are_refused_with_the_fix() -> None:
    rng = np.random.default_rng(0)
    many = pd.DataFrame({"name": [f"n{i}" for i in range(400)], "x": rng.random(400)})
    assert "'name' is text with 400 distinct values" in refused(many)
    assert "group its rare values" in refused(many)
    assert "'x' holds 1 infinite values, the first in row 2" in refused(pd.DataFrame({"x": [1, 2, np.inf]}))
    assert "0 rows" in refused(pd.DataFrame({"x": []}))
    assert "one row" in refused(pd.DataFrame({"x": [1]}))
    assert "no columns" in refused(pd.DataFrame(index=range(3)))
    assert "constant or dates" in refused(pd.DataFrame({"a": [1, 1], "b": ["x", "x"]}))
    assert "named 'a'" in refused(pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))
    assert "('a', 'b')" in refused(pd.DataFrame([[1], [2]], columns=pd.MultiIndex.from_tuples([("a", "b")])))
    assert "'a' holds values of type list" in refused(pd.DataFrame({"a": [[1], [2]]}))
    assert "Interval" in refused(pd.DataFrame({"a": pd.cut(np.arange(9.0), 3)}))


def test_encode_names_column_and_value() -> None:
    schema = fit_schema(
        pd.DataFrame({"kind": ["a", "b", "a", "b"], "size": [1, 2, 3, 4], "rest": [0.1, 0.2, 0.3, 0.5]})
    )
    good = {"kind": ["a"], "size": [2], "rest": [0.2]}
    wrong = {
        r"'kind' holds the category 'zebra' \(row 0\)": {"kind": ["zebra"]},
        "'kind' has 1 missing": {"kind": [None]},
        "'size' has 1 missing": {"size": [np.nan]},
        "'size' should hold numbers, but holds 'tall'": {"size": ["tall"]},
        "'rest' holds 1 infinite": {"rest": [np.inf]},
    }
    for message, change in wrong.items():
        with pytest.raises(DataError, match=message):
            schema.encode(pd.DataFrame(good | change))
    with pytest.raises(DataError, match=r"lacks 1 columns .*'kind'.*Perhaps you meant 'Kind'"):
        schema.encode(pd.DataFrame({"Kind": ["a"], "size": [2], "rest": [0.2]}))
    with pytest.raises(DataError, match="fitted on a table"):
        schema.encode(np.zeros((3, 3)))
    with pytest.raises(DataError, match="a DataFrame was given"):
        fit_schema(np.random.default_rng(0).random((5, 2))).encode(pd.DataFrame(good))


def test_other_order_and_extra_columns_are_fine() -> None:
    frame = mixed()
    schema = fit_schema(frame)
    shuffled = frame[frame.columns[::-1]].assign(extra=1)
    assert torch.equal(schema.encode(shuffled), schema.encode(frame))


def test_the_frame_is_not_changed() -> None:
    frame = mixed()
    before = frame.copy(deep=True)
    schema = fit_schema(frame)
    schema.decode(schema.encode(frame))
    pd.testing.assert_frame_equal(frame, before)


def test_mixed_python_objects_and_whole_floats() -> None:
    frame = pd.DataFrame({"a": pd.Series(["x", 3, None, "x", 3, 2.5] * 5, dtype=object), "b": [1.0, 2, 3, 4, 5, 6] * 5})
    schema = Schema.from_dict(yaml.safe_load(yaml.safe_dump(fit_schema(frame).to_dict())))
    back = schema.decode(schema.encode(frame))
    assert back["a"].tolist() == frame["a"].tolist()
    wild = schema.decode(torch.randn(40, *schema.event_shape))
    assert (wild["b"] % 1 == 0).all()


def test_summary_of_a_wide_table_is_cut() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 60)), columns=[f"n{i}" for i in range(60)])
    text = fit_schema(frame).summary()
    assert "table of 60 columns" in text
    assert "and 20 more columns" in text


def test_a_rare_level_stays_within_a_few_units() -> None:
    frame = pd.DataFrame({"a": ["x"] * 999 + ["y"], "b": [np.nan] + list(range(999))})
    assert fit_schema(frame).encode(frame).abs().max() <= 5.01
