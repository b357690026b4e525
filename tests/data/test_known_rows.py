"""Which held-out rows a schema of the training rows can encode, column by column."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import pushforward as pf
from pushforward.data.known import known_rows

NUMBERS = np.random.default_rng(0).normal(size=100).round(3)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([f"{v}" for v in NUMBERS]),
        pd.Series(NUMBERS).astype(object),
        pd.Series(pd.date_range("2020-01-01", periods=100)),
        pd.Series(pd.date_range("2020-01-01", periods=100).strftime("%Y-%m-%d")),
        pd.Series(NUMBERS).astype("Float64"),
    ],
    ids=["numbers as text", "numbers as objects", "dates", "dates as text", "nullable numbers"],
)
def test_rows_are_held_out_whatever_form_numbers_and_dates_have(column: pd.Series) -> None:
    frame = pd.DataFrame({"column": column, "other": NUMBERS[::-1]})
    assert known_rows(frame[80:], frame[:80]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = pf.GaussianMixture(components=1).fit(frame, run=pf.Run(progress=False, validation=0.3))
    assert model.data_info_["held_out"] == 30
    assert "recall" in model.validation_


def test_gaps_in_text_that_holds_numbers() -> None:
    whole, gaps = pd.DataFrame({"a": ["1", "2", "3"]}), pd.DataFrame({"a": ["4", None, "NA"]})
    assert known_rows(gaps, whole).tolist() == [True, False, False]
    assert known_rows(gaps, pd.concat([whole, gaps])).all()


def test_one_number_and_gaps_are_two_categories() -> None:
    seen = pd.DataFrame({"a": [1.0, np.nan, 1.0]})
    assert known_rows(pd.DataFrame({"a": [1.0, 2.0, np.nan]}), seen).tolist() == [True, False, True]
