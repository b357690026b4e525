"""Metrics: pure functions of tensors ``[n, *event_shape]`` that know nothing about the method that made the samples.

A number with sampling uncertainty comes as a `Measurement`: value, 95 % interval, number of rows, the features it was
computed on, and a note. A metric refuses (ValueError) where there are too few rows for the number to mean anything. The
default features are the values themselves; pass ``features=`` any map from rows to vectors, see `metrics.features`.

Metrics of tables take DataFrames with the same columns; metrics of pictures take pairs ``[n, c, h, w]``.
"""

from __future__ import annotations

from pushforward.metrics.detection import ClassifierTest, classifier_test
from pushforward.metrics.features import Classifier, PCAFeatures, train_classifier
from pushforward.metrics.frechet import frechet_distance, frechet_floor, frechet_from_moments, frechet_infinite
from pushforward.metrics.gromov import gromov_wasserstein
from pushforward.metrics.held_out import held_out_report
from pushforward.metrics.kernel import energy_distance, kid
from pushforward.metrics.manifold import DensityCoverage, PrecisionRecall, density_coverage, precision_recall
from pushforward.metrics.measurement import Measurement, bootstrap_interval
from pushforward.metrics.memorisation import RankTest, memorisation, nearest_ratio
from pushforward.metrics.permutation import PermutationTest, mmd_test
from pushforward.metrics.pictures import ms_ssim, perceptual_distance, psnr, ssim
from pushforward.metrics.pixels import mean_pixel_distance
from pushforward.metrics.ray_pairs import RayPairs, ray_pairs
from pushforward.metrics.sliced import max_sliced_wasserstein, sliced_wasserstein
from pushforward.metrics.table_pairs import PairTrends, TableQuality, pair_trends, table_quality
from pushforward.metrics.table_records import NearestRecords, nearest_records
from pushforward.metrics.table_shapes import ColumnShapes, MissingValues, column_shapes, missing_values
from pushforward.metrics.table_utility import (
    TableDetection,
    TableUtility,
    Transfer,
    detection_auc,
    train_synthetic_test_real,
)
from pushforward.metrics.topology import HomologyMatch, Lifetimes, homology_match, lifetimes, stretch_ratio
from pushforward.metrics.w1_benchmark import W1Board, W1Score, w1_benchmark
from pushforward.metrics.wasserstein import wasserstein2, wasserstein_ratio

__all__ = [
    "Classifier",
    "ClassifierTest",
    "ColumnShapes",
    "DensityCoverage",
    "HomologyMatch",
    "Lifetimes",
    "Measurement",
    "MissingValues",
    "NearestRecords",
    "PCAFeatures",
    "PairTrends",
    "PermutationTest",
    "PrecisionRecall",
    "RankTest",
    "RayPairs",
    "TableDetection",
    "TableQuality",
    "TableUtility",
    "Transfer",
    "W1Board",
    "W1Score",
    "bootstrap_interval",
    "classifier_test",
    "column_shapes",
    "density_coverage",
    "detection_auc",
    "energy_distance",
    "frechet_distance",
    "frechet_floor",
    "frechet_from_moments",
    "frechet_infinite",
    "gromov_wasserstein",
    "held_out_report",
    "homology_match",
    "kid",
    "lifetimes",
    "max_sliced_wasserstein",
    "mean_pixel_distance",
    "memorisation",
    "missing_values",
    "mmd_test",
    "ms_ssim",
    "nearest_ratio",
    "nearest_records",
    "pair_trends",
    "perceptual_distance",
    "precision_recall",
    "psnr",
    "ray_pairs",
    "sliced_wasserstein",
    "ssim",
    "table_quality",
    "stretch_ratio",
    "train_classifier",
    "train_synthetic_test_real",
    "w1_benchmark",
    "wasserstein2",
    "wasserstein_ratio",
]
