"""Readers of array files: .npy, .npz and idx (the format of MNIST)."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.checks import Array
from pushforward.data.packing import listed
from pushforward.data.rows import Data
from pushforward.errors import DataError

_VALUE_KEYS = ("images", "X", "x", "data")
_LABEL_KEYS = ("labels", "y")
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_BROKEN = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)


def read_npy(path: Path) -> Data:
    """One array; a pickled file is refused."""
    array = _load(path)
    if isinstance(array, dict):
        raise DataError(f"{path} is an archive of arrays, not one array. Fix: rename it to .npz.")
    return Data(array, name=path.stem)


def read_npz(path: Path) -> Data:
    """The array named images, X, x or data, or the only one; labels from labels or y; other columns by their names."""
    arrays = _load(path)
    if not isinstance(arrays, dict):
        raise DataError(f"{path} is a single array, not an .npz archive of arrays. Fix: rename it to .npy.")
    key, label_key = _pick_key(path, list(arrays)), next((k for k in _LABEL_KEYS if k in arrays), None)
    labels = as_labels(arrays.pop(label_key)) if label_key else None
    values = arrays.pop(key)
    column = (values.shape[:1], (*values.shape[:1], 1))
    others = {name: array.reshape(-1) for name, array in arrays.items() if array.shape in column}
    return Data(values, labels, path.stem, arrays=others)


def read_idx(path: Path) -> Data:
    """An idx file, with the labels of the file beside it (``...-labels-idx1-ubyte``) where there is one."""
    beside = _labels_beside(path)
    labels = None if beside is None else as_labels(_read_idx_array(beside))
    return Data(_read_idx_array(path), labels, re.split(r"[.-]idx\d", path.name)[0])


def as_labels(values: Any) -> Array | None:
    """One label a row, whole numbers or text ``[n]``; None where the values are targets of another kind."""
    labels = _regular(values)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or labels.dtype.kind not in "buifUO":
        return None
    if labels.dtype == object:
        return labels.astype(str) if all(isinstance(label, str) for label in labels) else None
    if labels.dtype.kind != "f":
        return labels
    whole = np.isfinite(labels).all() and bool((labels == np.rint(labels)).all())
    return labels.astype(np.int64) if whole else None


def _regular(values: Any) -> Array:
    """An array, empty where the values have mixed sizes."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.empty((0, 0))


def _load(path: Path) -> Any:
    """The array of an .npy file, or the wanted arrays of an .npz archive as a dict."""
    try:
        with path.open("rb") as file:
            loaded: Any = np.load(file, allow_pickle=False)
            return {key: loaded[key] for key in _wanted(loaded)} if hasattr(loaded, "files") else loaded
    except _BROKEN as error:
        raise _broken(path, error) from error


def _wanted(archive: Any) -> list[str]:
    """The keys to read: the known ones and columns where there are any, so that a pickled or large extra does no harm."""
    known = [key for key in archive.files if key in _VALUE_KEYS]
    if not known:
        return list(archive.files)
    others = [key for key in archive.files if key not in _VALUE_KEYS]
    return known[:1] + [key for key in others if key in _LABEL_KEYS or _is_column(archive, key)]


def _is_column(archive: Any, key: str) -> bool:
    """Whether an array of the archive holds plain entries ``[n]`` or ``[n, 1]``, by its header alone."""
    header = np.lib.format
    if f"{key}.npy" not in archive.zip.namelist():
        return False
    with archive.zip.open(f"{key}.npy") as file:
        version = header.read_magic(file)
        read = header.read_array_header_1_0 if version == (1, 0) else header.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape[1:] in ((), (1,)) and len(shape) > 0 and dtype.kind in "buifU"


def _pick_key(path: Path, keys: list[str]) -> str:
    known = [key for key in _VALUE_KEYS if key in keys]
    others = [key for key in keys if key not in _LABEL_KEYS]
    if known or len(others) == 1:
        return (known or others)[0]
    raise DataError(
        f"{path} holds the arrays {listed(keys, 12)}, and none is named {', '.join(_VALUE_KEYS)}. "
        f"Fix: np.load({str(path)!r})[key] with the key you mean, and pass that array."
    )


def _broken(path: Path, error: Exception) -> DataError:
    if "pickle" in str(error).lower():
        return DataError(
            f"{path} holds pickled Python objects, which are not loaded because they can run any code. "
            "Fix: save plain numbers, np.save(path, x.astype(float)), or use a trusted tool to convert it."
        )
    return DataError(f"{path} cannot be read: {error}. Fix: the file is damaged or cut short; fetch or write it again.")


def _read_idx_array(path: Path) -> Array:
    raw = _bytes(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX_TYPES:
        raise DataError(f"{path} is not an idx file: it does not begin with the idx magic number. Fix: check the file.")
    dtype, start = np.dtype(_IDX_TYPES[raw[2]]), 4 + 4 * raw[3]
    shape = tuple(np.frombuffer(raw[4 : min(start, len(raw) // 4 * 4)], dtype=">u4").tolist())
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(shape) != raw[3] or len(raw) - start != needed:
        raise DataError(
            f"{path} is damaged: its header promises shape {list(shape)} ({needed} bytes), but "
            f"{max(len(raw) - start, 0)} bytes follow. Fix: fetch the file again."
        )
    return np.frombuffer(raw, dtype=dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _bytes(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except _BROKEN as error:
        raise _broken(path, error) from error


def _labels_beside(path: Path) -> Path | None:
    name = re.sub(r"images([.-])idx\d", r"labels\1idx1", path.name)
    bare = name.removesuffix(".gz")
    candidates = [path.with_name(name), path.with_name(bare), path.with_name(bare + ".gz")]
    return next((file for file in candidates if name != path.name and file.is_file()), None)
