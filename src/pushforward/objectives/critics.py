"""What a critic is trained on: the dual form of the Wasserstein-1 distance.

``W1(mu, nu) = sup E_mu u - E_nu u`` over 1-Lipschitz ``u``. A critic here is high on the source ``mu`` and low on the
target ``nu``, so that mass moves against its gradient.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, cat

from pushforward.objectives.penalties import gradient_of

Critic = Callable[[Tensor], Tensor]


def critic_values(critic: Critic, x: Tensor) -> Tensor:
    """The critic's values ``[n]`` on rows ``[n, *event]``.

    Raises:
        ValueError: the critic returns another shape.
    """
    values = critic(x)
    if values.shape != x.shape[:1]:
        raise ValueError(
            f"critic: one value a row, shape [{len(x)}], is needed, got {list(values.shape)}; end it with .squeeze(1)."
        )
    return values


def dual_gap(on_source: Tensor, on_target: Tensor) -> Tensor:
    """``E_mu u - E_nu u`` for values ``[n]`` and ``[m]`` of a critic: W1 where ``u`` is the best 1-Lipschitz function."""
    return on_source.mean() - on_target.mean()


def dual_terms(critic: Critic, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The gap between two batches and the critic's slopes at a third, in one pass through the critic.

    Args:
        critic: ``[n, *event] -> [n]``, each value depending on its own row alone (no batch normalisation).
        x: rows of the source ``[n, *event]``.
        y: rows of the target ``[m, *event]``.
        z: where the slope is wanted ``[k, *event]``, such as ``penalties.interpolates(x, y)``.

    Returns:
        The gap (a number), and the gradients ``[k, *event]`` at ``z``; both can be differentiated by the critic's weights.
    """
    z = z.detach().requires_grad_()
    values = critic_values(critic, cat([x, y, z]))
    gap = dual_gap(values[: len(x)], values[len(x) : len(x) + len(y)])
    return gap, gradient_of(values[len(x) + len(y) :], z)
