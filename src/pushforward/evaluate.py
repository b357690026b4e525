"""``pf.evaluate``: fresh samples of a fitted model against rows that it has never seen, and numbers that say what they are."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pushforward.condition import split_condition
from pushforward.data import Data, load_data, take_rows
from pushforward.data.checks import is_frame
from pushforward.data.known import known_rows
from pushforward.data.named_columns import column_place
from pushforward.errors import DataError, nearest_name
from pushforward.folders import claim, write_atomically
from pushforward.metrics.measurement import Measurement
from pushforward.metrics.rows import FeatureMap
from pushforward.run import checked_seed
from pushforward.training_rows import TrainingRows, find_training_rows, overlap_with

if TYPE_CHECKING:
    from pushforward.features import FeatureName, Features
    from pushforward.method import Method

_FEWEST, _MOST = 20, 10_000
_PREPROCESSING = {
    "image": "Pixels are scaled to [-1, 1] from the range of the training pictures; samples are taken as users get them, "
    "clipped and rounded.",
    "vector": "Columns are scaled to mean 0 and variance 1 of the training rows; samples are taken as users get them, "
    "clipped and rounded.",
    "table": "Encoded as for training (numbers by rank to a normal law, categories one-hot); samples are taken as users get "
    "them, clipped and rounded.",
}


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What `evaluate` measured.

    Attributes:
        metrics: the numbers by name, each with its interval, rows, features and note.
        refused: why the others were not measured, by name.
        context: what was compared: ``method``, ``data``, ``holdout``, ``kind``, ``samples``, ``rows``, ``training_rows``,
            ``held_out`` (None where nobody knows), ``features``, ``preprocessing``, ``seed``, ``notes``, ``versions``.
    """

    metrics: dict[str, Measurement]
    refused: dict[str, str]
    context: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain types that JSON holds; what is not finite is None."""
        numbers = {name: {k: _finite(v) for k, v in asdict(found).items()} for name, found in self.metrics.items()}
        return {"metrics": numbers, "refused": dict(self.refused), "context": dict(self.context)}

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> Evaluation:
        """The inverse of `to_dict`."""
        numbers = {name: _measurement(found) for name, found in plain["metrics"].items()}
        return Evaluation(numbers, dict(plain["refused"]), dict(plain["context"]))

    def table(self) -> str:
        """The numbers as a Markdown table."""
        from pushforward.report.evaluated import evaluation_table

        return evaluation_table(self)

    def __repr__(self) -> str:
        from pushforward.report.evaluated import evaluation_rows, evaluation_words, refusals

        rows = [row[:2] + [f"n={row[2]}", *row[3:]] for row in evaluation_rows(self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1] if rows else []
        lines = [
            "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip() for row in rows
        ]
        head = f"{self.context['method']} on {self.context['data']}"
        return "\n".join([head, *evaluation_words(self), *lines, *(f"not measured: {text}" for text in refusals(self))])


def evaluate(
    model: Method,
    holdout: object,
    *,
    n: int | None = None,
    seed: int = 0,
    features: FeatureName | FeatureMap | None = None,
    train: object = None,
    target: str | None = None,
    cache: str | Path | None = None,
) -> Evaluation:
    """Measure a fitted model on rows that it has never seen.

    Args:
        model: a fitted method.
        holdout: anything that ``load_data`` reads, of the model's kind and shape, 20 rows or more (10 000 are used at most);
            a table with the columns of the training data, the one that the model is conditioned on included.
        n: samples to draw; by default as many as there are held-out rows, for which the numbers are made.
        seed: of the samples and of the metrics.
        features: what pictures and rows are compared by, see `features_for`; by default for pictures a classifier trained on
            the labels of the training rows, or random features where there are none; for vectors and tables the encoded
            values, or principal components where there are more than 32.
        train: the training rows, or the data that ``fit`` was given, for the numbers that compare with training rows; by
            default they are read again from where ``fit`` read them.
        target: a table's column for train-on-synthetic-test-on-real; by default the one that the model is conditioned on.
        cache: file to keep the trained classifier in.

    Returns:
        The numbers, the reasons of those that were refused, and what was compared. ``context["held_out"]`` is False where
        the rows overlap with the training rows more than chance can explain, and None where nobody knows.

    Raises:
        NotFitted: the model is not fitted.
        DataError: rows of another kind or shape, too few rows, or rows of a single class of a conditional model.
        ValueError: an argument is out of its range.
    """
    from pushforward.scoring import score

    model._require("sample")
    seed = checked_seed(seed)
    training = find_training_rows(model, train)
    held, notes = _usable(model, load_data(holdout), training, seed)
    goal = _target(model, target)
    maps = _features(model, training, features, seed, cache)
    size = len(held) if n is None else _at_least(n)
    samples = Data(model.sample(size, seed=seed))
    found, refused = score(
        samples,
        training.rows,
        held,
        model.schema_,
        features=maps,
        target=goal,
        rebuilt=_rebuilt(model, held),
        seed=seed,
        device=model.law_.device,
    )
    held_out, told = _held_out(model, held, training)
    context = _context(model, training, maps) | {
        "holdout": held.name,
        "samples": size,
        "rows": len(held),
        "held_out": held_out,
        "seed": seed,
        "notes": [*told, *notes],
    }
    return Evaluation(found, refused, context)


def write_evaluation(evaluation: Evaluation, model: Method, folder: Path, data: Data | None = None) -> list[str]:
    """Write metrics.json into the folder of a saved model, and the model card and the report again with the numbers.

    Args:
        evaluation: what was measured.
        model: the model in the folder.
        folder: of the model.
        data: all rows that ``fit`` was given; without them the report is left as it is.

    Returns:
        The names of the files written.

    Raises:
        StorageError: the folder cannot be written, or another process works in it.
    """
    from pushforward.report import model_card, write_report

    held = claim(folder, overwrite=False, resume=True)
    try:
        write_atomically(folder / "metrics.json", as_json(evaluation))
        card = model_card(model, model.data_info_["name"], evaluation)
        write_atomically(folder / "README.md", card)
        if data is not None:
            write_report(folder / "report.html", method=model, data=data, evaluation=evaluation)
    finally:
        held.release()
    return ["metrics.json", "README.md", *(["report.html"] if data is not None else [])]


def as_json(evaluation: Evaluation) -> str:
    """The evaluation as the text of metrics.json."""
    return json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) + "\n"


# ---------------------------------------------------------------------- the rows


def _usable(model: Method, held: Data, training: TrainingRows, seed: int) -> tuple[Data, list[str]]:
    """The rows to compare with, and what was done to them."""
    held, notes = _encodable(model, held, training)
    if len(held) < _FEWEST:
        told = f" ({notes[0]})" if notes else ""
        raise DataError(
            f"holdout: {len(held)} rows are too few to measure anything{told}. Fix: give at least {_FEWEST}."
        )
    model.schema_.encode(held)  # another kind or shape is refused here
    _require_classes(model, held)
    if len(held) <= _MOST:
        return held, notes
    picked = np.sort(np.random.default_rng(seed).permutation(len(held))[:_MOST])
    return _rows(held, picked), [*notes, f"{_MOST:,} of {len(held):,} rows were used, chosen at random"]


def _encodable(model: Method, held: Data, training: TrainingRows) -> tuple[Data, list[str]]:
    """Without rows of a table that hold categories which no training row has: the model cannot know them."""
    if training.rows is None or not is_frame(held.values) or model.schema_.kind != "table":
        return held, []
    coder: Any = model.schema_.coder
    columns = [column.name for column in coder.columns if column.name in held.values.columns]
    if not held.values.columns.is_unique:
        return held, []  # refused when they are encoded
    known = known_rows(held.values[columns], training.rows.values)
    if known.all() or not known.any():
        return held, []  # where no row is known, encoding says what is wrong with the first
    told = f"{int((~known).sum())} rows with categories or gaps that no training row has were left out"
    return _rows(held, np.flatnonzero(known)), [told]


def _require_classes(model: Method, held: Data) -> None:
    """A conditional model draws all of its classes, so rows of one class are no reference for it."""
    condition = model.condition_
    if condition is None or not condition.labelled(held):
        return
    labels = condition.codes(split_condition(held, condition.origin)[1]).tolist()
    if len(set(labels)) == 1:
        one = condition.values[labels[0]]
        raise DataError(
            f"holdout: all rows are of the class {one!r}, but the model makes {len(condition.values)} classes. "
            "Fix: give held-out rows of every class."
        )


def _rows(data: Data, index: np.ndarray) -> Data:
    picked: Any = take_rows(data, index)
    return replace(data, values=picked.values, labels=picked.labels, arrays=picked.arrays)


def _at_least(n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < _FEWEST:
        raise ValueError(f"n: a whole number from {_FEWEST} on is needed, got {n!r}.")
    return int(n)


def _target(model: Method, target: str | None) -> Any:
    """The column to predict, as the samples have it."""
    condition: Any = model.condition_.column if model.condition_ is not None else None
    if target is None:
        return condition
    if model.schema_.kind != "table":
        raise ValueError(f"target: is for tables, and this model makes {model.schema_.kind} data; leave it out.")
    coder: Any = model.schema_.coder
    columns = [*(column.name for column in coder.columns), *([] if condition is None else [condition])]
    place = column_place(columns, target)
    if place is None:
        known = [str(column) for column in columns]
        raise ValueError(f"target: there is no column {target!r}.{nearest_name(target, known)}")
    return columns[place]


def _rebuilt(model: Method, held: Data) -> Any:
    """Reconstructions of some held-out pictures; None where the model makes none."""
    from pushforward.scoring import rows_to_rebuild

    condition = model.condition_
    able = {"encode", "reconstruct"} <= model.can() and (condition is None or condition.labelled(held))
    if model.schema_.kind != "image" or not able:
        return None
    return model.reconstruct(_rows(held, rows_to_rebuild(len(held))))


def _features(
    model: Method,
    training: TrainingRows,
    features: FeatureName | FeatureMap | None,
    seed: int,
    cache: str | Path | None,
) -> Features:
    """The feature map; labels are those that the model is conditioned on, or else those of the data."""
    from pushforward.features import features_for

    rows, condition = training.rows, model.condition_
    if rows is not None and condition is not None and condition.labelled(rows):
        rows = replace(rows, labels=split_condition(rows, condition.origin)[1])
    path = Path(cache) if cache is not None else None
    return features_for(rows, model.schema_, features=features, seed=seed, device=model.law_.device, cache=path)


# ---------------------------------------------------------------------- what was compared


def _held_out(model: Method, held: Data, training: TrainingRows) -> tuple[bool | None, list[str]]:
    """Whether the rows were held out, and what a reader must know of that."""
    uncertain = [training.why] if training.why else []
    if training.rows is None:
        return None, uncertain
    overlap = overlap_with(model, held, training.rows)
    return overlap.held_out, [*overlap.notes(), *uncertain]


def _context(model: Method, training: TrainingRows, maps: Features) -> dict[str, Any]:
    import torch

    from pushforward import __version__

    return {
        "method": type(model).__name__,
        "data": model.data_info_["name"],
        "kind": model.schema_.kind,
        "training_rows": None if training.rows is None else len(training.rows),
        "features": {"name": maps.name, "told": maps.told},
        "preprocessing": _PREPROCESSING[model.schema_.kind],
        "versions": {"pushforward": __version__, "torch": str(torch.__version__)},
    }


def _measurement(plain: dict[str, Any]) -> Measurement:
    fields: dict[str, Any] = {key: math.nan if value is None else value for key, value in plain.items()}
    return Measurement(**fields)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


__all__ = ["Evaluation", "as_json", "evaluate", "write_evaluation"]
