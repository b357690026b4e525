"""A number together with what is needed to trust it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Z95 = 1.959964  # two-sided 95 % quantile of the normal law
T95_NINE = 2.262157  # of Student's law with nine degrees of freedom: ten groups of rows


@dataclass(frozen=True)
class Measurement:
    """A measured number.

    Attributes:
        value: The estimate.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        n: Rows on the smaller side of the comparison.
        features: What the rows were turned into before measuring, "raw" for the values themselves.
        note: What a reader must know to use the number; empty where nothing.
    """

    value: float
    low: float
    high: float
    n: int
    features: str = "raw"
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g}; n={self.n}, {self.features} features)"
        return f"{text}; {self.note}" if self.note else text


def row_mean(values: Tensor) -> Tensor:
    """The mean over the last dimension: the default statistic of the bootstrap."""
    return values.mean(dim=-1)


def bootstrap_replicates(
    values: Tensor,
    statistic: Callable[[Tensor], Tensor] = row_mean,
    *,
    n_resamples: int = 500,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The statistic of resamples with replacement, ``[n_resamples]``.

    Args:
        values: ``[n]``.
        statistic: Carries ``[b, n]`` to ``[b]``.
        n_resamples: Number of resamples.
        generator: On the CPU; a fixed one by default, so that the same values give the same interval.
    """
    generator = generator or fixed_generator()
    n = len(values)
    chunk = max(1, 2**22 // n)
    parts = []
    for start in range(0, n_resamples, chunk):
        index = torch.randint(n, (min(chunk, n_resamples - start), n), generator=generator)
        parts.append(statistic(values[index.to(values.device)]))
    return torch.cat(parts)


def bootstrap_interval(
    values: Tensor,
    statistic: Callable[[Tensor], Tensor] = row_mean,
    *,
    level: float = 0.95,
    n_resamples: int = 500,
    generator: torch.Generator | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of independent values ``[n]``.

    Args:
        values: ``[n]``, n at least 2.
        statistic: Carries ``[b, n]`` to ``[b]``.
        level: Coverage, in (0, 1).
        n_resamples: Number of resamples.
        generator: On the CPU; a fixed one by default.

    Raises:
        ValueError: For fewer than two values or a level outside (0, 1).
    """
    if len(values) < 2:
        raise ValueError(f"values: {len(values)} are too few for an interval; give at least 2")
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie in (0, 1)")
    replicates = bootstrap_replicates(values, statistic, n_resamples=n_resamples, generator=generator)
    return percentile_interval(replicates, level)


def percentile_interval(replicates: Tensor, level: float = 0.95) -> tuple[float, float]:
    """The central part of bootstrap replicates ``[b]`` that holds the share ``level`` of them."""
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=replicates.device)
    low, high = torch.quantile(replicates.double(), tails).tolist()
    return low, high


def normal_interval(value: float, standard_error: float) -> tuple[float, float]:
    """95 % interval of an estimate with a normal error."""
    return value - Z95 * standard_error, value + Z95 * standard_error


def two_order_error(linear: float, pairs: float, inflation: float = 1.0) -> float:
    """Standard error of an estimate whose linear part vanishes where two laws are equal.

    There the plug-in variance of the linear part is not zero but about twice the variance of the quadratic part, because it is
    computed from the same noisy means; that excess is taken off before the two are added.

    Args:
        linear: Plug-in variance of the linear part.
        pairs: Variance of the quadratic part, of order ``1/n^2``.
        inflation: By how much correcting the bias has raised the variance of the quadratic part.
    """
    return math.sqrt(max(linear - 2 * pairs, 0.0) + inflation * pairs)


def wilson_interval(p: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share ``p`` of ``n`` independent rows."""
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n)) / (1 + Z95**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def share(hits: Tensor, features: str, note: str = "") -> Measurement:
    """The share of true values in ``hits`` ``[n]`` with Wilson's 95 % interval."""
    p = float(hits.double().mean())
    return Measurement(p, *wilson_interval(p, len(hits)), len(hits), features, note)


def fixed_generator(seed: int = 0) -> torch.Generator:
    """A CPU generator of its own: metrics are reproducible and leave the global generator alone."""
    return torch.Generator().manual_seed(seed)
