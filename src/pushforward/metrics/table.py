"""How the table metrics read DataFrames: numbers, categories and gaps of several tables, stacked."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """The rows of several tables with the same columns, one table below the other.

    A column holds numbers where the first table has numbers there (not booleans and not pandas' category dtype); every other
    column holds categories.

    Attributes:
        names: The columns: first those of numbers, then those of categories, each in the order of the first table.
        numbers: ``[n, p]``, NaN where missing.
        levels: ``[n, c]``, a category's number from 0, -1 where missing.
        sizes: Rows of each table.
    """

    names: tuple[Hashable, ...]
    numbers: Floats
    levels: Integers
    sizes: tuple[int, ...]

    @property
    def is_number(self) -> npt.NDArray[np.bool_]:
        """Which columns hold numbers, ``[p + c]``."""
        return np.asarray(np.arange(len(self.names)) < self.numbers.shape[1])

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """Where values are missing, ``[n, p + c]``."""
        return np.column_stack([np.isnan(self.numbers), self.levels < 0])

    def values(self) -> Integers:
        """Every column as the ranks of its distinct values from 0, -1 where missing, ``[n, p + c]``."""
        ranks = [_ranks(column) for column in self.numbers.T]
        return np.column_stack([*ranks, self.levels]).astype(np.int64)

    def parts(self) -> list[npt.NDArray[np.intp]]:
        """The row numbers of each table."""
        ends = np.cumsum(self.sizes)
        return [np.arange(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]


def pool(*tables: tuple[str, pd.DataFrame], least: int) -> Pool:
    """Stacks tables, each given with the name of its argument; the first, a real one, decides what each column holds.

    Raises:
        ValueError: For fewer than ``least`` rows, columns that differ, dates, infinite values, or words among numbers.
    """
    first = tables[0][1]
    if not len(first.columns):
        raise ValueError(f"{tables[0][0]}: the table has no columns; check how it was read")
    for name, frame in tables:
        _check(name, frame, first, least)
    columns = {column: _is_number(first[column]) for column in first.columns}
    numeric = [column for column, holds in columns.items() if holds]
    others = [column for column, holds in columns.items() if not holds]
    n = sum(len(frame) for _, frame in tables)
    stacked = [np.concatenate([_floats(frame[column], name) for name, frame in tables]) for column in numeric]
    levels = [_levels([frame[column] for _, frame in tables]) for column in others]
    return Pool(
        (*numeric, *others),
        np.array(stacked, dtype=np.float64).reshape(len(numeric), n).T,
        np.array(levels, dtype=np.int64).reshape(len(others), n).T,
        tuple(len(frame) for _, frame in tables),
    )


def _check(name: str, frame: pd.DataFrame, first: pd.DataFrame, least: int) -> None:
    if len(frame) < least:
        raise ValueError(f"{name}: {len(frame)} rows are too few for this metric; give at least {least}")
    if not frame.columns.is_unique:
        raise ValueError(f"{name}: several columns have the same name; give every column its own")
    odd = set(frame.columns) ^ set(first.columns)
    if odd:
        named = ", ".join(sorted(map(repr, odd))[:5])
        raise ValueError(f"{name}: its columns are not those of the real table; they differ by {named}")
    dates = [column for column in frame.columns if frame[column].dtype.kind in "mM"]
    if dates:
        raise ValueError(f"{name}: column {dates[0]!r} holds dates or times; drop it, or turn it into numbers")


def _is_number(series: pd.Series[Any]) -> bool:
    from pandas.api.types import infer_dtype, is_any_real_numeric_dtype

    if series.dtype == object:
        return infer_dtype(series, skipna=True) in ("integer", "floating", "mixed-integer-float", "decimal")
    return is_any_real_numeric_dtype(series.dtype)


def _floats(series: pd.Series[Any], table: str) -> Floats:
    """A column of numbers, NaN where missing."""
    import pandas as pd

    plain = series if _is_number(series) else series.astype(object)
    values = pd.to_numeric(plain, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = (np.isnan(values) & series.notna().to_numpy()) | np.isinf(values)
    if bad.any():
        value = series.astype(object).iloc[int(bad.argmax())]
        raise ValueError(
            f"{table}: column {series.name!r} holds {value!r} among numbers; correct it or drop those rows"
        )
    return values


def _levels(parts: list[pd.Series[Any]]) -> Integers:
    """Columns of categories, joined, as numbers from 0; -1 where missing."""
    import pandas as pd

    joined = np.concatenate([series.astype(object).to_numpy() for series in parts])
    return np.asarray(pd.factorize(joined, use_na_sentinel=True)[0], dtype=np.int64)


def _ranks(column: Floats) -> Integers:
    present = ~np.isnan(column)
    ranks = np.full(len(column), -1, dtype=np.int64)
    ranks[present] = np.unique(column[present], return_inverse=True)[1]
    return ranks


def blocks(values: Integers) -> tuple[Integers, int]:
    """Numbers the values ``[n, q]`` of all columns on: where each column begins, ``[q]``, and how many there are."""
    widths = np.maximum(values.max(axis=0) + 1, 1)
    return np.cumsum(widths) - widths, int(widths.sum())
