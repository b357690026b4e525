"""Values that many rows share: a density needs them spread out."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.solvers.ranks import sort_values

_SHARE = 0.01  # of the rows that have the same value makes the value an atom
_LEAST, _MOST = 0.05, 0.5  # width of the noise
_SINGULAR, _NOISE = 1e-6, 0.01


def spread_atoms(x: Tensor, *, generator: torch.Generator) -> Tensor:
    """Rows ``[n, d]`` of variance 1 with noise in every column where a value is met in 1 % of the rows (and at least three).

    The noise is uniform over the smallest distance of two values in the column, so that whole numbers are still told apart by
    rounding, but at least 0.05 and at most 0.5 wide. Where columns depend linearly on each other (and there are more rows than
    columns) all columns get Gaussian noise of standard deviation 0.01: a density needs a little width in every direction.
    """
    width = _widths(sort_values(x.mT))
    uniform = torch.rand(x.shape, generator=generator, device=x.device)
    x = x + (uniform - 0.5) * width
    if len(x) <= x.shape[1] or not _collinear(x):
        return x
    return x + _NOISE * torch.randn(x.shape, generator=generator, device=x.device)


def _collinear(x: Tensor) -> bool:
    """Whether the covariance of rows ``[n, d]`` has an eigenvalue below 1e-6: a Cholesky factor tells, in a fraction of the time."""
    covariance = torch.cov(x.mT.double()).reshape(x.shape[1], -1)
    covariance.diagonal().sub_(_SINGULAR)
    return bool(torch.linalg.cholesky_ex(covariance).info)


def _widths(sorted_values: Tensor) -> Tensor:
    """Width of the noise in each column ``[d]``, from sorted values ``[d, n]``; 0 where there are no atoms."""
    n = sorted_values.shape[1]
    copies = min(n, max(3, round(_SHARE * n)))
    atom = (sorted_values[:, copies - 1 :] == sorted_values[:, : n - copies + 1]).any(1)
    gaps = sorted_values.diff(dim=1)
    least = torch.where(gaps > 0, gaps, torch.inf).amin(1).clamp(_LEAST, _MOST)
    return torch.where(atom, least, 0.0)
