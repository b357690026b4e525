"""The kinds of table columns: numbers, categories and constants, each with its own coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from pushforward.data.checks import Array, to_integers
from pushforward.data.dtypes import ColumnType, Plain, as_numbers, floats, is_date, plain_level
from pushforward.data.packing import Floats, pack, unpack
from pushforward.data.ranks import RankTransform
from pushforward.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 256
_SMALLEST_SPREAD = 0.2  # a standard deviation below this is not stretched further: rare levels stay within 5 units
_MOST_DECIMALS = 8


class Column(Protocol):
    """One column of the table and its ``width`` coordinates in the encoded row."""

    kind: ClassVar[str]

    @property
    def name(self) -> Any:
        """The column's name in the DataFrame."""

    @property
    def width(self) -> int:
        """How many coordinates the column has."""

    def encode(self, series: pd.Series[Any]) -> Array:
        """The column as ``[n, width]``."""

    def decode(self, block: Array) -> pd.Series[Any]:
        """``[n, width]`` as a column of the original dtype."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""

    def summary(self) -> str:
        """One line for humans."""


@dataclass(frozen=True, eq=False)
class NumberColumn:
    """Numbers: a normal score, and an indicator of missing values where the training data have some."""

    kind: ClassVar[str] = "number"
    name: Any
    dtype: ColumnType
    transform: RankTransform
    decimals: int | None
    missing: float

    @property
    def width(self) -> int:
        """1, or 2 with missing values."""
        return 2 if self.missing else 1

    @staticmethod
    def fit(name: Any, dtype: ColumnType, values: Floats, decimals: int | None) -> NumberColumn:
        """Fit to ``[n]`` float64 values with NaN for missing and at least two distinct numbers."""
        absent = np.isnan(values)
        return NumberColumn(name, dtype, RankTransform.fit(values[~absent]), decimals, float(absent.mean()))

    def encode(self, series: pd.Series[Any]) -> Array:
        """Normal scores ``[n, 1]``, or with the indicator ``[n, 2]``."""
        values = _numbers_of(series)
        absent = np.isnan(values)
        if not self.missing:
            self._refuse_missing(absent)
            return self.transform.encode(values)[:, None]
        scores = np.where(absent, 0.0, self.transform.encode(np.where(absent, self.transform.low, values)))
        return np.column_stack([scores, (absent - self.missing) / self._spread])

    def decode(self, block: Array) -> pd.Series[Any]:
        """Numbers inside the training range, rounded to the training data's decimals."""
        values = self.transform.decode(block[:, 0])
        if self.decimals is not None:
            values = np.clip(np.round(values, self.decimals), self.transform.low, self.transform.high)
        if self.missing:
            values[block[:, 1] * self._spread + self.missing > 0.5] = np.nan
        return self.dtype.cast(self._typed(values))

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        plain = {"name": self.name, "dtype": self.dtype.to_plain(), "decimals": self.decimals, "missing": self.missing}
        return plain | {"transform": self.transform.to_dict()}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> NumberColumn:
        """The inverse of ``to_dict``."""
        dtype, transform = ColumnType.from_plain(stored["dtype"]), RankTransform.from_dict(stored["transform"])
        return NumberColumn(stored["name"], dtype, transform, stored["decimals"], stored["missing"])

    def summary(self) -> str:
        """Range and missing share."""
        whole = "whole numbers" if self.decimals == 0 else "numbers"
        missing = f", {self.missing:.1%} missing" if self.missing else ""
        return f"{whole} from {self.transform.low:g} to {self.transform.high:g} ({self.dtype.name}){missing}"

    @property
    def _spread(self) -> float:
        return max(float(np.sqrt(self.missing * (1 - self.missing))), _SMALLEST_SPREAD)

    def _typed(self, values: Floats) -> Array | pd.Series[Any]:
        if not self.missing and _is_numpy_integer(self.dtype.name):
            return to_integers(values, self.transform.low, self.transform.high, np.dtype(self.dtype.name))
        if self.dtype.name[:1] in "IU":  # pandas' nullable integers take NaN as <NA>
            import pandas as pd

            return pd.Series(values).astype("Float64").mask(np.isnan(values))
        return values

    def _refuse_missing(self, absent: Array) -> None:
        if absent.any():
            raise DataError(
                f"Column {self.name!r} has {int(absent.sum())} missing values, but had none when the model was fitted "
                f"(the first is in row {int(absent.argmax())}). Fix: fill them or drop those rows."
            )


