"""Saved models: what is refused, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import pushforward as pf


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    x = np.random.default_rng(0).normal(size=(80, 3))
    run = pf.Run(progress=False, device="cpu")
    pf.NeuroSQL(latent_dim=2, width=8).fit(x, budget="20 steps", run=run).save(folder)
    return folder


@pytest.fixture
def model(original: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(original, tmp_path / "model"))


def edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        change(config)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    return apply


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-9] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(content))


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (drop("config.yaml"), "is not a saved model: it has no config.yaml"),
        (drop("model.safetensors"), "has no model.safetensors"),
        (flip_a_byte, "edited, damaged or swapped"),
        (edit(lambda c: c["parameters"].update(latent_dim=3)), "config.yaml was edited"),
        (edit(lambda c: c["schema"].update(n_rows=5)), "config.yaml was edited"),
        (edit(lambda c: c.update(format=99)), "saved in format 99.*update the package"),
        (edit(lambda c: c.pop("weights_sha256")), "has not finished.*pushforward resume"),
        (lambda folder: (folder / "config.yaml").write_text("{: not yaml"), "cannot be read"),
    ],
    ids=["no config", "no weights", "flipped byte", "parameter", "schema", "newer", "unfinished", "not yaml"],
)
def test_a_harmed_folder_is_refused(model: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(model)
    with pytest.raises(pf.ModelError, match=message):
        pf.load(model)


def test_saving_over_something_is_refused(model: Path) -> None:
    loaded = pf.load(model)
    before = (model / "model.safetensors").read_bytes()
    with pytest.raises(pf.StorageError, match="already holds a run"):
        loaded.save(model)
    assert (model / "model.safetensors").read_bytes() == before
    loaded.save(model, overwrite=True)
    assert np.array_equal(pf.load(model).sample(5, seed=0), loaded.sample(5, seed=0))


def test_a_model_loads_in_another_process_bitwise(model: Path) -> None:
    import subprocess
    import sys

    code = (
        f"import pushforward as pf, sys; sys.stdout.write(pf.load({str(model)!r}).sample(100, seed=0).tobytes().hex())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert there == pf.load(model).sample(100, seed=0).tobytes().hex()


def test_the_card_has_the_numbers(model: Path) -> None:
    card = (model / "README.md").read_text()
    assert "NeuroSQL" in card
    assert "privacy" in card.lower()
    assert "2602.18216" in card


def fit(x: Any, **more: Any) -> pf.Method:
    run = pf.Run(progress=False, device="cpu", **more)
    return pf.NeuroSQL(latent_dim=2, width=8).fit(x, budget="5 steps", run=run)


def test_a_save_that_fails_keeps_the_old_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pf.load(model).sample(5, seed=0)

    def full(*arguments: Any) -> None:
        raise pf.StorageError("the disk is full")

    other = fit(np.random.default_rng(1).normal(size=(40, 2)))
    monkeypatch.setattr("pushforward.saving.write_atomically", full)
    with pytest.raises(pf.StorageError, match="full"):
        other.save(model, overwrite=True)
    monkeypatch.undo()
    assert np.array_equal(pf.load(model).sample(5, seed=0), before)
    assert not (model / ".previous").exists()


def test_a_fit_that_fails_keeps_the_old_run(model: Path) -> None:
    before = pf.load(model).sample(5, seed=0)
    x = np.random.default_rng(0).normal(size=(60, 3))
    with pytest.raises(pf.Diverged):
        run = pf.Run(progress=False, device="cpu", out=model, overwrite=True)
        pf.NeuroSQL(latent_dim=2, width=8, learning_rate=1e30).fit(x, budget="50 steps", run=run)
    assert np.array_equal(pf.load(model).sample(5, seed=0), before)


def test_overwrite_touches_nothing_that_is_not_a_run(tmp_path: Path) -> None:
    """A project with a config.yaml of its own, and a run with a thesis beside it."""
    x = np.random.default_rng(0).normal(size=(60, 3))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "config.yaml").write_text("learning: true")
    with pytest.raises(pf.StorageError, match="other files .config.yaml"):
        fit(x, out=tmp_path / "project", overwrite=True)
    fit(x, out=tmp_path / "run")
    (tmp_path / "run" / "thesis").mkdir()
    with pytest.raises(pf.StorageError, match="other files .thesis"):
        fit(x, out=tmp_path / "run", overwrite=True)
    assert len(pf.load(tmp_path / "run").sample(3)) == 3


def test_a_failed_second_fit_leaves_the_model_as_it_was() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    model = fit(x)
    before = model.sample(4, seed=0)
    with pytest.raises(pf.Diverged):
        model.set_params(learning_rate=1e30).fit(np.hstack([x, x]) * 1000, budget="50 steps", run=pf.Run(device="cpu"))
    assert np.array_equal(model.sample(4, seed=0), before)


def test_parameters_changed_after_the_fit_are_not_saved(tmp_path: Path) -> None:
    model = fit(np.random.default_rng(0).normal(size=(60, 3)))
    model.set_params(latent_dim=7).save(tmp_path / "m")
    assert pf.load(tmp_path / "m").get_params()["latent_dim"] == 2


@pytest.mark.parametrize("key", ["run", "status", "schema", "data"])
def test_a_config_with_a_part_missing(model: Path, key: str) -> None:
    edit(lambda config: config.pop(key))(model)
    with pytest.raises(pf.ModelError, match=f"{key} missing"):
        pf.load(model)


def test_a_conditional_run_is_resumed_with_its_labels_only(tmp_path: Path) -> None:
    """Killed before the first checkpoint, a run given an array of labels must not become an unconditional one."""
    x, labels = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    np.save(tmp_path / "x.npy", x)

    class Killed(BaseException):
        pass

    def kill(record: dict[str, Any]) -> None:
        raise Killed

    run = pf.Run(out=tmp_path / "r", progress=False, device="cpu", checkpoint_every=0, callback=kill)
    with pytest.raises(Killed):
        pf.NeuroSQL(latent_dim=2, width=8).fit(tmp_path / "x.npy", condition=labels, budget="80 steps", run=run)
    with pytest.raises(pf.ModelError, match="give them again: resume"):
        pf.resume(tmp_path / "r")
    with pytest.raises(pf.ModelError, match="data differ"):
        pf.resume(tmp_path / "r", condition=1 - labels)
    with pytest.raises(pf.ModelError, match="data differ"):
        pf.resume(tmp_path / "r", x + 1, condition=labels)
    assert len(pf.resume(tmp_path / "r", condition=labels).sample(4, condition=1)) == 4


def test_errors_speak_of_the_users_rows() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[59, 1] = np.nan
    with pytest.raises(pf.DataError, match=r"\(59, 1\)"):
        fit(x)


def test_too_few_rows_for_the_held_out_share() -> None:
    with pytest.raises(pf.DataError, match="use validation=0"):
        fit(np.random.default_rng(0).normal(size=(4, 2)), validation=0.9)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, None, "7"])
def test_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(ValueError, match="seed: a whole number"):
        pf.Run(seed=seed)
    if seed is not None:
        with pytest.raises(ValueError, match="seed: a whole number"):
            fit(np.random.default_rng(0).normal(size=(40, 2))).sample(2, seed=seed)


def test_numpy_integers_are_seeds_and_counts() -> None:
    model = fit(np.random.default_rng(0).normal(size=(40, 2)))
    assert np.array_equal(model.sample(np.int64(3), seed=np.int32(4)), model.sample(3, seed=4))  # type: ignore[arg-type]


def test_a_wall_budget_makes_at_least_one_step_and_says_how_few() -> None:
    with pytest.warns(UserWarning, match="steps only"):
        model = pf.NeuroSQL(latent_dim=2, width=8).fit(
            np.random.default_rng(0).normal(size=(40, 2)), budget="0.001s", run=pf.Run(progress=False, device="cpu")
        )
    assert any("loss" in record for record in model.history_)


def broken() -> Any:
    """A method whose generator raises in the first step of training."""
    import torch

    class Raising(torch.nn.Linear):
        def forward(self, z: Any) -> Any:
            if torch.is_grad_enabled():
                raise OSError("the machine is on fire")
            return super().forward(z)

    return pf.NeuroSQL(latent_dim=2, generator=Raising(2, 3))


def test_a_failed_resume_deletes_nothing(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(OSError, match="fire"):
        broken().fit(x, run=pf.Run(out=tmp_path, resume=True, progress=False, device="cpu"))
    assert (tmp_path / "notes.txt").read_text() == "precious"


def test_a_finished_model_survives_two_overwrites_that_fail(tmp_path: Path) -> None:
    """The first is killed with only its config.yaml written, the second raises."""
    x, out = np.random.default_rng(0).normal(size=(60, 3)), tmp_path / "r"
    before = fit(x, out=out).sample(4, seed=0)
    (out / ".previous").mkdir()
    for name in [entry.name for entry in out.iterdir() if not entry.name.startswith(".")]:
        (out / name).rename(out / ".previous" / name)
    (out / "config.yaml").write_text("format: 1\nstatus: training\n")
    with pytest.raises(OSError, match="fire"):
        broken().fit(x, run=pf.Run(out=out, overwrite=True, progress=False, device="cpu"))
    assert np.array_equal(pf.load(out).sample(4, seed=0), before)


@pytest.mark.parametrize(
    "moved",
    [
        ["model.safetensors", "README.md"],
        ["config.yaml", "model.safetensors", "README.md", "samples.csv", "history.jsonl"],
    ],
)
def test_a_kill_between_two_moves_is_mended(tmp_path: Path, moved: list[str]) -> None:
    x, out = np.random.default_rng(0).normal(size=(60, 3)), tmp_path / "r"
    before = fit(x, out=out).sample(4, seed=0)
    (out / ".previous").mkdir()
    for name in moved:
        (out / name).rename(out / ".previous" / name)
    with pytest.raises(pf.StorageError, match="already holds a run"):
        fit(x, out=out)
    assert np.array_equal(pf.load(out).sample(4, seed=0), before)
    assert not (out / ".previous").exists()


def test_an_abort_after_the_model_is_saved_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def abort(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pushforward.folders.shutil.rmtree", abort)
    with pytest.raises(KeyboardInterrupt):
        fit(np.random.default_rng(0).normal(size=(60, 3)), out=tmp_path / "r")
    assert len(pf.load(tmp_path / "r").sample(3)) == 3


def test_numpy_parameters_are_saved_as_plain_numbers(tmp_path: Path) -> None:
    run = pf.Run(
        out=tmp_path / "r", validation=np.float64(0.1), checkpoint_every=np.int64(3), progress=False, device="cpu"
    )  # type: ignore[arg-type]
    model = pf.NeuroSQL(latent_dim=np.int64(2), learning_rate=np.float64(1e-3), width=8)  # type: ignore[arg-type]
    model.fit(np.random.default_rng(0).normal(size=(60, 3)), budget="3 steps", run=run)
    assert pf.load(tmp_path / "r").get_params()["latent_dim"] == 2


def test_tables_with_numbers_for_names(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 4))).drop(columns=1)
    frame[3] = np.arange(60) % 2
    run = pf.Run(out=tmp_path / "r", progress=False, device="cpu")
    pf.NeuroSQL(latent_dim=2, width=8).fit(frame, condition=3, budget="3 steps", run=run)
    assert list(pf.load(tmp_path / "r").sample(3, condition=1).columns) == [0, 2, 3]


def test_encoding_needs_no_gradients_from_the_caller() -> None:
    import torch

    x = np.random.default_rng(0).normal(size=(60, 3))
    with torch.no_grad():
        model = fit(x)
    with torch.inference_mode():
        assert model.encode(x[:3]).shape == (3, 2)
        assert model.outlier_score(x[:3]).shape == (3,)


def test_the_card_shows_the_parameters_of_the_fit(tmp_path: Path) -> None:
    fit(np.random.default_rng(0).normal(size=(60, 3))).set_params(latent_dim=9).save(tmp_path / "m")
    assert "| 9 |" not in (tmp_path / "m" / "README.md").read_text()


def test_held_out_rows_that_the_training_rows_cannot_explain_are_left_out() -> None:
    """A category, or a gap, that only held-out rows have: they are not measured, and the fit goes on."""
    import pandas as pd

    from pushforward.data.known import known_rows

    training = pd.DataFrame({"job": ["cook", "clerk", "cook"], "age": [30.0, 40.0, 50.0]})
    held = pd.DataFrame({"job": ["cook", "nurse", "clerk"], "age": [35.0, 36.0, np.nan]})
    assert known_rows(held, training).tolist() == [True, False, False]
    assert known_rows(np.zeros((4, 2)), np.zeros((9, 2))).all()
    frame = pd.DataFrame({"job": ["cook", "clerk"] * 50, "age": np.arange(100.0)})
    odd = next(seed for seed in range(50) if 7 in pf.data.split_rows(100, 0.1, seed=seed)[1])
    frame.loc[7, "job"] = "nurse"
    model = fit(frame, seed=odd)
    assert 7 not in set(model.held_rows_) | set(model.train_rows_)
    assert set(model.sample(50, seed=0)["job"]) <= {"cook", "clerk"}
