"""One file per system. Importing this package registers them all."""

from pushforward.methods.neurosql import NeuroSQL

__all__ = ["NeuroSQL"]
