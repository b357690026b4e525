"""Learning rates of two players over a fit: each has its own factor, a function of the share of the budget spent and of the step.

Two time scales (Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter: GANs trained by a two time-scale update rule converge to a
local Nash equilibrium, arXiv 1706.08500): rates ``a(n)`` of the generator and ``b(n)`` of the critic with sums that diverge, squares whose
sums converge, and ``a(n) = o(b(n))``, lead to a local equilibrium under the theorem's assumptions. ``"power"`` has these properties:
``a(n) ~ n^-0.9``, ``b(n) ~ n^-0.6``. ``"constant"`` keeps both rates, one of which may be larger, as in the paper's experiments;
``"cosine"`` takes both to zero at the end of the budget. ``diagnostics.game_stability`` says what two rates do near an equilibrium.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pushforward.codes import cosine

ScheduleName = Literal["cosine", "constant", "power"]
Factor = Callable[[float, int], float]
_BEND = 1000  # steps after which a power law begins to fall


@dataclass(frozen=True)
class TimeScales:
    """Factors on the two learning rates, of the share of the budget that is spent and the number of steps made."""

    generator: Factor
    critic: Factor


def constant_factor(spent: float, step: int) -> float:
    """1."""
    return 1.0


def cosine_factor(spent: float, step: int) -> float:
    """From 1 to 0 on half a cosine."""
    return cosine(spent)


def power_factor(spent: float, step: int, *, exponent: float) -> float:
    """``(1 + n / 1000)^-exponent`` after ``n`` steps."""
    return float((1 + step / _BEND) ** -exponent)


SCHEDULES: dict[ScheduleName, TimeScales] = {
    "cosine": TimeScales(cosine_factor, cosine_factor),
    "constant": TimeScales(constant_factor, constant_factor),
    "power": TimeScales(partial(power_factor, exponent=0.9), partial(power_factor, exponent=0.6)),
}
