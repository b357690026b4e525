"""``pf.compare``: the same rows, the same budget and several seeds for every method, one process at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward.budget import Budget
from pushforward.metrics.rows import FeatureMap, feature_name
from pushforward.progress import choose_progress

if TYPE_CHECKING:
    from pushforward.compare.board import Board
    from pushforward.features import FeatureName
    from pushforward.method import Method


def compare(
    data: object,
    *,
    methods: Iterable[str | Method | type[Method]] | None = None,
    budget: str | Budget = "60s",
    seeds: int | Sequence[int] = 3,
    condition: object = None,
    group: object = None,
    holdout: object = None,
    validation: float = 0.2,
    features: FeatureName | FeatureMap | None = None,
    target: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Board:
    """Fit several methods to the same rows with the same budget, and rank them by what they make.

    The rows are split once, by the first seed; the seeds are those of training and sampling. So all numbers stand against the
    same held-out rows, and what differs between two seeds is the method's doing. Every fit has a process of its own, one at a
    time; it gets all training rows. A method that fails is a row of the table with its reason. With ``out``, results are kept
    as soon as they exist, and the same call continues where it was stopped; methods and seeds may be added.

    Args:
        data: anything that ``load_data`` reads.
        methods: names, classes or configured methods; None takes all that take this kind of data.
        budget: of each fit: ``"60s"``, ``"5min"``, ``"2000 steps"``, ``"30 epochs"``.
        seeds: how many (0, 1, 2 ...), or which ones; the first one is that of the split too.
        condition: labels, as for ``fit``.
        group: which rows belong together, as for ``fit``: a group is trained on, or measured on, as a whole.
        holdout: rows to measure on; by default a share of the data.
        validation: that share.
        features: what pictures and rows are compared by, see `pushforward.features.features_for`.
        target: a table's column for train-on-synthetic-test-on-real; by default the one of ``condition``.
        out: folder for the results, the table and the page; None keeps nothing but the board.
        overwrite: replace a comparison that is in ``out``.
        progress: show progress; None shows it on terminals only.

    Raises:
        DataError: the data cannot be compared on: too few rows, one class, held-out rows of another kind.
        ValueError: an argument is out of its range, or a method is unknown.
        StorageError: ``out`` holds something else, or a comparison of other data or with other settings.
        KeyboardInterrupt: stopped; the message says how to continue.
    """
    from pushforward.compare.course import Comparison
    from pushforward.compare.entrants import entrants_of, seeds_of
    from pushforward.compare.rows import read_rows

    limit, numbers = Budget.parse(budget), seeds_of(seeds)
    named = [] if methods is None else entrants_of(methods, "")
    rows = read_rows(
        data,
        condition=condition,
        group=group,
        holdout=holdout,
        validation=validation,
        seed=numbers[0],
        target=target,
    )
    entrants = named or entrants_of(None, rows.schema.kind)
    settings = {
        "data": rows.train.name,
        "checksum": rows.digest,
        "budget": str(limit),
        "split_seed": numbers[0],
        "validation": float(validation) if holdout is None else None,
        "condition": rows.condition,
        "target": rows.target,
        "features": feature_name(features) if callable(features) else features,
        "machine": machine(),
    }
    with _folder(out, settings, overwrite) as folder:
        comparison = Comparison(rows, entrants, numbers, settings, features, folder, choose_progress(progress))
        try:
            comparison.run()
        except KeyboardInterrupt:
            if comparison.done:
                comparison.write()
            raise KeyboardInterrupt(comparison.farewell(kept=out is not None)) from None
        return comparison.write()


@contextmanager
def _folder(out: str | Path | None, settings: dict[str, Any], overwrite: bool) -> Iterator[Path]:
    """The folder of the user's, or one that vanishes."""
    from pushforward.compare.folder import open_folder

    if out is not None and not str(out):
        raise ValueError("out: the name of the folder is empty.")
    with (
        tempfile.TemporaryDirectory() as vanishing,
        open_folder(
            Path(vanishing) / "board" if out is None else Path(out).expanduser(), settings, overwrite=overwrite
        ) as folder,
    ):
        yield folder.resolve()


def machine() -> str:
    """What the fits run on, so that times can be read."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}"
