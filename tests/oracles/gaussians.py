"""Gaussians: the squared 2-Wasserstein distance in closed form (Dowson and Landau 1982)."""

from __future__ import annotations

import torch
from torch import Tensor


def random_covariance(d: int, generator: torch.Generator) -> Tensor:
    """A well-conditioned covariance ``[d, d]``, float64."""
    root = torch.randn(d, 2 * d, generator=generator, dtype=torch.float64)
    return root @ root.T / (2 * d) + 0.1 * torch.eye(d, dtype=torch.float64)


def gaussian_w2_squared(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) for N(m_a, A) and N(m_b, B), covariances ``[d, d]``."""
    root = _square_root(cov_a)
    cross = _square_root(root @ cov_b @ root)
    return float((mean_a - mean_b).square().sum() + torch.trace(cov_a + cov_b - 2 * cross))


def _square_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
