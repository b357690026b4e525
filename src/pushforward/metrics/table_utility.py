"""What can be done with a table of samples: can it be told from real rows, and can it train a model for real rows?

The models are logistic regression (ridge regression for numbers) and a random forest, as scikit-learn has them. The linear ones
see numbers standardised, gaps filled by the median with an indicator, and categories one-hot, where missing is a category;
the forest sees the columns as they are, categories numbered in order of appearance.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pushforward.errors import nearest_name
from pushforward.metrics.measurement import Z95, Measurement, fixed_generator
from pushforward.metrics.table import Floats, Integers, Pool, pool

if TYPE_CHECKING:
    import pandas as pd

_FOLDS = 5
_LEAST = 50
_LEAST_OF_CLASS = 5
_MOST_DETECTION = 5_000
_MOST_TRAINING = 20_000
Rows = npt.NDArray[np.intp]


class TableDetection(NamedTuple):
    """How well a classifier tells samples from real rows.

    Attributes:
        logistic: Area under the ROC curve of logistic regression; 0.5 is best, and below it nothing was found either.
        forest: The same of a random forest, which also sees what a linear model does not; 0.5 is best.
        score: SDMetrics' LogisticDetection, ``1 - (2 max(AUC, 1/2) - 1)`` averaged over folds; 1 is best.
    """

    logistic: Measurement
    forest: Measurement
    score: Measurement


class Transfer(NamedTuple):
    """Scores on real test rows of one kind of model.

    Attributes:
        synthetic: Trained on the samples (TSTR).
        real: Trained on real rows (TRTR): what `synthetic` should reach.
        difference: The first minus the second, on the same test rows; 0 is right, negative is worse.
    """

    synthetic: Measurement
    real: Measurement
    difference: Measurement


class TableUtility(NamedTuple):
    """Train on synthetic, test on real: with a linear model and with a random forest."""

    linear: Transfer
    forest: Transfer


class _Score(NamedTuple):
    """A score, what each of n test rows adds to its error ``[n]``, and the number of rows that limits it."""

    value: float
    influence: Floats
    limit: int


@dataclass(frozen=True)
class _Design:
    """Rows for a model: columns of numbers, then columns of categories as numbers, ``[n, p + c]``."""

    x: Floats
    n_numbers: int

    @staticmethod
    def of(pooled: Pool, target: Hashable | None = None) -> _Design:
        x = np.column_stack([pooled.numbers, pooled.levels])
        kept = np.array([name != target for name in pooled.names])
        return _Design(x[:, kept], int(kept[pooled.is_number].sum()))

    def prepared(self, model: Any) -> Any:
        """A linear model behind the preparation of its columns, which is fitted when the model is."""
        from sklearn.compose import make_column_transformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        filled = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        numbers = (make_pipeline(filled, StandardScaler()), list(range(self.n_numbers)))
        categories = (OneHotEncoder(handle_unknown="ignore"), list(range(self.n_numbers, self.x.shape[1])))
        return make_pipeline(make_column_transformer(numbers, categories), model)


class _Model(NamedTuple):
    """A scikit-learn model of the rows of a `_Design`, and what it sees of them."""

    estimator: Any
    features: str


def detection_auc(
    samples: pd.DataFrame, real: pd.DataFrame, *, generator: torch.Generator | None = None
) -> TableDetection:
    """Can a classifier tell the samples from real rows? Five-fold cross-validated areas under the ROC curve.

    Compare with held-out rows: against training rows, a model that copies looks best. The error comes from the rows of each
    fold (DeLong et al. 1988), made larger because the folds share training rows (Nadeau and Bengio 2003, the corrected
    variance). More rows make better detectives: compare at equal numbers.

    Args:
        samples: Table of n rows, n at least 50; 5000 of more than those are used.
        real: Table of m rows with the same columns, best held-out rows; the same limits.
        generator: Chooses rows and folds, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows, columns that differ, dates, or words among numbers.
    """
    generator = generator or fixed_generator()
    pooled = pool(("real", real), ("samples", samples), least=_LEAST)
    rows = [_some(part, _MOST_DETECTION, generator) for part in pooled.parts()]
    kept, drawn = np.concatenate(rows), np.repeat([0, 1], [len(part) for part in rows])
    fold = np.concatenate([_shuffled(np.arange(len(part)) % _FOLDS, generator) for part in rows])
    design = _Design.of(pooled)
    note = f"{len(rows[1])} samples and {len(rows[0])} real rows, {_FOLDS} folds"
    linear, forest = (_cross_validated(m, design, kept, drawn, fold, note) for m in _classifiers(design))
    return TableDetection(linear[0], forest[0], linear[1])


def train_synthetic_test_real(
    samples: pd.DataFrame,
    train: pd.DataFrame,
    test: pd.DataFrame,
    target: Hashable,
    *,
    generator: torch.Generator | None = None,
) -> TableUtility:
    """Trains models that predict one column, on the samples and on real rows, and scores both on real test rows.

    A target of categories, or of two numbers: area under the ROC curve, averaged over the classes (each against the rest)
    that have at least five test rows; a class that was not there to train on gets no probability. Any other number: R2. Test
    rows without a target are left out. The intervals are over test rows, for the models as trained. Give as many samples as
    training rows: more samples are an advantage that says nothing about their quality.

    Args:
        samples: Table of n rows, n at least 50; 20 000 of more than those are used.
        train: Real rows that the generator was fitted on, with the same columns and limits.
        test: Real rows that it was not fitted on, at least 50.
        target: Name of the column to predict.
        generator: Chooses rows, on the CPU; a fixed one by default.

    Raises:
        ValueError: For a target that is not a column or is the only one, too few rows or classes, columns that differ,
            dates, or words among numbers.
    """
    _check_target(target, train)
    generator = generator or fixed_generator()
    pooled = pool(("train", train), ("samples", samples), ("test", test), least=_LEAST)
    y, n_classes = _target(pooled, target)
    real, drawn, held = (rows[~np.isnan(y[rows])] for rows in pooled.parts())
    _check_rows(y, n_classes, train=real, samples=drawn, test=held)
    rows = _some(drawn, _MOST_TRAINING, generator), _some(real, _MOST_TRAINING, generator), held
    design = _Design.of(pooled, target)
    models = _classifiers(design) if n_classes else _regressions(design)
    return TableUtility(*(_transfer(model, design, y, n_classes, rows) for model in models))


def _classifiers(design: _Design) -> tuple[_Model, _Model]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    return _pair(design.prepared(LogisticRegression(max_iter=2000)), RandomForestClassifier(random_state=0))


def _regressions(design: _Design) -> tuple[_Model, _Model]:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge

    return _pair(design.prepared(Ridge()), RandomForestRegressor(random_state=0))


def _pair(linear: Any, forest: Any) -> tuple[_Model, _Model]:
    return _Model(linear, "standardised and one-hot"), _Model(forest, "raw")


# ---------------------------------------------------------------- detection


def _cross_validated(
    model: _Model, design: _Design, rows: Rows, drawn: Integers, fold: Integers, note: str
) -> tuple[Measurement, Measurement]:
    """The area under the curve and the detection score, each fold judged by a model trained on the others."""
    scores = []
    for k in range(_FOLDS):
        train, test = rows[fold != k], rows[fold == k]
        chances = _chances(model, design, drawn[fold != k], train, test, 2)
        scores.append(_areas(chances, drawn[fold == k]))
    variance = float(np.mean([_variance(score) for score in scores])) * (1 / _FOLDS + 1 / (_FOLDS - 1))
    value, limit = float(np.mean([score.value for score in scores])), sum(score.limit for score in scores)
    area = _measured(value, variance, limit, limit, model.features, f"AUC; {note}")
    unlike = float(np.mean([max(0.5, score.value) for score in scores]))
    return area, _detection_score(2 - 2 * unlike, area, note)


def _detection_score(value: float, area: Measurement, note: str) -> Measurement:
    low, high = (min(1.0, 2 - 2 * end) for end in (area.high, area.low))
    return Measurement(value, min(low, value), max(high, value), area.n, area.features, f"1 is best; {note}")


# ---------------------------------------------------------------- train on synthetic, test on real


def _check_target(target: Hashable, train: pd.DataFrame) -> None:
    if target not in train.columns:
        hint = nearest_name(str(target), [str(name) for name in train.columns])
        raise ValueError(f"target={target!r} is not a column of train.{hint} Give the name of the column to predict")
    if len(train.columns) < 2:
        raise ValueError(
            f"target={target!r} is the only column: there is nothing to predict it from; give more columns"
        )


def _target(pooled: Pool, target: Hashable) -> tuple[Floats, int]:
    """The column to predict ``[n]``, NaN where missing, and its number of classes, 0 where it is a number."""
    column = pooled.names.index(target)
    n_numbers = pooled.numbers.shape[1]
    if column >= n_numbers:
        levels = pooled.levels[:, column - n_numbers]
        return np.where(levels < 0, np.nan, levels), int(levels.max()) + 1
    values = pooled.numbers[:, column]
    seen = np.unique(values[pooled.parts()[0]])
    seen = seen[~np.isnan(seen)]
    if len(seen) == 2:
        return np.where(np.isnan(values), np.nan, values > seen.mean()), 2
    return values, 0


def _check_rows(y: Floats, n_classes: int, **parts: Rows) -> None:
    for name, rows in parts.items():
        if len(rows) < _LEAST:
            raise ValueError(f"{name}: {len(rows)} rows with a target are too few; give at least {_LEAST}")
    if n_classes:
        counts = np.bincount(y[parts["test"]].astype(np.int64), minlength=n_classes)
        if (counts >= _LEAST_OF_CLASS).sum() < 2:
            raise ValueError(
                f"test: fewer than two classes have {_LEAST_OF_CLASS} rows; give more rows, or another target"
            )
    elif np.ptp(y[parts["test"]]) == 0:
        raise ValueError("test: the target has one value in every row; give other rows, or another target")


def _transfer(model: _Model, design: _Design, y: Floats, n_classes: int, rows: tuple[Rows, Rows, Rows]) -> Transfer:
    """Trains on the samples and on the real rows, and scores both on the test rows."""
    drawn, real, held = rows
    ours, best = (_tested(model, design, y, n_classes, train, held) for train in (drawn, real))
    kind, n = "AUC" if n_classes else "R2", len(held)
    gap = _Score(ours.value - best.value, ours.influence - best.influence, ours.limit)
    perfect = ours.value == best.value == 1  # the rule of three again, as in `_measured`
    margin = 3 / gap.limit if perfect else Z95 * math.sqrt(_variance(gap))
    notes = (f"{kind}, trained on {len(drawn)} samples", f"{kind}, trained on {len(real)} real rows")
    return Transfer(
        _measured(ours.value, _variance(ours), ours.limit, n, model.features, notes[0]),
        _measured(best.value, _variance(best), best.limit, n, model.features, notes[1]),
        Measurement(
            gap.value, gap.value - margin, gap.value + margin, n, model.features, f"{notes[0]} minus {notes[1]}"
        ),
    )


def _tested(model: _Model, design: _Design, y: Floats, n_classes: int, train: Rows, test: Rows) -> _Score:
    if n_classes:
        chances = _chances(model, design, y[train].astype(np.int64), train, test, n_classes)
        return _areas(chances, y[test].astype(np.int64))
    fitted = model.estimator.fit(design.x[train], y[train])
    return _determination(y[test] - fitted.predict(design.x[test]), y[test])


# ---------------------------------------------------------------- scores


def _chances(model: _Model, design: _Design, labels: Integers, train: Rows, test: Rows, n_classes: int) -> Floats:
    """Probabilities of the classes ``[len(test), n_classes]``; with one class to train on, that class for certain."""
    chances = np.zeros((len(test), n_classes))
    seen = np.unique(labels)
    if len(seen) == 1:
        chances[:, seen] = 1.0
        return chances
    fitted = model.estimator.fit(design.x[train], labels)
    chances[:, seen] = fitted.predict_proba(design.x[test])
    return chances


def _areas(chances: Floats, labels: Integers) -> _Score:
    """Area under the ROC curve, averaged over the classes with enough rows, each against the rest."""
    counts = np.bincount(labels, minlength=chances.shape[1])
    classes = np.flatnonzero((counts >= _LEAST_OF_CLASS) & (counts < len(labels)))
    each = [_area_under(chances[:, k], labels == k) for k in classes]
    influence = np.mean([one.influence for one in each], axis=0)
    return _Score(float(np.mean([one.value for one in each])), influence, int(counts[classes].min()))


def _area_under(score: Floats, positive: npt.NDArray[np.bool_]) -> _Score:
    """Chance that a positive row scores above a negative one, ties half; its error as DeLong et al. 1988 have it."""
    above = _share_below(score[positive], score[~positive])
    below = 1 - _share_below(score[~positive], score[positive])
    value, rate = float(above.mean()), float(positive.mean())
    influence = np.empty(len(score))
    influence[positive], influence[~positive] = (above - value) / rate, (below - value) / (1 - rate)
    return _Score(value, influence, int(min(positive.sum(), (~positive).sum())))


def _share_below(x: Floats, others: Floats) -> Floats:
    """The share of the others below each value, ties half."""
    ordered = np.sort(others)
    return np.asarray(np.searchsorted(ordered, x) + np.searchsorted(ordered, x, side="right")) / (2 * len(others))


def _determination(residual: Floats, y: Floats) -> _Score:
    """R2 on test rows: 1 minus the mean square error over the variance of the target."""
    errors, squares = residual**2, (y - y.mean()) ** 2
    ratio = float(errors.mean() / squares.mean())
    return _Score(1 - ratio, (ratio * squares - errors) / squares.mean(), len(y))


def _variance(score: _Score) -> float:
    return float(np.mean(score.influence**2)) / len(score.influence)


def _measured(value: float, variance: float, limit: int, n: int, features: str, note: str) -> Measurement:
    """With the normal interval; where no test row was wrong, the rule of three instead of an interval of no width."""
    margin = 3 / limit if variance == 0 and value in (0.0, 1.0) else Z95 * math.sqrt(variance)
    return Measurement(value, value - margin, min(1.0, value + margin), n, features, note)


def _some(rows: Rows, most: int, generator: torch.Generator) -> Rows:
    return rows if len(rows) <= most else np.sort(_shuffled(rows, generator)[:most])


def _shuffled(values: Rows, generator: torch.Generator) -> Rows:
    return np.asarray(values[torch.randperm(len(values), generator=generator).numpy()])
