"""The exact Wasserstein-2 distance between samples, and its ratio to what real data give."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.metrics.measurement import T95_NINE, Measurement, fixed_generator
from pushforward.metrics.rows import FeatureMap, comparable, feature_name, feature_rows, take

_GROUPS = 10
_LEAST = 20


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
    a, b = comparable(feature_rows(v, features, name=name, least=1) for v, name in ((x, "x"), (y, "y")))
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
    is nearer to everything), so read it together with recall. The interval is that of the ratio's logarithm by leaving out a
    tenth of all three sets in turn: ten times the work, but in few dimensions the errors of pairs are far from independent.

    Args:
        samples: ``[n, *event_shape]``.
        train: ``[n, *event_shape]``.
        held: ``[n, *event_shape]``; sizes may differ, the smallest is used.
        features: Map applied to all; none by default.
        generator: Chooses the subsets, on the CPU; a fixed one by default.

    Raises:
        ValueError: For fewer than 20 rows anywhere, or training and held-out rows that coincide.
    """
    rng = generator or fixed_generator()
    rows = _equal_rows(samples, train, held, features, rng)
    n = len(rows[0])
    value = cost_ratio(*rows)
    group = (torch.randperm(n, generator=rng) % _GROUPS).to(samples.device)
    logs = torch.tensor([cost_ratio(*(x[group != left_out] for x in rows)) for left_out in range(_GROUPS)])
    logs = logs.double().clamp(min=1e-300).log()  # samples that equal held-out rows: 0, without a spread
    factor = math.exp(T95_NINE * math.sqrt((_GROUPS - 1) * float(logs.var(correction=0))))
    return Measurement(
        value, value / factor, value * factor, n, feature_name(features), "interval from leaving out tenths"
    )


def cost_ratio(drawn: Tensor, real: Tensor, unseen: Tensor) -> float:
    """The ratio alone, of three sets of rows ``[n, d]``.

    Raises:
        ValueError: Where training and held-out rows coincide.
    """
    reference = float(_pair_costs(real, unseen).mean())
    if reference == 0:
        raise ValueError("train and held: they are the same rows; give held-out rows that were not trained on")
    return float(_pair_costs(drawn, unseen).mean()) / reference


def _equal_rows(
    samples: Tensor, train: Tensor, held: Tensor, features: FeatureMap | None, rng: torch.Generator
) -> tuple[Tensor, ...]:
    named = ((samples, "samples"), (train, "train"), (held, "held"))
    n = min(len(x) for x, _ in named)
    return comparable(feature_rows(take(x, n, rng), features, name=name, least=_LEAST) for x, name in named)


def _pair_costs(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances of the optimal pairs, ``[n]`` in float64."""
    from pushforward.solvers.assignment import assign

    pairing = assign(x, y).permutation.to(y.device)
    return (x.double() - y[pairing].double()).square().sum(dim=1)
