"""The rows that a model was trained on: found again, and compared with rows that are said to be held out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pushforward.data import Data, load_data, take_rows
from pushforward.data.named_columns import group_entries
from pushforward.data.rows import digest_of
from pushforward.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pushforward.method import Method

_HASH_NUMBERS = 2**22  # numbers hashed at a time
_TOLERATED = 0.01  # share of the held-out rows that may equal training rows beyond what chance gives


@dataclass(frozen=True)
class TrainingRows:
    """What is known of the rows that a model was trained on.

    Attributes:
        rows: the training rows, or None where they are not known.
        whole: all rows that ``fit`` was given, where they were found again.
        why: why the rows are not known, or what is uncertain about them; empty where nothing is.
    """

    rows: Data | None
    whole: Data | None = None
    why: str = ""


def find_training_rows(model: Method, given: object = None) -> TrainingRows:
    """The training rows: out of the data that are given, or else read again from where ``fit`` read them.

    They are recognised by a checksum that the model keeps. Given data that do not have it are taken as they are, and
    ``why`` says so.

    Raises:
        DataError: given data that cannot be read, or are of another kind or shape than the model's.
    """
    source = given if given is not None else model.data_info_.get("source")
    if source is None:
        return TrainingRows(None, None, "the model was fitted to data in memory; give train=")
    try:
        data = load_data(source)
        found = _recognised(model, data)
    except DataError:
        if given is not None:
            raise
        return TrainingRows(None, None, "the training data cannot be read again from where fit read them; give train=")
    if found is not None:
        return found
    if given is None:
        return TrainingRows(None, None, "the training data have changed since the model was fitted; give train=")
    return TrainingRows(data, None, "the rows given as train= are not those that the model was trained on")


def _recognised(model: Method, data: Data) -> TrainingRows | None:
    """The training rows among the data, or all of them, whichever has the model's checksum."""
    wanted, rows = model.data_info_.get("sha256"), np.asarray(model.train_rows_)
    if len(rows) and rows.max() < len(data):
        picked: Any = take_rows(data, rows)
        if wanted in (None, digest_of(model.schema_.encode(picked))):
            return TrainingRows(picked, data)
    return TrainingRows(data) if wanted == digest_of(model.schema_.encode(data)) else None


@dataclass(frozen=True)
class Overlap:
    """How much rows that are said to be held out have in common with the training rows.

    Attributes:
        n: rows looked at.
        equal: those that equal a training row.
        by_chance: how many would, if they had twins as often as training rows have among themselves.
        groups: groups that are on both sides; None where they are not known.
        group_name: what the groups are called; empty where the model was fitted without a name for them.
    """

    n: int
    equal: int
    by_chance: float
    groups: int | None = None
    group_name: str = ""

    @property
    def held_out(self) -> bool:
        """Whether what they have in common can be chance."""
        share = self.by_chance / self.n
        limit = self.by_chance + 4 * math.sqrt(self.n * share * (1 - share)) + _TOLERATED * self.n
        return self.equal <= limit and not self.groups

    def notes(self) -> list[str]:
        """What a reader must know."""
        told = []
        if self.equal:
            chance = f" (chance twins would be about {self.by_chance:.0f})" if self.by_chance >= 0.5 else ""
            told.append(f"{self.equal} of the {self.n} rows equal training rows{chance}")
        if self.groups:
            told.append(f"{self.groups} groups by {self.group_name!r} are among the training rows too")
        if self.groups is None and self.group_name:
            told.append(f"these rows do not say their {self.group_name!r}, so a group of them may have been trained on")
        return told


def overlap_with(model: Method, held: Data, train: Data) -> Overlap:
    """Compare held-out rows with the training rows, row by row and group by group."""
    ours, theirs = (row_hashes(model.schema_.encode(data)) for data in (held, train))
    counts = np.unique(theirs, return_counts=True)[1]
    twins = float(counts[counts > 1].sum()) / len(theirs)
    name = model.data_info_.get("group", "")
    return Overlap(
        len(ours), int(np.isin(ours, theirs).sum()), twins * len(ours), _shared(held, train, name), str(name)
    )


def _shared(held: Data, train: Data, name: Any) -> int | None:
    """Groups on both sides; None where one side does not say."""
    sides = [group_entries(data, name) for data in (held, train)] if name != "" else [None]
    if any(side is None for side in sides):
        return None
    first, second = (set(map(str, np.asarray(side).tolist())) for side in sides)
    return len(first & second)


def row_hashes(x: Tensor) -> NDArray[np.uint64]:
    """A 64-bit number ``[n]`` for every encoded row ``[n, *event_shape]``: equal rows have equal ones, others hardly ever."""
    flat = x.detach().cpu().flatten(1).numpy().astype(np.float32)
    weights = np.random.default_rng(0).integers(1, 2**63, flat.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    step = max(1, _HASH_NUMBERS // max(1, flat.shape[1]))
    parts = [_mix(flat[start : start + step]) @ weights for start in range(0, len(flat), step)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _mix(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The bits of every number, spread over 64; -0 counts as 0."""
    bits = np.ascontiguousarray(rows + np.float32(0)).view(np.uint32).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return bits ^ (bits >> np.uint64(32))
