"""Draws for a batch: a value of its own for every row, and with probability ``1 - p`` the neutral one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chance:
    """Where random numbers for ``n`` rows come from.

    Args:
        n: number of rows.
        p: probability that a change is made to a row, a tensor with one number.
        generator: source of randomness; None is torch's global one.
        dtype: of real draws.
    """

    n: int
    p: Tensor
    generator: torch.Generator | None = None
    dtype: torch.dtype = torch.float32

    def uniform(self, *shape: int) -> Tensor:
        """Numbers ``[n, *shape]``, uniform on [-1, 1)."""
        unit = torch.rand(self.n, *shape, generator=self.generator, device=self.p.device, dtype=self.dtype)
        return 2 * unit - 1

    def normal(self, *shape: int) -> Tensor:
        """Numbers ``[n, *shape]``, standard normal."""
        return torch.randn(self.n, *shape, generator=self.generator, device=self.p.device, dtype=self.dtype)

    def integers(self, below: int) -> Tensor:
        """Numbers ``[n]``, uniform on ``0 .. below - 1``."""
        return torch.randint(below, (self.n,), generator=self.generator, device=self.p.device)

    def applied(self, values: Tensor, neutral: Tensor | float, p: Tensor | None = None) -> Tensor:
        """``values`` ``[n, ...]`` in rows that a draw of probability ``p`` picks, ``neutral`` in the others."""
        happens = self._unit() < (self.p if p is None else p)
        return torch.where(happens.view(-1, *[1] * (values.dim() - 1)), values, neutral)

    def _unit(self) -> Tensor:
        return torch.rand(self.n, generator=self.generator, device=self.p.device)
