"""The numbers that every fit reports about itself."""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor

from pushforward.metrics.copying import rank_test, ratio_of_quantiles
from pushforward.metrics.manifold import precision_recall
from pushforward.metrics.measurement import fixed_generator
from pushforward.metrics.rows import comparable, feature_rows, nearest, take
from pushforward.metrics.wasserstein import cost_ratio

_LEAST = 20
_MOST = 2000
_SEARCH_WORK = 3e11  # multiplications spent on nearest training rows


def held_out_report(
    samples: Tensor, train: Tensor, held: Tensor, *, generator: torch.Generator | None = None
) -> dict[str, float]:
    """Compares fresh samples with held-out rows: quality, coverage and copying.

    Keys: ``w2_ratio`` (as in `wasserstein_ratio`), ``precision`` and ``recall`` against the held-out rows, ``nearest_ratio`` and
    ``nearest_ratio_5`` (median and 5 % quantile, against all training rows), ``memorisation_p``, and ``n``, the rows used.
    A number that does not exist, such as a ratio of distances that are all zero, is left out.

    Args:
        samples: ``[n, *event_shape]``, best as many as held-out rows.
        train: ``[m, *event_shape]``.
        held: ``[l, *event_shape]``; at most 2000 rows are used, fewer than 20 give an empty report.
        generator: Chooses subsets, on the CPU; a fixed one by default.
    """
    generator = generator or fixed_generator()
    n = min(len(samples), len(train), len(held), _MOST)
    if n < _LEAST:
        return {}
    named = ((samples, "samples"), (train, "train"), (held, "held"))
    drawn, real, unseen = comparable(feature_rows(x, None, name=name) for x, name in named)
    drawn, unseen = take(drawn, n, generator), take(unseen, n, generator)
    report = {"n": float(n)} | _quality(drawn, real, unseen, generator) | _copying(drawn, real, unseen, generator)
    return {name: value for name, value in report.items() if math.isfinite(value)}


def _quality(drawn: Tensor, real: Tensor, unseen: Tensor, generator: torch.Generator) -> dict[str, float]:
    precision, recall = precision_recall(drawn, unseen)
    numbers = {"precision": precision.value, "recall": recall.value}
    with contextlib.suppress(ValueError):  # where training and held-out rows coincide there is no ratio
        numbers["w2_ratio"] = cost_ratio(drawn, take(real, len(drawn), generator), unseen)
    return numbers


def _copying(drawn: Tensor, real: Tensor, unseen: Tensor, generator: torch.Generator) -> dict[str, float]:
    """Against all training rows; where that is too much work on fewer queries, since copies of left-out rows are missed."""
    queries = int(max(200, _SEARCH_WORK / (2 * real.numel())))
    ours, theirs = (nearest(take(x, queries, generator), real) for x in (drawn, unseen))
    numbers = {"memorisation_p": rank_test(ours, theirs).p_value}
    for name, quantile in (("nearest_ratio", 0.5), ("nearest_ratio_5", 0.05)):
        if float(torch.quantile(theirs, quantile)) > 0:
            numbers[name] = ratio_of_quantiles(ours, theirs, quantile, "raw").value
    return numbers
