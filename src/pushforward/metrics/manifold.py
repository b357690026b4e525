"""Precision and recall from nearest-neighbour balls: are the samples real-looking, and is the variety covered?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.metrics.measurement import Measurement, share
from pushforward.metrics.rows import FeatureMap, feature_name, feature_rows, neighbour_radius, squared_distances


class PrecisionRecall(NamedTuple):
    """Precision: share of the samples where data lie. Recall: share of the data where samples lie."""

    precision: Measurement
    recall: Measurement


def precision_recall(
    samples: Tensor, reference: Tensor, k: int = 5, *, features: FeatureMap | None = None
) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2).

    A set's territory is the union of balls around its rows that reach to the ``k``-th nearest other row of the set. Both
    numbers depend on the sizes: compare at equal n and m. The intervals are Wilson's, for the balls as they are.

    Args:
        samples: ``[n, *event_shape]``.
        reference: ``[m, *event_shape]``, held-out data for an honest answer.
        k: Neighbour that sets the radius.
        features: Map applied to both; none by default.

    Raises:
        ValueError: Where a side has no more than ``k`` rows.
    """
    if k < 1:
        raise ValueError(f"k={k} must be at least 1")
    named = ((samples, "samples"), (reference, "reference"))
    drawn, real = (feature_rows(v, features, name=name, least=k + 1) for v, name in named)
    name, note = feature_name(features), f"k={k}, {len(drawn)} samples and {len(real)} reference rows"
    inside, covered = _inside(drawn, real, k), _inside(real, drawn, k)
    return PrecisionRecall(share(inside, name, note), share(covered, name, note))


def _inside(points: Tensor, centres: Tensor, k: int) -> Tensor:
    """Whether each point lies in a ball around one of the centres, bool ``[n]``."""
    radius = neighbour_radius(centres, k)
    return torch.cat([(block <= radius).any(dim=1) for _, block in squared_distances(points, centres)])
