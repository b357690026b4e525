"""Labels of conditional models: dtypes, missing values, comparison by value, and what is refused."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import pushforward as pf
from pushforward.condition import Condition, fit_condition, split_condition
from pushforward.data import Data
from pushforward.errors import DataError

N = 40
PICK = np.arange(N) % 2
GAPS = np.arange(N) % 5 == 0


def again(condition: Condition) -> Condition:
    """Through YAML and JSON, as a model is saved."""
    plain = condition.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    loaded = Condition.from_dict(yaml.safe_load(yaml.safe_dump(plain)))
    assert loaded == condition
    return loaded


def fitted(data: Any, condition: Any) -> tuple[Condition, torch.Tensor]:
    data = data if isinstance(data, Data) else Data(data)
    _, labels, source = split_condition(data, condition)
    assert labels is not None
    made = again(fit_condition(labels, source))
    return made, made.codes(labels)


def frame(label: Any, name: Any = "label") -> pd.DataFrame:
    x = np.random.default_rng(0).normal(size=(N, 2))
    return pd.DataFrame({"x": x[:, 0], name: label, "y": x[:, 1]})


COLUMNS: dict[str, Any] = {
    "int64": PICK + 3,
    "int8": (PICK + 3).astype(np.int8),
    "float64": PICK + 0.5,
    "bool": PICK == 1,
    "text": pd.Series(np.array(["a", "b"])[PICK]),
    "object": pd.Series(np.array(["a", "b"])[PICK], dtype=object),
    "category": pd.Categorical(np.array(["a", "b"])[PICK], categories=["c", "b", "a"], ordered=True),
    "category of numbers": pd.Categorical(PICK),
    "Int64": pd.array(PICK, dtype="Int64"),
    "boolean": pd.array(PICK == 1, dtype="boolean"),
    "string": pd.array(np.array(["a", "b"])[PICK], dtype="string[python]"),
    "float with gaps": np.where(GAPS, np.nan, PICK),
    "text with gaps": pd.Series(np.array(["a", "b"])[PICK]).mask(GAPS),
    "object with gaps": pd.Series(np.array(["a", "b"])[PICK], dtype=object).where(~GAPS, None),
    "category with gaps": pd.Series(pd.Categorical(PICK)).mask(GAPS),
    "Int64 with gaps": pd.Series(pd.array(PICK, dtype="Int64")).mask(GAPS),
    "boolean with gaps": pd.Series(pd.array(PICK == 1, dtype="boolean")).mask(GAPS),
    "string with gaps": pd.Series(np.array(["a", "b"])[PICK]).astype("string[python]").mask(GAPS),
    "mixed": pd.Series([1, "1"] * (N // 2), dtype=object),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_label_column_comes_back_as_it_was(kind: str) -> None:
    table = frame(COLUMNS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        condition, codes = fitted(table, "label")
        back = condition.labels(codes)
    assert len(condition.values) == (3 if "gaps" in kind else 2)
    pd.testing.assert_series_equal(back, table["label"], check_names=False)


@pytest.mark.parametrize("name", [1, "label", "1"])
@pytest.mark.parametrize("kind", ["int64", "bool", "category with gaps", "Int64 with gaps"])
def test_a_model_samples_the_column_with_name_and_dtype(kind: str, name: Any, tmp_path: Any) -> None:
    table = frame(COLUMNS[kind], name)
    run = pf.Run(progress=False, device="cpu", validation=0)
    model = pf.NeuroSQL(latent_dim=2, width=8).fit(table, condition=str(name), budget="5 steps", run=run)
    model.save(tmp_path / "m")
    for one in (model, pf.load(tmp_path / "m")):
        new = one.sample(9, seed=0)
        assert list(new.columns) == list(table.columns)
        assert list(new.dtypes) == list(table.dtypes)
    assert len(model.encode(table)) == N
    wanted = condition_value(table[name])
    assert (model.sample(4, condition=wanted)[name] == wanted).all()


def condition_value(column: pd.Series) -> Any:
    return column.dropna().iloc[0]


def test_columns_that_read_the_same_are_told_apart() -> None:
    table = pd.DataFrame({1: np.arange(6) % 2, "1": list("ababab"), "x": np.arange(6.0)}).set_axis([1, "1", "x"], axis=1)
    values, labels, source = split_condition(Data(table), "1")
    assert list(values.columns) == [1, "x"]
    assert labels is not None
    assert labels.tolist() == list("ababab")
    assert source is not None
    assert (source.column, source.position) == ("1", 1)
    values, labels, source = split_condition(Data(table), 1)
    assert list(values.columns) == ["1", "x"]
    with pytest.raises(DataError, match="Several columns of the table are named 'x'"):
        split_condition(Data(table.set_axis(["x", "x", "y"], axis=1)), "x")


def test_the_place_of_a_label_counts_modelled_columns() -> None:
    table = frame(COLUMNS["text"])
    table.insert(0, "day", pd.date_range("2024-01-01", periods=N))
    _, _, source = split_condition(Data(table), "label")
    assert source is not None
    assert source.position == 1


DATES: list[Any] = [
    pd.date_range("2024-01-01", periods=N),
    pd.Series(pd.date_range("2024-01-01", periods=N).date),
    pd.Series(pd.date_range("2024-01-01", periods=N)).astype("category"),
    pd.Series([b"a", b"b"] * (N // 2)),
    pd.Series([1j, 2j] * (N // 2)),
    pd.Series([[1], [2]] * (N // 2)),
]


@pytest.mark.parametrize("labels", DATES, ids=["dates", "date objects", "categories", "bytes", "complex", "lists"])
def test_labels_that_no_file_holds_are_refused_at_once(labels: Any) -> None:
    with pytest.raises(DataError, match=r"condition: labels of type .*Fix: .*astype\(str\)"):
        split_condition(Data(frame(labels)), "label")
    array = np.array(labels) if labels.dtype != object else [labels[0], {}] * (N // 2)
    with pytest.raises(DataError, match=r"condition: labels of type .*Fix: .*astype\(str\)"):
        split_condition(Data(np.zeros((N, 2))), array)


def test_labels_are_compared_by_value_then_by_text() -> None:
    x = np.zeros((6, 2))
    whole, _ = fitted(x, np.array([3, 1, 2, 1, 2, 3]))
    assert whole.values == (1, 2, 3)
    for label in (2, 2.0, "2", np.int8(2), np.float32(2), torch.tensor(2), torch.tensor(2.0), np.array(2), [2], ["2"]):
        assert whole.codes(label).tolist() == [1]
    assert whole.codes(torch.tensor([3, 1])).tolist() == [2, 0]
    assert whole.codes(pd.Series([3, 1])).tolist() == [2, 0]
    flags, _ = fitted(x, np.array([True, False] * 3))
    for flag in (1, True, 1.0, "True", np.True_, torch.tensor(True)):
        assert flags.codes(flag).tolist() == [1]
    halves, _ = fitted(x, np.array([0.5, 1.0] * 3))
    assert halves.codes(["1", "1.0", 0.5]).tolist() == [1, 1, 0]
    text, _ = fitted(x, np.array(["1", "2"] * 3))
    assert text.codes([1, 2.0, "2"]).tolist() == [0, 1, 1]
    assert text.labels(torch.tensor([1, 0])).tolist() == ["2", "1"]
    with pytest.raises(DataError, match=r"'4' is not a class of this model \(1, 2, 3\)"):
        whole.codes(4)


def test_a_number_and_its_text_are_two_classes() -> None:
    condition, codes = fitted(np.zeros((4, 2)), [1, "1", 1, "1"])
    assert condition.values == (1, "1")
    assert codes.tolist() == [0, 1, 0, 1]
    assert condition.labels(codes).tolist() == [1, "1", 1, "1"]


def test_missing_labels_are_a_class() -> None:
    condition, codes = fitted(np.zeros((4, 2)), [1.0, np.nan, 2.0, None])
    assert condition.values == (1.0, 2.0, None)
    assert codes.tolist() == [0, 2, 1, 2]
    assert condition.codes([np.nan, pd.NA, None, "missing"]).tolist() == [2] * 4
    assert condition.labels(codes).tolist() == [1.0, None, 2.0, None]


NAMED = Data(np.zeros((6, 2)), np.array([0, 2, 1, 0, 2, 1]), label_names=("setosa", "virginica", "other"))


def test_label_numbers_stand_for_the_names() -> None:
    condition, codes = fitted(NAMED, "labels")
    assert condition.values == ("other", "setosa", "virginica")
    assert torch.equal(condition.codes(NAMED.labels), codes)
    assert condition.codes([1, "virginica", np.int64(1)]).tolist() == [2, 2, 2]
    for number in (3, -1):
        with pytest.raises(DataError, match=rf"label number {number} has no name: there are 3 names"):
            condition.codes(number)


@pytest.mark.parametrize("number", [-1, 3])
def test_labels_without_a_name_are_refused(number: int) -> None:
    data = Data(np.zeros((3, 2)), np.array([0, 1, number]), label_names=("a", "b", "c"))
    with pytest.raises(DataError, match=rf"label number {number} has no name.*Fix:"):
        split_condition(data, "labels")


def test_numbers_that_are_names_of_other_labels_are_refused() -> None:
    condition, _ = fitted(Data(np.zeros((4, 2)), np.array([0, 1, 0, 1]), label_names=("1", "2")), "labels")
    assert condition.codes(["1", 0]).tolist() == [0, 0]
    for number in (1, 2):
        with pytest.raises(DataError, match=f"{number} can mean the class '{number}' or label number {number}"):
            condition.codes(number)
    digits = tuple(str(k) for k in range(3))
    same, _ = fitted(Data(np.zeros((3, 2)), np.arange(3), label_names=digits), "labels")
    assert same.codes([2, "2"]).tolist() == [2, 2]


def test_conditions_saved_before_dtypes_still_load() -> None:
    old = Condition.from_dict({"values": ["a", "b"], "counts": [3, 4], "column": "job", "position": 2})
    assert old.labels(torch.tensor([1, 0])).tolist() == ["b", "a"]


def test_the_number_of_classes_and_labels() -> None:
    with pytest.raises(DataError, match="2 to 256 classes are needed, got 1"):
        fitted(np.zeros((3, 2)), [1, 1, True])
    with pytest.raises(DataError, match="got 300"):
        fitted(np.zeros((300, 2)), np.arange(300))
    with pytest.raises(DataError, match="got 2 labels for 3 rows"):
        split_condition(Data(np.zeros((3, 2))), [1, 2])
    with pytest.raises(DataError, match="no column 'jib'. Perhaps you meant 'job'"):
        split_condition(Data(pd.DataFrame({"job": [1, 2]})), "jib")
