from __future__ import annotations

import math
import re

import numpy as np
import pytest
from html_checks import Page
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward.report.charts import (
    MOST_POINTS,
    bar_chart,
    heat_map,
    histogram_pair,
    line_chart,
    log_ticks,
    nice_ticks,
    plane_limits,
    scatter,
)
from pushforward.report.sections import group_metrics, wants_log

NAN, INF = math.nan, math.inf
SERIES = {
    "nothing": {},
    "empty": {"a": []},
    "one point": {"a": [(0.0, 1.0)]},
    "constant": {"a": [(0.0, 3.0), (1.0, 3.0)]},
    "zeros": {"a": [(0.0, 0.0), (1.0, 0.0)]},
    "all NaN": {"a": [(0.0, NAN), (1.0, NAN)]},
    "some NaN": {"a": [(0.0, 1.0), (1.0, NAN), (2.0, INF), (3.0, 2.0)]},
    "negative": {"a": [(0.0, -1.0), (1.0, -5.0)]},
    "huge": {"a": [(0.0, 1e300), (1.0, 2e300)]},
    "tiny": {"a": [(0.0, 1e-300), (1.0, 2e-300)]},
    "one x": {"a": [(5.0, 1.0), (5.0, 2.0)]},
    "seven": {str(k): [(0.0, k), (1.0, k + 1.0)] for k in range(7)},
}


def drawn_numbers(svg: str) -> list[float]:
    """Every coordinate in the drawing."""
    found = re.findall(r'(?:\s(?:x|y|x1|x2|y1|y2|cx|cy|width|height)|\sd)="([^"]*)"', svg)
    return [float(part) for text in found for part in re.findall(r"-?\d+(?:\.\d+)?|nan|inf", text)]


def assert_sound(svg: str) -> None:
    Page(svg)
    assert "nan" not in re.sub(r"<desc>.*?</desc>|aria-label=\"[^\"]*\"|<text.*?</text>", "", svg).lower()
    assert all(-1 <= value <= 2000 for value in drawn_numbers(svg))
    assert 'role="img"' in svg
    assert "<desc>" in svg


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("name", SERIES)
def test_line_charts_of_awkward_series(name: str, log_y: bool) -> None:
    assert_sound(line_chart(SERIES[name], "Loss", "step", log_y=log_y))


def test_an_empty_chart_says_so_and_lost_values_are_counted() -> None:
    assert "No finite value" in line_chart({"a": [(0, NAN)]}, "Loss", "step")
    assert "2 values not drawable" in line_chart(SERIES["some NaN"], "Loss", "step")
    assert "2 values not drawable" in line_chart({"a": [(0, 1), (1, -1), (2, 0)]}, "Loss", "step", log_y=True)


def test_long_series_are_averaged_down() -> None:
    svg = line_chart({"a": [(k, 1.0 + math.sin(k / 500)) for k in range(100_000)]}, "Loss", "step")
    assert svg.count("L") - svg.count("Loss") <= MOST_POINTS
    assert len(svg) < 12_000


def test_a_single_point_is_drawn_as_a_point() -> None:
    assert '<circle class="point s0"' in line_chart(SERIES["one point"], "Loss", "step")


def test_text_of_users_is_escaped_everywhere() -> None:
    evil = '<script>alert("x")</script>&'
    for svg in (
        line_chart({evil: [(0, 1), (1, 2)], "b": [(0, 1)]}, evil, evil, evil),
        bar_chart({evil: 1.0}, evil, evil),
        histogram_pair([evil, "b"], ["b", evil], evil),
        histogram_pair([1.0, 2.0], [1.0, 2.0], evil),
        scatter({evil: np.zeros((3, 2))}, evil, evil, evil),
        heat_map(np.eye(2), [evil, evil], evil),
    ):
        assert "<script" not in svg
        assert "&lt;script" in svg
        Page(svg)


@pytest.mark.parametrize(
    "items", [{}, {"a": 0.0}, {"a": NAN, "b": 2.0}, {"a": -1.0}, {"a": 1e9, "b": 1e-9}, {"x" * 80: 1.0}]
)
def test_bar_charts(items: dict[str, float]) -> None:
    assert_sound(bar_chart(items, "s", "Time"))


