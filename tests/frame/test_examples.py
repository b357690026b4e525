"""The examples run, with a small budget, and say what they promise."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"digits", "table", "outliers", "laws_and_maps", "compare"}


@pytest.mark.filterwarnings("ignore:.*memorises")
def test_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("digits").main(tmp_path / "run", budget="60 steps")
    assert "recall" in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "interpolations.png").exists()


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    example("table").main(budget="400 steps")
    out = capsys.readouterr().out
    clerk, engineer = (float(line.split("income ")[1].split()[0]) for line in out.splitlines() if "generated" in line)
    assert clerk < engineer


def test_outliers(capsys: pytest.CaptureFixture[str]) -> None:
    example("outliers").main(budget="800 steps")
    assert int(capsys.readouterr().out.split(" in ")[1].split()[0]) >= 90


def test_laws_and_maps(capsys: pytest.CaptureFixture[str]) -> None:
    example("laws_and_maps").main()
    assert "squared W2" in capsys.readouterr().out


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("compare").main(tmp_path / "board", budget="10 steps")
    out = capsys.readouterr().out
    assert all(name in out for name in ("GaussianMixture", "NeuroSQL", "VAE(latent_dim=4)", "training rows"))
    assert (tmp_path / "board" / "report.html").exists()
