"""Readers of tables: .csv, .tsv and white-space .txt, plain or gzipped, with or without a header; .parquet."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pushforward.data.dtypes import MISSING_TEXT
from pushforward.data.rows import Data
from pushforward.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$")
_COMMA_CELL = re.compile(r"""(?:^|[;\t|])\s*"?[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+"?\s*(?=[;\t|\r\n]|$)""", re.MULTILINE)
_WITH_DOTS = r"\s*[+-]?\d{1,3}(\.\d{3})*(,\d+)?\s*"  # 1.000,50: dots between thousands, a comma before decimals
_LOOK_AT = 1000  # lines that decide about separator and header
_LOOK_AT_CHARACTERS = 1_000_000


def read_csv(path: Path) -> Data:
    """A table separated by commas, semicolons, tabs or bars."""
    text = _text(path)
    return _table(path, text, _separator(_head(text)[:20]))


def read_tsv(path: Path) -> Data:
    """A table separated by tabs."""
    return _table(path, _text(path), "\t")


def read_txt(path: Path) -> Data:
    """A table separated by white space (or by commas where the first line has some)."""
    text = _text(path)
    first = text.lstrip().partition("\n")[0]
    return _table(path, text, _separator([first]) if "," in first or ";" in first else " ")


def read_parquet(path: Path) -> Data:
    """A parquet file, through pyarrow."""
    import pandas as pd

    try:
        return Data(pd.read_parquet(path, engine="pyarrow"), name=path.stem)
    except ImportError as error:
        raise DataError(
            f"Reading {path} needs pyarrow. Fix: pip install 'pushforward[parquet]', or save the table as .csv."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as parquet: {error}. Fix: write the file again.") from error


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: text above numbers, 0, 1, 2, ..., or text that never occurs below."""
    first, body = [cell.strip() for cell in rows[0]], rows[1:]
    if not body:
        return not any(_is_number(cell) for cell in first)
    if len(first) > 1 and first == [str(i) for i in range(len(first))]:
        return True
    columns = [[row[i].strip() for row in body if i < len(row)] for i in range(len(first))]
    numeric = [_numeric(column) for column in columns]
    if any(numeric):
        return any(is_numeric and _is_name(cell) for cell, is_numeric in zip(first, numeric, strict=True))
    return len(set(first)) == len(first) and not any(c in column for c, column in zip(first, columns, strict=True))


def _table(path: Path, text: str, separator: str) -> Data:
    rows = _rows(_head(text), separator)
    if not rows:
        raise DataError(f"{path} is empty. Fix: check how it was written.")
    header = has_header(rows)
    frame = _parse(path, text, separator, header)
    if not header:
        frame.columns = [f"c{i}" for i in range(frame.shape[1])]
    names = "c0" if frame.shape[1] == 1 else f"c0 to c{frame.shape[1] - 1}"
    notes = () if header else (f"no header found: the columns are named {names}",)
    return Data(_tidy(frame, path), name=path.name.split(".")[0], notes=notes)


def _parse(path: Path, text: str, separator: str, header: bool) -> pd.DataFrame:
    import pandas as pd

    commas = separator in ";\t|" and _COMMA_CELL.search(text) is not None
    sep, first, decimal = r"\s+" if separator == " " else separator, 0 if header else None, "," if commas else "."
    try:
        frame = _read_csv(text, sep=sep, header=first, decimal=decimal)
        return _without_dots(frame) if commas else frame
    except pd.errors.ParserWarning as error:
        raise DataError(f"{path}: some lines have more cells than the first one. Fix: complete the header.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table: {str(error).strip()}. Fix: correct that line.") from error


def _read_csv(text: str, sep: str, header: int | None, decimal: str) -> pd.DataFrame:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            io.StringIO(text),
            sep=sep,
            header=header,
            decimal=decimal,
            skipinitialspace=True,
            keep_default_na=False,
            na_values=list(MISSING_TEXT),
            index_col=False,
            low_memory=False,
        )


def _without_dots(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns such as 1.000,50 and 12,5 as numbers."""
    for i, column in enumerate(frame.items()):
        present = column[1].dropna()
        if _plain_numbers(present.dtype) or not len(present):
            continue
        text = column[1].astype("string")
        numbers = text.str.fullmatch(_WITH_DOTS)
        if bool(numbers.dropna().all()) and bool(text.str.contains(",", regex=False).any()):
            plain = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
            frame.isetitem(i, plain.to_numpy(dtype=np.float64, na_value=np.nan))
    return frame


def _tidy(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Drop a saved row index and the spaces around names and text."""
    frame = frame.rename(columns=lambda name: str(name).strip())
    for name in frame.columns[frame.dtypes.map(lambda dtype: not _plain_numbers(dtype)).to_numpy()].unique():
        if frame.columns.tolist().count(name) == 1:
            frame[name] = _stripped(frame[name])
    first = str(frame.columns[0])
    if first.startswith("Unnamed: 0") and frame.shape[1] > 1 and list(frame.iloc[:, 0]) == list(range(len(frame))):
        warnings.warn(f"{path.name}: the unnamed first column counts the rows and is left out.", stacklevel=2)
        frame = frame.iloc[:, 1:]
    return frame


def _stripped(column: pd.Series[Any]) -> pd.Series[Any]:
    text = column.map(lambda value: value.strip() if isinstance(value, str) else value)
    return text.mask(text.isin(MISSING_TEXT))


def _plain_numbers(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") in "buif"


def _text(path: Path) -> str:
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}. Fix: the file is damaged; fetch it again.") from error
    if b"\0" in raw[:4096] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is not a text file. Fix: check the file, or its ending.")
    return _decoded(raw)


def _decoded(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _head(text: str) -> list[str]:
    """The first lines, the last one left off where it is cut."""
    lines = text[:_LOOK_AT_CHARACTERS].splitlines()[: _LOOK_AT + 1]
    return lines[:-1] if len(text) > _LOOK_AT_CHARACTERS and len(lines) > 1 else lines


def _separator(lines: list[str]) -> str:
    """The separator that splits every line into the same number of cells, most cells first."""
    filled = [line for line in lines if line.strip()]

    def cells(mark: str) -> int:
        counts = {len(row) for row in _cells(filled, mark)}
        return counts.pop() if len(counts) == 1 else 0

    best = max(",;\t|", key=cells)
    return best if cells(best) > 1 else ","


def _rows(lines: list[str], separator: str) -> list[list[str]]:
    filled = [line for line in lines if line.strip()]
    if separator == " ":
        return [line.split() for line in filled]
    return _cells(filled, separator)


def _cells(lines: list[str], mark: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=mark, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"The table cannot be split into cells: {error}. Fix: check its quotes.") from error


def _is_number(cell: str) -> bool:
    return _NUMBER.match(cell.replace(",", ".")) is not None


def _is_name(cell: str) -> bool:
    return not _is_number(cell) and cell not in MISSING_TEXT


def _numeric(column: list[str]) -> bool:
    present = [cell for cell in column if cell not in MISSING_TEXT]
    return len(present) > 0 and all(_is_number(cell) for cell in present)
