"""Which held-out rows of a table can be encoded by a schema that has seen the training rows alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pushforward.data.checks import is_frame
from pushforward.data.dtypes import as_numbers, is_date

if TYPE_CHECKING:
    import pandas as pd


def known_rows(values: Any, training: Any) -> np.ndarray:
    """True ``[n]`` for rows without a category, or a kind of gap, that the training rows do not have.

    Args:
        values: rows to look at; other than tables they are all known.
        training: the training rows, with the same columns.
    """
    known = np.ones(len(values), dtype=bool)
    if is_frame(values):
        for name in values.columns:
            known &= _known(values[name], training[name])
    return known


def _known(column: pd.Series[Any], seen: pd.Series[Any]) -> np.ndarray:
    """The same for one column. Dates are not modelled, and any number will do where numbers were seen, in text too."""
    everything = np.ones(len(column), dtype=bool)
    if is_date(seen):
        return everything
    numbers = as_numbers(seen)
    gaps = numbers is not None and bool(numbers.isna().any())
    if numbers is None or (gaps and numbers.nunique() == 1):  # a single number and gaps are two categories
        return column.isin(seen.unique()).to_numpy()
    ours = as_numbers(column)
    return everything if gaps or ours is None else ours.notna().to_numpy()  # text among numbers is refused when encoded
