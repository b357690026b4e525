"""A run: budget, device, seed, progress, log, checkpoint, resume, the optimiser step, several processes.

A method writes its own loop on a few verbs (``track``, ``build``, ``value``, ``range``, ``loop``, ``step`` ...); the run does
the rest. Resuming replays the method from its first line: values come from the checkpoint, tracked objects are given
their saved state, finished loops yield nothing, the interrupted loop continues at its tick, and there the random
generator is set to what it was. So the samples after kill and resume are bitwise those of an uninterrupted run,
on the CPU and with a step budget.
"""

from __future__ import annotations

import io
import json
import math
import operator
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from pushforward.budget import Budget
from pushforward.errors import Diverged, ModelError, StorageError
from pushforward.folders import Claim, claim, write_atomically, write_json_lines
from pushforward.nets import EMA
from pushforward.progress import Silent, choose_progress
from pushforward.world import World

Value = Any  # a tensor, a number, a string, or dicts and lists of them: what torch.load(weights_only=True) can read
T = TypeVar("T")
_FORMAT = 1
_RECORD_EVERY = 20
_CHECK_EVERY_CUDA = 20


class Stateful(Protocol):
    """Anything that can be saved and restored."""

    def state_dict(self) -> Any:
        """Tensors, numbers and strings, in dicts and lists."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take over a saved state."""


