"""``pf.evaluate`` and ``pushforward evaluate``: what is measured, what is refused, and whether the rows were held out."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward.cli import main
from pushforward.data import Data, fit_schema, load_data, split_rows, take_rows
from pushforward.evaluate import Evaluation
from pushforward.features import Features, features_for
from pushforward.metrics import Classifier, train_classifier
from pushforward.report.measures import MEASURES
from pushforward.scoring import metric_names, score
from pushforward.training_rows import find_training_rows, overlap_with, row_hashes

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
NEED_TRAIN = {"w2_ratio", "nearest_ratio", "nearest_ratio_5", "memorisation_p"}


def vectors(n: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)) @ np.array([[2.0, 0, 0], [1, 1, 0], [0, 0, 3]]) + 5


def table(n: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c"], n)
    return pd.DataFrame({"size": rng.normal(size=n) + (kind == "a"), "n": rng.integers(0, 40, n), "kind": kind})


def images(n: int = 160, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    values = rng.integers(0, 90, (n, 8, 8)) + 120 * labels[:, None, None]
    return Data(values.astype(np.uint8), labels, "stripes")


def fit(data: Any, **more: Any) -> pf.Method:
    return pf.NeuroSQL(latent_dim=2, width=8).fit(data, budget="20 steps", run=pf.Run(**QUIET), **more)


@pytest.fixture(autouse=True)
def quick_classifiers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Classifiers are trained for a few steps; the list has an entry for each."""
    trained: list[int] = []

    def train(*arguments: Any, **more: Any) -> Classifier:
        trained.append(1)
        return train_classifier(*arguments, **more, n_steps=20)

    monkeypatch.setattr("pushforward.features.train_classifier", train)
    return trained


@pytest.fixture(scope="module")
def model() -> pf.Method:
    return fit(vectors())


@pytest.fixture(scope="module")
def found(model: pf.Method) -> Evaluation:
    return pf.evaluate(model, vectors(120, seed=1), train=vectors(), seed=3)


# ---------------------------------------------------------------------- what comes back


def test_every_number_says_what_it_is(found: Evaluation) -> None:
    assert set(found.metrics) | set(found.refused) == set(metric_names(["vector"]))
    for name, measured in found.metrics.items():
        assert math.isfinite(measured.value), name
        assert 0 < measured.n <= 120
        assert measured.features
        assert math.isnan(measured.low) or measured.low <= measured.value <= measured.high
    assert found.metrics["frechet"].features == "raw"
    context = found.context
    assert (context["held_out"], context["samples"], context["rows"], context["training_rows"]) == (True, 120, 120, 180)
    assert str(found) == repr(found)
    assert (context["seed"], context["kind"], context["notes"]) == (3, "vector", [])
    assert "mean 0" in context["preprocessing"]


def test_every_number_is_explained() -> None:
    assert set(metric_names()) <= set(MEASURES)


def test_text_and_table_show_everything(found: Evaluation) -> None:
    text, lines = str(found), found.table().splitlines()
    assert "held out" in text
    assert len(lines) == 2 + len(found.metrics)
    for name in found.metrics:
        assert MEASURES[name].title in text
        assert any(MEASURES[name].title in line for line in lines)


def test_json_there_and_back(found: Evaluation) -> None:
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    again = Evaluation.from_dict(plain)
    assert again.to_dict() == found.to_dict() == plain
    assert str(again) == str(found)
    assert math.isnan(again.metrics["memorisation_p"].low)


def test_equal_seeds_give_equal_numbers(model: pf.Method, found: Evaluation) -> None:
    state = torch.random.get_rng_state()
    again = pf.evaluate(model, vectors(120, seed=1), train=vectors(), seed=3)
    assert again.to_dict() == found.to_dict()
    assert torch.equal(state, torch.random.get_rng_state())
    assert pf.evaluate(model, vectors(120, seed=1), train=vectors()).to_dict() != found.to_dict()


