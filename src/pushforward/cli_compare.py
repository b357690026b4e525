"""The sub-command ``compare``: several methods on the same rows, with the same budget."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional


def compare_command(arguments: list[str]) -> int:
    """Compare methods on the same data with the same budget: pushforward compare DATA --budget 60s"""
    from pushforward.compare import compare
    from pushforward.data import load_data

    data, out, advise, options = tyro.cli(_form, args=arguments, prog="pushforward compare")
    loaded = load_data(data)
    folder = out or Path("runs") / f"compare-{loaded.name}".lower()
    board = compare(loaded, out=folder, progress=True, **options)
    sys.stdout.write(f"{board}\n" if advise else f"{board.told()}\n")
    pictures = ", samples.png" if board.pictures else ""
    sys.stdout.write(f"in {folder}: report.html{pictures}, table.csv, table.md, config.yaml, results/\n")
    return 0


def _form(
    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")],
    methods: str | None = None,
    budget: str = "60s",
    seeds: str = "3",
    condition: str | None = None,
    group: str | None = None,
    holdout: str | None = None,
    validation: float = 0.2,
    features: Literal["raw", "pca", "classifier", "random"] | None = None,
    target: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    recommend: bool = False,
) -> tuple[str, Path | None, bool, dict[str, Any]]:
    """Fit several methods to the same rows with the same budget, one process at a time, and rank them by what they make.

    Results are kept as soon as they exist: the same command continues where it was stopped.

    Args:
        data: file, folder of pictures, or named set.
        methods: names with commas between them; by default all that take this kind of data.
        budget: of each fit, such as 60s, 5min, "2000 steps" or "30 epochs".
        seeds: how many (3 means 0, 1 and 2), or which ones, with commas between them; the first one also splits the rows.
        condition: "labels" for models conditioned on the labels of the data, or the name of a table's column or of an array
            of the .npz.
        group: a table's column, or an array of the .npz, that says which rows belong together (subject, say); a group is
            trained on, or measured on, as a whole.
        holdout: data to measure on; by default a share of the rows.
        validation: that share.
        features: what rows are compared by; by default for pictures a classifier trained on the labels of the training rows, or
            random features where there are none; for others the values, or principal components of many.
        target: a table's column for train-on-synthetic-test-on-real; by default that of the condition.
        out: folder for results, table and page; by default runs/compare-DATA.
        overwrite: replace a comparison that is already in the folder.
        recommend: say in two sentences which method to use for these data, and why.
    """
    options = {
        "methods": None if methods is None else _listed(methods),
        "budget": budget,
        "seeds": _seeds(seeds),
        "condition": condition,
        "group": group,
        "holdout": holdout,
        "validation": validation,
        "features": features,
        "target": target,
        "overwrite": overwrite,
    }
    return data, out, recommend, options


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seeds(text: str) -> int | list[int]:
    """``3`` or ``0,5,7``."""
    try:
        numbers = [int(part) for part in _listed(text)]
    except ValueError:
        raise ValueError(
            f"seeds: a number of seeds, or numbers with commas between them, is needed, got {text!r}."
        ) from None
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers
