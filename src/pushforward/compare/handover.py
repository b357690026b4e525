"""Data in a file, so that one process can hand them to another. No pickle: arrays in an .npz, the rest of it as JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.data import Data
from pushforward.data.checks import is_frame, to_array
from pushforward.data.dtypes import ColumnType, plain_level

_PLAIN_KINDS = "biufU"  # dtypes that a file holds as they are
_ABOUT = "about"
Arrays = dict[str, NDArray[Any]]


def write_data(path: Path, data: Data) -> None:
    """Write values, labels and arrays into ``path`` (.npz). Tensors become arrays, dates are not supported."""
    arrays: Arrays = {}
    about: dict[str, Any] = {"name": data.name, "label_names": data.label_names}
    about["labels"] = [] if data.labels is None else [_put(arrays, "labels", data.labels)]
    about["arrays"] = [[name, _put(arrays, f"array {k}", part)] for k, (name, part) in enumerate(data.arrays.items())]
    about["columns"] = _put_table(arrays, data.values) if is_frame(data.values) else None
    if about["columns"] is None:
        arrays["values"] = to_array(data.values)
    arrays[_ABOUT] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    with open(path, "wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # the stub takes the names for options


def read_data(path: Path) -> Data:
    """What `write_data` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays: Arrays = {name: file[name] for name in file.files}
    about = json.loads(arrays[_ABOUT].tobytes())
    labels = _get(arrays, "labels", about["labels"][0]) if about["labels"] else None
    named = {name: _get(arrays, f"array {k}", told) for k, (name, told) in enumerate(about["arrays"])}
    names = None if about["label_names"] is None else tuple(about["label_names"])
    values = arrays["values"] if about["columns"] is None else _get_table(arrays, about["columns"])
    return Data(values, labels, about["name"], names, arrays=named)


# ---------------------------------------------------------------------- columns


def _put_table(arrays: Arrays, frame: Any) -> list[dict[str, Any]]:
    """Every column into ``arrays``; how to make it again is returned."""
    columns = []
    for k, name in enumerate(frame.columns):
        series = frame.iloc[:, k]
        dtype = ColumnType.of(series).to_plain()
        plain = int(name) if isinstance(name, np.integer) else name
        columns.append({"name": plain, "dtype": dtype, "levels": _put(arrays, f"column {k}", series)})
    return columns


def _get_table(arrays: Arrays, columns: list[dict[str, Any]]) -> Any:
    import pandas as pd

    made = [
        ColumnType.from_plain(told["dtype"]).cast(_get(arrays, f"column {k}", told["levels"]))
        for k, told in enumerate(columns)
    ]
    frame = pd.concat(made, axis=1) if made else pd.DataFrame()
    frame.columns = pd.Index([told["name"] for told in columns])
    return frame


def _put(arrays: Arrays, key: str, values: Any) -> list[Any] | None:
    """Numbers and text as they are; anything else as numbers of its levels, which are returned."""
    dtype = values.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in _PLAIN_KINDS:
        arrays[key] = np.asarray(values)
        return None
    import pandas as pd

    codes, levels = pd.factorize(values)
    arrays[key] = codes.astype(np.int32)
    return [_plain(level, key) for level in levels]


def _get(arrays: Arrays, key: str, levels: list[Any] | None) -> NDArray[Any]:
    """The inverse of `_put`; a missing value is None."""
    if levels is None:
        return arrays[key]
    values: NDArray[Any] = np.empty(len(levels) + 1, dtype=object)
    values[:] = [*levels, None]
    return values[arrays[key]]


def _plain(level: Any, key: str) -> Any:
    return float(level) if isinstance(level, Decimal) else plain_level(level, key)
