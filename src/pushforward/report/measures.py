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
        if self.low is None or self.high is None or not math.isfinite(self.low + self.high):
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
    judge: Callable[[float], Verdict] = lambda value: UNKNOWN

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
    "frechet": Measure(
        "Fréchet distance",
        "Squared Wasserstein-2 distance of the Gaussians with the means and covariances of the features; with Inception "
        "features this is the FID.",
        "near what the note says equal laws would give; it falls with n, so compare at equal n and equal features",
    ),
    "frechet_infinite": Measure(
        "Fréchet distance, n to infinity",
        "The same, extrapolated to endless samples, so that values at different n compare.",
        "0 inside the interval",
    ),
    "kid": Measure(
        "KID",
        "Squared maximum mean discrepancy of the features with a cubic kernel, without bias.",
        "0 inside the interval; it can be slightly negative",
    ),
    "density": Measure(
        "Density",
        "How crowded the data are where samples lie: near 1 where they lie as data do, far below 1 off the data.",
        "about 1",
    ),
    "coverage": Measure(
        "Coverage",
        "Share of the held-out rows that have a sample nearby.",
        "near what the note says equal laws would give",
    ),
    "mmd": Measure(
        "MMD",
        "Squared maximum mean discrepancy of the features with a Gaussian kernel, without bias.",
        "0 inside the interval; it can be slightly negative",
    ),
    "mmd_p": Measure(
        "MMD, permutation test",
        "Chance of a discrepancy as large as this if samples and held-out rows had one law.",
        "not small; with many rows it is small for every model that is not perfect",
    ),
    "c2st_auc": Measure(
        "Classifier two-sample test",
        "How well a classifier tells samples from held-out rows, on rows that it was not trained on: area under the ROC curve.",
        "0.5: it cannot; 1: it always can",
    ),
    "c2st_p": Measure(
        "Classifier two-sample test, p-value",
        "Chance of an area as far above 0.5 as this if samples and held-out rows had one law.",
        "not small; with many rows it is small for every model that is not perfect",
    ),
    "energy": Measure(
        "Energy distance",
        "Squared energy distance of the encoded rows, without bias.",
        "0 inside the interval; it can be slightly negative",
    ),
    "sliced_w2": Measure(
        "Sliced Wasserstein",
        "Squared Wasserstein-2 distance of projections onto random directions, on average, without bias.",
        "0 inside the interval; it can be slightly negative",
    ),
    "max_sliced_w2": Measure(
        "Max-sliced Wasserstein",
        "The same along the direction where it is largest.",
        "0 inside the interval; it can be slightly negative",
    ),
    "pixel_distance": Measure(
        "Mean pixel distance",
        "Root mean square difference of the mean picture of the samples and that of the held-out pictures.",
        "0 inside the interval; it sees neither sharpness nor variety",
    ),
    "psnr": Measure(
        "PSNR of reconstructions",
        "Peak signal-to-noise ratio of held-out pictures against what the model makes of their codes, in dB.",
        "high; it says how much of unseen pictures the model can make, not whether its samples are right",
    ),
    "ssim": Measure(
        "SSIM of reconstructions",
        "Structural similarity of held-out pictures to what the model makes of their codes.",
        "near 1; it says how much of unseen pictures the model can make, not whether its samples are right",
    ),
    "ms_ssim": Measure(
        "MS-SSIM of reconstructions",
        "The same over five scales.",
        "near 1; it says how much of unseen pictures the model can make, not whether its samples are right",
    ),
    "column_shapes": Measure(
        "Column shapes",
        "Similarity of each column's law, on average: 1 minus the Kolmogorov-Smirnov or the total variation distance.",
        "near what the note says two sets of one law score",
    ),
    "pair_trends": Measure(
        "Pair trends",
        "Similarity of the dependence between two columns, on average over all pairs.",
        "near what the note says two sets of one law score",
    ),
    "missing_patterns": Measure(
        "Missing values",
        "Similarity of the laws of which columns are missing together.",
        "near what the note says two sets of one law score",
    ),
    "detection_linear": Measure(
        "Detection, logistic regression",
        "How well logistic regression tells samples from held-out rows: area under the ROC curve.",
        "0.5: it cannot; 1: it always can",
    ),
    "detection_forest": Measure(
        "Detection, random forest",
        "How well a random forest tells samples from held-out rows: area under the ROC curve.",
        "0.5: it cannot; 1: it always can",
    ),
    "tstr_linear": Measure(
        "Trained on samples, linear",
        "How well a linear model that was trained on samples predicts the target of held-out rows.",
        "as high as the same trained on real rows",
    ),
    "trtr_linear": Measure(
        "Trained on real rows, linear",
        "How well a linear model that was trained on as many training rows predicts the target of held-out rows.",
        "what the line above should reach",
    ),
    "tstr_forest": Measure(
        "Trained on samples, forest",
        "How well a random forest that was trained on samples predicts the target of held-out rows.",
        "as high as the same trained on real rows",
    ),
    "trtr_forest": Measure(
        "Trained on real rows, forest",
        "How well a random forest that was trained on as many training rows predicts the target of held-out rows.",
        "what the line above should reach",
    ),
    "tstr_gap": Measure(
        "Trained on samples minus on real rows",
        "The difference of the two scores of the random forest.",
        "0 inside the interval",
    ),
    "record_nearer": Measure(
        "Nearer to training records",
        "Share of the samples that lie nearer to a training row than to a held-out row.",
        "near what the note says is expected of fresh rows; above it samples lie close to training rows",
    ),
    "record_distance": Measure(
        "Distance to the nearest record",
        "Median distance from a sample to the nearest training row.",
        "as large as that of held-out rows",
    ),
    "held_record_distance": Measure(
        "The same of held-out rows",
        "Median distance from a held-out row to the nearest training row.",
        "what the line above should be",
    ),
    "record_copies": Measure(
        "Exact copies",
        "Share of the samples that equal a training row in every column.",
        "not above that of held-out rows",
    ),
    "held_record_copies": Measure(
        "Exact copies among held-out rows",
        "Share of the held-out rows that equal a training row in every column.",
        "what the line above should be",
    ),
}


def row_count(numbers: Mapping[str, object]) -> int | None:
    """How many rows the numbers were measured on, where they say so (the key ``n``)."""
    found = reading(numbers.get("n"))
    return int(found.value) if found is not None else None