@dataclass(frozen=True, eq=False)
class CategoryColumn:
    """Categories (missing is one of them): centred one-hot coordinates with total variance about 1."""

    kind: ClassVar[str] = "category"
    name: Any
    dtype: ColumnType
    levels: tuple[Plain, ...]
    missing: bool
    shares: Floats

    @property
    def width(self) -> int:
        """One coordinate a level."""
        return len(self.shares)

    @staticmethod
    def fit(name: Any, dtype: ColumnType, series: pd.Series[Any]) -> CategoryColumn:
        """Collect the levels of a column and their shares; DataError beyond 256 levels."""
        levels, codes = _levels(series)
        missing = bool((codes < 0).any())
        counts = np.bincount(np.where(codes < 0, len(levels), codes), minlength=len(levels) + missing)
        return CategoryColumn(name, dtype, tuple(levels), missing, counts / counts.sum())

    def encode(self, series: pd.Series[Any]) -> Array:
        """Centred, scaled one-hot rows ``[n, levels]``; DataError for a category that was not fitted."""
        codes = self._codes(series)
        block = np.broadcast_to(-self.shares / self._spread, (len(codes), self.width)).copy()
        block[np.arange(len(codes)), codes] += 1.0 / self._spread
        return block

    def decode(self, block: Array) -> pd.Series[Any]:
        """The level with the largest coordinate, per row."""
        chosen = (block * self._spread + self.shares).argmax(axis=1)
        values = np.empty(self.width, dtype=object)
        values[: len(self.levels)] = self.levels
        if self.missing:
            values[-1] = None if self.dtype.name == "object" else np.nan
        return self.dtype.cast(values[chosen])

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        plain = {"name": self.name, "dtype": self.dtype.to_plain(), "levels": list(self.levels)}
        return plain | {"missing": self.missing, "shares": pack(self.shares)}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> CategoryColumn:
        """The inverse of ``to_dict``."""
        dtype, shares = ColumnType.from_plain(stored["dtype"]), unpack(stored["shares"])
        return CategoryColumn(stored["name"], dtype, tuple(stored["levels"]), stored["missing"], shares)

    def summary(self) -> str:
        """Number of levels, the most frequent one, missing share."""
        commonest = int(self.shares[: len(self.levels)].argmax())
        missing = f", {self.shares[-1]:.1%} missing" if self.missing else ""
        share = f"{self.shares[commonest]:.0%} {self.levels[commonest]!r}"
        return f"{len(self.levels)} categories, {share} ({self.dtype.name}){missing}"

    @property
    def _spread(self) -> float:
        return max(float(np.sqrt(1.0 - (self.shares**2).sum())), _SMALLEST_SPREAD)

    def _codes(self, series: pd.Series[Any]) -> Array:
        import pandas as pd

        values, absent = _objects(series), series.isna().to_numpy()
        codes: Array = pd.Index(list(self.levels), dtype=object).get_indexer(pd.Index(values, dtype=object))
        self._refuse_unknown(values, (codes < 0) & ~absent)
        if absent.any() and not self.missing:
            raise DataError(
                f"Column {self.name!r} has {int(absent.sum())} missing values, but had none when the model was fitted. "
                "Fix: fill them or drop those rows."
            )
        codes[absent] = len(self.levels)
        return codes

    def _refuse_unknown(self, values: Array, unknown: Array) -> None:
        if unknown.any():
            first = int(unknown.argmax())
            raise DataError(
                f"Column {self.name!r} holds the category {values[first]!r} (row {first}), which the model was not "
                f"fitted on; {int(unknown.sum())} rows have unknown categories. Fix: drop or rename them, or fit on "
                "data with them."
            )


@dataclass(frozen=True)
class ConstantColumn:
    """One value in every row: no coordinate, put back in samples."""

    kind: ClassVar[str] = "constant"
    name: Any
    dtype: ColumnType
    value: Plain | None

    @property
    def width(self) -> int:
        """No coordinate."""
        return 0

    def encode(self, series: pd.Series[Any]) -> Array:
        """Nothing, ``[n, 0]``."""
        return np.empty((len(series), 0))

    def decode(self, block: Array) -> pd.Series[Any]:
        """The same value ``len(block)`` times."""
        values = np.empty(len(block), dtype=object)
        values[:] = np.nan if self.value is None and self.dtype.name != "object" else self.value
        return self.dtype.cast(values)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return {"name": self.name, "dtype": self.dtype.to_plain(), "value": self.value}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> ConstantColumn:
        """The inverse of ``to_dict``."""
        return ConstantColumn(stored["name"], ColumnType.from_plain(stored["dtype"]), stored["value"])

    def summary(self) -> str:
        """The value."""
        return f"constant {'missing' if self.value is None else repr(self.value)}, put back in samples"


