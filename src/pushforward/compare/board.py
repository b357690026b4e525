"""The table of a comparison: as numbers, as text, and as advice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pushforward.compare.ranking import Spread, Standing, criteria, spread, standings
from pushforward.compare.results import REFERENCE, Result

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT = "held-out rows"  # how their picture is called
_BESIDES = {"image": "nearest_ratio_5", "vector": "nearest_ratio_5", "table": "record_nearer"}
_SHORT = {
    "frechet": "Fréchet distance",
    "c2st_auc": "Two-sample AUC",
    "detection_forest": "Detection AUC",
    "nearest_ratio_5": "Nearest 5\u00a0%",
    "record_nearer": "Nearer to training",
    "tstr_forest": "Trained on samples",
}


@dataclass(frozen=True, repr=False)
class Board:
    """What `pushforward.compare` found.

    Attributes:
        results: of every method and seed that is done, failed ones included.
        reference: training rows in the place of samples, against the same held-out rows.
        context: what was compared and how: ``data``, ``kind``, ``rows``, ``held``, ``features``, ``budget``, ``seeds``,
            ``condition``, ``group``, ``target``, ``machine``, ``notes``, ``held_out``, ``missing`` (fits that were not done).
        pictures: PNG files of samples by label of the method, and of held-out rows (`HELD_OUT`), for images.
    """

    results: tuple[Result, ...]
    reference: Result
    context: dict[str, Any]
    pictures: dict[str, bytes] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Kind of the data: "image", "table" or "vector"."""
        return str(self.context["kind"])

    @cached_property
    def standings(self) -> list[Standing]:
        """The methods in their places."""
        return standings(self.results, self.kind)

    @cached_property
    def criteria(self) -> list[str]:
        """The names of the numbers that places are given by."""
        return [name for name, _ in criteria(self.standings, self.kind)]

    @cached_property
    def reference_numbers(self) -> dict[str, Spread]:
        """The numbers of the reference."""
        return {name: spread([found]) for name, found in self.reference.metrics.items()}

    @property
    def table(self) -> pd.DataFrame:
        """One row a method, best first, the reference last; every number as name, name_low, name_high, name_sd."""
        import pandas as pd

        names = dict.fromkeys(name for s in self.standings for name in s.numbers) | dict.fromkeys(
            self.reference_numbers
        )
        rows = [{**_facts(s), **_numbers(s.numbers, list(names))} for s in self.standings]
        last = {"method": REFERENCE, "note": "the reference: copies, not a method"}
        frame = pd.DataFrame([*rows, {**last, **_numbers(self.reference_numbers, list(names))}])
        return frame.astype({"place": "Int64", "seeds": "Int64", "copies": "boolean"})

    def to_csv(self) -> str:
        """`table` as the text of a .csv file."""
        text: str = self.table.to_csv(index=False, lineterminator="\n")
        return text

    def to_markdown(self) -> str:
        """The numbers that places are given by, and what they took, as a Markdown table."""
        head = self.head()
        lines = [head, ["---"] * len(head), *self.rows()]
        return (
            "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"
        )

    def recommend(self) -> str:
        """Two sentences: which method to use for these data, and why."""
        from pushforward.compare.advice import advice

        return advice(self)

    def head(self) -> list[str]:
        """The columns of `rows`."""
        titles = [self.title(name) for name in (*self.criteria, self.beside)]
        return ["Place", "Method", *titles, "Training", "Samples/s", "Parameters", "Memory", "Note"]

    def rows(self) -> list[list[str]]:
        """One row of text a method, in the order of `head`; the reference last."""
        names = (*self.criteria, self.beside)
        rows = [
            [str(s.place or "–"), s.label, *(text_of(s.numbers.get(name)) for name in names), *_costs(s), note_of(s)]
            for s in self.standings
        ]
        numbers = [text_of(self.reference_numbers.get(name)) for name in names]
        return [*rows, ["", REFERENCE, *numbers, "", "", "", "", "the reference: copies, not a method"]]

    def title(self, name: str) -> str:
        """What a number is called in a column or a sentence."""
        from pushforward.report.evaluated import title_of

        return _SHORT.get(name, title_of(name))

    @property
    def beside(self) -> str:
        """The number on copying that stands beside the criteria."""
        return _BESIDES[self.kind]

    def told(self) -> str:
        """The rows as text for a terminal: values, and their intervals below them."""
        from pushforward.report.board import board_warnings

        lines: list[list[str]] = [self.head()[:-1]]
        for row in self.rows():
            split = [cell.partition(" (") for cell in row[:-1]]
            lines += [[value for value, _, _ in split], [rest.rstrip(")") for _, _, rest in split]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        notes = [f"{row[1]}: {row[-1]}" for row in self.rows() if row[-1]]
        features = self.context["features"]
        on = f"Features {features['name']}: {features['told']}."
        return "\n".join([*filter(None, text), *notes, on, *(f"Warning: {text}" for text in board_warnings(self))])

    def __repr__(self) -> str:
        return f"{self.told()}\n\n{self.recommend()}"


def text_of(found: Spread | None) -> str:
    """A number with its interval."""
    from pushforward.report.numbers import number

    if found is None:
        return "–"
    if found.low == found.high:  # a single p-value, say
        return number(found.mean)
    return f"{number(found.mean)} ({number(found.low)} to {number(found.high)})"


def note_of(standing: Standing) -> str:
    """What a reader must know of a method."""
    told = ["samples lie too near training rows: put last"] if standing.copies else []
    reasons = "; ".join(standing.failed)
    if standing.failed and standing.seeds:
        told.append(f"failed with some seeds, {standing.seeds} went well: {reasons}")
    elif standing.failed:
        told.append(f"failed: {reasons}")
    return "; ".join(told)


def samples_a_second(facts: dict[str, float]) -> float:
    """How fast samples are drawn; not a number where nothing was drawn."""
    return facts["samples"] / max(facts["sampling_seconds"], 1e-9) if "samples" in facts else math.nan


def _facts(standing: Standing) -> dict[str, Any]:
    """The columns of a method that are no metrics."""
    facts = standing.facts
    return {
        "place": standing.place,
        "method": standing.label,
        "mean_rank": standing.mean_rank,
        "seeds": standing.seeds,
        "copies": standing.copies,
        "seconds": facts.get("seconds"),
        "cpu_seconds": facts.get("cpu_seconds"),
        "steps": facts.get("steps"),
        "samples_per_second": samples_a_second(facts),
        "parameters": facts.get("parameters"),
        "peak_memory_mib": facts["peak_bytes"] / 2**20 if "peak_bytes" in facts else None,
        "note": note_of(standing),
    }


def _numbers(numbers: dict[str, Spread], names: list[str]) -> dict[str, float]:
    columns: dict[str, float] = {}
    for name in names:
        found = numbers.get(name)
        ends = (found.mean, found.low, found.high, found.sd) if found is not None else (math.nan,) * 4
        columns |= dict(zip((name, f"{name}_low", f"{name}_high", f"{name}_sd"), ends, strict=True))
    return columns


def _costs(standing: Standing) -> list[str]:
    """Training time, speed of sampling, parameters and peak memory as text."""
    from pushforward.report.numbers import duration, number

    facts = standing.facts
    if not facts:
        return ["–"] * 4
    memory = f"{facts['peak_bytes'] / 2**20:,.0f} MiB" if "peak_bytes" in facts else "–"
    parameters = number(round(facts["parameters"]))
    return [duration(facts["seconds"]), number(float(f"{samples_a_second(facts):.3g}")), parameters, memory]
