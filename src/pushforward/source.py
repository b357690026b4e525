"""Rows of a source data set, for methods that carry one data set onto another (translation, restoration)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pushforward.data import Schema, load_data, split_rows
from pushforward.errors import DataError


@dataclass(frozen=True)
class SourceRows:
    """Encoded rows of the source.

    Attributes:
        train: rows that are trained on ``[n, *event_shape]``.
        held: rows that are held out ``[m, *event_shape]``.
        train_rows: their row numbers in the source ``[n]``.
        held_rows: those of the held-out rows ``[m]``.
        info: name and place of the data, and the number of training rows, in plain types.
    """

    train: torch.Tensor
    held: torch.Tensor
    train_rows: NDArray[Any]
    held_rows: NDArray[Any]
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows the source has."""
        return len(self.train) + len(self.held)


def read_source(
    source: object, schema: Schema, *, validation: float, seed: int, groups: NDArray[Any] | None
) -> SourceRows:
    """Read the source, encode it as the target is encoded, and hold rows out.

    The split is that of a target of as many rows: of pairs (a picture and its degraded copy), both are held out or none.

    Args:
        source: anything that ``load_data`` reads.
        schema: that of the target data.
        validation: share of the rows held out.
        seed: of the split.
        groups: which rows belong together, where the target has as many rows.

    Raises:
        DataError: the source is not of the kind and shape of the target; the message begins with ``source:``.
    """
    loaded = load_data(source)
    if len(loaded) < 2:
        raise DataError(f"source: at least 2 rows are needed, got {len(loaded)}.")
    x = encode_source(loaded.values, schema)
    groups = groups if groups is not None and len(groups) == len(loaded) else None
    train, held = split_rows(len(loaded), validation, seed=seed, groups=groups)
    if len(train) < 2:
        raise DataError(
            f"source: {validation:g} of {len(loaded)} rows leaves {len(train)} to train on; give more rows."
        )
    info = {"source_name": loaded.name, "source_path": loaded.source, "source_rows": len(train)}
    train, held = np.asarray(train), np.asarray(held)
    return SourceRows(x[train], x[held], train, held, info)


def encode_source(values: object, schema: Schema) -> torch.Tensor:
    """Rows of the source on the target's scale ``[n, *event_shape]``.

    Raises:
        DataError: they are of another kind or shape.
    """
    try:
        x = schema.encode(values)
    except DataError as error:
        raise DataError(f"source: {schema.kind} data of the target's shape and columns are needed. {error}") from error
    if x.shape[1:] != torch.Size(schema.event_shape):
        raise DataError(
            f"source: rows of the target's shape {list(schema.event_shape)} are needed, got {list(x.shape[1:])}."
        )
    return x
