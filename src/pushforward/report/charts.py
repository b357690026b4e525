"""Charts as inline SVG: no script, no picture file, no plotting library.

Each function returns a ready ``<svg>`` element. Colours and fonts come from CSS (classes ``real``, ``fake``, ``s0`` to
``s5``; see ``report.css``), so that one chart reads on light and on dark pages and on paper. Series differ in dash as
well as in colour, the real data are always an outline and the generated data always filled, and every chart carries a
title and a description for people who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from pushforward.report.numbers import duration, number, percent, shorten, tick

Array = npt.NDArray[np.float64]
Points = Iterable[tuple[float, float]]

WIDTH = 360.0  # of the drawing, in its own units; on screen a chart takes the width of its column
LINE_HEIGHT = 216.0
PAIR_WIDTH = 290.0  # of the small charts of single columns, which stand three in a row
MOST_POINTS = 300  # a longer series is averaged over runs of neighbouring points
MOST_SERIES = 6
MOST_DOTS = 500
MOST_CATEGORIES = 8
MOST_CELLS = 24
BINS = 28
UNIT_BINS = 40  # integers that span no more values than this get one bar a value
_CHARACTER = 6.9  # a wide font's mean width of a character at the chart's 11 unit type
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 3", "10 4")


# ---------------------------------------------------------------------------------------------------------- public


def line_chart(
    series: Mapping[str, Points], title: str, x_label: str, y_label: str = "", *, log_y: bool = False
) -> Markup:
    """Curves, at most six, each averaged down to 300 points.

    Values that are not finite (and, with ``log_y``, not positive) are left out and counted in the description.

    Args:
        series: Name of each curve -> its points ``(x, y)``.
        title: Shown above the chart.
        x_label: Quantity and unit on the horizontal axis.
        y_label: Quantity and unit on the vertical axis; may be empty where the title says it.
        log_y: Logarithmic vertical axis.
    """
    raw = {name: _array(points) for name, points in list(series.items())[:MOST_SERIES]}
    kept = {name: values[_usable(values, log_y)] for name, values in raw.items()}
    lost = sum(len(raw[name]) - len(kept[name]) for name in raw)
    curves = {name: _average_down(values) for name, values in kept.items() if len(values)}
    if not curves:
        return _nothing(title, "no finite value was recorded")
    legend = list(curves) if len(curves) > 1 else []
    frame = _line_frame(curves, log_y, top=46.0 if legend else 30.0)
    parts = [*_axes(frame, x_label, y_label), *_legend(legend), *_curves(curves, frame), _lost_note(lost)]
    return _svg(WIDTH, LINE_HEIGHT, title, _describe_lines(curves, lost), parts)


def small_curves(
    curves: Mapping[str, Points], title: str, x_label: str, *, limits: tuple[float, float], legend: bool = False
) -> Markup:
    """At most six curves in a chart of the size of ``histogram_pair``: one of many side by side.

    Args:
        curves: Name of each curve -> its points ``(x, y)``, finite.
        title: Shown above the chart.
        x_label: Quantity on the horizontal axis.
        limits: Ends of the vertical axis, the same in all charts that are to be compared.
        legend: Whether the curves are named below the title.
    """
    drawn = {name: _array(points) for name, points in list(curves.items())[:MOST_SERIES]}
    across = np.concatenate(list(drawn.values()))[:, 0]
    vertical, top = _Axis(*limits), 48 if legend else 32
    left = 12 + _CHARACTER * max(len(tick(value)) for value in vertical.ticks(4))
    frame = _Frame(_Axis(across.min(), across.max()), vertical, left=left, right=PAIR_WIDTH - 8, top=top, bottom=154)
    key = _legend(list(drawn), PAIR_WIDTH) if legend else []
    told = _describe_lines(drawn, 0)
    return _svg(PAIR_WIDTH, 190, shorten(title, 38), told, [*_axes(frame, x_label, ""), *key, *_curves(drawn, frame)])


def bar_chart(items: Mapping[str, float], unit: str = "s", title: str = "") -> Markup:
    """Horizontal bars with their names on the left and their values on the right.

    Args:
        items: Name -> value, not negative; drawn in the order given. Values that are not finite count as 0.
        unit: "s" writes the values as times; any other unit is put behind the number.
        title: Shown above the chart.
    """
    values = {name: value if math.isfinite(value) and value > 0 else 0.0 for name, value in items.items()}
    if not values:
        return _nothing(title, "nothing was recorded")
    show = {k: duration(v) if unit == "s" else f"{number(v)} {unit}".strip() for k, v in values.items()}
    left = 10 + _CHARACTER * min(22, max(map(len, values)))
    right = 10 + _CHARACTER * max(map(len, show.values()))
    top, scale = (28.0 if title else 6.0), (WIDTH - left - right) / (max(values.values()) or 1.0)
    parts = [_bar_row(k, show[k], top + 26 * i, left, scale * v) for i, (k, v) in enumerate(values.items())]
    told = "; ".join(f"{name}: {text}" for name, text in show.items())
    return _svg(WIDTH, top + 26 * len(values), title, told, parts)


def histogram_pair(
    real: Iterable[object], fake: Iterable[object], title: str, *, names: tuple[str, str] = ("real", "generated")
) -> Markup:
    """One column of real and generated data: the real outlined, the generated filled.

    Numbers become a histogram over the 0.5 % to 99.5 % range of both together (rows beyond it count in the outer
    bars); anything else becomes one pair of bars a category, the eight commonest and the rest together. Missing
    values (None, NaN) are their own category, or are told below a histogram.

    Args:
        real: Values ``[n]``.
        fake: Values ``[m]``.
        title: The name of the column.
        names: What the outline and the filled bars are called.
    """
    left, right = list(real), list(fake)
    if not left or not right:
        return _nothing(title, "there are no rows")
    if all(_is_number(value) for value in (*left, *right) if value is not None):
        return _number_histogram(_floats(left), _floats(right), title, names)
    return _category_bars([_name(value) for value in left], [_name(value) for value in right], title, names)


def scatter(
    clouds: Mapping[str, npt.NDArray[np.floating]],
    title: str,
    x_label: str = "",
    y_label: str = "",
    *,
    limits: Array | None = None,
) -> Markup:
    """Points in the plane, at most 500 a cloud; a cloud named "real" is drawn as rings, others as dots.

    Args:
        clouds: Name -> points ``[n, 2]``; rows that are not finite are left out.
        title: Shown above the chart.
        x_label: Horizontal axis.
        y_label: Vertical axis.
        limits: ``[[x low, y low], [x high, y high]]`` for charts that are to be compared; by default from the points.
    """
    finite = {name: np.asarray(p, float)[np.isfinite(p).all(1)] for name, p in clouds.items()}
    kept = {name: points for name, points in finite.items() if len(points)}
    if not kept:
        return _nothing(title, "no finite point")
    low, high = limits if limits is not None else plane_limits(kept.values())
    frame = _Frame(_Axis(low[0], high[0]), _Axis(low[1], high[1]), left=40, right=WIDTH - 12, top=44, bottom=280)
    parts = [*_axes(frame, x_label, y_label), *(_dots(name, points, frame) for name, points in kept.items())]
    told = "; ".join(
        f"{name}: {len(points)} points around ({number(points[:, 0].mean())}, {number(points[:, 1].mean())})"
        for name, points in kept.items()
    )
    return _svg(WIDTH, 320, title, told, parts)


def marked_scatter(
    points: npt.NDArray[np.floating], marks: Sequence[str], title: str, x_label: str = "", y_label: str = ""
) -> Markup:
    """Points in the plane, at most 500, each drawn as its mark, in a colour of its mark (six colours in turn).

    Args:
        points: ``[n, 2]``, finite.
        marks: one or two characters for each point.
        title: Shown above the chart.
        x_label: Horizontal axis.
        y_label: Vertical axis.
    """
    some = slice(None, None, max(1, math.ceil(len(points) / MOST_DOTS)))
    low, high = plane_limits([points])
    frame = _Frame(_Axis(low[0], high[0]), _Axis(low[1], high[1]), left=40, right=WIDTH - 12, top=44, bottom=280)
    known = sorted(set(marks))
    colours = {mark: i % MOST_SERIES for i, mark in enumerate(known)}
    form = Markup('<text class="point s{}" style="stroke:none" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>')
    xs, ys = frame.x(points[some, 0]), frame.y(points[some, 1]) + 4
    drawn = [form.format(colours[m], x, y, m) for x, y, m in zip(xs, ys, list(marks)[some], strict=True)]
    told = f"{len(points)} points with {len(known)} different marks"
    return _svg(WIDTH, 320, title, told, [*_axes(frame, x_label, y_label), *drawn])


def plane_limits(clouds: Iterable[npt.NDArray[np.floating]]) -> Array:
    """Common limits ``[2, 2]`` (lows, highs) of clouds ``[n, 2]``: the central 99 % of their points and a margin."""
    points = np.concatenate(list(clouds)).astype(float)
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    margin = 0.06 * np.where(high > low, high - low, 1.0)
    return np.stack([low - margin, high + margin])


def heat_map(matrix: npt.NDArray[np.floating], names: Sequence[str], title: str) -> Markup:
    """A square matrix of values in [-1, 1]: one hue for positive, one for negative, strength by opacity.

    Args:
        matrix: ``[d, d]``; at most the first 24 rows and columns are drawn; cells that are not finite stay empty.
        names: ``d`` names of the rows.
        title: Shown above the chart.
    """
    d = min(len(names), MOST_CELLS)
    if d == 0:
        return _nothing(title, "no columns")
    labels = [shorten(str(name), 13) for name in names[:d]]
    left = 8 + _CHARACTER * max(map(len, labels))
    side = min(48.0, (WIDTH - left - 6) / d)
    cells = [_cell(float(matrix[i, j]), left + j * side, 28 + i * side, side, d) for i in range(d) for j in range(d)]
    rows = [_text(left - 6, 28 + (i + 0.5) * side, label, "end", "tick") for i, label in enumerate(labels)]
    parts = [*cells, *rows, *_heat_key(left, 38 + d * side)]
    return _svg(WIDTH, 58 + d * side, title, _describe_matrix(matrix, names, d), parts)


# ----------------------------------------------------------------------------------------------------------- axes


@dataclass(frozen=True)
class _Axis:
    """A range of values, widened where it is a single one, and the marks on it."""

    low: float
    high: float
    log: bool = False

    def place(self, values: Array) -> Array:
        """``values`` as shares of the range (0 = low, 1 = high)."""
        low, high = self._ends()
        return (self._bend(values) - low) / (high - low)

    def ticks(self, most: int) -> list[float]:
        """Round numbers inside the range, at most about ``most``."""
        low, high = self._ends()
        return log_ticks(low, high, most) if self.log else nice_ticks(low, high, most)

    def _ends(self) -> tuple[float, float]:
        low, high = (float(v) for v in self._bend(np.array([self.low, self.high])))
        room = abs(low) * 0.05 or 0.5
        return (low, high) if high - low > 1e-12 * (abs(low) + abs(high)) else (low - room, low + room)

    def _bend(self, values: Array) -> Array:
        return np.log10(values) if self.log else np.asarray(values, float)


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten in ``[low, high]``, at most about ``most`` of them."""
    rough = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12 - math.floor(math.log10(step))) for k in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Powers of ten between ``10**low`` and ``10**high``, with 2 and 5 or 3 times those where there is room for them."""
    marks: list[float] = []
    for factors in ((1, 2, 5), (1, 3), (1,)):
        every = [(m, k) for k in range(math.floor(low), math.ceil(high) + 1) for m in factors]
        marks = [m * 10.0**k for m, k in every if low - 1e-9 <= math.log10(m) + k <= high + 1e-9]
        if len(marks) <= most + 1:
            break
    return marks[:: max(1, math.ceil(len(marks) / (most + 1)))] or [10.0**low]


@dataclass(frozen=True)
class _Frame:
    """Where the plot lies inside the drawing, and how values get there."""

    x_axis: _Axis
    y_axis: _Axis
    left: float
    right: float
    top: float
    bottom: float

    def x(self, values: npt.ArrayLike) -> Array:
        """Horizontal positions of values."""
        return self.left + (self.right - self.left) * self.x_axis.place(np.asarray(values, float))

    def y(self, values: npt.ArrayLike) -> Array:
        """Vertical positions of values (downwards)."""
        return self.bottom - (self.bottom - self.top) * self.y_axis.place(np.asarray(values, float))


def _line_frame(curves: Mapping[str, Array], log_y: bool, top: float) -> _Frame:
    every = np.concatenate(list(curves.values()))
    (x_low, y_low), (x_high, y_high) = every.min(0), every.max(0)
    y_axis = _Axis(*_roomy(y_low, y_high, log_y), log=log_y)
    left = 12 + _CHARACTER * max(len(tick(value)) for value in y_axis.ticks(4))
    return _Frame(_Axis(x_low, x_high), y_axis, left=left, right=WIDTH - 12, top=top, bottom=LINE_HEIGHT - 40)


def _roomy(low: float, high: float, log: bool) -> tuple[float, float]:
    """A little room below and above; a curve that nears zero keeps the zero line in sight."""
    if log:
        return low / 1.15, high * 1.15
    if 0 <= low < 0.35 * high:
        return 0.0, high * 1.04
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _axes(frame: _Frame, x_label: str, y_label: str) -> list[Markup]:
    """Horizontal rules with their values, marks below, and the names of the axes."""
    rules = [_rule(frame, value) for value in frame.y_axis.ticks(4)]
    marks = [_mark(frame, v) for v in frame.x_axis.ticks(5)]
    base = Markup('<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
        frame.left, frame.right, frame.bottom, frame.bottom
    )
    names = [_text(frame.right, frame.bottom + 29, x_label, "end", "name")] if x_label else []
    names += [_text(frame.left, frame.top - 6, y_label, "start", "name")] if y_label else []
    return [*rules, base, *marks, *names]


def _mark(frame: _Frame, value: float) -> Markup:
    """A value below the axis, moved inwards where it would be cut off at the right."""
    label = tick(value)
    x = min(float(frame.x(value)), frame.right + 8 - _CHARACTER * len(label) / 2)
    return _text(x, frame.bottom + 14, label, "middle", "tick")


def _rule(frame: _Frame, value: float) -> Markup:
    y = float(frame.y(value))
    line = Markup('<line class="rule" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    return line.format(frame.left, frame.right, y, y) + _text(frame.left - 6, y, tick(value), "end", "tick")


# ----------------------------------------------------------------------------------------------------------- lines


def _array(points: Points) -> Array:
    return np.array([(float(x), float(y)) for x, y in points], dtype=float).reshape(-1, 2)


def _usable(values: Array, log_y: bool) -> npt.NDArray[np.bool_]:
    drawable = np.isfinite(values) & ((values > 0) | np.array([True, not log_y]))
    return np.asarray(drawable.all(axis=1), dtype=np.bool_)


def _average_down(values: Array) -> Array:
    """At most 300 points: the means of runs of neighbours."""
    if len(values) <= MOST_POINTS:
        return values
    return np.stack([run.mean(axis=0) for run in np.array_split(values, MOST_POINTS)])


def _curves(curves: Mapping[str, Array], frame: _Frame) -> list[Markup]:
    return [_curve(values, frame, i) for i, values in enumerate(curves.values())]


def _curve(values: Array, frame: _Frame, index: int) -> Markup:
    xs, ys = frame.x(values[:, 0]), frame.y(values[:, 1])
    if len(values) == 1:
        return Markup('<circle class="point s{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(index, xs[0], ys[0])
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))
    return Markup('<path class="line s{}" stroke-dasharray="{}" d="{}"/>').format(index, _DASHES[index], path)


def _legend(names: Sequence[str], width: float = WIDTH) -> list[Markup]:
    """A short stroke and a name for each curve, in one line below the title."""
    most = int(((width - 12) / max(1, len(names)) - 34) / _CHARACTER)
    labels, start, parts = [shorten(name, max(3, most)) for name in names], 8.0, []
    for i, label in enumerate(labels):
        stroke = Markup('<path class="line s{}" stroke-dasharray="{}" d="M{:.1f} 29h18"/>')
        parts.append(stroke.format(i, _DASHES[i], start) + _text(start + 23, 29, label, "start", "tick"))
        start += 34 + _CHARACTER * len(label)
    return parts


def _lost_note(lost: int) -> Markup:
    return (
        _text(8, LINE_HEIGHT - 8, f"{lost} value{'s' * (lost > 1)} not drawable", "start", "name") if lost else Markup()
    )


def _describe_lines(curves: Mapping[str, Array], lost: int) -> str:
    told = [
        f"{name}: {len(v)} points, from {number(v[0, 1])} to {number(v[-1, 1])}, lowest {number(v[:, 1].min())}, "
        f"highest {number(v[:, 1].max())}"
        for name, v in curves.items()
    ]
    return "; ".join(told) + (f"; {lost} values left out" if lost else "")


# ------------------------------------------------------------------------------------------------- bars, histograms


def _bar_row(name: str, value: str, top: float, left: float, length: float) -> Markup:
    length = max(1.0, length)
    bar = Markup('<rect class="fake" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="14" rx="2"/>').format(
        left, top, length
    )
    label = _text(left - 8, top + 7, shorten(name, 22), "end", "label")
    return label + bar + _text(left + length + 6, top + 7, value, "start", "tick")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))


def _floats(values: Sequence[object]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _name(value: object) -> str:
    """The name of a category; what pandas and numpy use for "missing" becomes one word."""
    missing = value is None or value != value or str(value) in ("<NA>", "NaT")
    return "(missing)" if missing else str(value)


def _number_histogram(real: Array, fake: Array, title: str, names: tuple[str, str]) -> Markup:
    """Shares of rows in common bins; ``real`` and ``fake`` are ``[n]`` and ``[m]`` with NaN for missing."""
    pooled = np.concatenate([real, fake])
    pooled = pooled[np.isfinite(pooled)]
    if len(pooled) == 0:
        return _nothing(title, "every value is missing")
    edges = _edges(pooled)
    heights = [100 * _shares(values, edges) for values in (real, fake)]
    top = 1.04 * float(max(height.max() for height in heights)) or 1.0
    frame = _Frame(_Axis(edges[0], edges[-1]), _Axis(0.0, top), left=34, right=PAIR_WIDTH - 8, top=44, bottom=150)
    missing = _missing_note(real, fake, frame)
    bars = [_filled(edges, heights[1], frame), _outline(edges, heights[0], frame)]
    told = _describe_numbers({names[0]: real, names[1]: fake})
    return _svg(
        PAIR_WIDTH, 192 if missing else 174, title, told, [*_pair_key(names), *_axes(frame, "", ""), *bars, *missing]
    )


def _missing_note(real: Array, fake: Array, frame: _Frame) -> list[Markup]:
    """A line below the axis that tells the missing shares, where anything is missing."""
    shares = [float(np.mean(~np.isfinite(values))) for values in (real, fake)]
    told = f"missing: {percent(shares[0])} · {percent(shares[1])}"
    return [_text(frame.left, 182, told, "start", "tick")] if any(shares) else []


def _edges(values: Array) -> Array:
    """Edges of the bars: one a value for integers of a short range, else 28 equal ones over the central 99 %."""
    low, high = np.quantile(values, [0.005, 0.995])
    if np.all(values == np.round(values)) and 0 < np.ptp(values) <= UNIT_BINS:
        return np.arange(values.min() - 0.5, values.max() + 1)
    if high <= low:
        low, high = values.min(), values.max()
    room = abs(low) * 0.05 or 0.5
    return np.linspace(low, high, BINS + 1) if high > low else np.linspace(low - room, low + room, 10)


def _shares(values: Array, edges: Array) -> Array:
    """Share of the present rows in each bin; rows beyond the edges count in the outer bins."""
    present = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
    return np.histogram(present, edges)[0] / max(1, len(present))


def _filled(edges: Array, heights: Array, frame: _Frame) -> Markup:
    xs, ys = frame.x(edges), frame.y(heights)
    bars = "".join(
        f"M{a + 0.4:.1f} {frame.bottom:.1f}V{y:.1f}H{b - 0.4:.1f}V{frame.bottom:.1f}Z"
        for a, b, y in zip(xs[:-1], xs[1:], ys, strict=True)
    )
    return Markup('<path class="fake" d="{}"/>').format(bars)


def _outline(edges: Array, heights: Array, frame: _Frame) -> Markup:
    xs, ys = frame.x(edges), frame.y(heights)
    steps = "".join(f"V{y:.1f}H{x:.1f}" for x, y in zip(xs[1:], ys, strict=True))
    return Markup('<path class="real" d="M{:.1f} {:.1f}{}V{:.1f}"/>').format(xs[0], frame.bottom, steps, frame.bottom)


def _pair_key(names: tuple[str, str]) -> list[Markup]:
    """The key of a pair: an outline for real, a filled box for generated."""
    middle = 46.0 + 6.2 * len(names[0])
    return [
        Markup('<rect class="real" x="9" y="24.5" width="10" height="9"/>'),
        _text(24, 29, names[0], "start", "tick"),
        Markup('<rect class="fake" x="{:.1f}" y="24" width="11" height="10"/>').format(middle - 15),
        _text(middle, 29, names[1], "start", "tick"),
    ]


def _category_bars(real: Sequence[str], fake: Sequence[str], title: str, names: tuple[str, str]) -> Markup:
    """One row a category: the generated share as a filled bar, the real one as an outline around it."""
    shares = _category_shares(real, fake)
    left = 14 + _CHARACTER * min(13, max(len(name) for name, _, _ in shares))
    scale = (PAIR_WIDTH - left - 88) / (max(max(a, b) for _, a, b in shares) or 1.0)
    parts = [_category_row(*row, top=44 + 22 * i, left=left, scale=scale) for i, row in enumerate(shares)]
    told = "; ".join(f"{name}: {names[0]} {percent(a)}, {names[1]} {percent(b)}" for name, a, b in shares)
    return _svg(PAIR_WIDTH, 48 + 22 * len(shares), title, told, [*_pair_key(names), *parts])


def _category_shares(real: Sequence[str], fake: Sequence[str]) -> list[tuple[str, float, float]]:
    """Name, real share, generated share of the commonest categories, the rest together at the end."""
    from collections import Counter

    left, right = Counter(real), Counter(fake)
    order = sorted({*left, *right}, key=lambda name: (-left[name] - 1e-9 * right[name], name))
    rows = [(name, left[name] / len(real), right[name] / len(fake)) for name in order]
    if len(rows) <= MOST_CATEGORIES + 1:
        return rows
    rest = rows[MOST_CATEGORIES:]
    return [*rows[:MOST_CATEGORIES], (f"{len(rest)} others", sum(r[1] for r in rest), sum(r[2] for r in rest))]


def _category_row(name: str, real: float, fake: float, *, top: float, left: float, scale: float) -> Markup:
    box = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}"/>')
    bars = box.format("fake", left, top + 2, fake * scale, 10) + box.format("real", left, top, real * scale, 14)
    told = f"{percent(real)} · {percent(fake)}"
    label = _text(left - 6, top + 7, shorten(name, 13), "end", "label")
    return label + bars + _text(PAIR_WIDTH - 2, top + 7, told, "end", "tick")


def _describe_numbers(columns: Mapping[str, Array]) -> str:
    return "; ".join(_describe_column(name, values[np.isfinite(values)]) for name, values in columns.items())


def _describe_column(name: str, values: Array) -> str:
    if len(values) == 0:
        return f"{name}: all missing"
    quarters = ", ".join(number(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return f"{name}: {len(values)} values, quartiles {quarters}"


# ------------------------------------------------------------------------------------------------ dots and matrices


def _dots(name: str, points: Array, frame: _Frame) -> Markup:
    """Up to 500 points, evenly taken; those outside the frame are left out."""
    some = points[:: max(1, math.ceil(len(points) / MOST_DOTS))]
    xs, ys = frame.x(some[:, 0]), frame.y(some[:, 1])
    inside = (xs >= frame.left) & (xs <= frame.right) & (ys >= frame.top) & (ys <= frame.bottom)
    circle = '<circle cx="{:.1f}" cy="{:.1f}" r="2.2"/>'
    dots = "".join(circle.format(x, y) for x, y in zip(xs[inside], ys[inside], strict=True))
    return Markup('<g class="{} dots">{}</g>').format("real" if name == "real" else "fake", Markup(dots))


def _cell(value: float, x: float, y: float, side: float, d: int) -> Markup:
    if not math.isfinite(value):
        return Markup()
    kind, size = ("plus" if value >= 0 else "minus"), min(1.0, abs(float(value)))
    box = Markup(
        '<rect class="{}" fill-opacity="{:.2f}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
    ).format(kind, size, x, y, side - 1, side - 1)
    if d > 8:
        return box
    told = f"{round(float(value), 2) + 0.0:.2f}".replace("-", "\u2212")
    return box + _text(x + side / 2, y + side / 2, told, "middle", "cell strong" if size > 0.55 else "cell")


def _heat_key(left: float, y: float) -> list[Markup]:
    """The scale from -1 to 1 in nine steps, below the matrix."""
    steps = np.linspace(-1, 1, 9)
    boxes = [_cell(float(v), left + 28 + 12 * i, y, 13, 99) for i, v in enumerate(steps)]
    ends = [_text(left + 22, y + 6, "\u22121", "end", "tick"), _text(left + 142, y + 6, "1", "start", "tick")]
    return [*boxes, *ends]


def _describe_matrix(matrix: npt.NDArray[np.floating], names: Sequence[str], d: int) -> str:
    upper = [(abs(matrix[i, j]), i, j) for i in range(d) for j in range(i) if math.isfinite(matrix[i, j])]
    strongest = sorted(upper, reverse=True)[:3]
    told = "; ".join(f"{names[i]} with {names[j]} {number(matrix[i, j])}" for _, i, j in strongest)
    return f"{d} columns; strongest: {told}" if told else f"{d} column{'s' * (d > 1)}"


# ------------------------------------------------------------------------------------------------------------- svg


def _svg(width: float, height: float, title: str, told: str, parts: Iterable[Markup]) -> Markup:
    """The element itself, with its title above the drawing and its description for screen readers."""
    head = _text(8, 11, shorten(title, 52), "start", "title") if title else Markup()
    return Markup(
        '<svg class="chart" style="max-width:{most:.0f}px" viewBox="0 0 {w:.0f} {h:.0f}" role="img" '
        'aria-label="{title}: {told}">'
        "<desc>{told}</desc>{head}{body}</svg>"
    ).format(most=1.25 * width, w=width, h=height, title=title, told=told, head=head, body=Markup("").join(parts))


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(text)
    )


def _nothing(title: str, why: str) -> Markup:
    """A chart that says why it is empty."""
    return _svg(WIDTH, 70, title, why, [_text(8, 44, why[:1].upper() + why[1:] + ".", "start", "label")])
