"""What ``load_data`` returns, and how rows are picked and split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.data.checks import check_container, is_frame
from pushforward.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Values: TypeAlias = Union[NDArray[Any], torch.Tensor, "pd.DataFrame"]


@dataclass(frozen=True, eq=False)
class Data:
    """Data with what is known about them.

    Attributes:
        values: array, tensor or DataFrame; the first axis counts the rows.
        labels: one label a row ``[n]`` (whole numbers or text) where the source has them.
        name: for titles.
        label_names: the name of label 0, 1, ... where the source has them.
        source: absolute path or name of the set, for reading the same data again; None for data in memory.
        notes: what the reader had to assume, one sentence each; ``describe`` shows them.
        arrays: other arrays of the source with one entry a row ``[n]``, by name: subjects, batches, classes. ``fit`` takes
            such a name as ``condition=`` or ``group=``.
    """

    values: Values
    labels: NDArray[Any] | None = None
    name: str = "data"
    label_names: tuple[str, ...] | None = None
    source: str | None = None
    notes: tuple[str, ...] = ()
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self):
            raise DataError(
                f"{self.name}: there are {len(self)} rows but {len(self.labels)} labels. Fix: give one label a row."
            )
        for name, array in self.arrays.items():
            if len(array) != len(self):
                raise DataError(
                    f"{self.name}: there are {len(self)} rows but {len(array)} entries in {name!r}. Fix: give one a row."
                )

    def __len__(self) -> int:
        return int(self.values.shape[0]) if np.ndim(self.values) else 0


def take_rows(values: object, index: NDArray[Any]) -> object:
    """The rows ``index`` (int ``[k]``) of an array, a tensor, a DataFrame (renumbered from 0) or a Data.

    Raises:
        DataError: the values have no rows to take: a single number, a sparse tensor or one without values.
    """
    if isinstance(values, Data):
        labels = None if values.labels is None else values.labels[index]
        arrays = {name: array[index] for name, array in values.arrays.items()}
        rows: Any = take_rows(values.values, index)
        return Data(rows, labels, values.name, values.label_names, arrays=arrays)
    if is_frame(values):
        return values.iloc[index].reset_index(drop=True)
    check_container(values)
    if isinstance(values, torch.Tensor):
        return values[torch.as_tensor(np.asarray(index), device=values.device)]
    return np.asanyarray(values)[index]  # a masked array keeps its mask, so that it is refused later


def digest_of(x: torch.Tensor) -> str:
    """A checksum of encoded rows ``[n, *event_shape]``, their order included."""
    return hashlib.sha256(np.ascontiguousarray(x.detach().cpu().numpy()).tobytes()).hexdigest()


def split_rows(
    n: int, fraction: float, *, seed: int, groups: NDArray[Any] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows at random into training and held-out rows.

    Args:
        n: number of rows.
        fraction: share of the rows to hold out, in [0, 1); at least one row is held out unless it is 0.
        seed: of this split; equal seeds give equal splits.
        groups: one entry a row ``[n]``; rows of the same group stay on the same side.

    Returns:
        Training and held-out row numbers, each sorted.

    Raises:
        DataError: where no training row would remain, or the groups do not fit.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction={fraction} must be at least 0 and below 1. Fix: 0.1 holds out a tenth of the rows.")
    members = np.arange(n) if groups is None else _group_numbers(groups, n)
    held = np.isin(members, _held_groups(members, fraction, np.random.default_rng(seed)))
    return np.flatnonzero(~held), np.flatnonzero(held)


def _group_numbers(groups: NDArray[Any], n: int) -> NDArray[np.intp]:
    import pandas as pd

    if len(groups) != n:
        raise DataError(f"groups has {len(groups)} entries for {n} rows. Fix: give one entry a row.")
    return pd.factorize(np.asarray(groups), use_na_sentinel=False)[0]


def _held_groups(members: NDArray[Any], fraction: float, rng: np.random.Generator) -> NDArray[Any]:
    """Groups in random order until the wished number of rows is met as closely as possible; one group always stays."""
    if fraction == 0 or not len(members):
        return np.empty(0, dtype=np.intp)
    order = rng.permutation(int(members.max()) + 1)
    if len(order) < 2:
        raise DataError("Nothing can be held out: all rows are one row or one group. Fix: fraction=0, or more groups.")
    reached = np.cumsum(np.bincount(members)[order])
    wished = int(np.abs(reached[:-1] - fraction * len(members)).argmin()) + 1
    return order[:wished]
