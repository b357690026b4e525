"""Labels that a model is conditioned on: from a label array, from the labels of the data, or from a column of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pushforward.data.dtypes import ColumnType, is_date
from pushforward.data.named_columns import array_named, column_place, unknown_name
from pushforward.errors import DataError, nearest_name

if TYPE_CHECKING:
    from pushforward.data import Data

_MOST_CLASSES = 256
_MISSING = "missing"  # how the class of missing labels is written in messages, and may be asked for
_PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class LabelSource:
    """Where the labels of the training data come from.

    Attributes:
        column: name of the table's column, or None; ``position`` is its place among the columns that are modelled.
        dtype: of the column.
        names: the names of label 0, 1, ... where the data have them.
        array: where there is no column, the name of the array beside the data that holds the labels.
    """

    column: Any = None
    position: int = 0
    dtype: ColumnType | None = None
    names: tuple[str, ...] | None = None
    array: str = "labels"


@dataclass(frozen=True)
class Condition:
    """The classes of a conditional model.

    Args:
        values: the classes as the user writes them, sorted; None is the class of missing labels, and comes last.
        counts: training rows of each class.
        column: the table's column that holds the label, or None; ``position`` is its place among the columns.
        dtype: dtype of that column.
        names: the names of label 0, 1, ... where the classes are such names.
        array: where there is no column, the name of the array beside the data that holds the labels.
    """

    values: tuple[Any, ...]
    counts: tuple[int, ...]
    column: Any = None
    position: int = 0
    dtype: ColumnType | None = None
    names: tuple[str, ...] | None = None
    array: str = "labels"

    @property
    def origin(self) -> Any:
        """What ``condition=`` names to find the labels in other data of this kind."""
        return self.array if self.column is None else self.column

    def labelled(self, data: Data) -> bool:
        """Whether the data bring labels of this condition along."""
        return self.column is not None or array_named(data, self.array) is not None

    def codes(self, labels: Any) -> Tensor:
        """Class numbers ``[n]`` of labels as the user writes them: compared by value, or else by text.

        Whole numbers stand for the data's own label names where the classes are such names.

        Raises:
            DataError: a label that was not among the training data.
        """
        wanted = _plain_labels(labels)
        number = {label: self._number(label) for label in dict.fromkeys(wanted)}
        return torch.tensor([number[label] for label in wanted], dtype=torch.int64)

    def labels(self, codes: Tensor) -> Any:
        """Labels ``[n]`` of class numbers: a column of the original dtype, or an array."""
        numbers = codes.cpu().numpy()
        if self.dtype is not None:
            return self.dtype.cast(self._objects(None if self.dtype.name == "object" else np.nan)[numbers])
        types = {type(value) for value in self.values}
        plain = self.column is None and (len(types) == 1 or types <= {int, float})
        values: np.ndarray = np.array(self.values) if plain else self._objects(None)
        return values[numbers]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Class numbers ``[n]`` drawn with the training frequencies."""
        weights = torch.tensor(self.counts, dtype=torch.float32, device=generator.device)
        return torch.multinomial(weights, n, replacement=True, generator=generator)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return {
            "values": list(self.values),
            "counts": list(self.counts),
            "column": self.column,
            "position": self.position,
            "dtype": None if self.dtype is None else self.dtype.to_plain(),
            "names": None if self.names is None else list(self.names),
            "array": self.array,
        }

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> Condition:
        """The inverse of ``to_dict``."""
        dtype, names = plain.get("dtype"), plain.get("names")
        return Condition(
            tuple(plain["values"]),
            tuple(plain["counts"]),
            plain["column"],
            plain["position"],
            None if dtype is None else ColumnType.from_plain(dtype),
            None if names is None else tuple(names),
            plain.get("array", "labels"),
        )

    def _objects(self, missing: Any) -> np.ndarray:
        values: np.ndarray = np.empty(len(self.values), dtype=object)
        values[:] = [missing if value is None else value for value in self.values]
        return values

    def _number(self, label: Any) -> int:
        """The class number of one plain label."""
        named = label if self.names is None or type(label) is not int else self._name_of(label, self.names)
        number = {value: k for k, value in enumerate(self.values)}
        if named in number:
            return number[named]
        by_text = self._by_text()
        found = next((by_text[text] for text in _texts(named) if text in by_text), None)
        if found is None:
            raise DataError(self._unknown(_texts(named)[0]))
        return found

    def _by_text(self) -> dict[str, int]:
        """Class numbers by how the class may be written; text classes go before others that read the same."""
        order = sorted(range(len(self.values)), key=lambda k: isinstance(self.values[k], str))
        return {text: k for k in order for text in _texts(self.values[k])}

    def _name_of(self, label: int, names: tuple[str, ...]) -> str:
        """The name of label number ``label``; refused where the number could as well be another name."""
        inside = 0 <= label < len(names)
        if str(label) in names and (not inside or names[label] != str(label)):
            other = f"label number {label}, which is {names[label]!r}" if inside else f"label number {label}"
            raise DataError(
                f"condition: {label} can mean the class {str(label)!r} or {other}. Fix: give the names of the classes "
                f"as text, such as {str(label)!r}."
            )
        if not inside:
            raise DataError(_outside(label, names))
        return names[label]

    def _unknown(self, text: str) -> str:
        known = [_texts(value)[0] for value in self.values]
        more = f" and {len(known) - 12} more" if len(known) > 12 else ""
        return f"condition: {text!r} is not a class of this model ({', '.join(known[:12])}{more}).{nearest_name(text, known)}"


