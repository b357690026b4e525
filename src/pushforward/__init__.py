"""Generative modelling through optimal transport: a generator is a map that carries a source law onto the law of the data.

>>> import pushforward as pf
>>> model = pf.NeuroSQL(latent_dim=16).fit("digits", budget="20s")
>>> new = model.sample(64, seed=0)
"""

from __future__ import annotations

__version__ = "0.1.0"

from pushforward.budget import Budget
from pushforward.data import Data, describe, load_data
from pushforward.errors import (
    DataError,
    Diverged,
    ModelError,
    NotFitted,
    NotSupported,
    PushforwardError,
    StorageError,
)
from pushforward.method import Method, cite, find_method, registry
from pushforward.methods import SQL, NeuroSQL
from pushforward.run import Run
from pushforward.saving import load, resume

__all__ = [
    "Budget",
    "Data",
    "DataError",
    "Diverged",
    "Method",
    "ModelError",
    "NeuroSQL",
    "NotFitted",
    "NotSupported",
    "PushforwardError",
    "Run",
    "SQL",
    "StorageError",
    "cite",
    "describe",
    "find_method",
    "load",
    "load_data",
    "registry",
    "resume",
]
