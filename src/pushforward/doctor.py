"""What ``pushforward doctor`` finds about the installation."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's list."""

    name: str
    good: bool
    text: str


def findings() -> Iterator[Finding]:
    """Check versions, the device, the assignment solver, optional packages and data folders, one after the other."""
    yield _versions()
    yield _device()
    yield _solver()
    yield _works()
    yield from _extras()
    yield _data()


def _versions() -> Finding:
    from pushforward import __version__

    return Finding("pushforward", True, f"{__version__}, Python {platform.python_version()}, torch {torch.__version__}")


def _device() -> Finding:
    if torch.cuda.is_available():
        return Finding("device", True, f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})")
    return Finding("device", True, f"CPU, {torch.get_num_threads()} threads; no CUDA device was found")


def _solver() -> Finding:
    from pushforward.solvers.assignment import assign

    try:
        found = assign(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.1], [0.0, 0.1]]))
    except Exception as error:  # noqa: BLE001 - the doctor reports whatever is broken
        return Finding("assignment", False, f"the solver fails: {error}")
    has_lap = importlib.util.find_spec("lap") is not None
    hint = "" if has_lap else "; lapx is missing, scipy is used and is several times slower: pip install lapx"
    return Finding(
        "assignment", found.permutation.tolist() == [1, 0], f"a test problem is solved by {found.method}{hint}"
    )


def _works() -> Finding:
    """A fit of one second, in memory."""
    from pushforward.methods import NeuroSQL
    from pushforward.run import Run

    points = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    try:
        NeuroSQL(latent_dim=2).fit(
            points, budget="20 steps", run=Run(progress=False, device="cpu", validation=0)
        ).sample(4, seed=0)
    except Exception as error:  # noqa: BLE001 - the doctor reports whatever is broken
        return Finding("fit and sample", False, f"fails: {error}")
    return Finding("fit and sample", True, "a small model was fitted and sampled")


def _extras() -> Iterator[Finding]:
    uses = {"pyarrow": "parquet files", "tensorboard": "TensorBoard logs", "ripser": "loops of samples"}
    uses |= {"pot": "the Gromov-Wasserstein distance", "faiss-cpu": "faster neighbours of many rows"}
    for package, use in uses.items():
        try:
            yield Finding(package, True, f"{importlib.metadata.version(package)} ({use})")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(package, True, f"not installed; only needed for {use}")


def _data() -> Finding:
    folder = os.environ.get("PUSHFORWARD_DATA")
    if not folder:
        return Finding(
            "data folder", True, "PUSHFORWARD_DATA is not set; named sets are looked for in the cache folder"
        )
    exists = Path(folder).is_dir()
    return Finding(
        "data folder", exists, folder if exists else f"PUSHFORWARD_DATA names {folder}, which does not exist"
    )
