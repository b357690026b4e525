"""Lists of numbers as one short text, so that a saved schema stays small and every float survives exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pack(values: NDArray[Any]) -> str:
    """Numbers ``[k]`` as text separated by spaces; ``unpack`` gives the very same float64 numbers back."""
    return " ".join(repr(float(value)).removesuffix(".0") for value in values)


def unpack(text: str) -> Floats:
    """The numbers ``[k]`` in a text that ``pack`` wrote."""
    return np.fromiter(map(float, text.split()), dtype=np.float64)


def listed(names: list[Any], most: int = 5) -> str:
    """``'a', 'b' and 3 more``: names for a message, cut after ``most``."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
