"""Can a classifier tell the samples from the data?"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pushforward.metrics.copying import rank_test
from pushforward.metrics.measurement import Measurement, fixed_generator, wilson_interval
from pushforward.metrics.rows import FeatureMap, comparable, feature_name, feature_rows, take

_FOLDS = 5
_LEAST = 50
_SHARED_TRAINING = 1 + _FOLDS / (_FOLDS - 1)


class ProbabilisticClassifier(Protocol):
    """What scikit-learn's classifiers with probabilities offer."""

    def fit(self, X: npt.NDArray[np.float64], y: npt.NDArray[np.int64]) -> object:
        """Learns from rows ``[n, d]`` and labels ``[n]``."""

    def predict_proba(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probabilities ``[n, 2]``."""


class ClassifierTest(NamedTuple):
    """Area under the ROC curve and accuracy on rows not trained on (0.5 for equal laws), and the p-value of the former."""

    auc: Measurement
    accuracy: Measurement
    p_value: float


def classifier_test(
    x: Tensor,
    y: Tensor,
    *,
    features: FeatureMap | None = None,
    classifier: ProbabilisticClassifier | None = None,
    generator: torch.Generator | None = None,
) -> ClassifierTest:
    """Classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv:1610.06545, section 3).

    Departures from the paper: five-fold cross-validation, so that every row is tested once, instead of one split; and the p-value
    is that of the area under the curve (Mann-Whitney within each fold, normal law), which uses the order of the scores and not
    just their side of 1/2. Folds share training rows, so their errors are not independent: variances are enlarged by
    1 + 5 / 4 = 2.25 (Nadeau and Bengio 2003, Machine Learning 52, eq. 9), in the p-value and in Wilson's intervals; the interval of
    the area counts rows so that at 1/2 its variance is Mann-Whitney's, enlarged. Rows that occur twice leak between folds.

    Args:
        x: ``[n, *event_shape]``, n at least 50.
        y: ``[m, *event_shape]``, m at least 50; of the larger side as many random rows as the smaller has are used.
        features: Map applied to both; none by default.
        classifier: Any of scikit-learn's with probabilities; a random forest of 100 trees by default.
        generator: Of rows, folds and the forest, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows.
    """
    rng = generator or fixed_generator()
    n = min(len(x), len(y))
    a, b = comparable(
        feature_rows(take(v, n, rng), features, name=name, least=_LEAST) for v, name in ((x, "x"), (y, "y"))
    )
    rows = torch.cat([a, b]).double().cpu().numpy()
    fold = torch.cat([torch.randperm(n, generator=rng) % _FOLDS for _ in range(2)]).numpy()
    model = classifier or _forest(int(torch.randint(2**31, (), generator=rng)))
    scores = _held_out_scores(model, rows, np.arange(2 * n) < n, fold)
    return _judge(scores[:n], scores[n:], fold, f"{type(model).__name__}, {_FOLDS} folds", feature_name(features))


def _forest(seed: int) -> ProbabilisticClassifier:
    from sklearn.ensemble import RandomForestClassifier

    forest: ProbabilisticClassifier = RandomForestClassifier(100, random_state=seed)
    return forest


def _held_out_scores(
    model: ProbabilisticClassifier,
    rows: npt.NDArray[np.float64],
    ours: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.int64],
) -> Tensor:
    """Probability ``[n]`` of being a sample, each from a classifier trained without its fold."""
    from sklearn.base import clone

    scores = torch.zeros(len(rows), dtype=torch.float64)
    for held in range(_FOLDS):
        trained = clone(model)
        trained.fit(rows[fold != held], ours[fold != held].astype(np.int64))
        scores[torch.from_numpy(fold == held)] = torch.from_numpy(trained.predict_proba(rows[fold == held])[:, 1])
    return scores


def _judge(ours: Tensor, theirs: Tensor, fold: npt.NDArray[np.int64], note: str, features: str) -> ClassifierTest:
    n = len(ours)
    folds = torch.from_numpy(fold)
    tests = [rank_test(-ours[folds[:n] == held], -theirs[folds[n:] == held]) for held in range(_FOLDS)]
    auc = sum(test.share for test in tests) / _FOLDS
    z = (auc - 0.5) / math.sqrt(_SHARED_TRAINING / (6 * n))
    margins = torch.cat([ours - 0.5, 0.5 - theirs])
    right = 0.5 + 0.5 * float(margins.sign().mean())  # a score of 1/2 counts as half right
    return ClassifierTest(
        Measurement(
            auc, *wilson_interval(auc, 1.5 * n / _SHARED_TRAINING), n, features, f"area under the ROC curve, {note}"
        ),
        Measurement(right, *wilson_interval(right, 2 * n / _SHARED_TRAINING), n, features, f"accuracy, {note}"),
        0.5 * math.erfc(z / math.sqrt(2)),
    )
