"""What two players play for: losses of critic and generator as functions of the critic's values, high on data.

Values are ``[n]`` on data (``real``) and ``[m]`` on what the generator makes (``made``). With ``s(t) = log(1 + e^t)``:

    =================  ==========================================  ====================
    name               critic                                      generator
    =================  ==========================================  ====================
    hinge              E (1 - real)_+ + E (1 + made)_+             -E made
    non_saturating     E s(-real) + E s(made)                      E s(-made)
    wasserstein        E made - E real                             -E made
    =================  ==========================================  ====================

hinge: 1705.02894, 1705.08584; non-saturating: 1406.2661; Wasserstein: 1701.07875, which has no bound without a constraint on the critic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import relu, softplus

from pushforward.objectives.critics import dual_gap

LossName = Literal["hinge", "non_saturating", "wasserstein"]


@dataclass(frozen=True)
class AdversarialLoss:
    """A pair of losses.

    Attributes:
        critic: of values ``[n]`` on data and ``[m]`` on made rows.
        generator: of values ``[m]`` on made rows.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def hinge_critic(real: Tensor, made: Tensor) -> Tensor:
    """``E (1 - real)_+ + E (1 + made)_+``: values beyond the margin are not pushed further."""
    return relu(1 - real).mean() + relu(1 + made).mean()


def logistic_critic(real: Tensor, made: Tensor) -> Tensor:
    """``E s(-real) + E s(made)``: minus the log-likelihood of a classifier whose log-odds are the values."""
    return softplus(-real).mean() + softplus(made).mean()


def wasserstein_critic(real: Tensor, made: Tensor) -> Tensor:
    """``E made - E real``: minus the distance W1, at the best 1-Lipschitz critic."""
    return -dual_gap(real, made)


def linear_generator(made: Tensor) -> Tensor:
    """``-E made``."""
    return -made.mean()


def non_saturating_generator(made: Tensor) -> Tensor:
    """``E s(-made)``: its slope is largest where the critic is surest that the row is made."""
    return softplus(-made).mean()


LOSSES: dict[LossName, AdversarialLoss] = {
    "hinge": AdversarialLoss(hinge_critic, linear_generator),
    "non_saturating": AdversarialLoss(logistic_critic, non_saturating_generator),
    "wasserstein": AdversarialLoss(wasserstein_critic, linear_generator),
}
