"""Congested transport between two centred Gaussians of the plane: the optimal critic and its numbers in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

REACH, CELLS, _TIMES = 14.0, 4000, 200


@dataclass(frozen=True)
class Radial:
    """``N(0, s1^2 I)`` to ``N(0, s2^2 I)`` with ``s1 < s2`` and penalty weight ``penalty``.

    Mass flows outwards, ``w(r) = (M1 - M2) / (2 pi r)`` with ``M = 1 - exp(-r^2 / 2 s^2)``; interpolates have the density ``sigma``,
    a mixture of ``N(0, ((1 - t)^2 s1^2 + t^2 s2^2) I)``; the best critic has ``u'(r) = -(1 + w / (2 penalty sigma))``.
    """

    s1: float
    s2: float
    penalty: float

    @cached_property
    def radii(self) -> Tensor:
        return torch.linspace(0, REACH, CELLS + 1, dtype=torch.float64)

    @cached_property
    def flow(self) -> Tensor:
        r = self.radii
        inner, outer = (torch.exp(-(r**2) / (2 * s**2)) for s in (self.s1, self.s2))
        return torch.where(r > 0, (outer - inner) / (2 * math.pi * r.clamp_min(1e-12)), 0.0)

    @cached_property
    def density(self) -> Tensor:
        t = (torch.arange(_TIMES, dtype=torch.float64) + 0.5) / _TIMES
        variance = (1 - t) ** 2 * self.s1**2 + t**2 * self.s2**2
        r = self.radii[:, None]
        return (torch.exp(-(r**2) / (2 * variance)) / (2 * math.pi * variance)).mean(1)

    def flux(self) -> float:
        """``F``, which is W1 here: ``sqrt(pi / 2) (s2 - s1)``."""
        return math.sqrt(math.pi / 2) * (self.s2 - self.s1)

    def congestion(self) -> float:
        """``C = INT w^2 / (4 penalty sigma)`` over the plane, by quadrature."""
        r = self.radii
        price = 2 * math.pi * r * self.flow**2 / (4 * self.penalty * self.density.clamp_min(1e-300))
        return float(torch.trapezoid(price, r))

    @cached_property
    def profile(self) -> tuple[Tensor, Tensor]:
        """``u'`` and ``u`` at the radii."""
        slope = -(1 + self.flow / (2 * self.penalty * self.density.clamp_min(1e-300)))
        return slope, torch.cat([slope.new_zeros(1), torch.cumulative_trapezoid(slope, dx=REACH / CELLS)])

    def critic(self, x: Tensor) -> Tensor:
        """The best critic ``[n]`` at rows ``[n, 2]``, its slope interpolated linearly."""
        h, (slope, value) = REACH / CELLS, self.profile
        r = x.double().norm(dim=1).clamp_max(REACH - 1e-6)
        cell = (r / h).long()
        ahead = r - cell * h
        return value[cell] + ahead * slope[cell] + ahead**2 / (2 * h) * (slope[cell + 1] - slope[cell])

    def samples(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(2, n, 2, generator=generator)
        return self.s1 * noise[0], self.s2 * noise[1]