def test_the_number_of_samples(model: pf.Method) -> None:
    found = pf.evaluate(model, vectors(60, seed=1), n=90, train=vectors())
    assert (found.context["samples"], found.context["rows"]) == (90, 60)
    assert found.metrics["energy"].n == 60


@pytest.mark.parametrize("n", [0, 5, 2.5, True, "ten"])
def test_a_wrong_number_of_samples(model: pf.Method, n: Any) -> None:
    with pytest.raises(ValueError, match="n: a whole number from 20 on is needed"):
        pf.evaluate(model, vectors(60, seed=1), n=n)


# ---------------------------------------------------------------------- held out or not


def test_training_rows_are_found_out(model: pf.Method) -> None:
    found = pf.evaluate(model, vectors()[:100], train=vectors())
    assert found.context["held_out"] is False
    assert "WERE NOT HELD OUT" in str(found)
    assert "of the 100 rows equal training rows" in str(found)


def test_without_the_training_rows_nobody_knows(model: pf.Method) -> None:
    found = pf.evaluate(model, vectors(60, seed=1))
    assert found.context["held_out"] is None
    assert {name for name, why in found.refused.items() if "give train=" in why} >= NEED_TRAIN
    assert "in memory; give train=" in str(found)


def test_training_rows_are_read_again_and_recognised(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", vectors())
    model = fit(tmp_path / "x.npy")
    assert pf.evaluate(model, vectors(60, seed=1)).context["held_out"] is True
    held = vectors()[model.held_rows_]
    for given in (None, vectors(), vectors()[model.train_rows_], tmp_path / "x.npy"):
        rows = find_training_rows(model, given)
        assert rows.rows is not None
        assert rows.why == ""
        assert np.array_equal(rows.rows.values, vectors()[model.train_rows_])
        assert overlap_with(model, Data(held), rows.rows).held_out
    other = find_training_rows(model, vectors(seed=2))
    assert "not those that the model was trained on" in other.why
    np.save(tmp_path / "x.npy", vectors(seed=2))
    assert "have changed" in find_training_rows(model).why
    (tmp_path / "x.npy").unlink()
    assert "cannot be read again" in find_training_rows(model).why


def test_twins_by_chance_are_no_leak() -> None:
    dice = np.random.default_rng(0).integers(0, 3, (300, 3))
    model = fit(dice)
    found = pf.evaluate(model, np.random.default_rng(1).integers(0, 3, (100, 3)), train=dice)
    assert found.context["held_out"] is True
    assert "chance twins would be about" in str(found)


def test_a_few_leaked_rows_are_told() -> None:
    model = fit(vectors())
    mixed = np.concatenate([vectors(99, seed=1), vectors()[model.train_rows_[:1]]])
    assert pf.evaluate(model, mixed, train=vectors()).context["held_out"] is True
    assert "1 of the 100 rows equal training rows" in str(pf.evaluate(model, mixed, train=vectors()))


def test_hashes_tell_rows_apart() -> None:
    x = torch.randn(500, 2, 3, generator=torch.Generator().manual_seed(0))
    x[7, 0, 0] = 0.0
    y = x.clone()
    y[7, 0, 0] = -0.0
    assert len(set(row_hashes(x).tolist())) == 500
    assert np.array_equal(row_hashes(x), row_hashes(y))
    y[:, 1, 2] = y[:, 1, 2].nextafter(torch.tensor(9.0))
    assert not set(row_hashes(x).tolist()) & set(row_hashes(y).tolist())


def test_a_group_on_both_sides_is_no_held_out_group() -> None:
    subject = np.repeat(np.arange(20), 10)
    data = Data(vectors(), arrays={"subject": subject})
    model = fit(data, group="subject")
    fresh = vectors(60, seed=1)
    new, old = np.repeat([30, 31, 32], 20), np.repeat([30, 31, subject[model.train_rows_[0]]], 20)
    assert pf.evaluate(model, Data(fresh, arrays={"subject": new}), train=data).context["held_out"] is True
    known = pf.evaluate(model, Data(fresh, arrays={"subject": old}), train=data)
    assert known.context["held_out"] is False
    assert "1 groups by 'subject' are among the training rows too" in str(known)
    assert "do not say their 'subject'" in str(pf.evaluate(model, fresh, train=data))


# ---------------------------------------------------------------------- kinds of data


def test_a_table_with_the_column_that_it_is_conditioned_on() -> None:
    model = fit(table(), condition="kind")
    held = table(90, seed=1)
    held.loc[:3, "n"] = 100
    found = pf.evaluate(model, held, train=table())
    assert found.context["rows"] == 90
    assert {"w2_ratio", "column_shapes", "pair_trends", "tstr_gap", "record_copies"} <= set(found.metrics)
    assert "c2st_auc" not in found.metrics | found.refused
    with pytest.raises(pf.DataError, match="no column 'kind'"):
        pf.evaluate(model, held.drop(columns="kind"))
    with pytest.raises(pf.DataError, match=r"all rows are of the class 'a', but the model makes 3 classes\. Fix: "):
        pf.evaluate(model, held.assign(kind="a"))
    with pytest.raises(pf.DataError, match="'z' is not a class of this model"):
        pf.evaluate(model, held.assign(kind="z"))


def test_a_target_to_predict() -> None:
    model = fit(table())
    held = table(90, seed=1)
    assert "give target=" in pf.evaluate(model, held, train=table()).refused["tstr_gap"]
    assert "tstr_gap" in pf.evaluate(model, held, train=table(), target="n").metrics
    with pytest.raises(ValueError, match=r"target: there is no column 'knd'\. Perhaps you meant 'kind'"):
        pf.evaluate(model, held, target="knd")
    with pytest.raises(ValueError, match="target: is for tables"):
        pf.evaluate(fit(vectors()), vectors(60, seed=1), target="kind")


def test_categories_that_no_training_row_has_are_left_out() -> None:
    held = table(90, seed=1)
    held.loc[:4, "kind"] = "new"
    model = fit(table())
    found = pf.evaluate(model, held, train=table())
    assert found.context["rows"] == 85
    assert "5 rows with categories or gaps that no training row has were left out" in str(found)


def test_pictures_with_labels_are_compared_by_a_classifier(tmp_path: Path) -> None:
    data = images()
    model = fit(data, condition="labels")
    cache = tmp_path / "features.safetensors"
    first = pf.evaluate(model, images(60, seed=1), train=data, cache=cache)
    assert first.metrics["frechet" if "frechet" in first.metrics else "kid"].features == "classifier-32"
    assert "of those kept back" in first.context["features"]["told"]
    assert pf.evaluate(model, images(60, seed=1), train=data, cache=cache).to_dict() == first.to_dict()


# ---------------------------------------------------------------------- features


def test_features_by_default_and_by_name() -> None:
    pictures, numbers = images(), Data(np.random.default_rng(0).normal(size=(100, 40)))
    bare = replace(pictures, labels=None)
    one_class = replace(pictures, labels=np.zeros(len(pictures), dtype=int))
    for data, name, wanted in [
        (bare, None, "random-64"),
        (one_class, None, "random-64"),
        (bare, "pca", "pca-32"),
        (bare, "raw", "raw"),
        (Data(vectors()), None, "raw"),
        (numbers, None, "pca-32"),
        (numbers, "random", "random-64"),
    ]:
        made = features_for(data, fit_schema(data), features=name)  # type: ignore[arg-type]
        assert (made.name, bool(made.told)) == (wanted, True)
    assert features_for(None, fit_schema(pictures)).name == "random-64"
    assert features_for(None, fit_schema(numbers)).name == "raw"


@pytest.mark.parametrize(
    ("name", "train", "message"),
    [
        ("pka", True, "features: 'pka' is not known. Perhaps you meant 'pca'"),
        ("classifier", True, "the training rows have no labels"),
        ("classifier", False, r"the training rows are not known \(give train=\)"),
        ("pca", False, "need the training rows; give train="),
    ],
)
def test_features_that_cannot_be_had(name: Any, train: bool, message: str) -> None:
    data = Data(vectors())
    with pytest.raises(ValueError, match=message):
        features_for(data if train else None, fit_schema(data), features=name)


def test_a_classifier_is_kept_and_trained_again_for_other_rows(tmp_path: Path, quick_classifiers: list[int]) -> None:
    data, path = images(), tmp_path / "features.safetensors"
    schema = fit_schema(data)
    first, second = (features_for(data, schema, cache=path) for _ in range(2))
    assert len(quick_classifiers) == 1
    assert first.told == second.told
    x = schema.encode(data)
    assert first.map is not None
    assert second.map is not None
    assert torch.equal(first.map(x), second.map(x))
    features_for(data, schema, cache=path, seed=1)
    path.write_bytes(b"damaged")
    features_for(data, schema, cache=path)
    assert len(quick_classifiers) == 3


def test_a_module_of_the_user_is_used_in_evaluation_mode(model: pf.Method) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = pf.evaluate(model, vectors(60, seed=1), features=net)
    assert found.metrics["frechet"].features == "Sequential"
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


# ---------------------------------------------------------------------- score, for samples of any origin


def test_score_refuses_with_reasons_instead_of_failing() -> None:
    data = Data(vectors())
    schema = fit_schema(data)
    constant, raw = Data(np.full((60, 3), 5.0)), Features(None, "raw", "")
    metrics, refused = score(constant, data, Data(vectors(60, seed=1)), schema, features=raw)
    assert set(metrics) | set(refused) == set(metric_names(["vector"]))
    assert all(math.isfinite(measured.value) for measured in metrics.values())
    few, why = score(Data(vectors(12)), None, Data(vectors(12, seed=1)), schema, features=raw)
    assert all(reason for reason in why.values())
    assert set(why) >= NEED_TRAIN | {"kid"}
    assert set(few) | set(why) == set(metric_names(["vector"]))


def test_score_knows_equal_laws_from_others_and_copies_from_fresh_rows() -> None:
    train, held = Data(vectors(400)), Data(vectors(200, seed=1))
    schema, raw = fit_schema(train), Features(None, "raw", "")
    fresh, _ = score(Data(vectors(200, seed=2)), train, held, schema, features=raw)
    copies, _ = score(Data(vectors(400)[:200]), train, held, schema, features=raw)
    shifted, _ = score(Data(vectors(200, seed=2) + 2), train, held, schema, features=raw)
    assert copies["memorisation_p"].value < 1e-6
    assert fresh["memorisation_p"].value > 0.01
    assert shifted["kid"].low > 0
    assert shifted["frechet"].value > 3 * fresh["frechet"].value


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("holdout", "message"),
    [
        (table(60), "fitted on vectors"),
        (np.zeros((60, 4)), r"shape \[60, 4\] was given to a model of vectors \[n, 3\]"),
        (np.zeros((60, 8, 8)), "was given to a model of vectors"),
        (vectors(6), "holdout: 6 rows are too few to measure anything"),
        ("nowhere.npy", "There is no file"),
        (np.full((60, 3), np.nan), "NaN"),
    ],
)
def test_rows_that_cannot_be_used(model: pf.Method, holdout: Any, message: str) -> None:
    with pytest.raises(pf.DataError, match=message):
        pf.evaluate(model, holdout)


