"""Samples into files: a picture grid, a folder of pictures, an array or a table."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pushforward.data import Schema, export_images
from pushforward.errors import DataError
from pushforward.folders import write_atomically


def write_samples(values: Any, schema: Schema, path: Path) -> Path:
    """Write samples in the format that the file's ending names; without an ending, a folder of PNG files.

    Raises:
        DataError: an ending that is not known, or that does not suit the data.
        StorageError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise DataError(
            f"out: {path.name!r} has an ending that is not known; use {', '.join(sorted(s for s in _WRITERS if s))}, or none for a folder."
        )
    if suffix in ("", ".png") and schema.kind != "image":
        raise DataError(
            f"out: {path.name!r} is for pictures, and this model makes {schema.kind} data; use .csv, .parquet or .npy."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[suffix](values, schema, path)
    return path


def _grid(values: Any, schema: Schema, path: Path) -> None:
    from pushforward.report.grids import image_grid, png_bytes

    write_atomically(path, png_bytes(image_grid(schema.as_images(schema.encode(values)))))


def _folder(values: Any, schema: Schema, path: Path) -> None:
    export_images(schema.as_images(schema.encode(values)), path)


def _npy(values: Any, schema: Schema, path: Path) -> None:
    content = io.BytesIO()
    np.save(content, _array(values), allow_pickle=False)
    write_atomically(path, content.getvalue())


def _csv(values: Any, schema: Schema, path: Path) -> None:
    write_atomically(path, _frame(values).to_csv(index=False))


def _parquet(values: Any, schema: Schema, path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(
            "out: writing .parquet needs pyarrow: pip install 'pushforward[parquet]'; or use .csv."
        ) from error
    content = io.BytesIO()
    _frame(values).to_parquet(content, index=False)
    write_atomically(path, content.getvalue())


def _array(values: Any) -> np.ndarray:
    array = values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.dtype == object:
        raise DataError("out: a table with text columns does not fit into .npy; use .csv or .parquet.")
    return array


def _frame(values: Any) -> Any:
    import pandas as pd

    if isinstance(values, pd.DataFrame):
        return values
    flat = _array(values)
    return pd.DataFrame(flat.reshape(len(flat), -1)).rename(columns=lambda k: f"x{k}")


_WRITERS: dict[str, Callable[[Any, Schema, Path], None]] = {
    "": _folder,
    ".png": _grid,
    ".npy": _npy,
    ".csv": _csv,
    ".parquet": _parquet,
}
