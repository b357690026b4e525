"""Laws: what can be sampled, and where it exists, has a density.

A law is an ``nn.Module``: its tensors move with ``.to``, are saved with ``state_dict`` and are differentiable. Rows come
first: a sample is ``[n, *event_shape]`` and a log-density ``[n]`` (natural logarithm).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pushforward.maps import Map

_TINY = 1e-6
_WALL = 1e6


class Law(nn.Module, ABC):
    """A probability law on tensors of one shape.

    A law that has a density also has ``log_prob(x) -> Tensor[n]``; other abilities (``encode``, ``decode`` ...) are
    methods of the law too. What a fitted method can do follows from what its law has.
    """

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_shape: tuple[int, ...] = tuple(int(side) for side in event_shape)
        self.register_buffer("_anchor", torch.zeros(()), persistent=False)

    @property
    def device(self) -> torch.device:
        """The device that samples are made on."""
        anchor: Tensor = self.get_buffer("_anchor")
        return anchor.device

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` independent rows, ``[n, *event_shape]``; the generator lives on the law's device."""

    def can(self, ability: str) -> bool:
        """Whether the law has the ability, a method's name such as ``"log_prob"``."""
        return callable(getattr(self, ability, None))

    def refusal(self, ability: str) -> str:
        """Why this law, as it was fitted, lacks an ability that others of its class have; empty where it does not."""
        return ""

    def remark(self) -> str:
        """A sentence on what this law costs to keep and to use, for the model card; empty where there is nothing to say."""
        return ""


