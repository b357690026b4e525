"""Metrics: pure functions of tensors ``[n, *event_shape]`` that know nothing about the method that made the samples.

A number with sampling uncertainty comes as a `Measurement`: value, 95 % interval, number of rows, the features it was
computed on, and a note. A metric refuses (ValueError) where there are too few rows for the number to mean anything. The
default features are the values themselves; pass ``features=`` any map from rows to vectors, see `metrics.features`.
"""

from __future__ import annotations

from pushforward.metrics.features import Classifier, PCAFeatures, train_classifier
from pushforward.metrics.frechet import frechet_distance, frechet_floor, frechet_from_moments
from pushforward.metrics.held_out import held_out_report
from pushforward.metrics.kernel import energy_distance, kid
from pushforward.metrics.manifold import PrecisionRecall, precision_recall
from pushforward.metrics.measurement import Measurement, bootstrap_interval
from pushforward.metrics.memorisation import RankTest, memorisation, nearest_ratio
from pushforward.metrics.wasserstein import wasserstein2, wasserstein_ratio

__all__ = [
    "Classifier",
    "Measurement",
    "PCAFeatures",
    "PrecisionRecall",
    "RankTest",
    "bootstrap_interval",
    "energy_distance",
    "frechet_distance",
    "frechet_floor",
    "frechet_from_moments",
    "held_out_report",
    "kid",
    "memorisation",
    "nearest_ratio",
    "precision_recall",
    "train_classifier",
    "wasserstein2",
    "wasserstein_ratio",
]
