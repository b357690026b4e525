"""What the held-out numbers mean, in words that claim no more than the numbers show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pushforward.report.numbers import number

Verdict = tuple[str, str]  # tone ("good", "fair", "poor", "plain") and words
UNKNOWN: Verdict = ("plain", "no verdict")
FEW_ROWS = 100  # numbers measured on fewer rows are too rough to praise a model for


@dataclass(frozen=True)
class Reading:
    """One number with what is known about it."""

    value: float
    low: float | None = None  # of the confidence interval
    high: float | None = None
    n: int | None = None  # rows it was measured on

    def text(self) -> str:
        """The value with its interval, where it has one."""
        if self.low is None or self.high is None:
            return number(self.value)
        return f"{number(self.value)} ({number(self.low)} to {number(self.high)})"


def reading(raw: object) -> Reading | None:
    """Read a plain number, a dict or an object with ``value`` and perhaps ``low``, ``high``, ``n``; None for anything else."""
    if isinstance(raw, bool):
        return None
    if hasattr(raw, "__float__"):
        return Reading(float(raw))
    parts = raw if isinstance(raw, Mapping) else {key: getattr(raw, key, None) for key in ("value", "low", "high", "n")}
    found = {key: _float(parts.get(key)) for key in ("value", "low", "high", "n")}
    if found["value"] is None:
        return None
    rows = int(found["n"]) if found["n"] is not None else None
    return Reading(found["value"], found["low"], found["high"], rows)


def read_all(numbers: Mapping[str, object]) -> dict[str, Reading]:
    """What can be read of held-out numbers, the row count left out."""
    found = {key: reading(raw) for key, raw in numbers.items() if key != "n"}
    return {key: result for key, result in found.items() if result is not None}


def _float(raw: object) -> float | None:
    return float(raw) if hasattr(raw, "__float__") else None


@dataclass(frozen=True)
class Measure:
    """How to show and judge one number."""

    title: str
    meaning: str
    good: str
    judge: Callable[[float], Verdict]

    def verdict(self, found: Reading, rows: int | None = None) -> Verdict:
        """The verdict on a reading: none where it is not finite, no praise where it was measured on few ``rows``."""
        tone, told = self.judge(found.value) if math.isfinite(found.value) else UNKNOWN
        if tone == "good" and rows is not None and rows < FEW_ROWS:
            return "plain", f"{told}, as far as {rows} rows can tell"
        return tone, told


def steps(*limits: tuple[float, Verdict], above: Verdict) -> Callable[[float], Verdict]:
    """A judge: the verdict of the first limit that the value lies below, ``above`` beyond the last one."""

    def judge(value: float) -> Verdict:
        return next((verdict for limit, verdict in limits if value < limit), above)

    return judge


MEASURES: dict[str, Measure] = {
    "w2_ratio": Measure(
        "W2 ratio",
        "Squared Wasserstein-2 distance from samples to held-out rows, over that from as many training rows.",
        "about 1: as near to held-out data as the training data are; blurred samples can fall below",
        steps(
            (0.9, ("fair", "below 1, often a sign of smooth samples; read it together with recall")),
            (1.15, ("good", "about as near to held-out data as the training data are")),
            (1.6, ("fair", "somewhat farther from held-out data than the training data are")),
            above=("poor", "clearly farther from held-out data than the training data are"),
        ),
    ),
    "recall": Measure(
        "Recall",
        "Share of the held-out rows that lie where samples lie: how much of the variety is covered.",
        "near 1; real rows against real rows usually give 0.9 or more",
        steps(
            (0.5, ("poor", "much of the variety is missing")),
            (0.8, ("fair", "a part of the variety is missing")),
            above=("good", "most of the variety is covered"),
        ),
    ),
    "precision": Measure(
        "Precision",
        "Share of the samples that lie where held-out data lie.",
        "near 1; real rows against real rows usually give 0.9 or more",
        steps(
            (0.5, ("poor", "many samples lie off the data")),
            (0.8, ("fair", "a part of the samples lies off the data")),
            above=("good", "most samples lie where data lie"),
        ),
    ),
    "nearest_ratio": Measure(
        "Nearest-to-train ratio",
        "Median distance from a sample to its nearest training row, over that from a held-out row.",
        "about 1; well below 1 samples are copies, or very smooth",
        steps(
            (0.5, ("poor", "samples lie very near training rows: look for copies below")),
            (0.8, ("fair", "samples lie nearer to training rows than held-out data do: look below")),
            (1.3, ("good", "typical samples are no copies")),
            above=("fair", "typical samples are no copies, but lie off the data"),
        ),
    ),
    "nearest_ratio_5": Measure(
        "Nearest-to-train ratio, closest 5 %",
        "The same for the closest twentieth of the samples and of the held-out rows.",
        "about 1; well below 1 some samples are copies",
        steps(
            (0.5, ("poor", "some samples lie very near training rows: look for copies below")),
            (0.8, ("fair", "some samples lie nearer to training rows than held-out data do")),
            above=("good", "no sign of copies among the closest samples"),
        ),
    ),
    "memorisation_p": Measure(
        "Copying test",
        "Chance of samples lying this near to training rows if they were no nearer than held-out rows.",
        "not tiny; smooth samples can make it tiny too, so read it with the ratios above",
        steps(
            (1e-3, ("fair", "samples do lie nearer to training rows than held-out data")),
            (0.05, ("plain", "weak evidence that samples lie nearer to training rows")),
            above=("good", "no evidence of copying"),
        ),
    ),
}


def row_count(numbers: Mapping[str, object]) -> int | None:
    """How many rows the numbers were measured on, where they say so (the key ``n``)."""
    found = reading(numbers.get("n"))
    return int(found.value) if found is not None else None