class UnitLaw(Law):
    """A law given by a transformation of the uniform law on a cube, so that it has lattices as well as samples."""

    uniform_dim: int

    @abstractmethod
    def from_uniform(self, u: Tensor) -> Tensor:
        """Carry points of the unit cube ``[n, uniform_dim]`` to the law, ``[n, *event_shape]`` in the dtype of ``u``."""

    @abstractmethod
    def energy(self, z: Tensor) -> Tensor:
        """Minus twice the log-density up to a constant, ``[n]``; outside a bounded support a steep wall instead of infinity."""

    def between(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Points on the way from each row of ``a`` to that of ``b``, both ``[n, d]``: ``[n * steps, d]``, inside the support."""
        t = torch.linspace(0, 1, steps, device=a.device)[None, :, None]
        return ((1 - t) * a[:, None] + t * b[:, None]).flatten(0, 1)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows by inversion, ``[n, *event_shape]``."""
        u = torch.rand(n, self.uniform_dim, generator=generator, device=self.device, dtype=torch.float64)
        return self.from_uniform(u).float()


class Gaussian(UnitLaw):
    """The standard Gaussian law on ``event_shape``."""

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__(event_shape)
        self.uniform_dim = math.prod(self.event_shape)

    def from_uniform(self, u: Tensor) -> Tensor:
        """The inverse cumulative distribution function, coordinate by coordinate."""
        points: Tensor = torch.special.ndtri(u.clamp(_TINY, 1 - _TINY))
        return points.reshape(-1, *self.event_shape)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows, ``[n, *event_shape]``."""
        return torch.randn(n, *self.event_shape, generator=generator, device=self.device)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of rows ``[n, *event_shape]``: ``[n]``."""
        return -0.5 * (self.energy(x) + self.uniform_dim * math.log(2 * math.pi))

    def energy(self, z: Tensor) -> Tensor:
        """``|z|^2``."""
        return z.reshape(len(z), self.uniform_dim).square().sum(1)

    def between(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """On great circles, the radius changing linearly: a straight line would pass through the centre, where there is no mass."""
        if a.shape[1] == 1:
            return super().between(a, b, steps)
        t = torch.linspace(0, 1, steps, device=a.device)[None, :, None]
        radii = [z.norm(dim=1, keepdim=True).clamp_min(1e-8)[:, None] for z in (a, b)]
        start, end = a[:, None] / radii[0], b[:, None] / radii[1]
        angle = torch.acos((start * end).sum(-1, keepdim=True).clamp(-0.9999, 0.9999))
        direction: Tensor = (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)
        radius: Tensor = (1 - t) * radii[0] + t * radii[1]
        return (direction * radius).flatten(0, 1)


class Uniform(UnitLaw):
    """The uniform law on the unit cube of ``event_shape``."""

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__(event_shape)
        self.uniform_dim = math.prod(self.event_shape)

    def from_uniform(self, u: Tensor) -> Tensor:
        """The identity, reshaped."""
        return u.reshape(-1, *self.event_shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """0 inside the cube and minus infinity outside: ``[n]``."""
        inside = ((x >= 0) & (x <= 1)).reshape(len(x), -1).all(1)
        return torch.where(inside, 0.0, -math.inf)

    def energy(self, z: Tensor) -> Tensor:
        """0 inside the cube, a wall outside."""
        outside = (-z).clamp_min(0) + (z - 1).clamp_min(0)
        return _WALL * outside.reshape(len(z), -1).square().sum(1)


class Ball(UnitLaw):
    """The spherical uniform law of centre-outward quantiles: uniform radius times uniform direction in ``R^dim``.

    Its density grows like ``r^(1 - dim)`` at the centre, so from about four dimensions on it spends its lattice there
    (Hallin, del Barrio, Cuesta-Albertos, Matran, Ann. Stat. 2021, section 1.3).
    """

    def __init__(self, dim: int) -> None:
        super().__init__((dim,))
        self.uniform_dim = dim + 1

    def from_uniform(self, u: Tensor) -> Tensor:
        """First coordinate: the radius. The others: a Gaussian direction."""
        direction: Tensor = torch.special.ndtri(u[:, 1:].clamp(_TINY, 1 - _TINY))
        on_sphere: Tensor = direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return u[:, :1] * on_sphere

    def energy(self, z: Tensor) -> Tensor:
        """0 inside the ball, a wall outside."""
        outside: Tensor = (z.norm(dim=1) - 1).clamp_min(0)
        return _WALL * outside.square()


class Empirical(Law):
    """The law that puts equal weight on the given rows. It contains them: saved, it is a copy of the data.

    Args:
        points: the rows ``[n, *event]``.
        saved: whether ``state_dict`` has them.
    """

    points: Tensor

    def __init__(self, points: Tensor, *, saved: bool = True) -> None:
        super().__init__(points.shape[1:])
        if len(points) == 0:
            raise ValueError("points: an empirical law needs at least one row, got none.")
        self.register_buffer("points", points, persistent=saved)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows with replacement."""
        rows = torch.randint(len(self.points), (n,), generator=generator, device=self.points.device)
        return self.points[rows]


class Lattice(Empirical):
    """Low-discrepancy points that stand for a law, such as those of ``solvers.quantiles.lattice``.

    ``sample`` takes whole shuffled passes, so that ``n = len(points)`` returns every point once.
    """

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows without replacement within each pass."""
        size, device = len(self.points), self.points.device
        passes = [torch.randperm(size, generator=generator, device=device) for _ in range(max(1, -(-n // size)))]
        return self.points[torch.cat(passes)[:n]]


class Mixture(Law):
    """A finite mixture of laws of one shape, with weights ``[k]`` (normalised here)."""

    weights: Tensor

    def __init__(self, laws: Sequence[Law], weights: Tensor) -> None:
        if len(laws) == 0 or len(laws) != len(weights):
            raise ValueError(f"weights: one weight per law is needed, got {len(weights)} for {len(laws)} laws.")
        if len({law.event_shape for law in laws}) > 1:
            raise ValueError(f"laws: shapes differ: {sorted({law.event_shape for law in laws})}.")
        super().__init__(laws[0].event_shape)
        self.laws = nn.ModuleList(laws)
        self.register_buffer("weights", weights / weights.sum())

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows: the number from each law is multinomial, the order is shuffled."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        counts = torch.bincount(component, minlength=len(self.laws)).tolist()
        drawn = [law.sample(count, generator=generator) for law, count in zip(self.laws, counts, strict=True)]  # type: ignore[operator]
        place = torch.argsort(torch.argsort(component, stable=True))
        return torch.cat(drawn)[place]

    def can(self, ability: str) -> bool:
        """A mixture has a density when all of its parts do."""
        if ability == "log_prob":
            return all(law.can("log_prob") for law in self.laws if isinstance(law, Law))
        return super().can(ability)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``[n]``."""
        parts = torch.stack([law.log_prob(x) for law in self.laws], dim=1)  # type: ignore[operator]
        return torch.logsumexp(parts + self.weights.log(), dim=1)


class Pushforward(Law):
    """The law of ``map(z)`` for ``z`` drawn from ``source``.

    It has a density exactly when the map has ``inverse_and_log_det`` and the source has a density.
    """

    def __init__(self, map: Map, source: Law, event_shape: Sequence[int] | None = None) -> None:
        super().__init__(event_shape if event_shape is not None else _image_shape(map, source))
        self.map = map
        self.source = source

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows, ``[n, *event_shape]``."""
        out: Tensor = self.map(self.source.sample(n, generator=generator))
        return out

    def can(self, ability: str) -> bool:
        """``log_prob`` needs an invertible map and a source with a density."""
        if ability == "log_prob":
            return self.map.invertible and self.source.can("log_prob")
        return super().can(ability)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``[n]`` by the change of variables ``log p(x) = log p(z) + log |det dz/dx|``."""
        if not self.can("log_prob"):
            raise AttributeError(f"{type(self.map).__name__} has no inverse_and_log_det, or its source has no density.")
        z, log_det = self.map.inverse_and_log_det(x)
        base: Tensor = self.source.log_prob(z)  # type: ignore[operator]
        return base + log_det


class Tilted(Law):
    """The law with density proportional to ``law(x) exp(-energy(x))``, sampled approximately, by importance resampling.

    ``pool`` proposals are drawn for every row, and the bias falls like one over their effective number, which
    ``effective_size`` tells.
    """

    def __init__(self, law: Law, energy: nn.Module, pool: int = 64) -> None:
        super().__init__(law.event_shape)
        self.law, self.energy, self.pool = law, energy, pool

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; each is one of ``pool`` proposals, taken with probability proportional to its weight."""
        proposals = self.law.sample(n * self.pool, generator=generator)
        weights = torch.softmax(-self.energy(proposals).reshape(n, self.pool), dim=1)
        choice = torch.multinomial(weights, 1, generator=generator)[:, 0]
        picked: Tensor = proposals.reshape(n, self.pool, *self.event_shape)[
            torch.arange(n, device=choice.device), choice
        ]
        return picked

    def effective_size(self, n: int, *, generator: torch.Generator | None = None) -> float:
        """Effective number of ``n`` proposals, ``(sum w)^2 / sum w^2``."""
        log_w: Tensor = -self.energy(self.law.sample(n, generator=generator))
        return float(torch.exp(2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0)).item())

    def log_prob_unnormalised(self, x: Tensor) -> Tensor:
        """Log-density up to the unknown constant: ``[n]``."""
        base: Tensor = self.law.log_prob(x)  # type: ignore[operator]
        energy: Tensor = self.energy(x)
        return base - energy


def _image_shape(map: Map, source: Law) -> tuple[int, ...]:
    """The shape of one row of ``map(source)``, found by pushing one sample through."""
    generator = torch.Generator(source.device).manual_seed(0)
    with torch.no_grad():
        image: Tensor = map(source.sample(1, generator=generator))
    return tuple(image.shape[1:])