def split_condition(data: Data, condition: object) -> tuple[Any, np.ndarray | None, LabelSource | None]:
    """Values to model, labels ``[n]`` or None (missing ones None), and where the labels come from.

    Args:
        data: what was read.
        condition: None, ``"labels"`` (those that came with the data), the name of a table's column or of an array beside the
            data, or an array ``[n]``.

    Raises:
        DataError: no such labels or column, a wrong number of labels, or labels that a model cannot hold.
    """
    if condition is None:
        return data.values, None, None
    columns = list(getattr(data.values, "columns", ()))
    if isinstance(condition, str) or (isinstance(condition, (int, np.integer)) and condition in columns):
        return _named_condition(data, columns, condition)
    labels = _plain_labels(condition)
    if len(labels) != len(data):
        raise DataError(f"condition: one label a row is needed, got {len(labels)} labels for {len(data)} rows.")
    return data.values, _column_of(labels), None


def _named_condition(data: Data, columns: list[Any], name: Any) -> tuple[Any, np.ndarray | None, LabelSource | None]:
    place = column_place(columns, name)
    if place is not None:
        return _column_condition(data.values, columns, place)
    if name == "labels" and data.labels is not None:
        return data.values, _column_of(_named_labels(data)), LabelSource(names=data.label_names)
    if name == "labels":
        raise DataError(
            "condition: these data come without labels; give an array of labels, or use a folder whose sub-folders are "
            "the classes."
        )
    array = array_named(data, name)
    if array is None:
        raise unknown_name(data, "condition", name)
    return data.values, _column_of(_plain_labels(array)), LabelSource(array=name)


def _column_condition(values: Any, columns: list[Any], place: int) -> tuple[Any, np.ndarray, LabelSource]:
    """A table without its label column, and that column."""
    series, name = values.iloc[:, place], columns[place]
    if not isinstance(name, (str, int, np.integer)):
        raise DataError(f"Column names must be text or whole numbers, not {name!r}. Fix: set df.columns.")
    labels = _column_of(_plain_labels(series))
    position = sum(not is_date(values.iloc[:, i]) for i in range(place))  # dates are not modelled
    rest = values.iloc[:, [i for i in range(len(columns)) if i != place]]
    plain_name = name if isinstance(name, str) else int(name)
    return rest, labels, LabelSource(plain_name, position, ColumnType.of(series))


def _named_labels(data: Data) -> list[Any]:
    """The labels that came with the data, as names where there are names."""
    labels, names = _plain_labels(data.labels), data.label_names
    if not names or not all(isinstance(label, int) for label in labels):
        return labels
    outside = next((label for label in labels if not 0 <= label < len(names)), None)
    if outside is not None:
        raise DataError(_outside(outside, names))
    return [names[label] for label in labels]


def _outside(label: int, names: tuple[str, ...]) -> str:
    return (
        f"condition: label number {label} has no name: there are {len(names)} names, of label 0 to {len(names) - 1} "
        f"({', '.join(names[:6])}{' ...' if len(names) > 6 else ''}). Fix: correct the labels or the names."
    )


def fit_condition(labels: np.ndarray, source: LabelSource | None) -> Condition:
    """The classes of the training labels ``[n]``.

    Raises:
        DataError: a single class, or more than 256 of them.
    """
    counts = Counter(_plain_labels(labels))
    if not 2 <= len(counts) <= _MOST_CLASSES:
        raise DataError(
            f"condition: 2 to {_MOST_CLASSES} classes are needed, got {len(counts)}; group rare or continuous values first."
        )
    values, origin = sorted(counts, key=_sort_key), source or LabelSource()
    return Condition(
        tuple(values),
        tuple(counts[k] for k in values),
        *(origin.column, origin.position, origin.dtype, origin.names, origin.array),
    )


def _plain_labels(labels: Any) -> list[Any]:
    """Labels as bool, int, float or str, and None for missing ones."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().reshape(-1).tolist()
    kind = getattr(getattr(labels, "dtype", None), "kind", "O")
    if kind in "mMcSV":  # refused here, because numpy would turn some dates into numbers
        raise DataError(_unfit(str(labels.dtype), np.asarray(labels).reshape(-1)[:1].tolist()))
    flat: Iterable[Any] = np.asarray(labels, dtype=object).reshape(-1).tolist()
    return [_plain(label) for label in flat]


def _plain(label: Any) -> Any:
    if isinstance(label, (np.generic, np.ndarray, Tensor)) and np.prod(label.shape) == 1:
        label = label.item()
    if label is None or type(label).__name__ in ("NAType", "NaTType") or (isinstance(label, float) and label != label):
        return None
    plain = next((kind for kind in _PLAIN if isinstance(label, kind)), None)
    if plain is None:
        raise DataError(_unfit(type(label).__name__, [label]))
    return plain(label)


def _unfit(kind: str, example: list[Any]) -> str:
    such = f" (such as {example[0]!r})" if example else ""
    return (
        f"condition: labels of type {kind}{such} cannot be kept with a model; text, numbers and booleans can. "
        "Fix: turn them into text, labels.astype(str), grouped by year or the like where there are many."
    )


def _column_of(labels: list[Any]) -> np.ndarray:
    column: np.ndarray = np.empty(len(labels), dtype=object)
    column[:] = labels
    return column


def _texts(label: Any) -> list[str]:
    """How a label may be written: 2.0 also as 2."""
    if label is None:
        return [_MISSING]
    whole = isinstance(label, float) and label.is_integer()
    return [str(label), str(int(label))] if whole else [str(label)]


def _sort_key(label: Any) -> tuple[int, float, str]:
    """Numbers by size, then text, then missing."""
    if label is None:
        return (2, 0.0, "")
    return (1, 0.0, label) if isinstance(label, str) else (0, float(label), "")
