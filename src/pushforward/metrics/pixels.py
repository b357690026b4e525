"""How far apart the mean images lie."""

from __future__ import annotations

import math

from torch import Tensor

from pushforward.metrics.measurement import Measurement, normal_interval
from pushforward.metrics.pairs import squared_discrepancy
from pushforward.metrics.rows import FeatureMap, comparable, feature_name, feature_rows


def mean_pixel_distance(x: Tensor, y: Tensor, *, features: FeatureMap | None = None) -> Measurement:
    """Distance between the mean image of ``x`` and that of ``y``: root mean square over pixels and channels, in data units.

    The literature uses the name without a formula. This one pairs no images, so it cannot reward copies of paired training
    images; it sees the mean alone, not sharpness or variety. The squared distance is estimated without bias (the noise of both
    means is taken off), negative estimates count as 0, and the interval is the root of the squared distance's normal one.

    Args:
        x: ``[n, *event_shape]``, n at least 20.
        y: ``[m, *event_shape]``, m at least 20.
        features: Map applied to both; none by default.

    Raises:
        ValueError: For too few rows.
    """
    a, b = comparable(feature_rows(v, features, name=name, least=20) for v, name in ((x, "x"), (y, "y")))
    centre = b.mean(dim=0)
    square, error = squared_discrepancy(a - centre, b - centre, _mean_product)
    value, low, high = (math.sqrt(max(0.0, v)) for v in (square, *normal_interval(square, error)))
    note = "root mean square over pixels of the difference of mean images"
    return Measurement(value, low, high, min(len(a), len(b)), feature_name(features), note)


def _mean_product(x: Tensor, y: Tensor) -> Tensor:
    return x @ y.T / x.shape[1]