def test_a_model_that_is_not_fitted() -> None:
    with pytest.raises(pf.NotFitted):
        pf.evaluate(pf.NeuroSQL(), vectors())


def test_large_sets_are_bounded(model: pf.Method, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["pushforward.evaluate"], "_MOST", 50)
    found = pf.evaluate(model, vectors(120, seed=1))
    assert (found.context["rows"], found.context["samples"]) == (50, 50)
    assert "50 of 120 rows were used" in str(found)


# ---------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    np.savez(folder / "data.npz", images=images().values, labels=images().labels)
    np.savez(folder / "held.npz", images=images(60, seed=1).values)
    flags = ["--latent-dim", "2", "--width", "8", "--device", "cpu", "--budget", "10 steps"]
    assert main(["fit", "neurosql", str(folder / "data.npz"), "--out", str(folder / "run"), *flags]) == 0
    return folder


def test_the_command_renews_card_and_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run / "run"), str(run / "held.npz"), "--seed", "1"]) == 0
    out = capsys.readouterr().out
    found = Evaluation.from_dict(json.loads((run / "run" / "metrics.json").read_text()))
    assert found.context["seed"] == 1
    assert found.context["held_out"] is True
    assert "metrics.json, README.md, report.html" in out
    card, page = ((run / "run" / name).read_text() for name in ("README.md", "report.html"))
    assert "## Evaluation" in card
    assert '<section id="evaluation"' in page
    for name in found.metrics:
        for text in (out, card, page):
            assert MEASURES[name].title in text
    assert str(run) not in card
    assert pf.load(run / "run").sample(3, seed=0).shape == (3, 8, 8)


