"""The run: budgets, checkpoints, resume after kill and Ctrl-C, full disks, several processes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing as mp
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.budget import Budget
from pushforward.folders import FolderLock
from pushforward.run import Run

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pushforward", *arguments]


def call(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=ENV, timeout=240, **more)


@pytest.fixture
def points(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    np.save(tmp_path / "points.npy", x)
    return tmp_path / "points.npy"


FIT = ["--budget", "1500 steps", "--latent-dim", "3", "--width", "16", "--checkpoint-every", "0.05"]


def digest(folder: Path) -> str:
    return hashlib.sha256(pf.load(folder).sample(200, seed=0).tobytes()).hexdigest()


# ---------------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("60s", Budget(seconds=60.0)),
        ("1.5 min", Budget(seconds=90.0)),
        ("2h", Budget(seconds=7200.0)),
        ("2_000 steps", Budget(steps=2000)),
        ("30 epochs", Budget(epochs=30.0)),
    ],
)
def test_budgets_are_read(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget
    assert Budget.parse(str(budget)) == budget


def test_a_budget_is_one_thing() -> None:
    for arguments in ({}, {"seconds": -1.0}, {"steps": 0}, {"seconds": 1.0, "steps": 4}):
        with pytest.raises(ValueError, match="budget"):
            Budget(**arguments)  # type: ignore[arg-type]
    assert Budget.parse(str(Budget(epochs=7.1234567))) == Budget(epochs=7.1234567)


@pytest.mark.parametrize("text", ["0s", "-3 steps", "0 epochs", "infs"])
def test_a_budget_that_leaves_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["60", "fast", "3 parsecs", "2.5 steps"])
def test_a_budget_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="budget: "):
        Budget.parse(text)


# ---------------------------------------------------------------------- the verbs


class Stopped(Exception):
    """Stands for a crash."""


def staged(run: Run, crash_after: int | None = None) -> tuple[torch.Tensor, list[int]]:
    """Two stages and a nested loop that all use the generator; returns the final weights and the ticks seen."""
    seen: list[int] = []
    net = run.build("net", lambda: torch.nn.Linear(3, 3))
    optimizer = run.track("adam", torch.optim.Adam(net.parameters(), lr=1e-2))
    ema = run.average("ema", net, 0.9)
    x = run.value("x", lambda: torch.randn(40, 3, generator=run.generator))
    batches = run.batches(x, 8)

    def tick(k: int) -> None:
        noise = torch.randn(8, 3, generator=run.generator)
        run.step(optimizer, (net(next(batches)) - noise).square().mean())
        seen.append(k)
        if crash_after is not None and len(seen) == crash_after:
            raise Stopped

    with run.session("data"):
        for k in run.range("first", 7):
            tick(k)
        for outer in run.range("outer", 3):
            for k in run.range(f"inner {outer}", 4):
                tick(10 * outer + k)
        for k in run.loop("last", default="5 steps"):
            tick(k)
    return torch.cat([p.detach().flatten() for p in (*net.parameters(), *ema.module.parameters())]), seen


def test_loops_share_a_budget_of_steps() -> None:
    run, ticks = Run(budget="10 steps", **QUIET), {}
    with run.session("data"):
        for name, until in (("one", 0.25), ("two", 0.7), ("three", 1.0), ("four", 1.0)):
            ticks[name] = len(list(run.loop(name, default="99 steps", until=until)))
    assert ticks == {"one": 3, "two": 4, "three": 3, "four": 0}
    assert run.steps == 10
    assert run.fraction == 1.0


@pytest.mark.parametrize("crash_after", [1, 5, 7, 8, 11, 14, 19, 21, 23])
def test_resume_in_every_stage_is_bitwise(crash_after: int, tmp_path: Path) -> None:
    whole, all_ticks = staged(Run(out=tmp_path / "whole", checkpoint_every=0, **QUIET))
    with pytest.raises(Stopped):
        staged(Run(out=tmp_path / "cut", checkpoint_every=0, **QUIET), crash_after)
    resumed, rest = staged(Run(out=tmp_path / "cut", checkpoint_every=0, resume=True, **QUIET))
    assert torch.equal(whole, resumed)
    assert rest == all_ticks[crash_after - 1 :]


def test_a_run_serves_one_fit_only() -> None:
    run = Run(**QUIET)
    pf.NeuroSQL(latent_dim=2, width=8).fit(np.random.default_rng(0).normal(size=(50, 3)), budget="3 steps", run=run)
    with pytest.raises(ValueError, match="one fit"):
        pf.NeuroSQL(latent_dim=2, width=8).fit(np.random.default_rng(0).normal(size=(50, 3)), budget="3 steps", run=run)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    run = Run(out=tmp_path / "r", checkpoint_every=0, **QUIET)
    with run.session("data"):
        w = torch.nn.Parameter(torch.ones(1))
        optimizer = torch.optim.SGD([w], lr=1.0)
        with pytest.raises(pf.Diverged, match="not finite at step 3 .*checkpoint is that of step 3"):
            for k in run.loop("train", default="9 steps"):
                run.step(optimizer, (w * (float("nan") if k == 3 else 1.0)).sum())
    assert torch.isfinite(w).all()


def test_the_callback_gets_the_log() -> None:
    records: list[dict[str, Any]] = []
    run = Run(callback=records.append, **QUIET)
    pf.NeuroSQL(latent_dim=2, width=8).fit(np.random.default_rng(0).normal(size=(99, 3)), budget="60 steps", run=run)
    assert any("loss" in record for record in records)
    assert any("objective" in record for record in records)


# ---------------------------------------------------------------------- kill, interrupt, resume


def test_kill_and_resume_gives_the_same_samples(points: Path, tmp_path: Path) -> None:
    """SIGKILL at three random moments."""
    assert call("fit", "neurosql", str(points), "--out", str(tmp_path / "whole"), *FIT).returncode == 0
    moments = random.Random(0)
    fit = command("fit", "neurosql", str(points), "--out", str(tmp_path / "cut"), *FIT)
    checkpoint = tmp_path / "cut" / "checkpoint.pt"
    for attempt in range(3):
        before = checkpoint.stat().st_mtime if checkpoint.exists() else 0.0
        process = subprocess.Popen(
            fit if attempt == 0 else command("resume", str(tmp_path / "cut")),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=ENV,
        )
        wait_for(checkpoint, process, after=before)
        time.sleep(moments.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = call("resume", str(tmp_path / "cut"))
    finished = "has finished" in done.stderr
    assert done.returncode == 0 or finished, done.stderr
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def wait_for(file: Path, process: subprocess.Popen[Any], after: float = 0.0) -> None:
    """Wait for a file newer than ``after``, or for the end of the process."""
    for _ in range(1200):
        if (file.exists() and file.stat().st_mtime > after) or process.poll() is not None:
            return
        time.sleep(0.05)
    raise TimeoutError(file)


def test_interrupt_leaves_a_usable_and_resumable_folder(points: Path, tmp_path: Path) -> None:
    fit = [*FIT[:1], "4000 steps", *FIT[2:]]
    assert call("fit", "neurosql", str(points), "--out", str(tmp_path / "whole"), *fit).returncode == 0
    out = tmp_path / "cut"
    process = subprocess.Popen(
        command("fit", "neurosql", str(points), "--out", str(out), *fit), stderr=subprocess.PIPE, env=ENV, text=True
    )
    wait_for(out / "checkpoint.pt", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130, process.stderr.read() if process.stderr else ""
    assert len(pf.load(out).sample(5)) == 5
    assert "interrupted" in call("show", str(out)).stdout
    assert call("resume", str(out)).returncode == 0
    assert digest(out) == digest(tmp_path / "whole")
    assert not (out / "checkpoint.pt").exists()


def test_a_finished_run_is_not_resumed(points: Path, tmp_path: Path) -> None:
    pf.NeuroSQL(latent_dim=2, width=8).fit(points, budget="3 steps", run=Run(out=tmp_path / "r", **QUIET))
    with pytest.raises(pf.ModelError, match="has finished"):
        pf.resume(tmp_path / "r")


def test_other_data_are_refused_on_resume(points: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        staged(Run(out=tmp_path / "r", checkpoint_every=0, **QUIET), 3)
    run = Run(out=tmp_path / "r", resume=True, **QUIET)
    with pytest.raises(pf.ModelError, match="data differ"), run.session("other data"):
        pass


# ---------------------------------------------------------------------- folders


def test_a_folder_in_use_is_refused(points: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    lock = FolderLock(tmp_path / "r")
    try:
        done = call("fit", "neurosql", str(points), "--out", str(tmp_path / "r"), *FIT)
    finally:
        lock.release()
    assert done.returncode == 2
    assert f"in use by another run (process {os.getpid()})" in done.stderr


def test_a_folder_with_a_run_is_kept(points: Path, tmp_path: Path) -> None:
    def fit(**more: Any) -> pf.Method:
        run = Run(out=tmp_path / "r", **QUIET, **more)
        return pf.NeuroSQL(latent_dim=2, width=8).fit(points, budget="3 steps", run=run)

    fit()
    before = digest(tmp_path / "r")
    with pytest.raises(pf.StorageError, match="already holds a run.*--overwrite"):
        fit(seed=1)
    assert digest(tmp_path / "r") == before
    fit(seed=1, overwrite=True)
    assert digest(tmp_path / "r") != before


def test_a_folder_with_other_files_is_never_touched(points: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.tex").write_text("precious")
    with pytest.raises(pf.StorageError, match="holds other files .thesis.tex"):
        run = Run(out=tmp_path / "r", overwrite=True, **QUIET)
        pf.NeuroSQL(latent_dim=2).fit(points, budget="3 steps", run=run)
    assert (tmp_path / "r" / "thesis.tex").read_text() == "precious"


def test_a_folder_that_cannot_be_made(points: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = call("fit", "neurosql", str(points), "--out", str(tmp_path / "file" / "r"), *FIT)
    assert done.returncode == 2
    assert "cannot create the folder" in done.stderr


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the next checkpoint does not fit."""
    process = mp.get_context("spawn").Process(target=_fill_the_disk, args=(str(tmp_path / "r"),))
    process.start()
    process.join(120)
    message = (tmp_path / "message").read_text()
    assert "checkpoint at step" in message
    assert "pushforward resume" in message
    saved = torch.load(tmp_path / "r" / "checkpoint.pt", weights_only=True)
    assert saved["steps"] == 3
    assert not list((tmp_path / "r").glob(".*.tmp"))


def _fill_the_disk(folder: str) -> None:
    run = Run(out=folder, checkpoint_every=0, **QUIET)
    w = run.track("w", torch.nn.Linear(500, 50))
    optimizer = torch.optim.SGD(w.parameters(), lr=0.0)
    try:
        with run.session("data"):
            for k in run.loop("train", default="9 steps"):
                if k == 3:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
                run.step(optimizer, w(torch.ones(500)).sum())
    except pf.StorageError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        (Path(folder).parent / "message").write_text(str(error))


def test_history_is_json_lines(points: Path, tmp_path: Path) -> None:
    pf.NeuroSQL(latent_dim=2, width=8).fit(points, budget="50 steps", run=Run(out=tmp_path / "r", **QUIET))
    records = [json.loads(line) for line in (tmp_path / "r" / "history.jsonl").read_text().splitlines()]
    assert records
    assert all(record["step"] <= 50 for record in records)
