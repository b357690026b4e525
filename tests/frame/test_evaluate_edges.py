"""``pf.evaluate`` at its edges: rows that do not fit say so, long searches stay fair, user's modules come back as they were."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward import scoring
from pushforward.data import Data, fit_schema
from pushforward.features import Features, features_for
from pushforward.metrics import held_out, held_out_report
from pushforward.metrics.copying import rank_test
from pushforward.metrics.features import Classifier, train_classifier


def table(n: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"size": rng.normal(size=n), "kind": rng.choice(["a", "b"], n)})


@pytest.fixture(scope="module")
def model() -> pf.Method:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pf.GaussianMixture(components=1).fit(table(), run=pf.Run(progress=False))


@pytest.mark.parametrize(
    ("holdout", "told"),
    [
        (table(60, 1).assign(kind="c"), "holds the category 'c'"),
        (table(60, 1).assign(size="wide"), "'size'"),
        (pd.concat([table(60, 1), table(60, 1)[["size"]]], axis=1), "size"),
        (
            table(60, 1).assign(kind=["a"] * 10 + ["c"] * 50),
            "10 rows are too few .*50 rows with categories .* left out",
        ),
    ],
    ids=["other categories", "text for numbers", "a name twice", "few of known categories"],
)
def test_rows_that_do_not_fit_say_why(model: pf.Method, holdout: pd.DataFrame, told: str) -> None:
    with pytest.raises(pf.DataError, match=told):
        pf.evaluate(model, holdout, train=table())


def test_features_of_a_wrong_type_are_refused(model: pf.Method) -> None:
    wrong: Any = ["raw"]
    with pytest.raises(ValueError, match=r"features: \['raw'\] is not known"):
        pf.evaluate(model, table(60, 1), train=table(), features=wrong)


def test_feature_maps_that_give_no_rows_are_told(model: pf.Method) -> None:
    found = pf.evaluate(model, table(20, 1), features=lambda x: x[:1])
    assert "it must give floating point" in found.refused["kid"]
    assert "energy" in found.metrics


def test_a_module_is_given_back_with_the_modes_of_its_parts(model: pf.Method) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).train()
    net[1].eval()
    pf.evaluate(model, table(20, 1), features=net)
    assert net.training
    assert not net[1].training


@pytest.mark.parametrize("damage", [lambda b: b[:-10], lambda b: b + bytes(10), lambda b: b[:5], lambda b: b"[1]" * 30])
def test_a_damaged_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any) -> None:
    trained = []

    def train(*arguments: Any, **more: Any) -> Classifier:
        trained.append(1)
        return train_classifier(*arguments, **more, n_steps=2)

    monkeypatch.setattr("pushforward.features.train_classifier", train)
    rng, path = np.random.default_rng(0), tmp_path / "features.safetensors"
    data = Data((rng.random((120, 5, 7)) * 255).astype(np.uint8), rng.integers(0, 2, 120))
    features_for(data, fit_schema(data), cache=path)
    path.write_bytes(damage(path.read_bytes()))
    features_for(data, fit_schema(data), cache=path)
    assert len(trained) == 2


# ---------------------------------------------------------------------- long searches look at rows of all sorts


def sorted_rows(n: int, seed: int) -> torch.Tensor:
    """Rows of two sorts, the ones of the spread-out sort first, as in a file that is sorted by class."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    x[: n // 2] *= 10
    return x


def test_a_long_search_does_not_take_the_first_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_SEARCH_WORK", 1.0)
    train, held, samples = (sorted_rows(n, seed).numpy() for seed, n in enumerate((2000, 800, 800)))
    mixed = samples[np.random.default_rng(0).permutation(800)]
    features, device = Features(None, "raw", ""), torch.device("cpu")
    scene = scoring.Scene(Data(mixed), Data(train), Data(held), fit_schema(Data(train)), features, device)
    assert len(scene.to_train.samples) == len(scene.to_train.held) == 200
    assert rank_test(scene.to_train.samples, scene.to_train.held).p_value > 0.001


def test_the_same_in_the_report_of_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "_SEARCH_WORK", 1.0)
    train, held, samples = (sorted_rows(n, seed) for seed, n in enumerate((2000, 800, 800)))
    mixed = samples[torch.randperm(800, generator=torch.Generator().manual_seed(0))]
    report = held_out_report(mixed, train, held)
    assert report["memorisation_p"] > 0.001
    assert 0.5 < report["nearest_ratio"] < 2


# ---------------------------------------------------------------------- score, for samples of any origin


def test_score_of_few_rows_is_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 3))
    features, train = Features(None, "raw", ""), Data(rows)
    for samples, held in ((rows[:5], rows[5:]), (rows[5:], rows[:5])):
        _, refused = scoring.score(Data(samples), train, Data(held), fit_schema(train), features=features)
        assert {"memorisation_p", "nearest_ratio", "nearest_ratio_5"} <= set(refused)
        assert "5 rows are too few" in refused["memorisation_p"]


def test_score_ignores_other_columns_and_refuses_what_is_no_table() -> None:
    train, held = Data(table()), Data(table(60, 1))
    features, schema = Features(None, "raw", ""), fit_schema(train)
    same, wider = (
        scoring.score(Data(samples), train, held, schema, features=features)[0]
        for samples in (table(60, 2), table(60, 2).assign(more=1.0))
    )
    assert same == wider
    found, refused = scoring.score(Data(np.zeros((60, 3))), train, held, schema, features=features)
    assert not found
    assert "table" in refused["column_shapes"]
