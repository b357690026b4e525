"""The rows of a comparison: read once, split once, checked before anything is fitted."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushforward.condition import Condition, fit_condition, split_condition
from pushforward.data import Data, Schema, fit_schema, load_data, split_rows, take_rows
from pushforward.data.checks import is_frame
from pushforward.data.known import known_rows
from pushforward.data.named_columns import (
    array_named,
    column_place,
    group_entries,
    is_name,
    known_names,
    split_group,
)
from pushforward.data.rows import digest_of
from pushforward.errors import DataError, nearest_name
from pushforward.training_rows import Overlap, row_hashes

FEWEST, MOST = 20, 10_000
Labels = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Rows:
    """What every method is fitted to and measured on.

    Attributes:
        train: rows to fit, with nothing but what is modelled and the labels of the condition.
        held: rows to measure on, of the same form.
        labels: of the training rows, for features: those of the condition, or else those that came with the data; or None.
        schema: fitted to the training rows, labels left out.
        condition: the name of the labels in ``train`` and ``held``, or None.
        target: a table's column for train-on-synthetic-test-on-real, or None.
        held_out: whether no more of the held rows equal training rows than chance explains.
        notes: what a reader must know of the split.
        digest: a checksum of everything above.
    """

    train: Data
    held: Data
    labels: Labels | None
    schema: Schema
    condition: Any
    target: Any
    held_out: bool
    notes: tuple[str, ...]
    digest: str


def read_rows(
    data: object,
    *,
    condition: object,
    group: object,
    holdout: object,
    validation: float,
    seed: int,
    target: str | None,
) -> Rows:
    """Read, split and check; arguments as in `pushforward.compare`, ``seed`` is that of the split.

    Raises:
        DataError: too few rows, a single class, or held-out rows of another kind or shape.
        ValueError: an argument is out of its range.
    """
    source = load_data(data)
    loaded, groups = split_group(source, group, condition)
    loaded, name = _named(loaded, condition)
    fit_schema(split_condition(loaded, name)[0])  # so that messages speak of the user's rows
    given = None if holdout is None else load_data(holdout)
    if given is None:
        train, held = _split(loaded, validation, seed, groups)
    else:
        train, held = loaded, _without_group(given, group)
    values, labels, _ = split_condition(train, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said above
        schema = fit_schema(values)
    held, notes = _usable(train, held, schema, name)
    _require_rows(train, held, notes, given is not None)
    held, fewer = _at_most(held, seed)
    groups_told = (None, "") if given is None else _shared_groups(source, given, group)
    overlap = _overlap(train, held, schema, groups_told)
    labels = train.labels if labels is None else labels
    digest = _digest(train, held, labels, schema)
    train, held = (_modelled(part, schema, name) for part in (train, held))
    goal = _target(train, schema, name, target)
    told = (*notes, *fewer, *overlap.notes())
    return Rows(train, held, labels, schema, name, goal, overlap.held_out, told, digest)


def some_rows(data: Data, index: NDArray[Any]) -> Data:
    """Rows of the data with everything that is known about them."""
    picked: Any = take_rows(data, index)
    return replace(data, values=picked.values, labels=picked.labels, arrays=picked.arrays)


def in_random_order(data: Data, seed: int) -> Data:
    """All rows of the data."""
    return some_rows(data, np.random.default_rng(seed).permutation(len(data)))


# ---------------------------------------------------------------------- names, split


def _named(data: Data, condition: object) -> tuple[Data, Any]:
    """The condition as a name: an array of labels is put beside the rows."""
    if condition is None or is_name(condition):
        return data, _plain(condition)
    labels = split_condition(data, condition)[1]
    name = "condition"
    while name in known_names(data):
        name += "_"
    return replace(data, arrays={**data.arrays, name: np.asarray(labels)}), name


def _plain(name: Any) -> Any:
    """A name that a file can hold."""
    return int(name) if isinstance(name, np.integer) else name


def _place(data: Data, name: Any) -> int | None:
    """The place of a column of that name; None where there is none."""
    return column_place(list(data.values.columns), name) if name is not None and is_frame(data.values) else None


def _split(data: Data, validation: float, seed: int, groups: Any) -> tuple[Data, Data]:
    if isinstance(validation, bool) or not isinstance(validation, (int, float)) or not 0 < validation < 1:
        raise ValueError(
            f"validation: a share of the rows between 0 and 1 is needed to measure on, got {validation!r}; or give holdout=."
        )
    train_rows, held_rows = split_rows(len(data), validation, seed=seed, groups=groups)
    return some_rows(data, train_rows), some_rows(data, held_rows)


def _without_group(held: Data, group: object) -> Data:
    """Held-out rows of the user's without the column of groups, where they have one."""
    return split_group(held, group)[0] if is_name(group) and _place(held, group) is not None else held


def _at_most(held: Data, seed: int) -> tuple[Data, list[str]]:
    if len(held) <= MOST:
        return held, []
    picked = np.sort(np.random.default_rng(seed).permutation(len(held))[:MOST])
    return some_rows(held, picked), [f"{MOST:,} of {len(held):,} held-out rows were used, chosen at random"]


