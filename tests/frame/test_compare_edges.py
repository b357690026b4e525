"""``pf.compare`` at its edges: the user's files stay, and what does not fit is told with its reason."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import pushforward as pf
from pushforward.compare import course
from pushforward.compare.entrants import entrants_of
from pushforward.compare.folder import open_folder
from pushforward.compare.trial import _timed_samples, outcome_of

QUICK: dict[str, Any] = {
    "methods": [pf.GaussianMixture(components=1)],
    "budget": "2 steps",
    "seeds": 1,
    "progress": False,
}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits in this process."""
    monkeypatch.setattr(course, "run_job", lambda job, work, tick: outcome_of(json.loads(json.dumps(job))))


def table(n: int = 120, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n)
    return pd.DataFrame({"size": size, "kind": rng.choice(["a", "b"], n), "class": rng.integers(0, 3, n)})


# ---------------------------------------------------------------------- the folder


@pytest.mark.parametrize(
    "name",
    ["table.csv", "table.md", "report.html", "samples.png", "results/mine.json", ".work/mine.txt", "config.yaml"],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_are_called_like_ours_are_left_alone(tmp_path: Path, name: str, overwrite: bool) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with (
        pytest.raises(pf.StorageError, match=f"other files .{name.split('/')[0]}"),
        open_folder(tmp_path, {}, overwrite=overwrite),
    ):
        pass
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_comparison_that_was_killed_at_its_beginning_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / ".work").mkdir()
    for name in ("features.safetensors", ".config.yaml.123.tmp", ".lock"):
        (tmp_path / name).write_text("")
    pf.compare(table(), out=tmp_path, **QUICK)
    assert (tmp_path / "report.html").exists()


# ---------------------------------------------------------------------- who takes part


def test_a_class_alone_is_a_method() -> None:
    assert [entrant.label for entrant in entrants_of(pf.GaussianMixture, "")] == ["GaussianMixture"]  # type: ignore[arg-type]


def test_what_is_no_method_is_refused() -> None:
    wrong: Any = 3
    with pytest.raises(ValueError, match="methods: names of methods"):
        entrants_of(wrong, "")


# ---------------------------------------------------------------------- held-out rows that do not fit


def test_classes_may_be_written_as_text() -> None:
    held = table(60, 1)
    held["class"] = held["class"].astype(str)
    board = pf.compare(table(), holdout=held, condition="class", **QUICK)
    assert board.context["held"] == 60
    assert not board.results[0].failed


@pytest.mark.parametrize(
    ("holdout", "told"),
    [
        (table(60, 1).assign(kind="c"), "holds the category 'c'"),
        (table(60, 1).assign(size="wide"), "'size'"),
        (pd.concat([table(60, 1), table(60, 1)[["size"]]], axis=1), "named 'size'"),
        (
            table(60, 1).assign(kind=["a"] * 10 + ["c"] * 50),
            "10 held-out rows are too few .*50 held-out rows .* left out",
        ),
        (table(60, 1).assign(**{"class": 7}), "0 held-out rows are too few .*60 held-out rows .* classes .* left out"),
        (table(60, 1).assign(**{"class": 1}), "all rows are of the class 1, but 3 classes"),
    ],
    ids=[
        "other categories",
        "text for numbers",
        "a name twice",
        "few of known categories",
        "other classes",
        "one class",
    ],
)
def test_held_out_rows_that_do_not_fit_say_why(holdout: pd.DataFrame, told: str) -> None:
    with pytest.raises(pf.DataError, match=told):
        pf.compare(table(), holdout=holdout, condition="class", **QUICK)


# ---------------------------------------------------------------------- what is timed


def test_the_first_call_is_not_timed() -> None:
    class Slow:
        calls: ClassVar[list[int]] = []

        def sample(self, n: int, *, seed: int) -> np.ndarray:
            time.sleep(0.0 if self.calls else 0.5)
            self.calls.append(n)
            return np.zeros((n, 2))

    samples, seconds = _timed_samples(Slow(), {"n": 7, "seed": 3})  # type: ignore[arg-type]
    assert len(samples) == Slow.calls[-1] == 7
    assert seconds < 0.4


# ---------------------------------------------------------------------- what is shown


def test_the_picture_of_held_out_rows_is_not_that_of_one_class(tmp_path: Path) -> None:
    """Folders of pictures are sorted by class: the first held-out rows are all alike."""
    rng = np.random.default_rng(0)
    shades = np.repeat([60, 190], 200)[:, None, None] + rng.integers(0, 5, (400, 6, 6))
    pf.compare(shades.astype(np.uint8), out=tmp_path / "out", **QUICK)
    picture = np.asarray(Image.open(tmp_path / "out" / "results" / "reference.png").convert("L"))
    dark, light = (np.mean((picture >= low) & (picture < low + 5)) for low in (60, 190))
    assert 0.2 < dark / (dark + light) < 0.8


def test_reconstructions_are_measured_on_rows_of_all_sorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that gives back what it got is perfect, and it was given more than the first rows of a sorted file."""
    given = []

    def same(self: pf.Method, data: Any, *, condition: object = None) -> Any:
        given.append(np.asarray(data.values))
        return data.values

    monkeypatch.setattr(pf.VAE, "reconstruct", same)
    rng = np.random.default_rng(0)
    shades = (np.repeat([60, 190], 400)[:, None, None] + rng.integers(0, 5, (800, 12, 12))).astype(np.uint8)
    board = pf.compare(shades, validation=0.4, **{**QUICK, "methods": [pf.VAE(latent_dim=2, width=8)]})
    assert board.results[0].metrics["ssim"].value == pytest.approx(1)
    model = pf.VAE(latent_dim=2, width=8).fit(shades, budget="2 steps", run=pf.Run(progress=False))
    assert pf.evaluate(model, shades[::2]).metrics["ssim"].value == pytest.approx(1)
    for rows in given:
        assert len(rows) == 128
        assert 0.2 < np.mean(rows < 100) < 0.8
