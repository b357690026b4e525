"""Schema: what the data are, and the way to the encoded tensor and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import torch

from pushforward.data.checks import Array, check_rows, is_frame, to_array
from pushforward.data.images import ImageCoder
from pushforward.data.rows import Data
from pushforward.data.tables import Coordinates, TableCoder
from pushforward.data.vectors import VectorCoder
from pushforward.errors import DataError


class Coder(Protocol):
    """One kind of data: there and back between the user's values and float32 rows."""

    @property
    def kind(self) -> str:
        """``"image"``, ``"vector"`` or ``"table"``."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one encoded row."""

    def encode(self, values: Any) -> Array:
        """Values as float32 ``[n, *event_shape]``."""

    def decode(self, x: Array) -> Any:
        """The inverse of ``encode``."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""

    def summary(self) -> list[str]:
        """Lines for humans."""


@dataclass(frozen=True)
class Schema:
    """The fitted description of the data; make one with ``fit_schema``.

    Attributes:
        coder: the kind of data and its numbers.
        container: ``"array"``, ``"tensor"`` or ``"table"``: what ``decode`` returns.
        dtype: dtype of the array or tensor (empty for tables).
        n_rows: how many rows the schema was fitted on.
    """

    coder: Coder
    container: str
    dtype: str
    n_rows: int

    @property
    def kind(self) -> str:
        """``"image"``, ``"vector"`` or ``"table"``."""
        return self.coder.kind

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one encoded row: ``(c, h, w)`` or ``(d,)``."""
        return self.coder.event_shape

    def encode(self, values: object) -> torch.Tensor:
        """Raw values as a float32 tensor ``[n, *event_shape]`` on the CPU.

        Raises:
            DataError: where the values do not fit what the schema was fitted on, or are not finite.
        """
        raw = values.values if isinstance(values, Data) else values
        if is_frame(raw) != (self.kind == "table"):
            raise DataError(self._wrong_container(raw))
        return torch.from_numpy(self.coder.encode(raw if is_frame(raw) else to_array(raw)))

    def decode(self, x: torch.Tensor) -> Any:
        """Encoded rows ``[n, *event_shape]`` as the user's kind of data: container, dtype, layout and range.

        Raises:
            DataError: where the rows have another shape, or hold NaN.
        """
        self._check_encoded(x)
        values = self.coder.decode(x.detach().cpu().numpy())
        return torch.from_numpy(values).to(_torch_dtype(self.dtype)) if self.container == "tensor" else values

    def as_images(self, x: torch.Tensor) -> Array:
        """Encoded images as uint8 ``[n, h, w, c]`` for display, c = 1 or 3."""
        if not isinstance(self.coder, ImageCoder):
            raise DataError(f"The data are of kind {self.kind!r}, not images, so there is no picture to show.")
        self._check_encoded(x)
        return self.coder.as_images(x.detach().cpu().float().numpy())

    def coordinates(self) -> Coordinates:
        """What the coordinates of an encoded row (of a picture: flattened) say; those of arrays are numbered from 1."""
        if isinstance(self.coder, TableCoder):
            return self.coder.coordinates()
        kept = (
            (self.coder.scale > 0).nonzero()[0]
            if isinstance(self.coder, VectorCoder)
            else range(prod(self.event_shape))
        )
        return Coordinates(tuple(f"x{i + 1}" for i in kept), (-1,) * len(kept))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain types (str, int, float, bool, None, list, dict); ``from_dict`` is its exact inverse."""
        header = {"kind": self.kind, "container": self.container, "dtype": self.dtype, "n_rows": self.n_rows}
        return header | {"coder": self.coder.to_dict()}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> Schema:
        """The schema that ``to_dict`` described."""
        if stored.get("kind") not in _KINDS:
            raise DataError(f"{stored.get('kind')!r} is no kind of data; known are {', '.join(_KINDS)}.")
        coder = _KINDS[stored["kind"]](stored["coder"])
        return Schema(coder, stored["container"], stored["dtype"], stored["n_rows"])

    def summary(self) -> str:
        """A few lines for humans."""
        return "\n".join([f"{self.n_rows} rows", *self.coder.summary()])

    def _check_encoded(self, x: torch.Tensor) -> None:
        if tuple(x.shape[1:]) != self.event_shape or x.dim() == 0:
            expected = ["n", *self.event_shape]
            raise DataError(f"Encoded rows have the shape {expected}, but {list(x.shape)} was given.")
        bad = int((~torch.isfinite(x)).sum())
        if bad:
            raise DataError(f"{bad} of {x.numel()} encoded values are NaN or infinite, so they cannot be decoded.")

    def _wrong_container(self, values: object) -> str:
        if self.kind == "table":
            names = [column.name for column in self.coder.columns]  # type: ignore[attr-defined]
            return (
                f"The model was fitted on a table, but {type(values).__name__} was given. "
                f"Fix: give a DataFrame with the columns {names}."
            )
        return f"The model was fitted on {self.kind}s, but a DataFrame was given. Fix: give an array, df.to_numpy()."


_KINDS: dict[str, Callable[[dict[str, Any]], Coder]] = {
    "image": ImageCoder.from_dict,
    "vector": VectorCoder.from_dict,
    "table": TableCoder.from_dict,
}


def fit_schema(values: object) -> Schema:
    """Find out what the data are.

    Args:
        values: array or tensor ``[n, d]`` (vectors), ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` (images,
            c = 1 or 3), a DataFrame (table), or what ``load_data`` returned.

    Raises:
        DataError: saying what is wrong with the data and how to mend it.
    """
    raw = values.values if isinstance(values, Data) else values
    if is_frame(raw):
        check_rows(len(raw))
        return Schema(TableCoder.fit(raw), "table", "", len(raw))
    array = to_array(raw)
    _check_axes(array)
    container = "tensor" if isinstance(raw, torch.Tensor) else "array"
    dtype = str(raw.dtype).removeprefix("torch.") if isinstance(raw, torch.Tensor) else str(array.dtype)
    return Schema(_fit_coder(array), container, dtype, len(array))


def _fit_coder(array: Array) -> Coder:
    return VectorCoder.fit(array) if array.ndim == 2 else ImageCoder.fit(array)


def _check_axes(array: Array) -> None:
    if array.ndim == 1:
        raise DataError(
            f"The array is one-dimensional, shape {list(array.shape)}. Fix: x.reshape(-1, 1) for n values of one "
            "variable, x.reshape(1, -1) for one row."
        )
    if array.ndim not in (2, 3, 4):
        raise DataError(
            f"The array has {array.ndim} axes, shape {list(array.shape)}. Fix: give [n, d] for vectors, or [n, h, w], "
            "[n, h, w, c] or [n, c, h, w] for images."
        )
    check_rows(len(array))


def _torch_dtype(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    return dtype
