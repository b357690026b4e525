"""Column dtypes of a DataFrame as plain types and back, and what a column's values are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pushforward.data.packing import Floats
from pushforward.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MISSING_TEXT = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "none")
"""What counts as a missing value in a csv file, and in a text column that otherwise holds numbers."""

Plain = str | int | float | bool


@dataclass(frozen=True)
class ColumnType:
    """The dtype of one column; ``categories`` and ``ordered`` only for pandas' category dtype."""

    name: str
    categories: tuple[Plain, ...] | None = None
    categories_type: str = ""
    ordered: bool = False

    @staticmethod
    def of(series: pd.Series[Any]) -> ColumnType:
        """Describe the dtype of a column."""
        import pandas as pd

        dtype = series.dtype
        if not isinstance(dtype, pd.CategoricalDtype):
            return ColumnType(_dtype_name(dtype))
        levels = tuple(plain_level(level, series.name) for level in dtype.categories)
        return ColumnType("category", levels, _dtype_name(dtype.categories.dtype), bool(dtype.ordered))

    def cast(self, values: Any) -> pd.Series[Any]:
        """A column of this dtype; missing values in a column that cannot hold them make it float64."""
        import pandas as pd

        if self.categories is None:
            return pd.Series(values, dtype=values.dtype).astype(self.name)  # type: ignore[no-any-return]
        categories = pd.Index(list(self.categories), dtype=self.categories_type)
        return pd.Series(pd.Categorical(values, categories=categories, ordered=self.ordered))

    def to_plain(self) -> str | dict[str, Any]:
        """The name alone, or a dict for category dtypes."""
        if self.categories is None:
            return self.name
        levels, inner = list(self.categories), self.categories_type
        return {"name": self.name, "categories": levels, "categories_type": inner, "ordered": self.ordered}

    @staticmethod
    def from_plain(stored: str | dict[str, Any]) -> ColumnType:
        """The inverse of ``to_plain``."""
        if isinstance(stored, str):
            return ColumnType(stored)
        return ColumnType(**(stored | {"categories": tuple(stored["categories"])}))


def plain_level(level: Any, column: Any) -> Plain:
    """One category as str, int, float or bool; DataError naming the column for anything else."""
    value = level.item() if isinstance(level, np.generic) else level
    if isinstance(value, (str, int, float, bool)):
        return value
    raise DataError(
        f"Column {column!r} holds values of type {type(value).__name__} (such as {value!r}), which cannot be modelled. "
        "Fix: turn them into text or numbers, df[column] = df[column].astype(str), or drop the column."
    )


def is_date(series: pd.Series[Any]) -> bool:
    """Whether the column holds dates, times or durations, also as ISO text (``2024-01-31``)."""
    import pandas as pd

    if series.dtype.kind in "mM" or isinstance(series.dtype, (pd.DatetimeTZDtype, pd.PeriodDtype)):
        return True
    if not is_text(series):
        return False
    inferred = pd.api.types.infer_dtype(series, skipna=True)
    if inferred in ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period"):
        return True
    return inferred == "string" and _iso_dates(series.dropna())


def is_text(series: pd.Series[Any]) -> bool:
    """Whether the column is of text or of Python objects."""
    import pandas as pd

    return series.dtype == object or isinstance(series.dtype, pd.StringDtype) or str(series.dtype).startswith("string")


def is_level(series: pd.Series[Any]) -> bool:
    """Whether the dtype says categories (category or boolean)."""
    import pandas as pd

    return isinstance(series.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(series.dtype)


def as_numbers(series: pd.Series[Any]) -> pd.Series[Any] | None:
    """The column as numbers (missing values NaN), also from text; None where it does not hold numbers."""
    import pandas as pd

    if is_level(series):
        return None
    if not is_text(series):
        return series if pd.api.types.is_any_real_numeric_dtype(series.dtype) else None
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return pd.to_numeric(series.astype(float) if kind == "decimal" else series)
    return _numbers_in_text(series) if kind == "string" else None


def floats(series: pd.Series[Any]) -> Floats:
    """A numeric column as float64 ``[n]`` with NaN for missing; DataError for infinite values."""
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(
            f"Column {series.name!r} holds {len(infinite)} infinite values, the first in row {infinite[0]}. "
            "Fix: drop those rows, or put a number or NaN (missing) in their place."
        )
    return values


def _numbers_in_text(series: pd.Series[Any]) -> pd.Series[Any] | None:
    import pandas as pd

    text = series.astype(object).str.strip()
    text = text.mask(text.isin(MISSING_TEXT))
    numbers = pd.to_numeric(text, errors="coerce")
    codes = text.str.match(r"[+-]?0\d").fillna(False).astype(bool)  # 007 is a code, not a number
    if not numbers.notna().any() or bool((numbers.isna() & text.notna()).any()) or bool(codes.any()):
        return None
    return numbers


def _iso_dates(text: pd.Series[Any]) -> bool:
    return len(text) > 0 and bool(text.str.match(r"\s*\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}|\s*$)").all())


def _dtype_name(dtype: Any) -> str:
    import pandas as pd

    if isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA:
        return f"string[{dtype.storage}]"
    return str(dtype)
