"""The exact Wasserstein-2 distance between samples, and its ratio to what real data give."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.metrics.measurement import Measurement, bootstrap_replicates, fixed_generator, percentile_interval
from pushforward.metrics.rows import FeatureMap, feature_name, feature_rows, take


def wasserstein2(x: Tensor, y: Tensor, *, features: FeatureMap | None = None) -> float:
    """Squared Wasserstein-2 distance between two samples of equal size, by optimal assignment.

    It is the distance of the two samples, not of their laws: in ``d`` dimensions the former exceeds the latter by an amount
    that falls only like ``n^(-2/d)``. Compare it at equal ``n``, or use `wasserstein_ratio`.

    Args:
        x: ``[n, *event_shape]``.
        y: ``[n, *event_shape]``.
        features: Map applied to both; none by default.

    Raises:
        ValueError: Where the sizes differ or a value is not finite.
    """
    a, b = (feature_rows(v, features, name=name, least=1) for v, name in ((x, "x"), (y, "y")))
    return float(_pair_costs(a, b).mean())


def wasserstein_ratio(
    samples: Tensor,
    train: Tensor,
    held: Tensor,
    *,
    features: FeatureMap | None = None,
    generator: torch.Generator | None = None,
) -> Measurement:
    """W2^2(samples, held-out) over W2^2(training subset, held-out), all of the same size.

    1: the samples are as near to unseen data as the training data are. Smooth samples can fall below 1 (a sample of means
    is nearer to everything), so read it together with recall.

    Args:
        samples: ``[n, *event_shape]``.
        train: ``[n, *event_shape]``.
        held: ``[n, *event_shape]``; sizes may differ, the smallest is used.
        features: Map applied to all; none by default.
        generator: Chooses the subsets, on the CPU; a fixed one by default.

    Raises:
        ValueError: For fewer than 10 rows anywhere, or training and held-out rows that coincide.
    """
    generator = generator or fixed_generator()
    named = ((samples, "samples"), (train, "train"), (held, "held"))
    n = min(len(x) for x, _ in named)
    drawn, real, unseen = (feature_rows(take(x, n, generator), features, name=name, least=10) for x, name in named)
    costs, reference = _pair_costs(drawn, unseen), _pair_costs(real, unseen)
    if float(reference.mean()) == 0:
        raise ValueError("train and held: they are the same rows; give held-out rows that were not trained on")
    replicates = bootstrap_replicates(costs, generator=generator) / bootstrap_replicates(reference, generator=generator)
    value = float(costs.mean() / reference.mean())
    return Measurement(value, *percentile_interval(replicates), n, feature_name(features), "interval from pair costs")


def _pair_costs(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances of the optimal pairs, ``[n]`` in float64."""
    from pushforward.solvers.assignment import assign

    pairing = assign(x, y).permutation.to(y.device)
    return (x.double() - y[pairing].double()).square().sum(dim=1)
