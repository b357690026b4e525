"""How long a fit may take: wall seconds, optimiser steps or epochs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_UNITS = {
    "seconds": ("s", "sec", "secs", "second", "seconds"),
    "minutes": ("m", "min", "mins", "minute", "minutes"),
    "hours": ("h", "hr", "hour", "hours"),
    "steps": ("step", "steps"),
    "epochs": ("epoch", "epochs"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}
_SECONDS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0}


@dataclass(frozen=True)
class Budget:
    """Exactly one of wall ``seconds``, ``steps`` and ``epochs`` is set, and positive."""

    seconds: float | None = None
    steps: int | None = None
    epochs: float | None = None

    def __post_init__(self) -> None:
        given = [amount for amount in (self.seconds, self.steps, self.epochs) if amount is not None]
        if len(given) != 1:
            raise ValueError(f"budget: give exactly one of seconds, steps and epochs, got {len(given)} of them.")
        if not math.isfinite(given[0]) or given[0] <= 0:
            raise ValueError(f"budget: {given[0]} leaves no time to fit anything; give a positive amount.")

    @staticmethod
    def parse(text: str | Budget) -> Budget:
        """Read ``"60s"``, ``"5min"``, ``"1h"``, ``"2000 steps"`` or ``"30 epochs"``.

        Raises:
            ValueError: the text has no number, no known unit, or is not positive.
        """
        if isinstance(text, Budget):
            return text
        found = re.fullmatch(r"\s*([-+]?[\d_]*\.?\d+(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)\s*", str(text))
        unit = _UNIT_OF.get(found[2].lower()) if found else None
        if found is None or unit is None:
            raise ValueError(
                f"budget: cannot read {text!r}; write a number with a unit, such as '60s', '5min', '1h', '2000 steps' "
                "or '30 epochs'."
            )
        return _positive(float(found[1].replace("_", "")), unit, str(text))

    @property
    def timed(self) -> bool:
        """Whether the budget is wall time, so that how far a fit gets depends on the machine."""
        return self.seconds is not None

    def total_steps(self, steps_per_epoch: int) -> int | None:
        """The number of steps, or None for wall time."""
        if self.epochs is not None:
            return max(1, math.ceil(self.epochs * steps_per_epoch))
        return self.steps

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{_short(self.seconds)}s"
        return f"{self.steps} steps" if self.steps is not None else f"{_short(self.epochs or 0)} epochs"


def _positive(number: float, unit: str, text: str) -> Budget:
    if not math.isfinite(number) or number <= 0:
        raise ValueError(f"budget: {text!r} leaves no time to fit anything; give a positive amount, such as '60s'.")
    if unit in _SECONDS:
        return Budget(seconds=number * _SECONDS[unit])
    if unit == "epochs":
        return Budget(epochs=number)
    if number != int(number):
        raise ValueError(f"budget: {text!r} is not a whole number of steps.")
    return Budget(steps=int(number))


def _short(number: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(number)) if number == int(number) else repr(number)
