"""Laws on the line, with their quantile functions; the optimal transport between two of them matches equal levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Line:
    """A law on the line: its quantile function on levels in (0, 1), its mean and its variance."""

    name: str
    quantile: Callable[[Tensor], Tensor]
    mean: float
    variance: float

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Independent draws ``[n]``, float64."""
        return self.quantile(torch.rand(n, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12))


LINES = (
    Line("uniform", lambda u: u, 0.5, 1 / 12),
    Line("exponential", lambda u: -torch.log1p(-u), 1.0, 1.0),
    Line("logistic", torch.logit, 0.0, torch.pi**2 / 3),
    Line("gaussian", torch.special.ndtri, 0.0, 1.0),
)