def _modelled(data: Data, schema: Schema, name: Any) -> Data:
    """Nothing but modelled columns and the labels of the condition: what goes into the file of rows."""
    values: Any = data.values
    if is_frame(values):
        coder: Any = schema.coder
        place, wanted = _place(data, name), {column.name for column in coder.columns}
        values = values.iloc[:, [i for i, column in enumerate(values.columns) if column in wanted or i == place]]
    arrays = {key: array for key, array in data.arrays.items() if key == name}
    return replace(data, values=values, labels=data.labels if name == "labels" else None, arrays=arrays)


# ---------------------------------------------------------------------- checks


def _usable(train: Data, held: Data, schema: Schema, name: Any) -> tuple[Data, list[str]]:
    """Held-out rows without those of a category or class that no training row has: no method can know them."""
    known: NDArray[Any] = np.ones(len(held), dtype=bool)
    if is_frame(held.values) and is_frame(train.values):
        coder: Any = schema.coder
        columns = [column.name for column in coder.columns if column.name in held.values.columns]
        known &= known_rows(held.values[columns], train.values) if held.values.columns.is_unique else True
    usable = np.flatnonzero(known) if known.any() else np.arange(len(held))
    schema.encode(some_rows(held, usable).values)  # another kind or shape is refused here
    known &= _of_known_classes(train, held, name)
    if known.all():
        return held, []
    told = (
        f"{int((~known).sum())} held-out rows with categories, gaps or classes that no training row has were left out"
    )
    return some_rows(held, np.flatnonzero(known)), [told]


def _of_known_classes(train: Data, held: Data, name: Any) -> NDArray[Any]:
    """True ``[n]`` for held-out rows of a class that is trained on; those that come without labels are left alone."""
    known: NDArray[Any] = np.ones(len(held), dtype=bool)
    _, labels, source = split_condition(train, name)
    if labels is None:
        return known
    classes = fit_condition(labels, source)  # a single class is refused here
    theirs = split_condition(held, name)[1] if _place(train, name) is not None or _beside(held, name) else None
    if theirs is not None:
        found = {label: _class_of(classes, label) for label in dict.fromkeys(theirs)}
        known = np.array([found[label] is not None for label in theirs], dtype=bool)
        _require_classes([number for number in set(found.values()) if number is not None], classes)
    return known


def _class_of(classes: Condition, label: Any) -> int | None:
    """The class number of a label; None where no such class is trained on."""
    try:
        return int(classes.codes([label]))
    except DataError:
        return None


def _beside(held: Data, name: Any) -> bool:
    return array_named(held, name) is not None


def _require_classes(seen: list[int], classes: Condition) -> None:
    """A conditional model draws all of its classes, so rows of one class are no reference for it."""
    if len(seen) == 1:
        raise DataError(
            f"holdout: all rows are of the class {classes.values[seen[0]]!r}, but {len(classes.values)} classes are trained on. "
            "Fix: give held-out rows of every class."
        )


def _require_rows(train: Data, held: Data, notes: list[str], given: bool) -> None:
    if len(held) >= FEWEST and len(train) >= FEWEST:
        return
    fix = "give more rows" if given else "give more rows, or hold out another share with validation="
    raise DataError(
        f"{len(train)} rows to train on and {len(held)} held-out rows are too few to compare methods; {FEWEST} of each are "
        f"needed{''.join(f' ({note})' for note in notes)}. Fix: {fix}."
    )


def _target(train: Data, schema: Schema, name: Any, target: str | None) -> Any:
    """The column to predict: the one that is named, or else that of the condition."""
    columns = list(train.values.columns) if is_frame(train.values) else []
    if target is None:
        place = _place(train, name)
        return None if place is None else _plain(columns[place])
    if not columns:
        raise ValueError(f"target: is for tables, and these are {schema.kind} data; leave it out.")
    place = column_place(columns, target)
    if place is None:
        known = [str(column) for column in columns]
        raise ValueError(f"target: there is no column {target!r}.{nearest_name(target, known)}")
    return _plain(columns[place])


# ---------------------------------------------------------------------- what training and held-out rows share


def _shared_groups(source: Data, given: Data, group: object) -> tuple[int | None, str]:
    """Groups that are on both sides, None where one side does not say; and what they are called."""
    if not is_name(group):
        return None, ""
    sides = [group_entries(data, group) for data in (source, given)]
    if any(side is None for side in sides):
        return None, str(group)
    first, second = (set(map(str, np.asarray(side).tolist())) for side in sides)
    return len(first & second), str(group)


def _overlap(train: Data, held: Data, schema: Schema, groups: tuple[int | None, str]) -> Overlap:
    ours, theirs = (row_hashes(schema.encode(data.values)) for data in (held, train))
    counts = np.unique(theirs, return_counts=True)[1]
    twins = float(counts[counts > 1].sum()) / len(theirs)
    return Overlap(len(ours), int(np.isin(ours, theirs).sum()), twins * len(ours), *groups)


def _digest(train: Data, held: Data, labels: Labels | None, schema: Schema) -> str:
    """A checksum of rows, labels and schema."""
    parts: list[Any] = [digest_of(schema.encode(data.values)) for data in (train, held)]
    parts += [None if labels is None else [str(label) for label in labels], schema.to_dict()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
