"""A chart of one number for several methods: a dot with its interval for each, and a line for what to compare with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from pushforward.report.charts import WIDTH, _Axis, _nothing, _svg, _text
from pushforward.report.numbers import number, shorten, tick

_ROW, _TOP, _CHARACTER = 24.0, 34.0, 6.9
_LONGEST = 18
_WIDE = 20.0  # largest over smallest value from which on the axis is logarithmic


@dataclass(frozen=True)
class Interval:
    """A number with its interval.

    Attributes:
        value: the number.
        low: lower end.
        high: upper end.
        points: the values that it is the mean of.
    """

    value: float
    low: float
    high: float
    points: Sequence[float] = ()


def interval_chart(items: Mapping[str, Interval], title: str, *, line: tuple[str, float] | None = None) -> Markup:
    """One row a method, in the order given.

    Args:
        items: name -> number; the axis is logarithmic where values are positive and differ more than twentyfold.
        title: shown above the chart.
        line: name and value of a vertical line across all rows.
    """
    if not items:
        return _nothing(title, "no value was measured")
    axis = _axis([*items.values()], line)
    left = 12 + _CHARACTER * min(_LONGEST, max(map(len, items)))
    bottom = _TOP + _ROW * len(items)
    parts = [*_scale(axis, left, bottom), *([_reference(axis, left, bottom, *line)] if line is not None else [])]
    parts += [_row(axis, left, _TOP + _ROW * (i + 0.5), name, item) for i, (name, item) in enumerate(items.items())]
    told = [f"{name}: {number(item.value)}, {number(item.low)} to {number(item.high)}" for name, item in items.items()]
    told += [f"{line[0]}: {number(line[1])}"] if line is not None else []
    return _svg(WIDTH, bottom + (38 if line is not None else 22), title, "; ".join(told), parts)


def _axis(items: list[Interval], line: tuple[str, float] | None) -> _Axis:
    """From the smallest to the largest end, with a little room."""
    ends = [end for item in items for end in (item.low, item.high, item.value) if math.isfinite(end)]
    low, high = min(ends), max(ends)
    if line is not None:
        low, high = min(low, line[1]), max(high, line[1])
    if low > 0 and high > _WIDE * low:
        return _Axis(low / 1.15, high * 1.15, log=True)
    room = 0.04 * (high - low) or 0.05 * abs(high) or 0.5
    return _Axis(low - room, high + room)


def _x(axis: _Axis, left: float, value: float) -> float:
    return left + (WIDTH - 14 - left) * float(axis.place(np.array(value)))


def _scale(axis: _Axis, left: float, bottom: float) -> list[Markup]:
    """Vertical rules with their values below."""
    rule = Markup('<line class="rule" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>')
    marks = []
    for value in axis.ticks(4):
        x, label = _x(axis, left, value), tick(value)
        inside = min(x, WIDTH - 4 - _CHARACTER * len(label) / 2)
        marks.append(rule.format(x, _TOP - 4, bottom) + _text(inside, bottom + 12, label, "middle", "tick"))
    return marks


def _reference(axis: _Axis, left: float, bottom: float, name: str, value: float) -> Markup:
    """A dashed line, named below the values."""
    x = _x(axis, left, value)
    dashes = Markup('<path class="real" stroke-dasharray="4 3" d="M{:.1f} {:.1f}V{:.1f}"/>').format(x, _TOP - 4, bottom)
    half = _CHARACTER * len(name) / 2
    return dashes + _text(min(max(x, half), WIDTH - 4 - half), bottom + 28, name, "middle", "name")


def _row(axis: _Axis, left: float, y: float, name: str, item: Interval) -> Markup:
    """The name, the interval, the single values as ticks, the number as a dot."""
    low, high, at = (_x(axis, left, v if math.isfinite(v) else item.value) for v in (item.low, item.high, item.value))
    bar = Markup('<path class="line s0" d="M{:.1f} {:.1f}H{:.1f}"/>').format(low, y, high)
    single = Markup('<path class="line s0" d="M{:.1f} {:.1f}v8"/>')
    ticks = Markup("").join(single.format(_x(axis, left, value), y - 4) for value in item.points)
    dot = Markup('<circle class="point s0" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(at, y)
    return _text(left - 8, y, shorten(name, _LONGEST), "end", "label") + bar + ticks + dot
