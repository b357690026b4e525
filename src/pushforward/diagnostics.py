"""What a critic with a gradient penalty really computes: congested transport. (Beside it `game_stability`, of two learning rates.)

Milne, Nachman: Wasserstein GANs with gradient penalty compute congested transport, arXiv 2109.00528. With ``sigma`` the law of
``z = (1 - t) x + t y`` for independent ``x ~ mu``, ``y ~ nu``, ``t ~ U(0, 1)`` and the one-sided penalty of weight ``lambda``,

    sup_u  E_mu u - E_nu u - lambda E_sigma (|grad u| - 1)_+^2  =  min_w  INT |w| + |w|^2 / (4 lambda sigma),    div w = mu - nu:

not W1, but a transport in which mass that flows where ``sigma`` is thin costs more. At the optimum ``w = -q sigma`` with
``q = 2 lambda (|grad u| - 1)_+ grad u / |grad u|``; the flux ``F = INT |w|`` is W1 on a line and at least W1 elsewhere, and the raw
gap ``E_mu u - E_nu u = F + 2 C`` exceeds it by twice the congestion ``C``. So read ``F`` as the distance, never the raw gap, and
only where ``residual`` is small: it says whether the critic's flow carries one law to the other at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pushforward.objectives.critics import Critic, critic_values, dual_gap
from pushforward.objectives.game_stability import GameStability, game_stability
from pushforward.objectives.penalties import gradient_of, interpolates, one_sided_penalty, slopes

__all__ = ["Congestion", "GameStability", "congestion", "game_stability", "momentum_field"]

_FEATURES = 32
_CHUNK = 4096


@dataclass(frozen=True)
class Congestion:
    """What is known of the flow behind a critic, from samples alone.

    Attributes:
        flux: ``F = E_sigma |q|``, the mass times the way it goes: the read-out of W1.
        congestion: ``C``, the price of crowding, equal to the penalty's value.
        raw: ``E_mu u - E_nu u``, which exceeds ``F`` by ``2 C`` at the optimum.
        dual: ``raw - C``, the objective that the critic maximises.
        gap: ``F + C - dual``, zero at the optimum.
        residual: ``|r| / |l|`` over random Fourier functions ``phi``, with ``l = E_mu phi - E_nu phi`` and ``r = l - E_sigma q . grad
            phi``: 1 for a critic that moves nothing, the noise of the samples at the optimum.
        scale: ``E_sigma q . grad u / raw``, which is 1 at the optimum and wrong in proportion to a wrong penalty weight.
        share: ``C / (F + C)``.
        points: interpolates ``[n, *event_shape]``.
        momentum: ``q`` at the points ``[n, *event_shape]``; mass moves against it, and ``|q|`` times the density of ``sigma`` is the
            flow's momentum.
        n: number of interpolates.
    """

    flux: float
    congestion: float
    raw: float
    dual: float
    gap: float
    residual: float
    scale: float
    share: float
    points: Tensor = field(repr=False)
    momentum: Tensor = field(repr=False)
    n: int


def congestion(critic: Critic, source: Tensor, target: Tensor, penalty: float, *, seed: int = 0) -> Congestion:
    """The congested flow of a critic that was trained with the one-sided penalty of weight ``penalty``.

    Args:
        critic: ``[n, *event_shape] -> [n]``, high on the source.
        source: rows that the critic has not seen ``[n, *event_shape]``.
        target: rows that the critic has not seen ``[m, *event_shape]``; they are paired with the source at random.
        penalty: the weight ``lambda``, positive.
        seed: of the pairs, their interpolates and the 32 functions.

    Raises:
        ValueError: the shapes differ, the penalty is not positive, or the critic does not give one value a row.
    """
    _check(source, target, penalty)
    generator = torch.Generator(source.device).manual_seed(seed)
    x, y = _pairs(source, target, generator)
    z = interpolates(x, y, generator=generator)
    gradient = _gradients(critic, z)
    q = _momentum(gradient, penalty)
    flux = float(slopes(q).mean())
    price = penalty * float(one_sided_penalty(slopes(gradient)))
    raw = float(dual_gap(_values(critic, source), _values(critic, target)))
    work = float((q * gradient).flatten(1).sum(1).mean())
    return Congestion(
        flux=flux,
        congestion=price,
        raw=raw,
        dual=raw - price,
        gap=flux + 2 * price - raw,
        residual=_residual(source, target, z, q, generator),
        scale=work / raw if raw else math.nan,
        share=price / (flux + price) if flux + price else 0.0,
        points=z,
        momentum=q,
        n=len(z),
    )


def momentum_field(critic: Critic, points: Tensor, penalty: float) -> Tensor:
    """``q = 2 lambda (|grad u| - 1)_+ grad u / |grad u|`` at points ``[n, *event_shape]``; mass moves against it."""
    return _momentum(_gradients(critic, points), penalty)


def _check(source: Tensor, target: Tensor, penalty: float) -> None:
    if source.shape[1:] != target.shape[1:]:
        raise ValueError(
            f"target: rows of the source's shape {list(source.shape[1:])} are needed, got {list(target.shape[1:])}."
        )
    if min(len(source), len(target)) < 2:
        raise ValueError(f"source and target: two rows each are needed, got {len(source)} and {len(target)}.")
    if not 0 < penalty < math.inf:
        raise ValueError(f"penalty: the positive weight that the critic was trained with is needed, got {penalty}.")


def _pairs(source: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As many independent pairs as the larger sample has rows; the smaller one goes round."""
    n = max(len(source), len(target))
    order = torch.randperm(n, generator=generator, device=source.device)
    rows = torch.arange(n, device=source.device)
    return source[rows % len(source)], target[order % len(target)]


def _momentum(gradient: Tensor, penalty: float) -> Tensor:
    """``q`` of gradient rows; zero where the slope is at most 1."""
    slope = slopes(gradient).reshape(-1, *(1 for _ in gradient.shape[1:]))
    return 2 * penalty * (1 - 1 / slope.clamp_min(1.0)) * gradient


def _gradients(critic: Critic, z: Tensor) -> Tensor:
    """Gradient rows of the critic at ``z``, a chunk at a time and detached."""
    found = []
    with torch.enable_grad():
        for part in z.detach().split(_CHUNK):
            part = part.clone().requires_grad_()
            found.append(gradient_of(critic_values(critic, part), part).detach())
    return torch.cat(found)


@torch.no_grad()
def _values(critic: Critic, x: Tensor) -> Tensor:
    return torch.cat([critic_values(critic, part) for part in x.split(_CHUNK)])


def _residual(source: Tensor, target: Tensor, z: Tensor, q: Tensor, generator: torch.Generator) -> float:
    """Relative error of ``div w = mu - nu`` tested on ``phi_k(x) = cos(a_k . x + b_k)``, a few wave lengths across the data."""
    x, y, z, q = (rows.flatten(1).double() for rows in (source, target, z, q))
    both = torch.cat([x, y])
    size = (both - both.mean(0)).square().sum(1).mean().sqrt().clamp_min(1e-12)
    shape = (x.shape[1], _FEATURES)
    waves = torch.randn(shape, generator=generator, device=x.device, dtype=torch.float64) / size
    phase = 2 * math.pi * torch.rand(_FEATURES, generator=generator, device=x.device, dtype=torch.float64)
    given = (x @ waves + phase).cos().mean(0) - (y @ waves + phase).cos().mean(0)
    carried = -((z @ waves + phase).sin() * (q @ waves)).mean(0)
    return float((given - carried).norm() / given.norm().clamp_min(1e-12))
