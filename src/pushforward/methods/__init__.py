"""One file per system. Importing this package registers them all."""

from pushforward.methods.neurosql import NeuroSQL
from pushforward.methods.sql import SQL

__all__ = ["NeuroSQL", "SQL"]