class Run:
    """Everything about one fit that is not the method.

    Args:
        out: folder of the run, for checkpoints and the saved model; None keeps everything in memory.
        seed: of all randomness: the split, the initial weights, batches, lattices.
        device: ``"auto"`` (CUDA where there is one, otherwise the CPU) or a torch device name.
        validation: share of the rows held out, never trained on, for the numbers that fit() reports.
        budget: how long, such as ``"60s"`` or ``"2000 steps"``; None is the method's own default.
        progress: show progress; None shows it on terminals only.
        checkpoint_every: seconds between two checkpoints.
        overwrite: replace a run that is already in ``out``.
        resume: continue the run that is in ``out``.
        callback: called with every record of the log, ``{"stage", "step", "seconds", **metrics}``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        *,
        out: str | Path | None = None,
        seed: int = 0,
        device: str = "auto",
        validation: float = 0.1,
        budget: str | Budget | None = None,
        progress: bool | None = None,
        checkpoint_every: float = 30.0,
        overwrite: bool = False,
        resume: bool = False,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.validation = _number("validation", validation, 0, 1)
        self.checkpoint_every = _number("checkpoint_every", checkpoint_every, 0, math.inf)
        if resume and not out:
            raise ValueError("resume: needs the folder of the run, out=....")
        if out is not None and not str(out):
            raise ValueError("out: the name of the folder is empty.")
        self.out = Path(out).expanduser() if out is not None else None
        self.seed = checked_seed(seed)
        self.budget = Budget.parse(budget) if budget is not None else None
        self.world = World.join()
        self.device = _device(device)
        self.generator = torch.Generator(self.device).manual_seed(self.seed)
        self.history: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        self.interrupted = False
        self._callback = callback
        self._overwrite, self._resume = overwrite, resume
        self._progress = choose_progress(progress) if self.world.leader else Silent()
        self._tracked: dict[str, Stateful] = {}
        self._averages: list[tuple[EMA, nn.Module, set[int]]] = []
        self._state = _State()
        self._saved: dict[str, Any] | None = None
        self._claim: Claim | None = None
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}
        self._began = self._last_checkpoint = time.monotonic()
        self._bad: Tensor | None = None
        self._reserve = 0.0
        self._inner_seconds = 0.0

    # ------------------------------------------------------------------ the verbs of a method

    def track(self, name: str, obj: T) -> T:
        """Move a module to the device, save the object at checkpoints, restore it on resume.

        Args:
            name: unique within the run.
            obj: a module, an optimiser, a scheduler: anything with ``state_dict`` and ``load_state_dict``.
        """
        if name in self._tracked:
            raise ValueError(f"name: {name!r} is tracked already; names must be unique within a run.")
        if isinstance(obj, nn.Module):
            obj.to(self.device)
        self._tracked[name] = cast(Stateful, obj)
        self._restore_tracked(name)
        return obj

    def build(self, name: str, make: Callable[[], T]) -> T:
        """Make an object with initial weights that depend on the seed and the name alone, and track it."""
        with self.seeded(name):
            obj = make()
        return self.track(name, obj)

    def average(self, name: str, module: nn.Module, decay: float) -> EMA:
        """An exponential moving average of a module's weights, updated by every ``step`` of its optimiser."""
        ema = self.track(name, EMA(module, decay))
        self._averages.append((ema, module, {id(p) for p in module.parameters()}))
        return ema

    @contextmanager
    def seeded(self, name: str) -> Iterator[None]:
        """Torch's global generator set by the seed and the name, and given back as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.derived_seed(name))
            yield

    def derived_seed(self, name: str) -> int:
        """A seed that depends on the run's seed and a name."""
        return (self.seed * 1_000_003 + zlib.crc32(name.encode())) % 2**62

    def value(self, name: str, compute: Callable[[], T]) -> T:
        """A value computed once per run and remembered when it resumes: tensors, numbers, dicts and lists of them."""
        if name not in self._state.values:
            with self.clock(name):
                self._state.values[name] = compute()
        return cast(T, _to(self._state.values[name], self.device))

    def range(self, name: str, n: int) -> Iterator[int]:
        """Ticks ``0 .. n-1`` with progress; continues after a checkpoint, ends early when the budget is spent."""
        yield from self._ticks(name, n, until=1.0, counts=False)

    def loop(self, name: str, *, default: str, steps_per_epoch: int = 1, until: float = 1.0) -> Iterator[int]:
        """Optimiser steps until the budget is spent, or the share ``until`` of it; ``default`` is used where there is none."""
        if self.budget is None:
            self.budget = Budget.parse(default)
        total = self.budget.total_steps(steps_per_epoch)
        self._state.total_steps = total
        elsewhere = self._state.steps - self._state.ticks.get(name, 0)  # steps of the loops before this one
        n = None if total is None else max(0, math.ceil(total * until) - elsewhere)
        yield from self._ticks(name, n, until=until, counts=True)

    def step(
        self, optimizer: torch.optim.Optimizer, loss: Tensor, *, clip: float = math.inf, **metrics: Tensor | float
    ) -> None:
        """One optimiser step on ``loss``: backward, mean over processes, clip, finite check, update, averages, log.

        Raises:
            Diverged: the loss or the gradient is not finite.
        """
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        mean_loss = loss.detach().float().clone()
        self.world.average([*(cast(Tensor, p.grad) for p in parameters), mean_loss])
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
        self._check_finite(torch.isfinite(norm) & torch.isfinite(mean_loss))
        optimizer.step()
        for ema, module, members in self._averages:
            if any(id(p) in members for p in parameters):
                ema.update(module)
        self._accumulate({"loss": mean_loss, **metrics})

    def rows(self, n: int, size: int) -> Iterator[Tensor]:
        """Endless shuffled batches of row numbers ``[size]`` out of ``n``; each process gets an equal share of every batch."""
        return self.track(f"batches {len(self._tracked)}", _Rows(n, size, self))

    def batches(self, x: Tensor, size: int) -> Iterator[Tensor]:
        """Endless shuffled batches ``[size, ...]`` of the rows of ``x``."""
        rows = self.rows(len(x), size)  # tracked here and now, not when the first batch is asked for
        return (x[picked] for picked in rows)

    def log(self, **metrics: Tensor | float) -> None:
        """Write one record to the history."""
        self._record({key: float(value) for key, value in metrics.items()})

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to ``seconds[stage]``, less that of clocks inside it."""
        began, outer = time.monotonic(), self._inner_seconds
        self._inner_seconds = 0.0
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent - self._inner_seconds
            self._inner_seconds = outer + spent

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent, in [0, 1]: for learning-rate schedules."""
        if self.budget is None:
            return 0.0
        if self.budget.seconds is not None:
            return min(1.0, self.elapsed / max(self.budget.seconds - self._reserve, 1e-9))
        return min(1.0, self._state.steps / max(self._state.total_steps or 1, 1))

    @property
    def steps(self) -> int:
        """Steps made in ``loop`` so far, those before a resume included."""
        return self._state.steps

    @property
    def resuming(self) -> bool:
        """Whether this run continues the one in its folder."""
        return self._resume

    @property
    def elapsed(self) -> float:
        """Wall seconds of fitting, those before a resume included."""
        return self._state.elapsed + time.monotonic() - self._began

    @property
    def timed(self) -> bool:
        """Whether the budget is wall time."""
        return self.budget is not None and self.budget.timed

    def affords(self, seconds: float) -> bool:
        """Whether work of that many seconds ends within 4 % of a wall budget; all processes get the leader's answer."""
        limit = self.budget.seconds if self.budget is not None else None
        return self.agreed(limit is None or self.elapsed + seconds <= 1.04 * limit)

    def agreed(self, flag: bool) -> bool:
        """The leader's flag, in every process."""
        return self.world.any(flag and self.world.leader, self.device)

    def reserve(self, seconds: float) -> None:
        """Leave this much of a wall budget for what comes after the loops."""
        self._reserve = seconds

    def note(self, text: str) -> None:
        """A line for the user."""
        self._progress.say(text)

    # ------------------------------------------------------------------ start, stop, checkpoint

    @contextmanager
    def session(self, fingerprint: str) -> Iterator[Run]:
        """Hold the run's folder, take up its checkpoint, and let Ctrl-C end the loops cleanly.

        Args:
            fingerprint: of the training data; a checkpoint of other data is refused.
        """
        if self._state.fingerprint:
            raise ValueError("run: a Run belongs to one fit; make a new Run for the next one.")
        if self.out is not None and self.world.leader:
            self._claim = claim(self.out, overwrite=self._overwrite, resume=self._resume)
        try:
            self.world.wait()
            self._state.fingerprint = fingerprint
            if self._resume:
                self._load_checkpoint(fingerprint)
            self._last_checkpoint = time.monotonic()
            with self._graceful_interrupt():
                yield self
        except BaseException:
            self._give_up()
            raise
        finally:
            self._freeze_clock()
            if self._claim is not None:
                self._claim.release()

    def begin(self) -> None:
        """Start the clock of a wall budget now, before the data are read."""
        self._began = time.monotonic()

    def complete(self) -> None:
        """The saved model is whole: what stood in the folder before, and the checkpoint, are deleted."""
        if self._claim is not None and self.out is not None:
            self._claim.complete()
            (self.out / "checkpoint.pt").unlink(missing_ok=True)

    def _give_up(self) -> None:
        """After an error with nothing to resume from, the folder is left as it was before the run."""
        if self._claim is not None and self.out is not None and not (self.out / "checkpoint.pt").exists():
            self._claim.restore()

    def _freeze_clock(self) -> None:
        self._state.elapsed, self._began = self.elapsed, time.monotonic()

    @contextmanager
    def _graceful_interrupt(self) -> Iterator[None]:
        """With a folder to resume from, the first Ctrl-C ends the loops at the next tick; the second one aborts."""
        if self.out is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def stop(number: int, frame: FrameType | None) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)
            self._progress.say("interrupted: finishing this step and saving (press again to abort at once)")

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ticks(self, name: str, n: int | None, *, until: float, counts: bool) -> Iterator[int]:
        """The body of ``range`` and ``loop``: ``n`` ticks, or as many as fit into a wall budget."""
        state = self._state
        self._enter(name)
        self._progress.start(name, *self._extent(name, n, until), resumed=state.ticks[name] > 0)
        while (n is None or state.ticks[name] < n) and not self._over(until, counts):
            with self.clock(name):
                yield state.ticks[name]
            state.ticks[name] += 1
            state.steps += counts
            state.at = name
            self._after_tick(name, n)
        if state.at == name and self.world.leader:
            self.checkpoint()  # at the end of every stage, and where it is interrupted
        self._flush(name)
        self._progress.finish(self._facts())

    def _extent(self, name: str, n: int | None, until: float) -> tuple[float, float, str]:
        """Total, done and unit for the progress display."""
        if n is not None:
            return n, self._state.ticks[name], "steps"
        seconds = self.budget.seconds if self.budget and self.budget.seconds else 0.0
        return round(seconds * until, 1), round(self.elapsed, 1), "seconds"

    def _enter(self, name: str) -> None:
        """Open a loop; where the checkpoint was made inside it, everything is put back as it was then."""
        self._state.ticks.setdefault(name, 0)
        if self._saved is not None and self._saved["at"] == name:
            for tracked in self._tracked:
                self._restore_tracked(tracked)
                self._saved["tracked"].pop(tracked, None)
            self.generator.set_state(self._saved["generator"])
            self._saved["at"] = None  # what is tracked later in the loop is still restored, once

    def _over(self, until: float, counts: bool) -> bool:
        """Whether the loop must end now: interrupted, or the budget is spent."""
        spent = self.interrupted
        if self.budget is not None and self.budget.seconds is not None:
            first = counts and self._state.steps == 0  # one step is made in any case
            spent = spent or (not first and self.elapsed >= self.budget.seconds * until - self._reserve)
        elif self.budget is not None and not counts and self.budget.steps is not None:
            spent = spent or self._state.steps >= self.budget.steps
        return self.world.any(spent, self.device)

    def _after_tick(self, name: str, n: int | None) -> None:
        tick = self._state.ticks[name]
        if tick % max(_RECORD_EVERY, tick // 200) == 0:
            self._flush(name)
        self._progress.update(self.elapsed if n is None else tick, self._facts())
        if self.out is None:
            return
        due = time.monotonic() - self._last_checkpoint >= self.checkpoint_every
        if due and self.world.leader:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Save everything that a resume needs, atomically.

        Raises:
            StorageError: the folder cannot be written; the last checkpoint is intact.
        """
        if self.out is None:
            return
        self._raise_if_bad()
        content = io.BytesIO()
        torch.save(self._snapshot(), content)
        try:
            write_atomically(self.out / "checkpoint.pt", content.getvalue())
            self.write_history()
        except StorageError as error:
            raise StorageError(
                f"the checkpoint at step {self._state.steps} could not be saved: {error} "
                f"Then continue with `pushforward resume {self.out}`."
            ) from error
        self._state.checkpoint_step = self._state.steps
        self._last_checkpoint = time.monotonic()

    def write_history(self) -> None:
        """Write ``history.jsonl``, one record a line."""
        if self.out is not None:
            write_json_lines(self.out / "history.jsonl", self.history)

    def _snapshot(self) -> dict[str, Any]:
        state = self._state
        return {
            "format": _FORMAT,
            "tracked": {name: obj.state_dict() for name, obj in self._tracked.items()},
            "generator": self.generator.get_state(),
            "values": state.values,
            "ticks": state.ticks,
            "at": state.at,
            "steps": state.steps,
            "elapsed": self.elapsed,
            "fingerprint": state.fingerprint,
            "seconds": self.seconds,
            "history": json.dumps(self.history),
            "sums": {key: float(total) for key, total in self._sums.items()},
            "counts": self._counts,
        }

    def _load_checkpoint(self, fingerprint: str) -> None:
        path = cast(Path, self.out) / "checkpoint.pt"
        if not path.exists():
            return  # killed before the first checkpoint: the run begins again, with the same seed
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ModelError(f"the checkpoint {path} cannot be read ({error}); delete it to begin again.") from error
        if saved["format"] > _FORMAT:
            raise ModelError(f"the checkpoint {path} was made by a newer version of pushforward; update the package.")
        if saved["fingerprint"] != fingerprint:
            raise ModelError(
                f"the data differ from those that the run in {self.out} began with; give it the same data."
            )
        state = self._state
        state.values, state.ticks, state.at = saved["values"], saved["ticks"], saved["at"]
        state.steps, state.elapsed, state.checkpoint_step = saved["steps"], saved["elapsed"], saved["steps"]
        self.seconds, self.history = saved["seconds"], json.loads(saved["history"])
        self._sums, self._counts = saved["sums"], saved["counts"]
        self._saved = saved

    def _restore_tracked(self, name: str) -> None:
        if self._saved is not None and name in self._saved["tracked"]:
            self._tracked[name].load_state_dict(self._saved["tracked"][name])

    # ------------------------------------------------------------------ log and finite check

    def _accumulate(self, metrics: dict[str, Tensor | float]) -> None:
        for key, value in metrics.items():
            self._sums[key] = self._sums.get(key, 0.0) + (value.detach() if isinstance(value, Tensor) else value)
            self._counts[key] = self._counts.get(key, 0) + 1

    def _flush(self, stage: str) -> None:
        """Turn the sums since the last record into one record of means, each over the steps that gave the number."""
        if self._sums:
            means = {key: float(total) / self._counts[key] for key, total in self._sums.items()}
            self._sums, self._counts = {}, {}
            self._record(means, stage)

    def _record(self, metrics: dict[str, float], stage: str | None = None) -> None:
        record = {
            "stage": stage or self._state.at,
            "step": self._state.steps,
            "seconds": round(self.elapsed, 3),
            **metrics,
        }
        self.history.append(record)
        if self._callback is not None:
            self._callback(record)

    def _facts(self) -> str:
        latest = next((record for record in reversed(self.history) if "loss" in record), None)
        return f"loss {latest['loss']:.4g}" if latest else ""

    def _check_finite(self, good: Tensor) -> None:
        self._bad = ~good if self._bad is None else self._bad | ~good
        if self.device.type == "cpu" or self._counts.get("loss", 0) % _CHECK_EVERY_CUDA == 0:
            self._raise_if_bad()

    def _raise_if_bad(self) -> None:
        if self._bad is None or not bool(self._bad):
            return
        saved = self._state.checkpoint_step
        last = (
            f"the last finite checkpoint is that of step {saved}" if saved is not None else "there is no checkpoint yet"
        )
        raise Diverged(
            f"the loss or its gradient is not finite at step {self._state.steps} ({last}). Lower the learning rate, or look for "
            "extreme values in the data."
        )


class _State:
    """What a checkpoint holds besides the tracked objects."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.ticks: dict[str, int] = {}
        self.at = ""
        self.steps = 0
        self.total_steps: int | None = None
        self.elapsed = 0.0
        self.fingerprint = ""
        self.checkpoint_step: int | None = None


class _Rows:
    """Endless shuffled passes over row numbers, that can be saved in the middle of a pass."""

    def __init__(self, n: int, size: int, run: Run) -> None:
        size = min(size, n)
        even = size - size % run.world.size  # with equal shares the generators of the processes stay in step
        self._n, self._size, self._run = n, even or size, run
        self._order, self._at = torch.empty(0, dtype=torch.int64), 0

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> Tensor:
        if self._at + self._size > len(self._order):
            run = self._run
            self._order, self._at = torch.randperm(self._n, generator=run.generator, device=run.device), 0
        rows = self._order[self._at : self._at + self._size]
        self._at += self._size
        world = self._run.world
        return rows[world.rank :: world.size]

    def state_dict(self) -> dict[str, Any]:
        return {"order": self._order, "at": self._at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._order, self._at = state["order"].to(self._run.device), int(state["at"])


def checked_seed(seed: object) -> int:
    """The seed as an int.

    Raises:
        ValueError: it is not a whole number in [0, 2^63).
    """
    try:
        number = operator.index(cast(Any, seed))
    except TypeError:
        number = -1
    if not 0 <= number < 2**63:
        raise ValueError(f"seed: a whole number from 0 to 2^63 - 1 is needed, got {seed!r}.")
    return number


def _number(name: str, value: Any, low: float, high: float) -> float:
    """The value as a float, if it is a number in [low, high)."""
    if not isinstance(value, Real) or not low <= float(value) < high:
        raise ValueError(f"{name}: a number in [{low:g}, {high:g}) is needed, got {value!r}.")
    return float(value)


def _device(name: str) -> torch.device:
    name = str(name).lower()
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", World.local_rank() % torch.cuda.device_count())
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device: {name!r} cannot be used here; try 'auto', 'cpu' or 'cuda'.") from error
    return device


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _to(part, device) for key, part in value.items()}
    return value