def test_the_command_writes_elsewhere(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "run" / "README.md").read_text()
    out = tmp_path / "m.json"
    arguments = [
        "evaluate",
        str(run / "run"),
        str(run / "held.npz"),
        "-n",
        "30",
        "--features",
        "raw",
        "--out",
        str(out),
    ]
    assert main(arguments) == 0
    assert json.loads(out.read_text())["context"]["samples"] == 30
    assert (run / "run" / "README.md").read_text() == before


def test_the_command_without_the_training_data(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(run / "run", tmp_path / "run"))
    moved = run / "data.npz"
    moved.rename(run / "moved.npz")
    page = (folder / "report.html").read_text()
    try:
        assert main(["evaluate", str(folder), str(run / "held.npz")]) == 0
        assert "report.html is left as it was" in capsys.readouterr().out
        assert (folder / "report.html").read_text() == page
        assert main(["evaluate", str(folder), str(run / "held.npz"), "--train", str(run / "moved.npz")]) == 0
        assert "report.html is left" not in capsys.readouterr().out
    finally:
        (run / "moved.npz").rename(moved)


def test_a_run_with_metrics_can_be_overwritten(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run / "run", tmp_path / "run"))
    assert main(["evaluate", str(folder), str(run / "held.npz")]) == 0
    pf.load(folder).save(folder, overwrite=True)
    assert not (folder / "metrics.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "digits"], "is not a saved model"),
        (["RUN", "digits"], "8 x 8|scale|range"),
        (["RUN", "iris"], "fitted on images"),
        (["RUN", "digit"], "Perhaps you meant 'digits'"),
    ],
)
def test_mistakes_on_the_command_line(
    run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(entry.name for entry in (run / "run").iterdir())
    assert main(["evaluate", *(a.replace("RUN", str(run / "run")) for a in arguments)]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert sorted(entry.name for entry in (run / "run").iterdir()) == before


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:.*memorises")
def test_brain_slices_of_other_subjects_are_held_out(real_data: Path) -> None:
    path = real_data / "brain-slices-64" / "brain_slices_64.npz"
    data = load_data(path)
    train, held = split_rows(len(data), 0.2, seed=0, groups=data.arrays["subject"])
    kept: Any = take_rows(data, train)
    unseen: Any = take_rows(data, held)
    model = pf.NeuroSQL(latent_dim=2, width=8, batch_size=16).fit(
        kept, group="subject", budget="2 steps", run=pf.Run(**QUIET)
    )
    found = pf.evaluate(model, unseen, train=kept)
    assert found.context["held_out"] is True
    assert "memorisation_p" in found.metrics
    leaky = pf.evaluate(model, kept, train=kept, n=40)
    assert leaky.context["held_out"] is False
