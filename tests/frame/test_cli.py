"""The command line: what it prints, writes and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pushforward.cli import COMMANDS, main

FAST = ["--budget", "15 steps", "--latent-dim", "3", "--width", "8", "--device", "cpu"]


def fit(data: Path | str, out: Path, *more: str) -> int:
    return main(["fit", "neurosql", str(data), "--out", str(out), *FAST, *more])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for k in range(40):
        (folder / "ab"[k % 2]).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (10, 12, 3), dtype=np.uint8)).save(folder / "ab"[k % 2] / f"{k:02}.png")
    return folder


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pictures"
    assert fit(pictures, out) == 0
    return out


def test_a_fit_writes_everything(run: Path) -> None:
    names = {entry.name for entry in run.iterdir()}
    assert names == {"config.yaml", "model.safetensors", "README.md", "history.jsonl", "samples.png", "report.html"}
    report = (run / "report.html").read_text()
    for title in ("Samples", "Reconstructions", "Interpolations", "Nearest training", "Training", "time went"):
        assert title in report


@pytest.mark.parametrize("name", ["grid.png", "s.npy", "s.csv", "s.parquet", "folder"])
def test_samples_in_every_format(run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(run), "-n", "6", "--seed", "1", "--out", str(tmp_path / name)]) == 0
    assert str(tmp_path / name) in capsys.readouterr().out
    counts = {
        "grid.png": lambda p: 6 * (np.asarray(Image.open(p)).size > 6 * 10 * 12),
        "s.npy": lambda p: len(np.load(p)),
        "s.csv": lambda p: len(pd.read_csv(p)),
        "s.parquet": lambda p: len(pd.read_parquet(p)),
        "folder": lambda p: len(list(p.glob("*.png"))),
    }
    assert counts[name](tmp_path / name) == 6


def test_a_table_from_file_to_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"size": rng.integers(1, 9, 90), "price": rng.gamma(2, 3, 90).round(2), "kind": rng.choice(["a", "b"], 90)}
    )
    frame.to_csv(tmp_path / "table.csv", index=False)
    assert fit(tmp_path / "table.csv", tmp_path / "run", "--condition", "kind") == 0
    assert (
        main(["sample", str(tmp_path / "run"), "-n", "9", "--condition", "b", "--out", str(tmp_path / "new.csv")]) == 0
    )
    new = pd.read_csv(tmp_path / "new.csv")
    assert list(new.columns) == ["size", "price", "kind"]
    assert set(new["kind"]) == {"b"}
    assert new["price"].between(frame["price"].min(), frame["price"].max()).all()
    assert (tmp_path / "run" / "samples.csv").exists()


def test_a_folder_with_labels_conditions(pictures: Path, tmp_path: Path) -> None:
    assert fit(pictures, tmp_path / "run", "--condition", "labels") == 0
    assert main(["sample", str(tmp_path / "run"), "-n", "2", "--condition", "a", "--out", str(tmp_path / "a.png")]) == 0


def test_show_methods_cite_describe_doctor(run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, wanted in [
        (["show", str(run)], "NeuroSQL"),
        (["methods", "--can", "encode", "--data", "table"], "NeuroSQL"),
        (["methods", "--can", "log_prob", "--data", "image"], "GaussianMixture"),
        (["cite", "neurosql"], "2602.18216"),
        (["describe", str(pictures)], "40"),
        (["doctor"], "fit and sample"),
        (["--version"], "pushforward"),
    ]:
        assert main(arguments) == 0, arguments
        assert wanted in capsys.readouterr().out, arguments


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [name, "neurosql", "--help"] if name == "fit" else [name, "--help"]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_fit_help_explains_every_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "neurosql", "--help"])
    text = capsys.readouterr().out
    for flag in ("--latent-dim", "--lattice", "--noise", "--budget", "--out", "--seed", "--condition"):
        assert flag in text
    assert "dimension d of the latent law" in " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fti"], "Perhaps you meant 'fit'"),
        (["fit", "neurosq", "digits"], "Perhaps you meant 'NeuroSQL'"),
        (["fit", "neurosql", "digit"], "digits"),
        (["fit", "neurosql", "digits", "--budget", "0s"], "leaves no time"),
        (["fit", "neurosql", "digits", "--latent-dim", "5000"], "latent_dim: must be between 1 and"),
        (["fit", "neurosql", "digits", "--validation", "1.5"], "validation"),
        (["fit", "neurosql", "digits", "--device", "abacus"], "device: 'abacus' cannot be used"),
        (["fit", "neurosql", "digits", "--condition", "mood"], "no column 'mood'"),
        (["sample", "nowhere"], "is not a saved model"),
        (["resume", "nowhere"], "is not a saved model"),
        (["methods", "--can", "encod"], "Perhaps you meant 'encode'"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not any(entry.is_file() for entry in tmp_path.rglob("*"))


def test_an_unknown_flag_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "neurosql", "digits", "--laten-dim", "3"])
    assert stopped.value.code == 2
    assert "--latent-dim" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"), [("x.xyz", "ending that is not known"), ("x.txt", "ending that is not known")]
)
def test_an_ending_that_is_not_known(
    run: Path, tmp_path: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", str(run), "--out", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err


class TestBadFolders:
    def test_empty(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "scans").mkdir()
        assert fit(tmp_path / "scans", tmp_path / "r") == 2
        assert "scans" in capsys.readouterr().err

    def test_one_picture(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "scans").mkdir()
        Image.new("L", (8, 8)).save(tmp_path / "scans" / "a.png")
        assert fit(tmp_path / "scans", tmp_path / "r") == 2
        assert "row" in capsys.readouterr().err

    def test_mixed_sizes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "scans").mkdir()
        for k in range(5):
            Image.new("L", (8, 8 + k // 4)).save(tmp_path / "scans" / f"{k}.png")
        assert fit(tmp_path / "scans", tmp_path / "r") == 2
        assert "4.png" in capsys.readouterr().err

    def test_truncated(self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "scans").mkdir()
        good = (pictures / "a" / "00.png").read_bytes()
        for k in range(5):
            (tmp_path / "scans" / f"{k}.png").write_bytes(good if k != 3 else good[: len(good) // 2])
        assert fit(tmp_path / "scans", tmp_path / "r") == 2
        assert "3.png" in capsys.readouterr().err

    def test_ten_thousand_names(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        frame = pd.DataFrame({"name": [f"person {k}" for k in range(10_000)], "age": np.arange(10_000) % 90})
        frame.to_csv(tmp_path / "people.csv", index=False)
        assert fit(tmp_path / "people.csv", tmp_path / "r") == 2
        message = capsys.readouterr().err
        assert "'name'" in message
        assert "drop" in message

    def test_a_constant_column_is_kept_constant(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        frame = pd.DataFrame({"year": 2020, "age": np.arange(50), "size": np.arange(50) ** 0.5})
        frame.to_csv(tmp_path / "t.csv", index=False)
        assert fit(tmp_path / "t.csv", tmp_path / "r") == 0
        assert "year" in capsys.readouterr().err
        assert set(pd.read_csv(tmp_path / "r" / "samples.csv")["year"]) == {2020}


def test_the_report_shows_the_run_and_not_its_fingerprint(run: Path) -> None:
    for page in ("report.html", "README.md"):
        text = (run / page).read_text()
        assert "fingerprint" not in text.lower()
        assert "15 steps" in text
