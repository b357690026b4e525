"""A process for one fit: started, watched, and ended with the one that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TICK = 0.2
_GRACE = 5.0
_LOG = 2000


def run_job(job: dict[str, Any], work: Path, tick: Callable[[], None]) -> dict[str, Any]:
    """Do the job of `trial` in a process of its own, and return its outcome.

    Args:
        job: as `trial.work` takes it.
        work: a folder for files that the two share; the process runs in it.
        tick: called a few times a second.

    Returns:
        What the process reported; ``{"failed": why}`` where it died without a word.
    """
    job_file, outcome, log = work / "job.json", work / "outcome.json", work / "log.txt"
    outcome.unlink(missing_ok=True)
    job_file.write_text(json.dumps({**job, "outcome": str(outcome)}))
    with open(log, "wb") as stream:
        code = _wait(_start(job_file, work, stream), tick)
    if outcome.exists():
        told: dict[str, Any] = json.loads(outcome.read_text())
        return told
    return {"failed": _death(code, log)}


def _start(job_file: Path, work: Path, log: Any) -> subprocess.Popen[bytes]:
    """The process has its own group, so that Ctrl-C reaches the one that watches it alone."""
    paths = [os.path.abspath(entry) for entry in sys.path]
    alone = {name: value for name, value in os.environ.items() if name != "RANK"}  # no part of a group of torchrun
    return subprocess.Popen(
        [sys.executable, "-m", "pushforward.compare.trial", str(job_file)],
        cwd=work,
        env={**alone, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> int:
    """The exit status; whatever interrupts the waiting ends the process."""
    try:
        while True:
            try:
                return process.wait(timeout=_TICK)
            except subprocess.TimeoutExpired:
                tick()
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _death(code: int, log: Path) -> str:
    """Why a process that left no outcome has died."""
    if code == -getattr(signal, "SIGKILL", 9):
        return "the process was killed (signal 9), most likely because the memory was full"
    last = [line for line in log.read_text(errors="replace")[-_LOG:].splitlines() if line.strip()]
    told = f": {last[-1].strip()}" if last else ""
    how = f"by signal {-code}" if code < 0 else f"with status {code}"
    return f"the process ended {how}{told}"
