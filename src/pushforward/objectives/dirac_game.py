"""The smallest adversarial game, for which the stability of two learning rates is known in closed form.

A generator that is a point ``theta`` plays against a linear critic with slope ``psi``: ``min_theta max_psi theta psi - eps psi^2 / 2``.
Simultaneous gradient steps with rates ``a`` of the generator and ``b`` of the critic multiply ``(theta, psi)`` by a matrix. Where its
eigenvalues are complex (``b eps^2 < 4 a``), its spectral radius is ``sqrt(1 - b eps + a b)``, and there the game is stable exactly
for ``a < eps``: a critic that learns faster (two time scales, 1706.08500) helps by letting the generator's rate be small, at no loss of
its own.
"""

from __future__ import annotations

import cmath


def dirac_game_radius(generator_rate: float, critic_rate: float, eps: float) -> float:
    """The factor by which ``(theta, psi)`` shrinks a step in the long run; above 1 the game diverges.

    Args:
        generator_rate: ``a``.
        critic_rate: ``b``.
        eps: curvature of the critic's regularisation.

    Raises:
        ValueError: a rate is not positive, or ``eps`` is negative.
    """
    if generator_rate <= 0 or critic_rate <= 0 or eps < 0:
        raise ValueError(
            "generator_rate, critic_rate and eps: rates must be positive and eps 0 or more, got "
            f"{generator_rate}, {critic_rate} and {eps}."
        )
    trace, determinant = 2 - critic_rate * eps, 1 - critic_rate * eps + generator_rate * critic_rate
    root = cmath.sqrt(trace**2 - 4 * determinant)
    return max(abs(trace + root), abs(trace - root)) / 2
