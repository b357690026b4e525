"""``load_data``: any source to ``Data``; ``describe``: what was understood."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pushforward.data.array_files import read_idx, read_npy, read_npz
from pushforward.data.checks import is_frame
from pushforward.data.datasets import read_dataset, read_loader, read_rows
from pushforward.data.named import load_named, named_sets, standard_name
from pushforward.data.pictures import PICTURES, read_folder, read_picture
from pushforward.data.rows import Data
from pushforward.data.schema import fit_schema
from pushforward.data.text_tables import read_csv, read_parquet, read_tsv, read_txt
from pushforward.errors import DataError, nearest_name

Reader = Callable[[Path], Data]

_READERS: dict[str, Reader] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".txt": read_txt,
    ".parquet": read_parquet,
    ".idx": read_idx,
    **dict.fromkeys(PICTURES, read_picture),
}
_ZIPPED = (".csv", ".tsv", ".txt", ".idx")


def load_data(source: object) -> Data:
    """Read data from any source.

    Args:
        source: array, tensor, DataFrame, torch Dataset or DataLoader, list of rows; path of a file (.csv .tsv .txt
            .parquet .npy .npz, idx, also .gz; a picture) or of a folder of pictures; the name of a known set such as
            ``"digits"`` (``"./digits"`` is a path); a Data is returned as it is.

    Returns:
        The values, with labels where the source has them.

    Raises:
        DataError: naming the source, what is wrong with it, and the fix.
    """
    if isinstance(source, Data):
        return source
    if isinstance(source, (str, Path)):
        return _from_text(source)
    if isinstance(source, DataLoader):
        return read_loader(source)
    if isinstance(source, Dataset):
        return read_dataset(source)
    if isinstance(source, (list, tuple)):
        return read_rows(source)
    return _from_memory(source)


def describe(source: object) -> str:
    """What the library understands of a source: kind, shape, range, columns, missing values, labels.

    Raises:
        DataError: where the data cannot be used.
    """
    data = load_data(source)
    lines = [f"{data.name}: {fit_schema(data).summary()}", _label_line(data), *_array_lines(data), *data.notes]
    return "\n".join(lines)


def _from_text(source: str | Path) -> Data:
    """A known set, or else a file or folder; ``.source`` finds the same data again from any folder."""
    path = _path_of(source)
    if isinstance(source, str) and standard_name(source) in named_sets():
        if path.exists():
            warnings.warn(f"{source!r} is read as the known data set; write './{source}' for the path.", stacklevel=3)
        return replace(load_named(source), source=standard_name(source))
    return replace(_from_path(str(source), path), source=str(path.resolve()))


def _path_of(source: str | Path) -> Path:
    """The path with ``~`` written out; DataError for text that cannot be a path."""
    try:
        path = Path(source).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        shown = str(source) if len(str(source)) < 80 else f"{str(source)[:80]}..."
        raise DataError(f"{shown!r} cannot be a path: {error}. Fix: write the whole path of the data.") from error
    return path


def _from_memory(source: object) -> Data:
    if is_frame(source):
        return Data(source, name="table")
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return Data(source, name="tensor" if isinstance(source, torch.Tensor) else "array")
    hint = " Fix: series.to_frame()." if hasattr(source, "to_frame") else ""
    raise DataError(
        f"Data of type {type(source).__name__} cannot be read.{hint} Known are: numpy array, torch tensor, pandas "
        "DataFrame, torch Dataset or DataLoader, the path of a file or folder, and the name of a set."
    )


def _from_path(source: str, path: Path) -> Data:
    if path.is_dir():
        return read_folder(path)
    if not path.exists():
        raise DataError(_nothing_there(source, path))
    return _reader_for(path)(path)


def _reader_for(path: Path) -> Reader:
    name = path.name.lower()
    bare = name.removesuffix(".gz")
    if re.search(r"idx\d-ubyte$", bare):
        return read_idx
    suffix = Path(bare).suffix
    if suffix in _READERS and (bare == name or suffix in _ZIPPED):
        return _READERS[suffix]
    known = ", ".join([*(ending for ending in _READERS if ending not in PICTURES), *PICTURES[:4]])
    raise DataError(f"{path}: files ending in {''.join(path.suffixes[-2:])!r} cannot be read. Known are {known}.")


def _nothing_there(source: str, path: Path) -> str:
    """A message that suggests the nearest known set or file."""
    folder = path.parent
    files = {file.name: str(file) for file in folder.iterdir()} if folder.is_dir() else {}
    hint = nearest_name(source, named_sets()) or nearest_name(path.name, files)
    lacking = "" if folder.is_dir() else f" (the folder {folder} does not exist)"
    known = f"Known sets are {', '.join(named_sets())}."
    return f"There is no file, folder or known data set {source!r}{lacking}.{hint} {known}"


def _array_lines(data: Data) -> list[str]:
    """What lies beside the rows, for ``condition=`` and ``group=``."""
    told = [f"{name} ({len(np.unique(array))} values)" for name, array in data.arrays.items()]
    return [f"beside the rows: {', '.join(told)}"] if told else []


def _label_line(data: Data) -> str:
    if data.labels is None:
        return "no labels"
    names = data.label_names
    counts = sorted(Counter(data.labels.tolist()).items(), key=lambda pair: str(pair[0]))
    shown = [f"{names[label] if names and isinstance(label, int) else label}: {n}" for label, n in counts[:12]]
    more = f" and {len(counts) - 12} more" if len(counts) > 12 else ""
    return f"{len(counts)} labels ({', '.join(shown)}{more})"
