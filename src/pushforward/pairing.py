"""The state of a fit by assignment: which row has which code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass
class Pairing:
    """Which code each row has now; saved at checkpoints."""

    codes: Tensor
    lattice: Tensor
    permutation: Tensor
    seconds: float = 0.0
    expected: float = 0.0

    def record(self, seconds: float) -> None:
        """Add the time of an assignment, and expect the next one to take a little longer."""
        self.seconds += seconds
        self.expected = 1.2 * seconds

    def state_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved fields, on the device of the present ones."""
        device = self.codes.device
        for name, value in state.items():
            setattr(self, name, value.to(device) if isinstance(value, Tensor) else value)
