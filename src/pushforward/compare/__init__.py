"""The comparison of methods on the same rows with the same budget: ``pf.compare`` and ``pushforward compare``."""

from __future__ import annotations

from pushforward.compare.board import Board
from pushforward.compare.experiment import compare

__all__ = ["Board", "compare"]
