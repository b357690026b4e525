"""What a name stands for in data: a column of the table, or an array that lies beside the values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.data.checks import is_frame
from pushforward.data.rows import Data
from pushforward.errors import DataError, nearest_name


def column_place(columns: list[Any], name: Any) -> int | None:
    """The place of the column of that very name, or else of one that reads the same.

    Raises:
        DataError: several columns have the name.
    """
    exact = [i for i, column in enumerate(columns) if type(column) is type(name) and column == name]
    alike = [i for i, column in enumerate(columns) if str(column) == str(name)]
    if len(exact) > 1:
        raise DataError(f"Several columns of the table are named {name!r}. Fix: give every column its own name.")
    return next(iter(exact + alike), None)


def array_named(data: Data, name: Any) -> NDArray[Any] | None:
    """The array ``[n]`` of that name beside the values; ``"labels"`` are the labels. None where there is none."""
    return data.labels if name == "labels" else data.arrays.get(name)


def known_names(data: Data) -> list[str]:
    """Everything that `column_place` and `array_named` find."""
    columns = [str(column) for column in data.values.columns] if is_frame(data.values) else []
    return columns + ([] if data.labels is None else ["labels"]) + list(data.arrays)


def unknown_name(data: Data, argument: str, name: Any) -> DataError:
    """The error for a name that stands for nothing, with the names that do."""
    known = known_names(data)
    listed = f" Known are: {', '.join(known[:20])}{' ...' if len(known) > 20 else ''}." if known else ""
    fix = (
        " Fix: give one of them, or an array with one entry a row."
        if known
        else " Fix: give an array, one entry a row."
    )
    return DataError(f"{argument}: there is no column {name!r}.{nearest_name(str(name), known)}{listed}{fix}")


def is_name(given: object) -> bool:
    """Whether an argument names a column or an array, and is not an array itself."""
    return isinstance(given, (str, int, np.integer))


def split_group(data: Data, group: object, condition: object = None) -> tuple[Data, NDArray[Any] | None]:
    """The data to model, and the group of every row.

    Args:
        data: what was read.
        group: None; an array ``[n]``; the name of an array beside the values; or a column of the table, which is then
            not modelled.
        condition: what the labels are, as for ``fit``.

    Raises:
        DataError: an unknown name, a wrong number of entries, a single group, or the column of the labels.
    """
    if group is None:
        return data, None
    if is_name(group) and is_name(condition) and group == condition:
        raise DataError(
            f"group and condition: both are {group!r}, but then held-out rows would have labels that were never trained on. "
            "Fix: leave one of the two out."
        )
    rest, members = _group_by_name(data, group) if is_name(group) else (data, _entries(group))
    if len(members) != len(data):
        raise DataError(f"group: one entry a row is needed, got {len(members)} for {len(data)} rows.")
    if len(_distinct(members)) < 2:
        raise DataError(
            "group: all rows are of one group, so no group can be held out. Fix: leave group= out, or check its entries."
        )
    return rest, members


def _group_by_name(data: Data, name: Any) -> tuple[Data, NDArray[Any]]:
    place = column_place(list(data.values.columns), name) if is_frame(data.values) else None
    if place is not None and is_frame(data.values):
        rest = data.values.iloc[:, [i for i in range(data.values.shape[1]) if i != place]]
        return replace(data, values=rest), np.asarray(data.values.iloc[:, place])
    found = array_named(data, name)
    if found is None:
        raise unknown_name(data, "group", name)
    return data, found


def group_entries(data: Data, name: Any) -> NDArray[Any] | None:
    """The group of every row ``[n]`` by the name that ``fit`` was given; None where the data have nothing of that name."""
    try:
        return _group_by_name(data, name)[1]
    except DataError:
        return None


def _entries(group: Any) -> NDArray[Any]:
    if isinstance(group, torch.Tensor):
        group = group.detach().cpu()
    entries: NDArray[Any] = np.asarray(group).reshape(-1)
    return entries


def _distinct(members: NDArray[Any]) -> Any:
    import pandas as pd

    return pd.factorize(members, use_na_sentinel=False)[1]
