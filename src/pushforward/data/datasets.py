"""Rows collected from torch datasets, data loaders and lists."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from pushforward.data.array_files import as_labels
from pushforward.data.checks import Array
from pushforward.data.rows import Data
from pushforward.errors import DataError


def read_dataset(dataset: Dataset[Any]) -> Data:
    """Every row of a dataset; a row ``(x, y)`` has the label y. The global random states are left as they were."""
    name = type(dataset).__name__.lower()
    with _random_states_kept():
        return _from_items(_each(_items(dataset), "row", f"dataset {name}"), name)


def read_loader(loader: DataLoader[Any]) -> Data:
    """Every batch of a loader, one pass; a batch ``(x, y)`` has labels. The global random states are left as they were."""
    if loader.batch_size is None and loader.batch_sampler is None:
        raise DataError(
            "The data loader has batch_size=None, so it does not say whether it gives rows or whole batches. "
            "Fix: give its dataset, or a loader with a batch size, DataLoader(dataset, batch_size=64)."
        )
    with _random_states_kept():
        batches = [_pair(batch) for batch in _each(loader, "batch", "data loader")]
    if not batches:
        raise DataError("The data loader gave no batch. Fix: check its dataset.")
    _refuse_mixed([np.shape(values)[1:] for values, _ in batches], "batch")
    labels = [label for _, label in batches]
    _refuse_unlabelled(labels, "batch")
    values = torch.cat([torch.as_tensor(values) for values, _ in batches])
    return Data(values, _batch_labels(labels), "loader")


def read_rows(rows: list[Any] | tuple[Any, ...]) -> Data:
    """A list of rows: numbers, arrays or tensors of one size."""
    if not rows:
        raise DataError("The list is empty. Fix: give at least two rows.")
    return Data(_stack(list(rows)), name="rows")


@contextmanager
def _random_states_kept() -> Iterator[None]:
    """Put the global generators of torch, numpy and Python back, whatever a user's dataset draws from them."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _batch_labels(batches: list[Any]) -> Array | None:
    """The labels of all batches, ``[n]``; a batch of text is a tuple."""
    parts = [as_labels(batch) for batch in batches if batch is not None]
    found = [part for part in parts if part is not None]
    return np.concatenate(found) if found and len(found) == len(parts) else None


def _from_items(items: Iterable[Any], name: str) -> Data:
    pairs = [_pair(item) for item in items]
    if not pairs:
        raise DataError(f"The dataset {name} is empty: 0 rows. Fix: check its source.")
    labels = [label for _, label in pairs]
    _refuse_unlabelled(labels, "row")
    values = _stack([value for value, _ in pairs])
    return Data(values, None if labels[0] is None else as_labels(labels), name)


def _items(dataset: Any) -> Iterable[Any]:
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        return dataset  # type: ignore[no-any-return]
    return (dataset[i] for i in range(len(dataset)))


def _each(items: Iterable[Any], what: str, owner: str) -> Iterator[Any]:
    """The items, one by one; an error in the user's code is told with the number of the item."""
    count = 0
    try:
        for item in items:
            yield item
            count += 1
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"The {owner} cannot give {what} {count}: {type(error).__name__}: {error}. Fix: correct or leave out that {what}."
        ) from error


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


def _refuse_unlabelled(labels: list[Any], what: str) -> None:
    absent = [i for i, label in enumerate(labels) if label is None]
    if absent and len(absent) < len(labels):
        raise DataError(
            f"{len(absent)} of {len(labels)} have no label (None), the first of them {what} {absent[0]}, while others have "
            "one. Fix: give every row a label, or none."
        )


def _refuse_mixed(shapes: list[tuple[int, ...]], what: str) -> None:
    other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is not None:
        raise DataError(
            f"The rows have mixed sizes: {what} 0 has shape {list(shapes[0])} and {what} {other} has "
            f"{list(shapes[other])}. Fix: bring all rows to one size."
        )
