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
