"""The errors a user can meet. Each message names what was wrong, the value, and the fix."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class PushforwardError(Exception):
    """Base of every error that the library raises on purpose."""


class DataError(PushforwardError, ValueError):
    """The data cannot be used as given; the message says why and what to do."""


class NotFitted(PushforwardError, RuntimeError):
    """The model was asked for something before ``fit``."""


class NotSupported(PushforwardError, TypeError):
    """The method cannot do this; the message names the methods that can."""


class Diverged(PushforwardError, ArithmeticError):
    """A loss or a gradient stopped being finite.

    Attributes:
        law: what was learned before and stays usable, where the method has such a thing.
    """

    law: Any = None


class ModelError(PushforwardError, ValueError):
    """A saved model cannot be read: a file is missing, edited, or from a newer version."""


class StorageError(PushforwardError, OSError):
    """A folder cannot be written, is full, or is in use by another process."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A ready sentence that suggests the known name closest to ``name`` (empty where none is close)."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" Perhaps you meant {by_lower[close[0]]!r}?" if close else ""
