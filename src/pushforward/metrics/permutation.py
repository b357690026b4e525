"""Maximum mean discrepancy with a Gaussian kernel, and its permutation test."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.metrics.kernel import squared_differences
from pushforward.metrics.measurement import Measurement, fixed_generator, normal_interval
from pushforward.metrics.pairs import Kernel, squared_discrepancy
from pushforward.metrics.rows import FeatureMap, comparable, feature_name, feature_rows, take

_BANDWIDTH_ROWS = 2000
_CHUNK = 1024
_TIES = 32  # roundings of a kernel value by which equal discrepancies may differ


class PermutationTest(NamedTuple):
    """The squared discrepancy, and the chance of one as large if the laws were equal."""

    distance: Measurement
    p_value: float


def mmd_test(
    x: Tensor,
    y: Tensor,
    *,
    features: FeatureMap | None = None,
    n_permutations: int = 499,
    generator: torch.Generator | None = None,
) -> PermutationTest:
    """Unbiased squared maximum mean discrepancy with a Gaussian kernel, and its p-value by relabelling the rows.

    Gretton et al. 2012 (JMLR 13, Lemma 6 and section 5). The kernel is ``exp(-|u - v|^2 / (2 h^2))`` with ``h`` the median distance
    of pooled rows. The p-value, ``(1 + relabellings with as large a value) / (1 + relabellings)``, is exact: under equal laws it is
    below a level at most that often. All relabellings go through one matrix product for each chunk of kernel rows.

    Args:
        x: ``[n, *event_shape]``, n at least 20.
        y: ``[m, *event_shape]``, m at least 20.
        features: Map applied to both; none by default.
        n_permutations: Number of relabellings; the least p-value is one over one more.
        generator: Of the relabellings, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows, or where all rows are the same.
    """
    if n_permutations < 1:
        raise ValueError(f"n_permutations={n_permutations} must be at least 1")
    rng = generator or fixed_generator()
    a, b = comparable(feature_rows(v, features, name=name, least=20) for v, name in ((x, "x"), (y, "y")))
    pooled = torch.cat([a, b])
    pooled = pooled - pooled.mean(dim=0)
    bandwidth = _median_distance(pooled, rng)
    kernel = _gaussian(bandwidth)
    value, error = squared_discrepancy(pooled[: len(a)], pooled[len(a) :], kernel)
    values = _relabelled(pooled, len(a), kernel, n_permutations, rng)
    as_large = values[1:] >= values[0] - _TIES * torch.finfo(pooled.dtype).eps
    p_value = float(1 + as_large.sum()) / (1 + n_permutations)
    note = f"Gaussian kernel, bandwidth {bandwidth:.3g}, {n_permutations} permutations"
    interval = normal_interval(value, error)
    return PermutationTest(Measurement(value, *interval, min(len(a), len(b)), feature_name(features), note), p_value)


def _median_distance(rows: Tensor, rng: torch.Generator) -> float:
    """Median distance of two rows; of the rows that differ, where most are the same."""
    some = take(rows, _BANDWIDTH_ROWS, rng)
    first, second = torch.triu_indices(len(some), len(some), 1, device=rows.device)
    distances = squared_differences(some, some).sqrt_()[first, second]
    away = distances[distances > 1e-3 * distances.max()]
    if len(away) == 0:
        raise ValueError("x and y: all rows are the same; there is nothing to compare")
    median = float(distances.median())
    return median if median > 1e-3 * float(distances.max()) else float(away.median())


def _gaussian(bandwidth: float) -> Kernel:
    return lambda x, y: squared_differences(x, y).mul_(-1 / (2 * bandwidth**2)).exp_()


def _relabelled(rows: Tensor, n: int, kernel: Kernel, n_permutations: int, rng: torch.Generator) -> Tensor:
    """Unbiased discrepancies with the given labels first, then with random ones: ``[1 + n_permutations]``."""
    total = len(rows)
    order = torch.rand(n_permutations, total, generator=rng).argsort(dim=1)
    order = torch.cat([torch.arange(total)[None], order]).to(rows.device)
    ours = (order < n).to(rows.dtype).T  # [total, 1 + n_permutations]
    within, reach = (torch.zeros(ours.shape[1], dtype=torch.float64, device=rows.device) for _ in range(2))
    everything = 0.0
    for start in range(0, total, _CHUNK):
        block = kernel(rows[start : start + _CHUNK], rows)
        sums, part = block.sum(dim=1), ours[start : start + _CHUNK]
        within += ((block @ ours) * part).sum(dim=0, dtype=torch.float64)
        reach += (sums @ part).double()
        everything += float(sums.sum(dtype=torch.float64))
    return _discrepancies(within, reach, everything, n, total - n)


def _discrepancies(within: Tensor, reach: Tensor, everything: float, n: int, m: int) -> Tensor:
    """From kernel sums inside the first group, from it to all rows, and over all pairs; the diagonal is 1."""
    across = reach - within
    others = everything - within - 2 * across
    return (within - n) / (n * (n - 1)) + (others - m) / (m * (m - 1)) - 2 * across / (n * m)
