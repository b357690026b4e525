"""What a comparison says while it runs: how long it will take, what came out, what is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pushforward.compare.ranking import copied, measured_criteria
from pushforward.compare.results import Result
from pushforward.report.evaluated import title_of
from pushforward.report.numbers import duration, number

if TYPE_CHECKING:
    from pushforward.compare.course import Comparison
    from pushforward.compare.forecast import Forecast


def plan(comparison: Comparison) -> str:
    """The first line: what is to be done."""
    rows, fits = comparison.rows, len(comparison.left())
    again = f", {len(comparison.done)} done already" if comparison.done else ""
    return (
        f"{len(comparison.entrants)} methods, {len(comparison.seeds)} seeds, {comparison.budget} each on {rows.train.name}: "
        f"{len(rows.train):,} rows to train on, {len(rows.held):,} held out; {fits} fits{again}. Measuring what a fit takes "
        "beyond its budget ..."
    )


def announcement(comparison: Comparison, forecast: Forecast) -> str:
    """The second line: how long it takes, and until when."""
    seconds = forecast.of_all(entrant.label for entrant, _ in comparison.left())
    if seconds is None:
        return (
            f"{len(comparison.left())} fits of {comparison.budget}; how long they take is known after the first ones."
        )
    until = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    return f"{len(comparison.left())} fits will take about {duration(seconds)}, until {until} (Ctrl-C stops, and keeps what is done)."


def left(comparison: Comparison, forecast: Forecast) -> str:
    """How long the rest takes."""
    fits = [entrant.label for entrant, _ in comparison.left()]
    seconds = forecast.of_all(fits)
    return f"{duration(seconds)} left" if seconds is not None else f"{len(fits)} fits left"


def summary(result: Result, kind: str) -> str:
    """A fit in a few words."""
    if result.failed:
        return f"failed: {result.failed}"
    names = measured_criteria(result.metrics, kind)
    told = [f"{title_of(name)} {number(result.metrics[name].value)}" for name in names]
    return ", ".join([*told, *(["samples lie too near training rows"] if copied(result.metrics) else [])])
