"""Exact Wasserstein-1 between a cloud and a few atoms, with its potential and its plan, by linear programming."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import coo_matrix
from torch import Tensor, nn


@dataclass(frozen=True)
class Discrete:
    """W1 of equal weights on ``x`` and equal weights on ``atoms``."""

    w1: float
    plan: Tensor  # [n, m]
    lengths: Tensor  # [n, m]
    potential: nn.Module

    def share_nearer_than(self, size: float) -> float:
        return float(self.plan[self.lengths < size].sum())


class Cones(nn.Module):
    """``u(x) = min_j |x - y_j| - v_j``, the exact potential."""

    def __init__(self, atoms: Tensor, heights: Tensor) -> None:
        super().__init__()
        self.atoms, self.heights = atoms, heights

    def forward(self, x: Tensor) -> Tensor:
        distances: Tensor = torch.linalg.vector_norm(x[:, None] - self.atoms, dim=2)
        return (distances - self.heights).amin(1)


def discrete(x: Tensor, atoms: Tensor) -> Discrete:
    n, m = len(x), len(atoms)
    lengths = torch.linalg.vector_norm(x[:, None] - atoms, dim=2)
    cell = np.arange(n * m)
    equal = coo_matrix(
        (np.ones(2 * n * m), (np.concatenate([cell // m, n + cell % m]), np.concatenate([cell, cell]))), (n + m, n * m)
    )
    given = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    found = linprog(lengths.flatten().numpy(), A_eq=equal.tocsr(), b_eq=given, method="highs")
    heights = torch.from_numpy(found.eqlin.marginals[n:].copy())
    plan = torch.from_numpy(found.x.copy()).reshape(n, m)
    return Discrete(float(found.fun), plan, lengths, Cones(atoms, heights))
