"""Groups of rows stay on one side of the split; arrays beside the rows are known by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import pushforward as pf
from pushforward.cli import main
from pushforward.data import Data, describe, load_data, take_rows
from pushforward.data.named_columns import split_group
from pushforward.errors import DataError, ModelError

N = 60
SUBJECT = np.repeat(np.arange(12), 5)
X = np.random.default_rng(0).normal(size=(N, 3)) + SUBJECT[:, None]
TABLE = pd.DataFrame({"x": X[:, 0], "subject": SUBJECT, "y": X[:, 1], "kind": np.where(SUBJECT % 2, "odd", "even")})


def fit(data: Any, **more: Any) -> pf.Method:
    run = pf.Run(progress=False, device="cpu", validation=0.3)
    return pf.NeuroSQL(latent_dim=2, width=8).fit(data, budget="3 steps", run=run, **more)


def kept_apart(model: pf.Method, groups: Any) -> bool:
    groups = np.asarray(groups)
    assert len(model.train_rows_) + len(model.held_rows_) == len(groups)
    return len(model.held_rows_) > 0 and not set(groups[model.train_rows_]) & set(groups[model.held_rows_])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "scans.npz"
    objects = np.array([{}, []], dtype=object)
    column = SUBJECT[:, None] % 2
    np.savez(path, X=X, subject=SUBJECT, batch=column, short=np.zeros(3), left=X, odd=objects)
    return path


def test_arrays_beside_the_rows_are_read(archive: Path) -> None:
    data = load_data(archive)
    assert set(data.arrays) == {"subject", "batch"}
    assert data.arrays["batch"].shape == (N,)
    assert "subject (12 values), batch (2 values)" in describe(archive)
    some = take_rows(data, np.array([3, 50]))
    assert isinstance(some, Data)
    assert some.arrays["subject"].tolist() == [0, 10]


def test_rows_and_entries_must_agree() -> None:
    with pytest.raises(DataError, match="60 rows but 3 entries in 'subject'"):
        Data(X, arrays={"subject": np.arange(3)})


@pytest.mark.parametrize(
    "group", [SUBJECT, SUBJECT.tolist(), torch.from_numpy(SUBJECT), pd.Series(SUBJECT).astype(str), SUBJECT + 0.5]
)
def test_groups_from_an_array(group: Any) -> None:
    assert kept_apart(fit(X, group=group), SUBJECT)


def test_groups_by_the_name_of_an_array(archive: Path) -> None:
    model = fit(archive, group="subject")
    assert kept_apart(model, SUBJECT)
    assert model.data_info_["group"] == "subject"


def test_groups_by_labels() -> None:
    assert kept_apart(fit(Data(X, SUBJECT), group="labels"), SUBJECT)


def test_a_column_of_groups_is_not_modelled(tmp_path: Path) -> None:
    model = fit(TABLE, group="subject", condition="kind")
    assert kept_apart(model, SUBJECT)
    model.save(tmp_path / "m")
    for one in (model, pf.load(tmp_path / "m")):
        assert list(one.sample(4, seed=0).columns) == ["x", "y", "kind"]
        assert len(one.encode(TABLE)) == N


def test_the_report_of_a_grouped_table(tmp_path: Path) -> None:
    from pushforward.report import write_report

    frame = TABLE.assign(day=pd.date_range("2024-01-01", periods=N))
    with pytest.warns(UserWarning, match="dates"):
        model = fit(frame, group="subject")
    text = write_report(tmp_path / "report.html", method=model, data=load_data(frame)).read_text()
    assert "Nearest training rows" in text


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("subjekt", r"group: there is no column 'subjekt'\. Perhaps you meant 'subject'\? Known are: subject, batch"),
        (3, "group: there is no column 3"),
        (SUBJECT[:5], "group: one entry a row is needed, got 5 for 60 rows"),
        (np.zeros(N), "group: all rows are of one group"),
        ([None] * N, "group: all rows are of one group"),
    ],
)
def test_groups_that_cannot_be_used(archive: Path, group: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_group(load_data(archive), group)


def test_missing_groups_are_kept_together() -> None:
    group = pd.Series(SUBJECT).astype("Int64").where(SUBJECT != 3)
    assert kept_apart(fit(X, group=group), SUBJECT)


def test_a_condition_by_the_name_of_an_array(archive: Path, tmp_path: Path) -> None:
    model = fit(archive, condition="batch", group="subject")
    assert model.condition_ is not None
    assert model.condition_.values == (0, 1)
    model.save(tmp_path / "m")
    for one in (model, pf.load(tmp_path / "m")):
        assert len(one.encode(archive)) == N
        assert one.sample(4, condition=1, seed=0).shape == (4, 3)
        with pytest.raises(DataError, match="give a label"):
            one.encode(X)
    with pytest.raises(DataError, match=r"condition: there is no column 'bach'\. Perhaps you meant 'batch'"):
        fit(archive, condition="bach")


FLAGS = ["--latent-dim", "2", "--width", "8", "--device", "cpu", "--budget", "5 steps", "--validation", "0.3"]


def test_the_command_line_and_resume_repeat_the_split(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["fit", "neurosql", str(archive), "--out", str(out), "--group", "subject", *FLAGS]) == 0
    assert yaml.safe_load((out / "config.yaml").read_text())["data"]["group"] == "subject"
    assert "whole groups by" in (out / "README.md").read_text()
    first = pf.load(out)
    assert kept_apart(first, SUBJECT)
    config = yaml.safe_load((out / "config.yaml").read_text())
    config["status"] = "interrupted"
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    again = pf.resume(out, progress=False)
    assert np.array_equal(again.held_rows_, first.held_rows_)


def test_resume_asks_for_an_array_of_groups(tmp_path: Path) -> None:
    run = pf.Run(out=tmp_path / "run", progress=False, device="cpu", validation=0.3)
    pf.NeuroSQL(latent_dim=2, width=8).fit(X, budget="3 steps", run=run, group=SUBJECT)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    config["status"] = "interrupted"
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ModelError, match="an array of groups; give them again"):
        pf.resume(tmp_path / "run", X)
    assert kept_apart(pf.resume(tmp_path / "run", X, group=SUBJECT, progress=False), SUBJECT)


@pytest.mark.data
def test_brain_slices_are_split_by_subject(real_data: Path) -> None:
    path = real_data / "brain-slices-64" / "brain_slices_64.npz"
    run = pf.Run(progress=False, device="cpu", validation=0.2)
    small = pf.NeuroSQL(latent_dim=2, width=8, batch_size=16)
    model = small.fit(path, group="subject", budget="1 steps", run=run)
    assert kept_apart(model, np.load(path)["subject"])


@pytest.mark.data
def test_emoji_are_conditioned_on_their_group(real_data: Path) -> None:
    path = real_data / "noto-emoji-64" / "noto_emoji_faces_animals_64.npz"
    data = load_data(path)
    assert set(data.arrays) == {"codepoint", "group"}
    assert np.bincount(data.arrays["group"]).tolist() == [108, 119]


def test_a_column_cannot_be_both_group_and_label() -> None:
    with pytest.raises(DataError, match="group and condition: both are 'kind'"):
        fit(TABLE, group="kind", condition="kind")
