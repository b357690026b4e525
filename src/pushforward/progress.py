"""What a user sees while a fit runs: a bar with the remaining time on a terminal, a line now and then in a log file."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any, Protocol

_LINE_EVERY = 15.0
_REDRAW_EVERY = 0.2


class Progress(Protocol):
    """Progress of one stage after another; ``done`` and ``total`` are in the stage's unit (seconds or steps)."""

    def start(self, stage: str, total: float, done: float, unit: str, *, resumed: bool) -> None:
        """A stage begins, ``done`` of ``total`` already behind it, in an earlier session where ``resumed``."""

    def update(self, done: float, facts: str) -> None:
        """The stage has come to ``done``; ``facts`` is a short text such as the loss."""

    def finish(self, facts: str) -> None:
        """The stage has ended."""

    def say(self, text: str) -> None:
        """A line of text."""


class Silent:
    """Shows nothing."""

    def start(self, stage: str, total: float, done: float, unit: str, *, resumed: bool) -> None:
        """Nothing."""

    def update(self, done: float, facts: str) -> None:
        """Nothing."""

    def finish(self, facts: str) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


class Lines:
    """For log files: a line when a stage begins, every quarter of a minute, and at its end."""

    def __init__(self) -> None:
        self._stage, self._total, self._first, self._began, self._last = "", 1.0, 0.0, 0.0, 0.0

    def start(self, stage: str, total: float, done: float, unit: str, *, resumed: bool) -> None:
        """Announce the stage."""
        self._stage, self._total, self._first = stage, max(total, 1e-9), done
        self._began = self._last = time.monotonic()
        self.say(f"{stage}: {total:g} {unit}" + (f", continuing at {done:g}" if resumed else ""))

    def update(self, done: float, facts: str) -> None:
        """A line, if the last one is old enough."""
        now = time.monotonic()
        if now - self._last < _LINE_EVERY:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._began, 1e-9)
        left = (self._total - done) / rate if rate > 0 else float("nan")
        self.say(f"{self._stage}: {100 * done / self._total:.0f} %, {left:.0f} s left  {facts}")

    def finish(self, facts: str) -> None:
        """The closing line."""
        self.say(f"{self._stage}: done in {time.monotonic() - self._began:.1f} s  {facts}")

    def say(self, text: str) -> None:
        """A line on the error stream."""
        sys.stderr.write(text.rstrip() + "\n")
        sys.stderr.flush()


class Bar:
    """For terminals and notebooks: a bar with the remaining time."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._last = self._done = 0.0

    def start(self, stage: str, total: float, done: float, unit: str, *, resumed: bool) -> None:
        """Draw the bar."""
        from tqdm.auto import tqdm

        self._done = done
        layout = "{desc} {percentage:3.0f}%|{bar:24}| {elapsed} elapsed, {remaining} left{postfix}"
        self._bar = tqdm(total=total, initial=done, desc=stage, unit=unit, bar_format=layout, dynamic_ncols=True)

    def update(self, done: float, facts: str) -> None:
        """Move the bar, at most a few times a second."""
        self._done = done
        now = time.monotonic()
        if now - self._last >= _REDRAW_EVERY:
            self._last = now
            self._show(done, facts)

    def _show(self, done: float, facts: str) -> None:
        self._bar.set_postfix_str(facts, refresh=False)
        self._bar.update(min(done, self._bar.total) - self._bar.n)

    def finish(self, facts: str) -> None:
        """Leave the bar on the screen where it ended."""
        self._show(self._done, facts)
        self._bar.close()

    def say(self, text: str) -> None:
        """A line above the bar."""
        from tqdm.auto import tqdm

        tqdm.write(text, file=sys.stderr)


def choose_progress(wanted: bool | None) -> Progress:
    """A bar on a terminal or in a notebook, lines elsewhere when wanted, nothing otherwise."""
    wide_enough = shutil.get_terminal_size((80, 24)).columns >= 40
    interactive = (sys.stderr.isatty() and wide_enough) or "ipykernel" in sys.modules
    if wanted is False or (wanted is None and not interactive):
        return Silent()
    return Bar() if interactive else Lines()
