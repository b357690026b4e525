"""Rows collected from torch datasets, data loaders and lists."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from pushforward.data.array_files import as_labels
from pushforward.data.checks import Array
from pushforward.data.rows import Data
from pushforward.errors import DataError


def read_dataset(dataset: Dataset[Any]) -> Data:
    """Every row of a dataset; a row ``(x, y)`` has the label y."""
    name = type(dataset).__name__.lower()
    with torch.random.fork_rng(devices=[]):
        return _from_items(_items(dataset), name)


def read_loader(loader: DataLoader[Any]) -> Data:
    """Every batch of a loader, one pass; a batch ``(x, y)`` has labels. The global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        batches = [_pair(batch) for batch in loader]
    if not batches:
        raise DataError("The data loader gave no batch. Fix: check its dataset.")
    _refuse_mixed([np.shape(values)[1:] for values, _ in batches], "batch")
    values = torch.cat([torch.as_tensor(values) for values, _ in batches])
    labels = [label for _, label in batches if label is not None]
    return Data(values, _batch_labels(labels), "loader")


def _batch_labels(batches: list[Any]) -> Array | None:
    """The labels of all batches, ``[n]``; a batch of text is a tuple."""
    parts = [as_labels(batch) for batch in batches]
    found = [part for part in parts if part is not None]
    return np.concatenate(found) if found and len(found) == len(parts) else None


def read_rows(rows: list[Any] | tuple[Any, ...]) -> Data:
    """A list of rows: numbers, arrays or tensors of one size."""
    if not rows:
        raise DataError("The list is empty. Fix: give at least two rows.")
    return Data(_stack(list(rows)), name="rows")


def _from_items(items: Iterable[Any], name: str) -> Data:
    pairs = [_pair(item) for item in items]
    if not pairs:
        raise DataError(f"The dataset {name} is empty: 0 rows. Fix: check its source.")
    labels = [label for _, label in pairs]
    values = _stack([value for value, _ in pairs])
    return Data(values, None if labels[0] is None else as_labels(labels), name)


def _items(dataset: Any) -> Iterable[Any]:
    if isinstance(dataset, IterableDataset):
        return iter(dataset)
    if not hasattr(dataset, "__len__"):
        return islice(iter(dataset), None)
    return (dataset[i] for i in range(len(dataset)))


def _pair(item: Any) -> tuple[Any, Any]:
    if isinstance(item, dict):
        raise DataError(
            f"The rows are dicts with the keys {list(item)}. Fix: give a dataset of arrays, or of pairs (x, label)."
        )
    if not isinstance(item, (tuple, list)):
        return item, None
    if len(item) > 2 or not item:
        raise DataError(f"The rows hold {len(item)} things each. Fix: give x alone, or pairs (x, label).")
    return item[0], item[1] if len(item) == 2 else None


def _stack(rows: list[Any]) -> Array | torch.Tensor:
    _refuse_mixed([_shape(row) for row in rows], "row")
    if all(isinstance(row, torch.Tensor) for row in rows):
        return torch.stack(rows)
    return np.stack([np.asarray(row) for row in rows])


def _shape(row: Any) -> tuple[int, ...]:
    try:
        return tuple(np.shape(row))
    except ValueError as error:
        raise DataError("A row is ragged: its parts have mixed sizes. Fix: bring all rows to one size.") from error


def _refuse_mixed(shapes: list[tuple[int, ...]], what: str) -> None:
    other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is not None:
        raise DataError(
            f"The rows have mixed sizes: {what} 0 has shape {list(shapes[0])} and {what} {other} has "
            f"{list(shapes[other])}. Fix: bring all rows to one size."
        )
