"""Does the model copy? Samples must not lie nearer to the training rows than unseen data do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.metrics.measurement import Measurement, bootstrap_replicates, fixed_generator, percentile_interval
from pushforward.metrics.rows import FeatureMap, comparable, feature_name, feature_rows, nearest


@dataclass(frozen=True)
class RankTest:
    """A one-sided rank test.

    Attributes:
        share: Probability that a sample lies nearer to its nearest training row than a held-out row does; 0.5 is right.
        p_value: Chance of a share as large as this if samples were no nearer than held-out rows.
        n: Rows on the smaller side.
    """

    share: float
    p_value: float
    n: int


def nearest_ratio(
    samples: Tensor,
    train: Tensor,
    held: Tensor,
    *,
    quantile: float = 0.5,
    features: FeatureMap | None = None,
    generator: torch.Generator | None = None,
) -> Measurement:
    """Distance from samples to their nearest training row over the same for held-out rows, at a quantile.

    1 is right at every quantile. Well below 1 at the median: copies, or very smooth samples. Well below 1 at the 5 %
    quantile: some samples are copies. Above 1: samples lie off the data. Use all training rows: a copy of a row that was
    left out is not seen.

    Args:
        samples: ``[n, *event_shape]``.
        train: ``[m, *event_shape]``.
        held: ``[l, *event_shape]``.
        quantile: Of the distances, in [0, 1].
        features: Map applied to all; none by default.
        generator: Of the bootstrap, on the CPU; a fixed one by default.

    Raises:
        ValueError: For fewer than ten rows, or held-out rows that sit on training rows (distance 0 at the quantile).
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile={quantile} must lie in [0, 1]")
    distances = _to_train(samples, train, held, features)
    return ratio_of_quantiles(*distances, quantile, feature_name(features), generator)


def memorisation(samples: Tensor, train: Tensor, held: Tensor, *, features: FeatureMap | None = None) -> RankTest:
    """Tests whether samples lie nearer to training rows than held-out rows do (Mann-Whitney, one-sided).

    This is the data-copying test of Meehan, Chaudhuri and Dasgupta 2020 (arXiv:2004.05675) on the whole space. Smooth samples
    also lie near training rows: a small p-value means copying only together with a small `nearest_ratio` at 5 %.

    Args:
        samples: ``[n, *event_shape]``.
        train: ``[m, *event_shape]``.
        held: ``[l, *event_shape]``.
        features: Map applied to all; none by default.

    Raises:
        ValueError: For fewer than ten rows.
    """
    return rank_test(*_to_train(samples, train, held, features))


def ratio_of_quantiles(
    ours: Tensor, theirs: Tensor, quantile: float, features: str, generator: torch.Generator | None = None
) -> Measurement:
    """Ratio of one quantile of two sets of distances ``[n]`` and ``[l]``, with a bootstrap interval."""
    generator = generator or fixed_generator()

    def statistic(values: Tensor) -> Tensor:
        return torch.quantile(values, quantile, dim=-1)

    top, bottom = (float(statistic(values)) for values in (ours, theirs))
    if bottom == 0:
        raise ValueError("held: at this quantile held-out rows equal training rows; remove the duplicates")
    tops, bottoms = (bootstrap_replicates(values, statistic, generator=generator) for values in (ours, theirs))
    interval = percentile_interval(tops / bottoms.clamp(min=torch.finfo(bottoms.dtype).tiny))
    note = f"{100 * quantile:g} % quantile of nearest-to-train distances"
    return Measurement(top / bottom, *interval, min(len(ours), len(theirs)), features, note)


def rank_test(ours: Tensor, theirs: Tensor) -> RankTest:
    """Mann-Whitney test that values ``ours`` ``[n]`` are smaller than ``theirs`` ``[l]``; normal law, ties corrected."""
    n, m = len(ours), len(theirs)
    ordered = theirs.sort().values
    above = m - torch.searchsorted(ordered, ours, right=True)
    ties = torch.searchsorted(ordered, ours, right=True) - torch.searchsorted(ordered, ours)
    wins = float(above.double().sum() + 0.5 * ties.double().sum())
    counts = torch.cat([ours, theirs]).unique(return_counts=True)[1].double()
    correction = float((counts**3 - counts).sum()) / ((n + m) * (n + m - 1))
    variance = n * m / 12 * (n + m + 1 - correction)
    z = (wins - n * m / 2 - 0.5) / math.sqrt(variance) if variance > 0 else 0.0
    return RankTest(wins / (n * m), 0.5 * math.erfc(z / math.sqrt(2)), min(n, m))


def _to_train(samples: Tensor, train: Tensor, held: Tensor, features: FeatureMap | None) -> tuple[Tensor, Tensor]:
    named = ((samples, "samples", 10), (train, "train", 1), (held, "held", 10))
    drawn, real, unseen = comparable(feature_rows(v, features, name=name, least=least) for v, name, least in named)
    return nearest(drawn, real), nearest(unseen, real)
