"""Which held-out rows of a table can be encoded by a schema that has seen the training rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from pushforward.data.checks import is_frame


def known_rows(values: Any, training: Any) -> np.ndarray:
    """True ``[n]`` for rows without a category, or a kind of gap, that the training rows do not have.

    Args:
        values: rows to look at; other than tables they are all known.
        training: the training rows, with the same columns.
    """
    known = np.ones(len(values), dtype=bool)
    if not is_frame(values):
        return known
    from pandas.api.types import is_numeric_dtype

    for name in values.columns:
        column, seen = values[name], training[name]
        if is_numeric_dtype(column.dtype):
            known &= np.ones(len(column), dtype=bool) if seen.isna().any() else column.notna().to_numpy()
        else:
            known &= column.isin(seen.unique()).to_numpy()
    return known
