"""Plain vectors: every column to mean 0 and variance 1, and back into the range of the data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pushforward.data.checks import Array, column_ranges, to_integers
from pushforward.data.packing import Floats, listed, pack, unpack
from pushforward.errors import DataError

_WIDENING = 0.05  # of the range: how far a decoded float may lie outside the training data
_FARTHEST = 1e6  # standard deviations: values farther out are encoded as if they were that far, for float32


@dataclass(frozen=True, eq=False)
class VectorCoder:
    """Rows of d numbers; constant columns are left out of the encoded vector and put back by ``decode``.

    Attributes:
        mean: ``[d]``.
        scale: standard deviation ``[d]``; 0 marks a constant column.
        low: smallest training value ``[d]``.
        high: largest training value ``[d]``.
        dtype: name of the user's numpy dtype.
    """

    kind: ClassVar[str] = "vector"
    mean: Floats
    scale: Floats
    low: Floats
    high: Floats
    dtype: str

    @property
    def event_shape(self) -> tuple[int, ...]:
        """``(columns that vary,)``."""
        return (int((self.scale > 0).sum()),)

    @staticmethod
    def fit(array: Array) -> VectorCoder:
        """Take float64 statistics of ``[n, d]``; a warning names constant columns, DataError if all are."""
        if array.shape[1] == 0:
            raise DataError(f"The array of shape {list(array.shape)} has no columns. Fix: give at least one column.")
        low, high = column_ranges(array)
        _check_width(low, high)
        mean, scale = _moments(array, low, high)
        _warn_constant(np.flatnonzero(scale == 0).tolist(), array.shape[1])
        return VectorCoder(mean, scale, low, high, str(array.dtype))

    def encode(self, array: Array) -> Array:
        """``[n, d]`` as float32 ``[n, columns that vary]``, standardised; at most a million deviations from the mean."""
        if array.ndim != 2 or array.shape[1] != len(self.mean):
            raise DataError(
                f"An array of shape {list(array.shape)} was given to a model of vectors [n, {len(self.mean)}]. "
                "Fix: give the same columns in the same order."
            )
        keep = self.scale > 0
        with np.errstate(over="ignore"):
            scaled = (array[:, keep] - self.mean[keep]) / self.scale[keep]
        return np.clip(scaled, -_FARTHEST, _FARTHEST).astype(np.float32)

    def decode(self, x: Array) -> Array:
        """Encoded rows in the user's dtype; floats stay within 5 % of the training range, integers inside it."""
        keep, dtype = self.scale > 0, np.dtype(self.dtype)
        values = np.broadcast_to(self.low, (len(x), len(self.low))).copy()
        values[:, keep] = x * self.scale[keep] + self.mean[keep]
        low, high = self._limits(dtype)
        clipped = np.clip(values, low, high)
        return clipped.astype(dtype) if dtype.kind == "f" else self._whole(clipped, dtype)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        names = ("mean", "scale", "low", "high")
        return {name: pack(getattr(self, name)) for name in names} | {"dtype": self.dtype}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> VectorCoder:
        """The inverse of ``to_dict``."""
        numbers = {name: unpack(stored[name]) for name in ("mean", "scale", "low", "high")}
        return VectorCoder(**numbers, dtype=stored["dtype"])

    def summary(self) -> list[str]:
        """Lines for humans."""
        lines = [
            f"vectors of {len(self.mean)} numbers, {self.dtype}",
            f"values from {self.low.min():g} to {self.high.max():g}, each column scaled to mean 0 and variance 1",
        ]
        constant = np.flatnonzero(self.scale == 0).tolist()
        return [*lines, f"constant columns, put back in samples: {listed(constant)}"] if constant else lines

    def _limits(self, dtype: np.dtype[Any]) -> tuple[Floats, Floats]:
        if dtype.kind != "f":
            return self.low, self.high
        margin, largest = _WIDENING * (self.high - self.low), float(np.finfo(dtype).max)
        return np.maximum(self.low - margin, -largest), np.minimum(self.high + margin, largest)

    def _whole(self, values: Array, dtype: np.dtype[Any]) -> Array:
        return to_integers(values, float(self.low.min()), float(self.high.max()), dtype)


def _moments(array: Array, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation ``[d]``, taken of values moved to [0, 1] so that nothing over- or underflows.

    A column narrower than the smallest normal number counts as constant: float64 has few digits left there, or none.
    """
    width = np.where(high - low < np.finfo(np.float64).tiny, 0.0, high - low)
    unit = (array - low) / np.where(width > 0, width, 1.0)
    return low + unit.mean(axis=0, dtype=np.float64) * width, unit.std(axis=0, dtype=np.float64) * width


def _check_width(low: Floats, high: Floats) -> None:
    with np.errstate(over="ignore"):
        too_wide = np.flatnonzero(~np.isfinite(high - low))
    if len(too_wide):
        column = int(too_wide[0])
        raise DataError(
            f"Column {column} reaches from {low[column]:g} to {high[column]:g}, too far for float64. Fix: rescale it."
        )


def _warn_constant(columns: list[int], d: int) -> None:
    if len(columns) == d:
        raise DataError("All columns are constant, so there is nothing to learn. Fix: check how the data were read.")
    if columns:
        warnings.warn(
            f"{len(columns)} of {d} columns are constant ({listed(columns)}): they are left out of the model and put "
            "back in samples.",
            stacklevel=2,
        )
