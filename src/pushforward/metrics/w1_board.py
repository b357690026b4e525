"""The Wasserstein-1 benchmark (2206.07767): how well a critic finds the slope, and the value, of a distance that is known.

A critic is judged on points of P: the mean cosine between its gradient and the true one, the mean squared difference of the two,
and its estimate ``E_P f - E_Q f`` of the distance beside the true one. High cosines with wrong estimates are common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.metrics.monotone_pairs import RayPairs
from pushforward.nets.constraints import refuse_unbounded

_ROWS = 4096  # of the metrics (2206.07767)


class Slopes(Protocol):
    """What is judged: a field of gradients on points of P and an estimate of the distance."""

    def slope(self, x: Tensor) -> Tensor:
        """Gradients ``[n, d]`` at rows of P."""

    def distance(self, x: Tensor, y: Tensor) -> float:
        """The estimated distance, from rows of P and Q."""


@dataclass(frozen=True)
class CriticSlopes:
    """A critic ``[n, d] -> [n]`` as what is judged."""

    critic: Callable[[Tensor], Tensor]

    def slope(self, x: Tensor) -> Tensor:
        """The critic's gradient."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(_values(self.critic, x).sum(), x)
        return gradient

    def distance(self, x: Tensor, y: Tensor) -> float:
        """``E_P f - E_Q f``."""
        with torch.no_grad():
            return float(_values(self.critic, x).double().mean() - _values(self.critic, y).double().mean())


@dataclass(frozen=True)
class W1Score:
    """How a critic did.

    Attributes:
        cosine: mean cosine between its gradients and the true ones; 1 is best.
        l2: mean squared difference between them; 0 is best.
        estimate: its Wasserstein-1 distance.
        truth: the true distance.
    """

    cosine: float
    l2: float
    estimate: float
    truth: float


@dataclass(frozen=True)
class W1Board:
    """Scores by name, best cosine first; ``str`` is a table."""

    scores: dict[str, list[W1Score]]

    def mean(self, name: str, number: str) -> float:
        """Mean over repetitions of ``cosine``, ``l2``, ``estimate`` or ``truth``."""
        return float(np.mean([getattr(score, number) for score in self.scores[name]]))

    @property
    def names(self) -> list[str]:
        """Best mean cosine first."""
        return sorted(self.scores, key=lambda name: -self.mean(name, "cosine"))

    def __str__(self) -> str:
        head = f"{'':<18} {'cosine':>7} {'least':>7} {'L2':>7} {'W1':>8} {'true W1':>8}"
        rows = [
            f"{name:<18} {self.mean(name, 'cosine'):7.3f} {min(s.cosine for s in self.scores[name]):7.3f} "
            f"{self.mean(name, 'l2'):7.3f} {self.mean(name, 'estimate'):8.3f} {self.mean(name, 'truth'):8.3f}"
            for name in self.names
        ]
        return "\n".join([head, *rows])


def w1_benchmark(critics: Mapping[str, object], pairs: RayPairs, *, seed: int = 0) -> W1Board:
    """Rank critics of P against Q.

    Args:
        critics: by name: a critic ``[n, d] -> [n]`` that is high on P, a fitted method of vectors that has ``critic_``, or anything
            with ``slope`` and ``distance``.
        pairs: the two laws, from `ray_pairs`.
        seed: of the 4096 pairs of points that critics are judged on.

    Raises:
        ValueError: a critic gives another shape, or is one for which the estimate has no bound.
    """
    return W1Board({name: [judge(critic, pairs, seed=seed)] for name, critic in critics.items()})


def judge(critic: object, pairs: RayPairs, *, seed: int = 0, rows: int = _ROWS) -> W1Score:
    """The score of one critic on ``rows`` pairs of points, as in `w1_benchmark`."""
    judged = _as_slopes(critic)
    x, y = pairs.sample(rows, generator=torch.Generator(pairs.centres.device).manual_seed(seed + 2**31))
    found, true = judged.slope(x.float()).double(), pairs.slope(x)
    if found.shape != x.shape:
        raise ValueError(f"critic: gradients of shape {list(x.shape)} are needed, got {list(found.shape)}.")
    cosine = nn.functional.cosine_similarity(found, true, dim=1).mean()
    l2 = (found - true).square().sum(1).mean()
    truth = (x - y).norm(dim=1).mean()
    return W1Score(float(cosine), float(l2), judged.distance(x.float(), y.float()), float(truth))


def _as_slopes(critic: object) -> Slopes:
    if hasattr(critic, "slope") and hasattr(critic, "distance"):
        return cast(Slopes, critic)
    if hasattr(critic, "critic_"):
        return CriticSlopes(_on_own_scale(critic))
    if isinstance(critic, nn.Module):
        refuse_unbounded(critic)
    if not callable(critic):
        raise ValueError(f"critic: a critic or a fitted method with critic_ is needed, got {type(critic).__name__}.")
    return CriticSlopes(critic)


def _on_own_scale(method: Any) -> Callable[[Tensor], Tensor]:
    """The critic of a fitted method on rows as they are: it was trained on standardised ones, whose mean scale is put back."""
    coder = method.schema_.coder
    if coder.kind != "vector" or (coder.scale == 0).any():
        raise ValueError(
            f"critic: a method fitted to vectors that vary in every column is needed, got {coder.kind} data."
        )
    mean, scale = (
        torch.as_tensor(v, dtype=torch.float32, device=method.law_.device) for v in (coder.mean, coder.scale)
    )
    critic: Callable[[Tensor], Tensor] = method.critic_
    return lambda x: scale.mean() * critic((x - mean) / scale)


def _values(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    values = critic(x)
    if values.numel() != len(x):
        raise ValueError(f"critic: one value a row, shape [{len(x)}], is needed, got {list(values.shape)}.")
    return values.reshape(len(x))
