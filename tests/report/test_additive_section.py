"""The section on additive functions, drawn from what a method has and not from what it is."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from html_checks import Page, assert_self_contained
from stand_in import LinearModel

import pushforward as pf
from pushforward.data import Data
from pushforward.report import write_report
from pushforward.report.charts import small_curves
from pushforward.report.functions import MOST_CURVES, MOST_FACTORS, additive_functions
from pushforward.report.material import gather

EVIL = '<img src=x onerror="alert(1)">'


class Additive(LinearModel):
    """A linear model that shows curves: column ``j`` moves with factor ``l`` by ``share[l, j]`` times the sine of the code."""

    def __init__(self, shares: Any) -> None:
        super().__init__(rank=2)
        self.column_shares_ = np.asarray(shares, dtype=float)
        self.explained_variance_ = self.column_shares_.mean(1)
        self.function_grid_ = np.linspace(-2.5, 2.5, 101)
        self.functions_ = self.column_shares_[:, None] * np.sin(self.function_grid_)[:, None]


def drawn(model: Any, data: Data) -> str:
    section = additive_functions(gather(model, data))
    assert section is not None
    assert (section.title, section.anchor) == ("Additive functions", "functions")
    return str(section.body)


def titles(body: str) -> list[str]:
    return re.findall(r'<text class="title"[^>]*>([^<]*)</text>', body)


def vectors(d: int) -> Data:
    return Data(np.random.default_rng(0).normal(size=(200, d)), None, "vectors", None)


def test_a_method_without_functions_has_no_section() -> None:
    data = vectors(3)
    assert additive_functions(gather(LinearModel().fit(data), data)) is None


def test_the_columns_that_a_factor_explains_best_come_first() -> None:
    shares = [[0.1, 0.7, 0.0, 0.4], [0.0, 0.0, 0.005, 0.002]]
    data = vectors(4)
    body = drawn(Additive(shares).fit(data), data)
    assert titles(body) == [
        "x2, 70 %",
        "x4, 40 %",
        "x1, 10 %",
        "x3, 0.5 %",
    ]  # what explains little is left out, but the first
    assert "Together the 2 factors explain 30 % of the variance; the rest counts as noise." in body
    assert "30 % of the variance. Its 3 strongest of 4 columns." in body


def test_all_charts_of_a_factor_have_one_scale() -> None:
    data = vectors(3)
    body = drawn(Additive([[0.9, 0.5, 0.1]]).fit(data), data)
    charts = body.split("<svg")[1:]
    assert len(charts) == 3
    ticks = [re.findall(r'text-anchor="end">([^<]*)</text>', chart) for chart in charts]
    assert ticks[0] == ticks[1] == ticks[2]
    assert "The factor explains 50 % of the variance" in body


def test_much_is_left_out_and_said() -> None:
    data = vectors(30)
    body = drawn(Additive(np.full((9, 30), 0.03)).fit(data), data)
    assert body.count("<svg") == MOST_FACTORS * MOST_CURVES
    assert "The first 6 factors are shown." in body
    assert "Its 6 strongest of 30 columns." in body


def test_names_are_escaped_and_the_page_stands_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = Data(pd.DataFrame({EVIL: rng.normal(size=200), "kind": rng.choice([EVIL, "b"], 200)}), None, EVIL, None)
    path = write_report(tmp_path / "report.html", method=Additive([[0.5, 0.2, 0.2]]).fit(data), data=data)
    page = path.read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "Additive functions" in page
    assert EVIL not in page


def test_a_curve_for_every_class() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=120), "b": rng.normal(size=120), "kind": ["old", "new", "new"] * 40})
    data = Data(frame, None, "frame", None)
    run = pf.Run(progress=False, device="cpu", validation=0)
    model = pf.SQL(latent_dim=1, basis=4, starts=1).fit(data, condition="kind", run=run)
    body = drawn(model, data)
    assert body.count("<svg") == 2
    assert all(body.count(f">{name}</text>") == 2 for name in ("old", "new"))
    assert "of the variance within the classes" in body


def test_a_fitted_table_with_gaps_and_categories() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=150)
    frame = pd.DataFrame({f"up {i}": z + 0.2 * rng.normal(size=150) for i in range(3)})
    frame["gap"] = np.where(rng.random(150) < 0.2, np.nan, z)
    frame["sign"] = np.where(z > 0, "plus", "minus")
    data = Data(frame, None, "frame", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = pf.Run(progress=False, device="cpu", validation=0)
        model = pf.SQL(latent_dim=1, starts=1).fit(data, run=run)
    shares = dict(zip(model.schema_.coordinates().labels, model.column_shares_[0], strict=True))
    assert min(shares[name] for name in ("up 0", "up 1", "up 2", "gap")) > 0.9
    assert shares["sign = plus"] == pytest.approx(shares["sign = minus"], abs=1e-3)
    assert 0.4 < shares["sign = plus"] < 0.9
    assert len(titles(drawn(model, data))) == MOST_CURVES
    assert "normal scores" in drawn(model, data)


def test_a_small_chart_is_described() -> None:
    chart = Page(small_curves({"a": [(0, 1), (1, 2)], "b": [(0, 2), (1, 1)]}, "t", "x", limits=(0, 3), legend=True))
    assert "a: 2 points, from 1 to 2" in chart.all("svg")[0]["aria-label"]
    assert len([path for path in chart.all("path") if "line" in path["class"]]) == 4  # two curves and their keys
