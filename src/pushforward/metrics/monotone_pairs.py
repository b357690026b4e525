"""Pairs of laws whose Wasserstein-1 distance and optimal critic are known exactly, in any dimension (2206.07767, section 4).

With funnels ``u(x) = min_k |x - a_k| + b_k``, a point ``y`` uniform in a box belongs to the funnel that attains the minimum, and
is drawn towards its centre along the ray from ``a`` through ``y``. There ``u`` falls with slope 1, so ``u(y) - u(x) = |x - y|``:
``(x, y)`` is an optimal pair, the distance of the laws P of ``x`` and Q of ``y`` is ``E |x - y|``, and the best critic
(highest on P) is ``-u``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

HALF_WIDTH = 2.5  # of the box (2206.07767)
_SPREAD = 0.1  # of the offsets (2206.07767)
_FUNNELS = 987_654_321  # added to the seed, so that no batch repeats the draws that made the centres
_CLOSEST = 1e-6  # to a centre, where the slope of u is not defined


@dataclass(frozen=True)
class RayPairs:
    """A source law P and a target law Q with known distance; float64.

    Attributes:
        centres: ``[k, d]``, in the box.
        offsets: ``[k]``.
        power: how strongly points are drawn to the centres: the share ``t`` of the ray that ``y`` has gone becomes ``t^power``.
    """

    centres: Tensor
    offsets: Tensor
    power: float = 8.0

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.centres.shape[1]

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Optimal pairs ``x ~ P`` and ``y ~ Q``, both ``[n, d]``."""
        uniform = torch.rand(n, self.dim, generator=generator, dtype=torch.float64, device=self.centres.device)
        y = HALF_WIDTH * (2 * uniform - 1)
        return self.source_of(y), y

    def source_of(self, y: Tensor) -> Tensor:
        """The point ``x`` ``[n, d]`` that is moved to ``y`` ``[n, d]``."""
        mine = self._funnel(y)
        centre = self.centres[mine]
        length = (y - centre).norm(dim=1, keepdim=True)
        ray = torch.where(length > 0, (y - centre) / length, torch.eye(self.dim).to(y)[0])
        end = torch.minimum(_to_wall(centre, ray), self._to_tie(mine, ray))[:, None].clamp_min(length)
        shorter = end * (length / end).pow(self.power)
        return centre + torch.minimum(shorter.clamp_min(_CLOSEST), length) * ray

    def potential(self, x: Tensor) -> Tensor:
        """``u`` ``[n]`` of rows ``[n, d]``."""
        return self._values(x).amin(1)

    def slope(self, x: Tensor) -> Tensor:
        """The gradient of the best critic ``-u`` at rows: unit vectors ``[n, d]`` towards their funnel's centre."""
        away = x - self.centres[self._funnel(x)]
        return -torch.nn.functional.normalize(away, dim=1)

    def _values(self, x: Tensor) -> Tensor:
        return _distances(x, self.centres) + self.offsets

    def _funnel(self, x: Tensor) -> Tensor:
        return self._values(x).argmin(1)

    def _to_tie(self, mine: Tensor, ray: Tensor) -> Tensor:
        """Length of each ray up to where another funnel is as low: ``|a + r v - a_k| + b_k = r + b``."""
        height = self.offsets[mine][:, None] - self.offsets[None]
        across = (self.centres[mine] * ray).sum(1, keepdim=True) - ray @ self.centres.T  # (a - a_k) v
        along = 2 * (height - across)
        r = (_distances(self.centres, self.centres)[mine].square() - height.square()) / along
        return torch.where((along != 0) & (r > 0) & (r + height > 0), r, torch.inf).amin(1)


def ray_pairs(dim: int, *, funnels: int = 4, power: float = 8.0, seed: int = 0) -> RayPairs:
    """Random funnels: centres uniform in the box ``[-2.5, 2.5]^dim``, offsets 0.1 N(0, 1).

    Raises:
        ValueError: a number is not positive.
    """
    for name, value in (("dim", dim), ("funnels", funnels), ("power", power)):
        if value <= 0:
            raise ValueError(f"{name}: must be positive, got {value}.")
    generator = torch.Generator().manual_seed(_FUNNELS + seed)
    centres = HALF_WIDTH * (2 * torch.rand(funnels, dim, generator=generator, dtype=torch.float64) - 1)
    return RayPairs(centres, _SPREAD * torch.randn(funnels, generator=generator, dtype=torch.float64), power)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances ``[n, m]``, not through inner products, which would cost half of the digits."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _to_wall(centre: Tensor, ray: Tensor) -> Tensor:
    """Length of each ray up to the wall of the box; a coordinate that does not change never meets one."""
    room = torch.where(ray > 0, HALF_WIDTH - centre, HALF_WIDTH + centre)
    return torch.where(ray == 0, torch.inf, room / ray.abs().clamp_min(1e-300)).amin(1)
