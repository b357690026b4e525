"""One fit of a comparison, in a process of its own: ``python -m pushforward.compare.trial JOB``.

So its time and peak memory are its own, and a crash ends this process and nothing else. The job and the outcome are JSON
files, rows and samples come and go as in `handover`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from pushforward.compare.handover import read_data, write_data
from pushforward.data import Data
from pushforward.errors import Diverged, NotSupported, PushforwardError
from pushforward.folders import write_atomically
from pushforward.method import Method
from pushforward.run import Run


def main(job_file: str) -> None:
    """Work on the job, and write its outcome beside it."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    job = json.loads(Path(job_file).read_text())
    write_atomically(Path(job["outcome"]), json.dumps(outcome_of(job)))


def outcome_of(job: dict[str, Any]) -> dict[str, Any]:
    """What `work` says, or why it failed: whatever happens to a method is a row of the table."""
    try:
        return work(job)
    except Exception as error:
        return {"failed": _reason(error), "refused": isinstance(error, (NotSupported, ValueError))}


def work(job: dict[str, Any]) -> dict[str, Any]:
    """Fit, draw samples, and say what that took; a rehearsal only reads the rows.

    Args:
        job: ``rows``, ``samples``, ``held`` and ``rebuilt`` (files; the last two may be None), ``module``, ``method``,
            ``parameters``, ``seed``, ``budget``, ``condition`` and ``n`` (samples to draw), ``rehearsal``.
    """
    rows = read_data(Path(job["rows"]))
    if job["rehearsal"]:
        return {}
    method = _made(job)
    run = Run(seed=job["seed"], budget=job["budget"], validation=0.0, progress=False)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those that matter are in warnings_
        method.fit(rows, condition=job["condition"], run=run)
    spent = time.process_time() - began
    samples, sampling = _timed_samples(method, job)
    peak = _peak_bytes(run.device)
    write_data(Path(job["samples"]), Data(samples))
    _rebuild(method, job)
    return {
        "seconds": float(method.run_["seconds"]),
        "cpu_seconds": spent,
        "steps": run.steps,
        "samples": job["n"],
        "sampling_seconds": sampling,
        "parameters": count_parameters(method),
        "peak_bytes": peak,
        "warnings": list(method.warnings_),
    }


def count_parameters(method: Method) -> int:
    """Numbers that the fitted law holds, buffers included (those of a mixture are its parameters); shared ones once."""
    tensors = {t.data_ptr(): t.numel() for t in method.law_.state_dict().values() if t.is_floating_point()}
    return sum(tensors.values())


def _made(job: dict[str, Any]) -> Method:
    """The method with its parameters; its module is imported by name."""
    made: Any = importlib.import_module(job["module"])
    for part in job["method"].split("."):
        made = getattr(made, part)
    method: Method = made(**job["parameters"])
    return method


def _timed_samples(method: Method, job: dict[str, Any]) -> tuple[Any, float]:
    """Samples, and the wall seconds they took; what only a first call does (loading code, choosing kernels) is done before."""
    method.sample(1, seed=job["seed"])
    began = time.perf_counter()
    samples = method.sample(job["n"], seed=job["seed"])
    return samples, time.perf_counter() - began


def _rebuild(method: Method, job: dict[str, Any]) -> None:
    """What the method makes of held-out rows, where it can."""
    if job["held"] is None or not {"encode", "reconstruct"} <= method.can():
        return
    held = read_data(Path(job["held"]))
    if method.condition_ is None or method.condition_.labelled(held):
        write_data(Path(job["rebuilt"]), Data(method.reconstruct(held)))


def _peak_bytes(device: torch.device) -> int | None:
    """Peak memory: of the GPU where there is one, otherwise of the whole process; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reason(error: Exception) -> str:
    known = isinstance(error, (PushforwardError, ValueError)) and not isinstance(error, Diverged)
    text = " ".join(str(error).split())
    return text if known and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _end_with_the_parent() -> None:
    """Standard input is held open by the process that asked for this one, and ends with it."""
    while os.read(0, 1):  # not sys.stdin, whose lock would be held when the interpreter ends
        pass
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
