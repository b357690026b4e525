"""The page of a comparison: the advice, the table, the same numbers as intervals, samples side by side, and the small print."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from pushforward.folders import write_atomically
from pushforward.report.charts import histogram_pair, plane_limits, scatter
from pushforward.report.evaluated import title_of
from pushforward.report.grids import png_bytes, titled_panels
from pushforward.report.intervals import Interval, interval_chart
from pushforward.report.measures import MEASURES
from pushforward.report.numbers import number, shorten
from pushforward.report.page import (
    Page,
    Section,
    columns,
    definitions,
    figure,
    heading,
    join,
    paragraph,
    render_page,
    table,
)

if TYPE_CHECKING:
    from pushforward.compare.board import Board
    from pushforward.compare.ranking import Spread, Standing

_NOTE = 90  # characters of a note in the table; the section of notes has all of them
_BUSY = 0.7  # CPU seconds a wall second below which something else took the processor

_ALONE = {  # meanings that stand without the measure before them
    "nearest_ratio_5": "Distance from the closest twentieth of the samples to their nearest training rows, over that from the "
    "closest twentieth of the held-out rows.",
}
_LIKE_TRAINING = "near what training rows have in the place of samples"
_GOOD = {  # for numbers whose own notes say what is good, which this page does not show
    "frechet": f"{_LIKE_TRAINING}; compare at equal n and equal features",
    "coverage": _LIKE_TRAINING,
    "column_shapes": _LIKE_TRAINING,
    "pair_trends": _LIKE_TRAINING,
    "missing_patterns": _LIKE_TRAINING,
    "record_nearer": "near the share of training rows among all rows; above it samples lie close to training rows",
}

RULE = (
    "Places are given by the mean rank over {criteria}. Methods whose samples lie too near training rows come after all others "
    "(copying test below 0.001, and the closest twentieth of the samples at less than 0.7 of the distance that held-out rows have to "
    "their nearest training row; for tables also more exact copies than among held-out rows), because every other number "
    "praises copies."
)
INTERVALS = (
    "Intervals reach over the 95 % interval of the number, averaged over the seeds, and over the values of all seeds. Two "
    "methods whose intervals overlap cannot be told apart by that number."
)
SPLIT = (
    "All methods were fitted to the same training rows and measured on the same held-out rows, with as many samples as there are "
    "held-out rows. The seeds are those of training and sampling, so the intervals do not say how much another split would change."
)
COSTS = (
    "Every fit ran alone, in a process of its own. Training is wall time; parameters are all numbers that the fitted law holds; peak "
    "memory is that of the {memory}."
)
REFERENCE_TOLD = (
    "The row called training rows has training rows in the place of samples. They are copies and no method, but their law is right: "
    "no other row can be expected to have better numbers, the one on nearness to training rows apart."
)


def write_board_page(path: str | os.PathLike[str], board: Board) -> Path:
    """Write the page as one self-contained HTML file, moved into place when complete.

    Raises:
        StorageError: ``path`` cannot be written.
    """
    target = Path(path)
    write_atomically(target, render_page(board_page(board)))
    return target


def write_samples_picture(path: str | os.PathLike[str], board: Board) -> None:
    """Write the grids of samples side by side as one PNG file, moved into place when complete; nothing without pictures.

    Raises:
        StorageError: ``path`` cannot be written.
    """
    from PIL import Image

    grids = {_title(name): Image.open(io.BytesIO(board.pictures[name])) for name in _picture_order(board)}
    if grids:
        write_atomically(Path(path), png_bytes(titled_panels(grids)))


def board_page(board: Board) -> Page:
    """The content of the page."""
    from_parts = (_ranking, _intervals, _samples, _all_numbers, _notes, _method)
    context = board.context
    return Page(
        title=f"Comparison on {context['data']}",
        overline="pushforward, comparison of methods",
        lead=paragraph(board.recommend()),
        facts=_facts(board),
        warnings=board_warnings(board),
        sections=[section for build in from_parts if (section := build(board)) is not None],
        footer=f"Made by pushforward {context['versions']['pushforward']}, torch {context['versions']['torch']}.",
    )


def _facts(board: Board) -> dict[str, str]:
    context = board.context
    facts = {
        "Training rows": f"{context['rows']:,}",
        "Held-out rows": f"{context['held']:,}",
        "Budget of a fit": str(context["budget"]),
        "Seeds": ", ".join(map(str, context["seeds"])),
        "Features": str(context["features"]["name"]),
        "Machine": str(context["machine"]),
    }
    return facts | ({"Condition": str(context["condition"])} if context["condition"] is not None else {})


def board_warnings(board: Board) -> list[str]:
    """What must be known before anything is read."""
    context, told = board.context, []
    if not context["held_out"]:
        told.append("These rows were not held out: they overlap with the training rows, so all numbers flatter.")
    if context["missing"]:
        told.append(f"The comparison is not complete: {context['missing']} fits are still to be done.")
    if _was_busy(board):
        told.append(
            "Other programs took the processor while methods were fitted, so wall time was not the same for all: repeat "
            "the comparison on an idle machine, or with a budget of steps."
        )
    return told


def _was_busy(board: Board) -> bool:
    facts = [result.facts for result in board.results if result.facts.get("seconds", 0.0) > 1]
    return any(fact["cpu_seconds"] < _BUSY * fact["seconds"] for fact in facts)


# ---------------------------------------------------------------------- table and charts


def _ranking(board: Board) -> Section:
    """The table, and what to know to read it."""
    head = board.head()
    shown = table([head[1], *head[2:-1]], [_cells(row) for row in board.rows()], kind="board")
    features = board.context["features"]
    on = f"Features {features['name']}: {features['told']}." if board.kind != "table" else ""
    told = [text for text in (_rule(board), REFERENCE_TOLD, on) if text]
    return Section("Ranking", "ranking", join(shown, *(paragraph(text, "note") for text in told)))


def _cells(row: Sequence[str]) -> list[str | Markup]:
    """A row whose first cell is place, name and note, with intervals below their values."""
    place = f"{row[0]}. " if row[0] not in ("", "–") else ""
    name = Markup("{}{}").format(place, row[1])
    note = Markup('<br><span class="note">{}</span>').format(shorten(row[-1], _NOTE)) if row[-1] else Markup()
    return [name + note, *(_two_lines(cell) for cell in row[2:-1])]


def _two_lines(cell: str) -> str | Markup:
    value, bracket, rest = cell.partition(" (")
    return Markup('{}<br><span class="note">{}</span>').format(value, rest.rstrip(")")) if bracket else cell


def _rule(board: Board) -> str:
    titles = [board.title(name) for name in board.criteria] or ["nothing, because nothing was measured"]
    listed = titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
    return RULE.format(criteria=listed)


def _intervals(board: Board) -> Section | None:
    """A chart for every number that counts."""
    if not board.criteria:
        return None
    names = [*board.criteria, board.beside]
    charts = [figure(_interval_chart(board, name), _caption(name)) for name in names]
    return Section("Intervals", "intervals", join(paragraph(INTERVALS, "note"), columns(*charts, kind="many")))


def _caption(name: str) -> str:
    """What a number says, and what is good."""
    if name not in MEASURES:
        return ""
    meaning = _ALONE.get(name, MEASURES[name].meaning)
    return f"{meaning} Good is {_GOOD.get(name, MEASURES[name].good)}."


def _interval_chart(board: Board, name: str) -> Markup:
    items = {
        s.label: _interval(s.numbers[name], [r.metrics[name].value for r in board.results if _has(r, s, name)])
        for s in board.standings
        if name in s.numbers
    }
    reference = board.reference_numbers.get(name)
    line = None if reference is None else ("training rows", reference.mean)
    return interval_chart(items, board.title(name), line=line)


def _has(result: Any, standing: Standing, name: str) -> bool:
    return result.label == standing.label and name in result.metrics


def _interval(found: Spread, points: list[float]) -> Interval:
    return Interval(found.mean, found.low, found.high, points)


# ---------------------------------------------------------------------- samples


def _samples(board: Board) -> Section | None:
    """Samples of every method beside held-out rows."""
    shown = _grids(board) if board.kind == "image" else _planes(board)
    if not shown:
        return None
    seed = board.context["seeds"][0]
    told = (
        f"The first samples of each method, not chosen, from its first seed ({seed} unless that one failed); held-out rows first."
        if board.kind == "image"
        else "Samples of each method (dots) over held-out rows (rings), on the first two principal axes of the held-out rows."
    )
    return Section("Samples", "samples", join(paragraph(told, "note"), columns(*shown, kind="many small")))


def _grids(board: Board) -> list[Markup]:
    return [
        join(heading(_title(name)), figure(_picture(board.pictures[name], f"Pictures: {name}")))
        for name in _picture_order(board)
    ]


def _picture_order(board: Board) -> list[str]:
    """Held-out rows, then the methods by their places."""
    others = [name for name in board.pictures if name not in {s.label for s in board.standings}]
    return [*others, *(s.label for s in board.standings if s.label in board.pictures)]


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]


def _picture(content: bytes, alt: str) -> Markup:
    from PIL import Image

    width, height = Image.open(io.BytesIO(content)).size
    source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return Markup('<img src="{}" alt="{}" width="{}" height="{}">').format(source, alt, width, height)


def _planes(board: Board) -> list[Markup]:
    """A chart for every method, all of one scale; of a single column its histogram."""
    clouds = {s.label: _cloud(board, s) for s in board.standings if s.seeds}
    real = np.array(board.reference.plane, dtype=float)
    if not len(real):
        return []
    if board.context["shape"] == [1]:
        return [histogram_pair(real[:, 0], points[:, 0], name) for name, points in clouds.items()]
    limits = plane_limits([real])
    return [scatter({"real": real, name: points}, name, limits=limits) for name, points in clouds.items()]


def _cloud(board: Board, standing: Standing) -> Any:
    first = next(r for r in board.results if r.label == standing.label and not r.failed)
    return np.array(first.plane, dtype=float).reshape(-1, 2)


# ---------------------------------------------------------------------- everything else


def _all_numbers(board: Board) -> Section | None:
    """Every number of every method."""
    done = [s for s in board.standings if s.seeds]
    if not done:
        return None
    names = dict.fromkeys(name for s in done for name in s.numbers)
    every: list[dict[str, Spread]] = [s.numbers for s in done]
    rows = [
        [title_of(name), *(_cell(numbers.get(name)) for numbers in (*every, board.reference_numbers))] for name in names
    ]
    head = ["Number", *(s.label for s in done), "training rows"]
    return Section("All numbers", "all", join(table(head, rows, kind="board"), _meanings(names)))


def _meanings(names: Iterable[str]) -> Markup:
    """What the numbers say, and what is good."""
    item = Markup('<p class="note"><b>{}</b>: {}</p>')
    told = [item.format(MEASURES[name].title, _caption(name)) for name in names if name in MEASURES]
    return join(heading("What they say"), columns(*told, kind="two texts"))


def _cell(found: Spread | None) -> str | Markup:
    if found is None or found.low == found.high:
        return "–" if found is None else number(found.mean)
    return _two_lines(f"{number(found.mean)} ({number(found.low)} to {number(found.high)})")


def _notes(board: Board) -> Section | None:
    """Failures, warnings of the fits, and numbers that were refused."""
    parts: list[Markup] = []
    for s in board.standings:
        told = [f"Failed: {reason}" for reason in s.failed] + [f"Warning: {text}" for text in s.warnings]
        if told:
            parts += [heading(s.label), *(paragraph(text, "note") for text in told)]
    refused = _unmeasured(board)
    if refused:
        parts += [heading("Not measured"), *(paragraph(text, "note") for text in refused)]
    return Section("Notes", "notes", join(*parts)) if parts else None


def _unmeasured(board: Board) -> list[str]:
    """Numbers that nobody got, with the reason; equal reasons together."""
    done = [result for result in board.results if not result.failed]
    by_reason: dict[str, list[str]] = {}
    for name, reason in (done[0].unmeasured if done else {}).items():
        if all(name in result.unmeasured for result in done):
            by_reason.setdefault(reason.rstrip("."), []).append(title_of(name))
    return [f"{', '.join(names)}: {reason}." for reason, names in by_reason.items()]


def _method(board: Board) -> Section:
    """How all of it was measured."""
    context = board.context
    memory = "whole process, Python and torch included" if context["machine"].startswith("CPU") else "GPU"
    features = f"Features {context['features']['name']}: {context['features']['told']}."
    notes = [f"{note[:1].upper()}{note[1:]}." for note in context["notes"]]
    told = [SPLIT, *notes, features, COSTS.format(memory=memory)]
    methods = definitions({label: _parameters(given) for label, given in context["methods"].items()})
    return Section(
        "How it was measured", "how", join(*(paragraph(text) for text in told), heading("Parameters"), methods)
    )


def _parameters(given: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in given.items()) or "no parameters"
