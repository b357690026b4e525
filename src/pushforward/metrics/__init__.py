"""Metrics: pure functions of tensors ``[n, *event_shape]`` that know nothing about the method that made the samples.

A number with sampling uncertainty comes as a `Measurement`: value, 95 % interval, number of rows, the features it was
computed on, and a note. A metric refuses (ValueError) where there are too few rows for the number to mean anything. The
default features are the values themselves; pass ``features=`` any map from rows to vectors, see `metrics.features`.

Metrics of tables take DataFrames with the same columns; metrics of pictures take pairs ``[n, c, h, w]``.

A file is read when something of it is first asked for, so that importing the library stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pushforward.metrics.copying import RankTest, memorisation, nearest_ratio
    from pushforward.metrics.detection import ClassifierTest, classifier_test
    from pushforward.metrics.features import Classifier, PCAFeatures, train_classifier
    from pushforward.metrics.frechet import frechet_distance, frechet_floor, frechet_from_moments, frechet_infinite
    from pushforward.metrics.gromov import gromov_wasserstein
    from pushforward.metrics.held_out import held_out_report
    from pushforward.metrics.kernel import energy_distance, kid
    from pushforward.metrics.manifold import DensityCoverage, PrecisionRecall, density_coverage, precision_recall
    from pushforward.metrics.measurement import Measurement, bootstrap_interval
    from pushforward.metrics.monotone_pairs import RayPairs, ray_pairs
    from pushforward.metrics.permutation import PermutationTest, mmd_test
    from pushforward.metrics.pictures import ms_ssim, perceptual_distance, psnr, ssim
    from pushforward.metrics.pixels import mean_pixel_distance
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
    from pushforward.metrics.w1_board import W1Board, W1Score, w1_benchmark
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

FILES = {
    "Classifier": "features",
    "ClassifierTest": "detection",
    "ColumnShapes": "table_shapes",
    "DensityCoverage": "manifold",
    "HomologyMatch": "topology",
    "Lifetimes": "topology",
    "Measurement": "measurement",
    "MissingValues": "table_shapes",
    "NearestRecords": "table_records",
    "PCAFeatures": "features",
    "PairTrends": "table_pairs",
    "PermutationTest": "permutation",
    "PrecisionRecall": "manifold",
    "RankTest": "copying",
    "RayPairs": "monotone_pairs",
    "TableDetection": "table_utility",
    "TableQuality": "table_pairs",
    "TableUtility": "table_utility",
    "Transfer": "table_utility",
    "W1Board": "w1_board",
    "W1Score": "w1_board",
    "bootstrap_interval": "measurement",
    "classifier_test": "detection",
    "column_shapes": "table_shapes",
    "density_coverage": "manifold",
    "detection_auc": "table_utility",
    "energy_distance": "kernel",
    "frechet_distance": "frechet",
    "frechet_floor": "frechet",
    "frechet_from_moments": "frechet",
    "frechet_infinite": "frechet",
    "gromov_wasserstein": "gromov",
    "held_out_report": "held_out",
    "homology_match": "topology",
    "kid": "kernel",
    "lifetimes": "topology",
    "max_sliced_wasserstein": "sliced",
    "mean_pixel_distance": "pixels",
    "memorisation": "copying",
    "missing_values": "table_shapes",
    "mmd_test": "permutation",
    "ms_ssim": "pictures",
    "nearest_ratio": "copying",
    "nearest_records": "table_records",
    "pair_trends": "table_pairs",
    "perceptual_distance": "pictures",
    "precision_recall": "manifold",
    "psnr": "pictures",
    "ray_pairs": "monotone_pairs",
    "sliced_wasserstein": "sliced",
    "ssim": "pictures",
    "stretch_ratio": "topology",
    "table_quality": "table_pairs",
    "train_classifier": "features",
    "train_synthetic_test_real": "table_utility",
    "w1_benchmark": "w1_board",
    "wasserstein2": "wasserstein",
    "wasserstein_ratio": "wasserstein",
}


def __getattr__(name: str) -> Any:
    """The metric, or the file, of that name. No file bears the name of a metric: reading it would hide the metric."""
    if name in FILES:
        return getattr(import_module(f"{__name__}.{FILES[name]}"), name)
    if name in FILES.values():
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