COLUMNS = {
    "empty": ([], []),
    "one side empty": ([1.0], []),
    "constant": ([2.0] * 5, [2.0] * 3),
    "constant real": ([2.0] * 5, [1.0, 2.0, 3.0]),
    "all missing": ([NAN, None], [NAN]),
    "some missing": ([1.0, None, 3.0], [NAN, 2.0, 2.5]),
    "integers": ([1, 2, 2, 3], [1, 1, 3]),
    "wide integers": (list(range(0, 10_000, 7)), list(range(50))),
    "infinite": ([1.0, INF], [2.0, -INF]),
    "huge": ([1e300, -1e300], [0.0, 1.0]),
    "booleans": ([True, False], [True, True]),
    "words": (["a", "b", None], ["a", "c"]),
    "many words": ([f"w{k}" for k in range(40)], ["w1"]),
    "mixed": (["a", 1.0], [2, "b"]),
    "numpy": (np.array([1, 2, 3]), np.array([1.5, 2.5])),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_histograms_of_awkward_columns(name: str) -> None:
    assert_sound(histogram_pair(*COLUMNS[name], name))


def test_missing_values_are_told() -> None:
    assert "missing: 50 % · 0 %" in histogram_pair([1.0, None], [1.0, 2.0], "age")
    assert "(missing)" in histogram_pair(["a", None], ["a", float("nan")], "city")


def test_rare_categories_are_drawn_together_and_shares_add_up() -> None:
    svg = histogram_pair([f"w{k % 20}" for k in range(1000)], ["new"] * 10, "w")
    assert "13 others" in svg
    shares = [float(v) for v in re.findall(r"real ([\d.]+) %", re.search(r"<desc>(.*?)</desc>", svg)[1])]
    assert sum(shares) == pytest.approx(100, abs=1)


@pytest.mark.parametrize("n", [0, 1, 5, 5000])
def test_scatters(n: int) -> None:
    points = np.random.default_rng(0).normal(size=(n, 2))
    svg = scatter({"real": points, "generated": points[:1]}, "Cloud", "a", "b")
    assert_sound(svg)
    assert svg.count("<circle") <= 1001


def test_scatter_of_points_that_are_not_finite() -> None:
    assert "No finite point" in scatter({"real": np.full((4, 2), NAN)}, "Cloud")
    assert_sound(scatter({"real": np.array([[0.0, NAN], [1.0, 1.0]])}, "Cloud"))


def test_limits_hold_for_constant_clouds() -> None:
    low, high = plane_limits([np.ones((5, 2))])
    assert np.all(high > low)


@pytest.mark.parametrize("d", [0, 1, 2, 9, 40])
def test_heat_maps(d: int) -> None:
    matrix = np.eye(d)
    if d > 1:
        matrix[0, 1] = NAN
    assert_sound(heat_map(matrix, [f"column {k}" for k in range(d)], "Real"))


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12))
def test_ticks_are_round_few_and_inside(low: float, width: float) -> None:
    high = low + width
    if (high - low) < 1e-9 * max(1.0, abs(low)):
        return
    marks = nice_ticks(low, high, 5)
    room = 1e-6 * (high - low)
    assert 1 <= len(marks) <= 7
    assert all(low - room <= mark <= high + room for mark in marks)
    gaps = np.diff(marks)
    assert np.allclose(gaps, gaps[:1].repeat(len(gaps)), rtol=1e-3)


@settings(max_examples=100, deadline=None)
@given(st.floats(-30, 30), st.floats(0.01, 40))
def test_log_ticks_are_few_and_never_missing(low: float, width: float) -> None:
    assert 1 <= len(log_ticks(low, low + width, 4)) <= 6


def test_metrics_that_belong_together_share_a_chart() -> None:
    history = [
        {"stage": "a", "step": 1, "seconds": 0.1, "loss": 1.0, "held_loss": 2.0},
        {"stage": "a", "step": 2, "seconds": 0.2, "objective": 1.0, "objective_before": 2.0, "name": "x", "flag": True},
    ]
    assert group_metrics(history) == {"loss": ["loss", "held_loss"], "objective": ["objective", "objective_before"]}


def test_log_scale_only_where_the_range_asks_for_it() -> None:
    assert wants_log({"a": [(0, 1.0), (1, 0.01)]})
    assert not wants_log({"a": [(0, 1.0), (1, 0.5)]})
    assert not wants_log({"a": [(0, 100.0), (1, 0.0)]})
    assert not wants_log({"a": []})