def fit_column(series: pd.Series[Any]) -> Column | None:
    """The description of one column, or None for dates, which are left out."""
    if is_date(series):
        return None
    present = series.dropna()
    if not len(present):
        return ConstantColumn(series.name, ColumnType.of(series), None)
    numbers = as_numbers(series)
    return _fit_levels(series) if numbers is None else _fit_numbers(series, numbers)


def _fit_numbers(series: pd.Series[Any], numbers: pd.Series[Any]) -> Column:
    values = floats(numbers)
    present = values[~np.isnan(values)]
    dtype = ColumnType.of(numbers)
    if (present == present[0]).all():
        return _one_number(series, dtype, numbers)
    return NumberColumn.fit(series.name, dtype, values, _decimals(numbers))


def _one_number(series: pd.Series[Any], dtype: ColumnType, numbers: pd.Series[Any]) -> Column:
    """A single number: constant, or with missing values a two-level category."""
    if numbers.notna().all():
        return ConstantColumn(series.name, dtype, plain_level(numbers.iloc[0], series.name))
    return CategoryColumn.fit(series.name, dtype, numbers)


def _fit_levels(series: pd.Series[Any]) -> Column:
    column = CategoryColumn.fit(series.name, ColumnType.of(series), series)
    if column.width > 1:
        return column
    return ConstantColumn(column.name, column.dtype, column.levels[0])


def _levels(series: pd.Series[Any]) -> tuple[list[Plain], Array]:
    """Distinct values in order of type and size, and the code of every row (-1 for missing)."""
    import pandas as pd

    values = _objects(series)
    for value in series.dropna()[:1]:  # refuse lists and the like before they are hashed
        plain_level(value, series.name)
    codes, distinct = pd.factorize(values, use_na_sentinel=True)
    if len(distinct) > MOST_LEVELS:
        raise DataError(
            f"Column {series.name!r} is text with {len(distinct)} distinct values, more than {MOST_LEVELS}. "
            "Fix: drop the column, or group its rare values under one name such as 'other'."
        )
    levels = [plain_level(value, series.name) for value in distinct]
    order = sorted(range(len(levels)), key=lambda i: _sort_key(levels[i]))
    rank = np.empty(len(order) + 1, dtype=np.intp)
    rank[order], rank[-1] = np.arange(len(order)), -1
    return [levels[i] for i in order], rank[codes]


def _sort_key(level: Plain) -> tuple[str, float, str]:
    return ("text", 0.0, level) if isinstance(level, str) else ("number", float(level), "")


def _objects(series: pd.Series[Any]) -> Array:
    values: Array = series.astype(object).to_numpy()
    return values


def _numbers_of(series: pd.Series[Any]) -> Floats:
    numbers = as_numbers(series)
    if numbers is not None:
        return floats(numbers)
    if series.isna().all():
        return np.full(len(series), np.nan)
    odd = next((value for value in series.dropna() if _no_number(value)), str(series.dtype))
    raise DataError(f"Column {series.name!r} should hold numbers, but holds {odd!r}. Fix: correct or drop those rows.")


def _no_number(value: Any) -> bool:
    """Whether one value cannot be read as a number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return True
    return isinstance(value, bool)


def _decimals(numbers: pd.Series[Any]) -> int | None:
    """The decimals that all values have, 0 for whole numbers; None where some value has more than eight."""
    if numbers.dtype.kind in "iu":
        return 0
    single = getattr(numbers.dtype, "itemsize", 8) == 4
    values = numbers.dropna().to_numpy(dtype=np.float32 if single else np.float64)
    fits = (k for k in range(_MOST_DECIMALS + 1) if np.array_equal(np.round(values, k), values))
    return next(fits, None)


def _is_numpy_integer(name: str) -> bool:
    return name.startswith(("int", "uint")) and "[" not in name
