"""The density of a conditional model is that of all classes together: it needs no labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pushforward as pf

LABELS = np.arange(90) % 3
ROWS = np.random.default_rng(0).normal(size=(90, 2)) + LABELS[:, None]


@pytest.mark.parametrize(
    ("method", "budget"), [(pf.GaussianMixture(components=1), None), (pf.FlowMatching(), "2 steps")]
)
def test_log_prob_without_labels(method: pf.Method, budget: str | None) -> None:
    method.fit(ROWS, condition=LABELS, budget=budget, run=pf.Run(progress=False))
    density = method.log_prob(ROWS[:9])
    assert np.isfinite(density).all()
    given = np.array([np.log(np.mean(LABELS[method.train_rows_] == k)) for k in range(3)])
    parts = [-method.outlier_score(ROWS[:9], condition=k) + given[k] for k in range(3)]
    assert np.allclose(density, np.logaddexp.reduce(parts), atol=1e-4)


def test_a_table_with_and_without_the_column_of_its_classes() -> None:
    frame = pd.DataFrame(ROWS, columns=["a", "b"]).assign(kind=LABELS)
    model = pf.GaussianMixture(components=1).fit(frame, condition="kind", run=pf.Run(progress=False))
    assert np.array_equal(model.log_prob(frame), model.log_prob(frame.drop(columns="kind")))
