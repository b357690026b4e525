"""Two sentences on which method to use, from the measured table and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pushforward.compare.board import samples_a_second
from pushforward.compare.ranking import Standing, clearly_better
from pushforward.report.numbers import number

if TYPE_CHECKING:
    from pushforward.compare.board import Board

_TELLING = ("c2st_auc", "detection_forest")


def advice(board: Board) -> str:
    """Which method to use and why; honest about ties, copies and failures."""
    honest = [s for s in board.standings if s.place is not None and not s.copies]
    return f"{_use(board, honest)} {_beside(board, honest)}" if honest else _none(board)


def _use(board: Board, honest: Sequence[Standing]) -> str:
    """The first sentence."""
    best, context = honest[0], board.context
    numbers = joined([_number(board, best, name) for name in board.criteria])
    on = "" if board.kind == "table" else f", on {context['features']['name']} features,"
    amount = f"{context['rows']:,} training rows, a budget of {context['budget']}"
    if len(honest) == 1:
        return f"For {context['data']} ({amount}) only {best.label} can be recommended, with{on} {numbers}."
    place = f"its mean rank of {number(round(best.mean_rank, 2))} is the best of {len(honest)} methods"
    return f"For {context['data']} ({amount}) use {best.label}: {place}, with{on} {numbers}."


def _beside(board: Board, honest: Sequence[Standing]) -> str:
    """The second sentence: ties, then what speaks against it, then who was left out."""
    best = honest[0]
    parts = [*_rivals(board, honest), *_still_told_apart(board, best), *_left_out(board)]
    if best.seeds == 1:
        parts.append("all this rests on a single seed")
    if best.failed:
        parts.append(f"some seeds of {best.label} failed, so try more than one")
    text = "; ".join(parts) or "there was nothing to compare it with"
    return text[:1].upper() + text[1:] + "."


def _number(board: Board, standing: Standing, name: str) -> str:
    """One number of the best with what training rows in the place of samples have."""
    found, reference = standing.numbers.get(name), board.reference_numbers.get(name)
    if found is None:
        return f"{_called(board, name)} not measured"
    beside = f"; training rows {number(reference.mean)}" if reference is not None else ""
    return f"{_called(board, name)} {number(found.mean)} ({number(found.low)} to {number(found.high)}{beside})"


def _called(board: Board, name: str) -> str:
    """A title inside a sentence; names of people and abbreviations keep their capitals."""
    title = board.title(name)
    return title if name in ("frechet", "kid") else title[:1].lower() + title[1:]


def _rivals(board: Board, honest: Sequence[Standing]) -> list[str]:
    """Who cannot be told from the best, or by what the next one is beaten."""
    best, others = honest[0], honest[1:]
    tied = [s for s in others if not clearly_better(best, s, board.kind)]
    if tied:
        quick = max([best, *tied], key=lambda s: samples_a_second(s.facts))
        ratio = samples_a_second(quick.facts) / samples_a_second(best.facts)
        faster = (
            f", and {quick.label} draws samples {number(float(f'{ratio:.2g}'))} times as fast" if ratio > 1.5 else ""
        )
        return [f"it cannot be told from {joined([s.label for s in tied])}, because all intervals overlap{faster}"]
    if not others:
        return []
    titles = [_called(board, name) for name in clearly_better(best, others[0], board.kind)]
    return [f"the next one, {others[0].label}, is clearly worse in {joined(titles)}"]


def _still_told_apart(board: Board, best: Standing) -> list[str]:
    """Whether a classifier knows the samples of the best from real rows."""
    for name in _TELLING:
        found, reference = best.numbers.get(name), board.reference_numbers.get(name)
        if name in board.criteria and found is not None and found.low > max(0.5, reference.high if reference else 0.5):
            return [
                f"a classifier still tells samples of {best.label} from real rows ({_called(board, name)} {number(found.mean)})"
            ]
    return []


def _left_out(board: Board) -> list[str]:
    copying = [s.label for s in board.standings if s.copies and s.place is not None]
    failed = [s.label for s in board.standings if s.place is None]
    told = []
    if copying:
        told.append(
            f"samples of {joined(copying)} lie too near training rows, and so put {'them' if len(copying) > 1 else 'it'} last"
        )
    if failed:
        told.append(f"nothing came of {joined(failed)}")
    return told


def _none(board: Board) -> str:
    """Where there is no method to recommend."""
    why = "; ".join(_left_out(board)) or "nothing was measured"
    fix = "the reasons are in the notes of the table" if any(s.failed for s in board.standings) else "try other methods"
    return f"No method can be recommended for {board.context['data']}: {why}. {fix[:1].upper()}{fix[1:]}."


def joined(parts: Sequence[str]) -> str:
    """Parts as a list in a sentence."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "no numbers"
