"""Generative modelling through optimal transport: a generator is a map that carries a source law onto the law of the data.

>>> import pushforward as pf
>>> model = pf.NeuroSQL(latent_dim=16).fit("digits", budget="20s")
>>> new = model.sample(64, seed=0)
"""

# ruff: noqa: E402, I001 - the imports stand below two lines that make them cheaper
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

import gc as _gc

_collecting = _gc.isenabled()
_gc.disable()  # a full collection of torch's objects in the middle of the imports below costs more than they do

from pushforward import methods as _methods
from pushforward.budget import Budget
from pushforward.compare import Board, compare
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
from pushforward.evaluate import Evaluation, evaluate
from pushforward.method import Method, cite, find_method, registry
from pushforward.run import Run
from pushforward.saving import load, resume

if _collecting:
    _gc.enable()

if TYPE_CHECKING:
    from pushforward import diagnostics
    from pushforward.methods import (
        DDPM,
        GAN,
        GIS,
        SIG,
        SNGAN,
        SQL,
        TTC,
        VAE,
        VDAE,
        WGAN,
        WGANGP,
        FlowMatching,
        GaussianMixture,
        GraN,
        NeuroSQL,
        UnivariateWGAN,
    )

__all__ = [
    "Board",
    "Budget",
    "DDPM",
    "Data",
    "DataError",
    "Diverged",
    "Evaluation",
    "FlowMatching",
    "GAN",
    "GIS",
    "GaussianMixture",
    "GraN",
    "Method",
    "ModelError",
    "NeuroSQL",
    "NotFitted",
    "NotSupported",
    "PushforwardError",
    "Run",
    "SIG",
    "SNGAN",
    "SQL",
    "StorageError",
    "TTC",
    "UnivariateWGAN",
    "VAE",
    "VDAE",
    "WGAN",
    "WGANGP",
    "cite",
    "compare",
    "describe",
    "diagnostics",
    "evaluate",
    "find_method",
    "load",
    "load_data",
    "registry",
    "resume",
]


def __getattr__(name: str) -> Any:
    """A method's class, or the diagnostics: read when they are first asked for."""
    if name == "diagnostics":
        return import_module("pushforward.diagnostics")
    if name in _methods.FILES:
        return getattr(_methods, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
