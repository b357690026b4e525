"""What an array must be before a schema can be fitted to it, and the cast back to its integers."""

from __future__ import annotations

import sys
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.data.packing import Floats
from pushforward.errors import DataError

Array = NDArray[Any]


def is_frame(values: object) -> TypeGuard[Any]:
    """Whether ``values`` is a DataFrame, without importing pandas when nobody else has."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(values, pandas.DataFrame)


def to_array(values: object) -> Array:
    """The numpy array behind an array or a tensor, refused unless it holds finite numbers."""
    array = _tensor_array(values) if isinstance(values, torch.Tensor) else _plain_array(values)
    check_numeric(array)
    check_finite(array)
    return array


def check_container(values: object) -> None:
    """Refuse a single number, and tensors whose values cannot be reached."""
    if isinstance(values, torch.Tensor):
        _check_tensor(values)
    if np.ndim(values) == 0:  # type: ignore[arg-type]
        raise DataError(
            "The data have 0 axes: a single number, not rows. Fix: give an array [n, d], one sample a row, such as "
            "np.array([[1.0], [2.0]])."
        )


def check_rows(n: int) -> None:
    """Refuse data with no row or a single row: neither has a law that could be learned."""
    if n == 0:
        raise DataError("The data are empty: 0 rows. Fix: check the source, or the filter that made them.")
    if n == 1:
        raise DataError(
            "The data have one row (n = 1), and a law cannot be learned from one row. "
            "Fix: give at least two rows, one sample a row (the first axis counts the samples)."
        )


def check_numeric(array: Array) -> None:
    """Refuse arrays of objects, text, dates, complex numbers and records."""
    if array.dtype == object:
        raise DataError(
            "The array has dtype object, so its rows are not plain numbers of one size. Fix: where the rows have mixed "
            "sizes, bring them to one size; where they are numbers, use x.astype(float); for mixed columns, give a "
            "pandas DataFrame."
        )
    if array.dtype.kind not in "buif":
        raise DataError(
            f"The array has dtype {array.dtype}, and only real numbers can be used. "
            "Fix: convert it with x.astype(float), or give text and dates as columns of a pandas DataFrame."
        )


def check_finite(array: Array) -> None:
    """Refuse NaN and infinite values, saying how many there are and where the first one is."""
    if array.dtype.kind != "f" or bool(np.isfinite(array).all()):
        return
    bad = ~np.isfinite(array)
    first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), array.shape))
    raise DataError(
        f"The array holds {int(bad.sum())} values that are NaN or infinite; the first is {array[first]} at index "
        f"{first}. Fix: drop those rows or fill the values; in a pandas DataFrame NaN is allowed and means missing."
    )


def to_integers(values: Array, low: float, high: float, dtype: np.dtype[Any]) -> Array:
    """Floats rounded, clipped to ``[low, high]`` and cast, without overflow at the ends of 64-bit integers."""
    if dtype.kind == "b":
        return np.clip(np.rint(values), low, high).astype(dtype)
    limits = np.iinfo(dtype)
    top = float(limits.max) if int(float(limits.max)) <= limits.max else float(np.nextafter(float(limits.max), 0.0))
    lowest, highest = np.maximum(low, float(limits.min)), np.minimum(high, top)
    return np.clip(np.rint(values), lowest, highest).astype(dtype)


def range_of(array: Array) -> tuple[float, float]:
    """The smallest and the largest value."""
    return float(array.min()), float(array.max())


def column_ranges(array: Array) -> tuple[Floats, Floats]:
    """The smallest and the largest value of every column, ``[d]`` each."""
    return array.min(axis=0).astype(np.float64), array.max(axis=0).astype(np.float64)


def _tensor_array(values: torch.Tensor) -> Array:
    _check_tensor(values)
    dense = values.detach().cpu()
    array: Array = (dense.float() if dense.dtype == torch.bfloat16 else dense).numpy()
    return array


def _check_tensor(values: torch.Tensor) -> None:
    if values.layout != torch.strided:
        raise DataError(f"The tensor is sparse (layout {values.layout}). Fix: give a dense tensor, x.to_dense().")
    if values.device.type == "meta":
        raise DataError(
            f"The tensor lies on the meta device: it has a shape, {list(values.shape)}, but no values. Fix: give a "
            "tensor with values, on the CPU or a GPU."
        )


def _plain_array(values: object) -> Array:
    if isinstance(values, np.ma.MaskedArray) and bool(np.ma.getmaskarray(values).any()):
        raise DataError("The array is masked, and some values are hidden. Fix: fill them, x.filled(value).")
    if hasattr(values, "toarray") and not isinstance(values, np.ndarray):
        raise DataError("The array is sparse. Fix: give a dense one, x.toarray().")
    if not isinstance(values, np.ndarray):
        raise DataError(
            f"Data of type {type(values).__name__} cannot be used here. "
            "Fix: give a numpy array, a torch tensor or a pandas DataFrame, or read the source with load_data(...)."
        )
    return np.asarray(values)
