"""Divergence between Gaussian laws of one mean."""

from __future__ import annotations

import torch
from torch import Tensor


def same_mean_divergence(factor: Tensor, other: Tensor) -> Tensor:
    """Kullback-Leibler divergence ``KL(N(m, L L') || N(m, M M'))``: ``(tr(C^-1 S) - d + log det C - log det S) / 2``.

    Args:
        factor: lower triangular ``L`` ``[n, d, d]`` with positive diagonal, ``S = L L'``.
        other: lower triangular ``M`` ``[n, d, d]`` with positive diagonal, ``C = M M'``.

    Returns:
        ``[n]``, in nats.
    """
    ratio: Tensor = torch.linalg.solve_triangular(other, factor, upper=False)
    trace = ratio.square().sum((1, 2)) - factor.shape[-1]
    return 0.5 * trace - ratio.diagonal(dim1=1, dim2=2).log().sum(1)
