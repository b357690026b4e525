"""Labels that a model is conditioned on: from a label array, from the labels of the data, or from a column of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pushforward.errors import DataError, nearest_name

if TYPE_CHECKING:
    from pushforward.data import Data

_MOST_CLASSES = 256


@dataclass(frozen=True)
class Condition:
    """The classes of a conditional model.

    Args:
        values: the classes as the user writes them, sorted.
        counts: training rows of each class.
        column: the table's column that holds the label, or None; ``position`` is its place among the columns.
    """

    values: tuple[Any, ...]
    counts: tuple[int, ...]
    column: str | None = None
    position: int = 0

    def codes(self, labels: Any) -> Tensor:
        """Class numbers ``[n]`` of labels as the user writes them.

        Raises:
            DataError: a label that was not among the training data.
        """
        number = {str(value): k for k, value in enumerate(self.values)}
        texts = [str(label) for label in np.asarray(labels, dtype=object).reshape(-1)]
        unknown = sorted({text for text in texts if text not in number})
        if unknown:
            known = ", ".join(list(number)[:12])
            raise DataError(
                f"condition: {unknown[0]!r} is not a class of this model ({known}).{nearest_name(unknown[0], number)}"
            )
        return torch.tensor([number[text] for text in texts], dtype=torch.int64)

    def labels(self, codes: Tensor) -> np.ndarray:
        """Labels ``[n]`` of class numbers."""
        values: np.ndarray = np.array(self.values, dtype=object if self.column else None)
        chosen: np.ndarray = values[codes.cpu().numpy()]
        return chosen

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
        }

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> Condition:
        """The inverse of ``to_dict``."""
        return Condition(tuple(plain["values"]), tuple(plain["counts"]), plain["column"], plain["position"])


def split_condition(data: Data, condition: object) -> tuple[Any, np.ndarray | None, tuple[str, int] | None]:
    """Values to model, labels ``[n]`` or None, and the name and position of the label column where there is one.

    Args:
        data: what was read.
        condition: None, ``"labels"`` (those that came with the data), the name of a table's column, or an array ``[n]``.

    Raises:
        DataError: no such labels or column, or a wrong number of labels.
    """
    if condition is None:
        return data.values, None, None
    if isinstance(condition, str):
        return _named_condition(data, condition)
    labels = np.asarray(condition.cpu() if isinstance(condition, Tensor) else condition).reshape(-1)
    if len(labels) != len(data):
        raise DataError(f"condition: one label a row is needed, got {len(labels)} labels for {len(data)} rows.")
    return data.values, labels, None


def _named_condition(data: Data, name: str) -> tuple[Any, np.ndarray | None, tuple[str, int] | None]:
    columns = [str(column) for column in getattr(data.values, "columns", ())]
    if name in columns:
        values: Any = data.values
        labels = values[values.columns[columns.index(name)]].fillna("missing").to_numpy(dtype=object)
        return values.drop(columns=[values.columns[columns.index(name)]]), labels, (name, columns.index(name))
    if name == "labels" and data.labels is not None:
        names = np.array(data.label_names or ())
        labels = np.asarray(data.labels)
        return data.values, names[labels] if len(names) and labels.dtype.kind in "iu" else labels, None
    if name == "labels":
        raise DataError(
            "condition: these data come without labels; give an array of labels, or use a folder whose sub-folders are the classes."
        )
    raise DataError(f"condition: there is no column {name!r}.{nearest_name(name, columns)}")


def fit_condition(labels: np.ndarray, column: tuple[str, int] | None) -> Condition:
    """The classes of the training labels ``[n]``.

    Raises:
        DataError: a single class, or more than 256 of them.
    """
    plain: Sequence[Any] = labels.tolist()
    counts: dict[str, int] = {}
    first: dict[str, Any] = {}
    for label in plain:
        counts[str(label)] = counts.get(str(label), 0) + 1
        first.setdefault(str(label), label)
    if not 2 <= len(counts) <= _MOST_CLASSES:
        raise DataError(
            f"condition: 2 to {_MOST_CLASSES} classes are needed, got {len(counts)}; group rare or continuous values first."
        )
    numbers = all(isinstance(value, (int, float)) for value in first.values())
    order = sorted(first, key=lambda text: first[text] if numbers else text)
    name, position = column or (None, 0)
    return Condition(tuple(first[text] for text in order), tuple(counts[text] for text in order), name, position)
