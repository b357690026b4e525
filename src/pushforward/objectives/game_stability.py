"""Is an equilibrium of two players stable under simultaneous steps with two learning rates? (TTUR, 1706.08500)

Generator weights ``theta`` and critic weights ``psi`` move along two vector fields ``h`` and ``g``, such as minus the gradients of
their losses: ``theta' = theta + a h(theta, psi)``, ``psi' = psi + b g(theta, psi)``. Near a point where both fields vanish the play is
that of the Jacobian of this update: its spectral radius is the factor by which a deviation shrinks a step in the long run, and
above 1 it grows. For the Dirac game it is ``dirac_game.dirac_game_radius``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]
_MOST = 2000  # numbers of both players together: the Jacobian and its eigenvalues are exact


@dataclass(frozen=True)
class GameStability:
    """What is known of two learning rates around a point.

    Attributes:
        radius: spectral radius of the Jacobian of the update.
        eigenvalues: of the Jacobian ``[p + q]``, complex128.
        stable: whether ``radius < 1``: deviations die out.
        drift: Euclidean norm of the update at the point; 0 at an equilibrium, and only there the radius says something.
    """

    radius: float
    eigenvalues: Tensor = field(repr=False)
    stable: bool
    drift: float

    @property
    def verdict(self) -> str:
        """The finding as a sentence."""
        what = "stable: deviations shrink" if self.stable else "unstable: deviations do not shrink"
        moving = (
            "" if self.drift < 1e-6 else f" (the point is no equilibrium: the update there has length {self.drift:.3g})"
        )
        return f"{what} by a factor {self.radius:.4g} a step{moving}"


def game_stability(
    generator_field: Field,
    critic_field: Field,
    theta: Tensor,
    psi: Tensor,
    *,
    generator_rate: float,
    critic_rate: float,
) -> GameStability:
    """Spectral radius of the Jacobian of simultaneous steps around a point, by automatic differentiation in float64.

    Args:
        generator_field: ``h``, from ``theta`` of its own shape and ``psi`` of its own to a step of the shape of ``theta``; differentiable,
            so make it with ``torch.func.grad``, or with ``torch.autograd.grad(..., create_graph=True)``.
        critic_field: ``g``, likewise to a step of the shape of ``psi``.
        theta: the generator's weights, any shape.
        psi: the critic's weights, any shape; at most 2000 numbers together.
        generator_rate: ``a``.
        critic_rate: ``b``.

    Raises:
        ValueError: a rate is not positive, there are too many weights, or a field gives another shape, no graph, or no finite numbers.
    """
    _check(theta, psi, generator_rate, critic_rate)
    split = theta.numel()
    point = torch.cat([theta.detach().reshape(-1), psi.detach().reshape(-1)]).double()

    def update(weights: Tensor) -> Tensor:
        own, other = weights[:split].reshape(theta.shape), weights[split:].reshape(psi.shape)
        h = _field("generator_field", generator_field(own, other), theta)
        g = _field("critic_field", critic_field(own, other), psi)
        return weights + torch.cat([generator_rate * h.reshape(-1), critic_rate * g.reshape(-1)])

    jacobian = torch.autograd.functional.jacobian(update, point)
    if not bool(jacobian.isfinite().all()):
        raise ValueError("generator_field and critic_field: their derivatives at the point are not finite.")
    eigenvalues: Tensor = torch.linalg.eigvals(jacobian)
    radius = float(eigenvalues.abs().max())
    with torch.enable_grad():  # a field may differentiate by its arguments
        drift = float((update(point.requires_grad_()) - point).detach().norm())
    return GameStability(radius, eigenvalues, radius < 1, drift)


def _check(theta: Tensor, psi: Tensor, generator_rate: float, critic_rate: float) -> None:
    for name, rate in (("generator_rate", generator_rate), ("critic_rate", critic_rate)):
        if not 0 < rate < math.inf:
            raise ValueError(f"{name}: must be positive and finite, got {rate}.")
    count = theta.numel() + psi.numel()
    if not 0 < count <= _MOST:
        raise ValueError(
            f"theta and psi: from 1 to {_MOST} numbers together are needed, got {count}; take a smaller game."
        )


def _field(name: str, step: Tensor, weights: Tensor) -> Tensor:
    if step.shape != weights.shape:
        raise ValueError(f"{name}: a step of shape {list(weights.shape)} is needed, got {list(step.shape)}.")
    if not step.requires_grad:
        raise ValueError(
            f"{name}: its step has no graph, so the Jacobian is not known; use torch.func.grad or create_graph=True."
        )
    return step
