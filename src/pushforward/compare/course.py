"""The course of a comparison: which fits are left, one after the other in processes of their own, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pushforward.budget import Budget
from pushforward.compare.board import HELD_OUT, Board
from pushforward.compare.entrants import Entrant
from pushforward.compare.folder import RESULTS, WORK, write_config
from pushforward.compare.forecast import Forecast
from pushforward.compare.handover import write_data
from pushforward.compare.judge import Judge
from pushforward.compare.process import run_job
from pushforward.compare.results import Result
from pushforward.compare.rows import Rows, some_rows
from pushforward.compare.told import announcement, left, plan, summary
from pushforward.errors import PushforwardError
from pushforward.features import FeatureName
from pushforward.folders import write_atomically
from pushforward.metrics.rows import FeatureMap
from pushforward.progress import Progress
from pushforward.report.board import write_board_page, write_samples_picture
from pushforward.report.numbers import duration
from pushforward.run import Run
from pushforward.scoring import rows_to_rebuild


class Comparison:
    """All fits of a comparison: those that are done, and those that are left."""

    def __init__(
        self,
        rows: Rows,
        entrants: list[Entrant],
        seeds: list[int],
        settings: dict[str, Any],
        features: FeatureName | FeatureMap | None,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.rows, self.entrants, self.seeds, self.settings, self._features = rows, entrants, seeds, settings, features
        self.folder, self.work, self.progress = folder, folder / WORK, progress
        self.budget = Budget.parse(settings["budget"])
        self.reference = Result.read(self._file("reference"))
        found = {(e.label, seed): Result.read(self._file(e.key, seed)) for e in entrants for seed in seeds}
        self.done = {key: result for key, result in found.items() if result is not None and result.settled}

    @cached_property
    def judge(self) -> Judge:
        """Measures all samples; made when it is needed, because it may train a classifier."""
        device, cache = Run(progress=False).device, self.folder / "features.safetensors"
        return Judge(self.rows, self._features, seed=self.seeds[0], device=device, cache=cache)

    # ------------------------------------------------------------------ the course of it

    def run(self) -> None:
        """Every fit that is not done yet: one seed of all methods after the other."""
        if self.reference is not None and not self.left():
            self.progress.say("all fits are done already")
            return
        self.progress.say(plan(self))
        forecast = self._rehearse()
        self.progress.say(announcement(self, forecast))
        began = time.monotonic()
        for seed in self.seeds:
            for entrant in self.entrants:
                if (entrant, seed) in self.left():
                    self._fit(entrant, seed, forecast)
            self.write()
        self.progress.say(f"all fits done in {duration(time.monotonic() - began)}")

    def left(self) -> list[tuple[Entrant, int]]:
        """Methods and seeds that are still to be done; a method that was refused is not tried again."""
        refused = {result.label for result in self.done.values() if result.refused}
        return [
            (entrant, seed)
            for seed in self.seeds
            for entrant in self.entrants
            if (entrant.label, seed) not in self.done and entrant.label not in refused
        ]

    def _rehearse(self) -> Forecast:
        """Hand over the rows, start a process that reads them, and measure the reference: that is how long a fit takes more."""
        judge, rows = self.judge, self.rows
        write_config(self.folder, self.settings, self.described())
        began = time.monotonic()
        write_data(self.work / "rows.npz", rows.train)
        if rows.schema.kind == "image":
            write_data(self.work / "held.npz", some_rows(rows.held, rows_to_rebuild(len(rows.held))))
        told = run_job(self._job(Entrant("", "", "", "", {}), 0, rehearsal=True), self.work, lambda: None)
        if "failed" in told:
            raise PushforwardError(f"a process for the fits cannot be started: {told['failed']}.")
        self.reference = judge.reference(self._file("reference", ending="png"))
        write_atomically(self._file("reference"), self.reference.as_json())
        forecast = Forecast(self.budget, time.monotonic() - began)
        for result in self.done.values():
            forecast.learn(result)
        return forecast

    def _fit(self, entrant: Entrant, seed: int, forecast: Forecast) -> None:
        """One fit in a process of its own, its numbers, and their file."""
        began, expected = time.monotonic(), forecast.of(entrant.label)
        stage = f"{len(self.done) + 1}/{len(self.done) + len(self.left())} {entrant.label}, seed {seed}"
        watch = _Watch(self.progress, stage, expected)
        outcome = run_job(self._job(entrant, seed), self.work, watch.tick)
        result = self.judge.result(entrant.label, seed, outcome, self.work, self._file(entrant.key, seed, "png"))
        result = replace(result, facts={**result.facts, "total_seconds": round(time.monotonic() - began, 3)})
        write_atomically(self._file(entrant.key, seed), result.as_json())
        self.done[entrant.label, seed] = result
        forecast.learn(result)
        watch.finish(f"{summary(result, self.rows.schema.kind)}; {left(self, forecast)}")

    def _job(self, entrant: Entrant, seed: int, *, rehearsal: bool = False) -> dict[str, Any]:
        """What `trial` is asked to do."""
        for name in ("samples.npz", "rebuilt.npz"):
            (self.work / name).unlink(missing_ok=True)
        rows = self.rows
        return {
            "rows": str(self.work / "rows.npz"),
            "held": str(self.work / "held.npz") if rows.schema.kind == "image" else None,
            "samples": str(self.work / "samples.npz"),
            "rebuilt": str(self.work / "rebuilt.npz"),
            "module": entrant.module,
            "method": entrant.name,
            "parameters": entrant.parameters,
            "seed": seed,
            "budget": str(self.budget),
            "condition": rows.condition,
            "n": len(rows.held),
            "rehearsal": rehearsal,
        }

    def _file(self, key: str, seed: int | None = None, ending: str = "json") -> Path:
        return self.folder / RESULTS / f"{key}{'' if seed is None else f'-seed{seed}'}.{ending}"

    # ------------------------------------------------------------------ what comes out

    def write(self) -> Board:
        """The board of what is done, and its files."""
        order = [(e.label, seed) for e in self.entrants for seed in self.seeds]
        results = tuple(self.done[key] for key in order if key in self.done)
        reference = self.reference or Result("", self.seeds[0])
        board = Board(results, reference, self._context(), self._pictures(results, reference))
        if results:
            write_atomically(self.folder / "table.csv", board.to_csv())
            write_atomically(self.folder / "table.md", f"{board.recommend()}\n\n{board.to_markdown()}")
            write_samples_picture(self.folder / "samples.png", board)
            write_board_page(self.folder / "report.html", board)
        return board

    def described(self) -> dict[str, Any]:
        """What config.yaml says besides the settings."""
        from pushforward import __version__

        methods = {e.label: e.parameters for e in self.entrants}
        return {
            "methods": methods,
            "seeds": list(self.seeds),
            "versions": {"pushforward": __version__, "torch": str(torch.__version__)},
        }

    def farewell(self, *, kept: bool) -> str:
        """What to say when it was stopped."""
        n = len(self.done)
        total = n + len(self.left())
        if not kept:
            return f"stopped after {n} of {total} fits; they are lost, because no folder was given (out=)"
        return f"stopped after {n} of {total} fits, which are kept in {self.folder}; the same command continues there"

    def _context(self) -> dict[str, Any]:
        rows = self.rows
        return {
            **self.settings,
            **self.described(),
            "kind": rows.schema.kind,
            "shape": list(rows.schema.event_shape),
            "rows": len(rows.train),
            "held": len(rows.held),
            "held_out": rows.held_out,
            "notes": list(rows.notes),
            "features": {"name": self.judge.features.name, "told": self.judge.features.told},
            "missing": len(self.left()),
        }

    def _pictures(self, results: Sequence[Result], reference: Result) -> dict[str, bytes]:
        """The picture of the first seed of every method, and that of held-out rows, which comes first."""
        found: dict[str, bytes] = {}
        for result in (reference, *results):
            file = self.folder / RESULTS / result.picture
            if result.picture and file.exists():
                label = HELD_OUT if result is reference else result.label
                found.setdefault(label, file.read_bytes())
        return found


class _Watch:
    """Progress of one fit, in seconds where it is known how many to expect."""

    def __init__(self, progress: Progress, stage: str, expected: float | None) -> None:
        self._progress, self._stage, self._began = progress, stage, time.monotonic()
        self._expected = None if expected is None else max(1.0, round(expected))
        if self._expected is None:
            progress.say(f"{stage} ...")
        else:
            progress.start(stage, self._expected, 0.0, "seconds", resumed=False)

    def tick(self) -> None:
        """Some time has gone by."""
        spent = time.monotonic() - self._began
        if self._expected is not None:
            self._progress.update(min(spent, self._expected), "longer than expected" * (spent > self._expected + 1))

    def finish(self, facts: str) -> None:
        """It has ended."""
        if self._expected is None:
            self._progress.say(f"{self._stage}: {facts}")
        else:
            self._progress.finish(facts)
