"""Tables with mixed columns: every column to its own coordinates, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pushforward.data.checks import Array
from pushforward.data.columns import CategoryColumn, Column, ConstantColumn, NumberColumn, fit_column
from pushforward.data.dtypes import is_text
from pushforward.data.packing import listed
from pushforward.errors import DataError, nearest_name

if TYPE_CHECKING:
    import pandas as pd

_MOST_LINES = 40


@dataclass(frozen=True)
class Coordinates:
    """What the ``d`` coordinates of an encoded row say.

    Attributes:
        labels: for humans, ``d`` of them: the column, and where it has several coordinates what this one stands for.
        indicator: for each the coordinate that says (where positive) that it is missing, or -1.
        empty: columns without any value, which have no coordinate.
    """

    labels: tuple[str, ...]
    indicator: tuple[int, ...]
    empty: tuple[Any, ...] = ()


@dataclass(frozen=True)
class TableCoder:
    """Columns in the order of the DataFrame; dates are left out, constant columns have no coordinate."""

    kind: ClassVar[str] = "table"
    columns: tuple[Column, ...]
    left_out: tuple[Any, ...]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """``(coordinates of all columns,)``."""
        return (sum(column.width for column in self.columns),)

    @staticmethod
    def fit(frame: pd.DataFrame) -> TableCoder:
        """Describe every column; warnings name what is left out, DataError where nothing remains."""
        import pandas as pd

        _check_names(frame)
        frame = frame.set_axis(pd.Index([_plain(name) for name in frame.columns], dtype=object), axis=1)
        found = {name: fit_column(frame[name]) for name in frame.columns}
        columns = tuple(column for column in found.values() if column is not None)
        coder = TableCoder(columns, tuple(name for name, column in found.items() if column is None))
        coder._refuse_constant()
        _warn(coder, frame[[c.name for c in columns if c.kind == "number" and is_text(frame[c.name])]])
        return coder

    def encode(self, frame: pd.DataFrame) -> Array:
        """Rows as float32 ``[n, coordinates]``; columns that were not fitted are ignored."""
        self._refuse_absent(frame)
        _refuse_twice(frame)
        encoded = np.empty((len(frame), *self.event_shape), dtype=np.float32)
        for column, place in self._places():
            encoded[:, place] = column.encode(frame[column.name])
        return encoded

    def decode(self, x: Array) -> pd.DataFrame:
        """``[n, coordinates]`` as a DataFrame with the columns, order and dtypes of the training data."""
        import pandas as pd

        decoded = [column.decode(x[:, place]) for column, place in self._places()]
        frame = pd.concat(decoded, axis=1)
        frame.columns = pd.Index([column.name for column in self.columns])
        return frame

    def coordinates(self) -> Coordinates:
        """What the coordinates say, in their order."""
        empty = tuple(c.name for c in self.columns if isinstance(c, ConstantColumn) and c.value is None)
        flagged = {place.start for c, place in self._places() if isinstance(c, NumberColumn) and c.missing}
        indicator = tuple(i + 1 if i in flagged else -1 for i in range(*self.event_shape))
        return Coordinates(tuple(label for c in self.columns for label in _labels(c)), indicator, empty)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        columns = [{"kind": column.kind} | column.to_dict() for column in self.columns]
        return {"columns": columns, "left_out": list(self.left_out)}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> TableCoder:
        """The inverse of ``to_dict``."""
        return TableCoder(tuple(_column_from(column) for column in stored["columns"]), tuple(stored["left_out"]))

    def summary(self) -> list[str]:
        """Lines for humans: one a column."""
        lines = [f"table of {len(self.columns)} columns, {self.event_shape[0]} coordinates when encoded"]
        lines += [f"  {column.name}: {column.summary()}" for column in self.columns[:_MOST_LINES]]
        if len(self.columns) > _MOST_LINES:
            lines.append(f"  and {len(self.columns) - _MOST_LINES} more columns")
        return [*lines, f"left out (dates): {listed(list(self.left_out))}"] if self.left_out else lines

    def _places(self) -> list[tuple[Column, slice]]:
        ends = np.cumsum([column.width for column in self.columns]).tolist()
        return [(column, slice(end - column.width, end)) for column, end in zip(self.columns, ends, strict=True)]

    def _refuse_constant(self) -> None:
        if self.event_shape == (0,):
            names = [column.name for column in self.columns] + list(self.left_out)
            raise DataError(
                f"All columns ({listed(names)}) are constant or dates, so there is nothing to learn. "
                "Fix: check how the table was read."
            )

    def _refuse_absent(self, frame: pd.DataFrame) -> None:
        absent = [column.name for column in self.columns if column.name not in frame.columns]
        if absent:
            hint = nearest_name(str(absent[0]), [str(name) for name in frame.columns])
            raise DataError(
                f"The table lacks {len(absent)} columns that the model was fitted on: {listed(absent)}.{hint} "
                "Fix: add or rename them."
            )


_KINDS: dict[str, Callable[[dict[str, Any]], Column]] = {
    "number": NumberColumn.from_dict,
    "category": CategoryColumn.from_dict,
    "constant": ConstantColumn.from_dict,
}


def _column_from(stored: dict[str, Any]) -> Column:
    return _KINDS[stored["kind"]](stored)


def _labels(column: Column) -> list[str]:
    """What each coordinate of a column says."""
    if isinstance(column, CategoryColumn):
        return [f"{column.name} = {level}" for level in [*column.levels, "missing"][: column.width]]
    return [str(column.name), f"{column.name} missing"][: column.width]


def _check_names(frame: pd.DataFrame) -> None:
    if not len(frame.columns):
        raise DataError("The table has no columns. Fix: check how it was read.")
    _refuse_twice(frame)
    odd = [name for name in frame.columns if not isinstance(name, (str, int))]
    if odd:
        raise DataError(f"Column names must be text or whole numbers, not {odd[0]!r}. Fix: set df.columns.")


def _refuse_twice(frame: pd.DataFrame) -> None:
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice:
        raise DataError(f"Several columns of the table are named {listed(twice)}. Fix: give every column its own name.")


def _warn(coder: TableCoder, numbers: pd.DataFrame) -> None:
    """Say what is left out, and which columns of ``numbers`` (text or objects) come back in another form."""
    from pandas.api.types import infer_dtype

    text = [name for name in numbers.columns if infer_dtype(numbers[name], skipna=True) == "string"]
    objects = [name for name in numbers.columns if name not in text]
    constant = [column.name for column in coder.columns if column.kind == "constant"]
    _warn_named(constant, "hold one value in every row: they are left out of the model and put back in samples")
    _warn_named(list(coder.left_out), "hold dates or times, which are not modelled: they are left out")
    _warn_named(text, "hold numbers as text: they are read as numbers, and samples have numbers there")
    _warn_named(objects, "hold numbers as Python objects: samples have plain numbers there")


def _warn_named(names: list[Any], what: str) -> None:
    if names:
        warnings.warn(f"{len(names)} of the columns ({listed(names)}) {what}.", stacklevel=2)


def _plain(name: Any) -> Any:
    """A column's name as YAML can hold it: 1 and not numpy's int64(1)."""
    return name.item() if isinstance(name, np.generic) else name
