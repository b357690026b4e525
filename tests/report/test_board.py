"""The page of a comparison: one file that stands alone, shows everybody, and opens in a browser without a complaint."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_checks import Page, assert_self_contained
from PIL import Image

from pushforward.compare import Board
from pushforward.compare.results import REFERENCE, Result
from pushforward.metrics import Measurement
from pushforward.report.board import write_board_page, write_samples_picture
from pushforward.report.grids import image_grid, png_bytes
from pushforward.report.intervals import Interval, interval_chart

EVIL = "<img src=x onerror=alert(1)>"
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
NUMBERS = {
    "image": {
        "frechet": 2.0,
        "recall": 0.7,
        "c2st_auc": 0.8,
        "kid": 0.1,
        "nearest_ratio_5": 1.1,
        "memorisation_p": 0.4,
    },
    "table": {"column_shapes": 0.9, "pair_trends": 0.8, "detection_forest": 0.7, "record_nearer": 0.8, "frechet": 1.0},
    "vector": {"frechet": 2.0, "recall": 0.7, "c2st_auc": 0.8, "nearest_ratio_5": 1.1},
}


def result(label: str, kind: str, seed: int = 0, scale: float = 1.0, width: int = 2) -> Result:
    rng = np.random.default_rng(seed)
    scale = 1 / scale if kind == "table" else scale  # there more is better
    numbers = {name: Measurement(v * scale, 0.8 * v * scale, 1.3 * v * scale, 90) for name, v in NUMBERS[kind].items()}
    facts = {"seconds": 61.0, "cpu_seconds": 60.0, "steps": 100.0, "samples": 90.0, "sampling_seconds": 0.1}
    plane = (
        ()
        if kind == "image"
        else tuple(map(tuple, np.pad(rng.normal(size=(80, width)), ((0, 0), (0, 2 - width))).tolist()))
    )
    more = {"parameters": 12345.0, "peak_bytes": 3e8, "total_seconds": 70.0}
    return Result(label, seed, metrics=numbers, facts={**facts, **more}, warnings=("look here",), plane=plane)


def picture() -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    return png_bytes(image_grid(values, columns=6, background=None))


def board(kind: str, width: int = 2) -> Board:
    results = [result("NeuroSQL", kind, seed, 1 + 0.1 * seed, width) for seed in (0, 1)]
    results += [result(f"VAE(prior='{EVIL}')", kind, 0, 1.5, width), Result("GAN", 0, failed=f"out of {EVIL} memory")]
    copier = result("copier", kind, 0, 0.9, width)
    copies = {"memorisation_p": Measurement(1e-9, 0, 1, 90), "nearest_ratio_5": Measurement(0.1, 0, 0.2, 90)}
    results.append(replace(copier, metrics={**copier.metrics, **copies}))
    context: dict[str, Any] = {
        "data": f"scans {EVIL}",
        "kind": kind,
        "shape": [3, 8, 8] if kind == "image" else [width],
        "rows": 1000,
        "held": 90,
        "held_out": False,
        "budget": "60s",
        "seeds": [0, 1],
        "condition": None,
        "features": {"name": "random-64", "told": "fixed random weights"},
        "machine": "CPU, 2 cores",
        "notes": ["5 rows were left out"],
        "missing": 3,
        "methods": {"NeuroSQL": {"latent_dim": 2}, "GAN": {}},
        "versions": {"pushforward": "0", "torch": "2"},
    }
    pictures = {name: picture() for name in ("held-out rows", "NeuroSQL", "copier")} if kind == "image" else {}
    return Board(tuple(results), result(REFERENCE, kind, 5, 0.7, width), context, pictures)


CASES = {"image": ("image", 2), "table": ("table", 2), "vector": ("vector", 2), "line": ("vector", 1)}


@pytest.fixture(scope="module", params=CASES)
def written(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("board") / "report.html"
    write_board_page(path, board(*CASES[request.param]))
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    return request.param, path


def test_the_page_stands_alone(written: tuple[str, Path]) -> None:
    text = written[1].read_text()
    assert_self_contained(text)
    assert EVIL not in text


def test_the_page_shows_everybody_and_says_what_is_wrong(written: tuple[str, Path]) -> None:
    text = Page(written[1].read_text()).text
    for wanted in (
        "1. NeuroSQL",
        "2. VAE",
        "3. copier",
        "put last",
        "Failed: out of",
        "training rows",
        "were not held out",
        "not complete: 3 fits",
        "5 rows were left out",
        "look here",
        "mean rank over",
        "Python and torch included",
        "latent_dim=2",
        "no parameters",
    ):
        assert wanted in text, wanted
    assert "nan" not in text.lower().split()


def test_every_picture_opens_and_has_a_description(written: tuple[str, Path]) -> None:
    page = Page(written[1].read_text())
    tags = page.all("img")
    assert len(tags) == (3 if written[0] == "image" else 0)
    for tag in tags:
        opened = Image.open(io.BytesIO(base64.b64decode(tag["src"].partition("base64,")[2])))
        opened.load()
        assert (opened.width, opened.height) == (int(tag["width"]), int(tag["height"]))
        assert tag["alt"]
    charts = page.all("svg")
    assert len(charts) == {"image": 4, "table": 7, "vector": 7, "line": 7}[written[0]]
    assert all(chart["aria-label"] for chart in charts)


def test_the_same_board_gives_the_same_page(tmp_path: Path) -> None:
    pages = [write_board_page(tmp_path / name, board("vector")).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_the_samples_of_all_methods_stand_in_one_picture(tmp_path: Path) -> None:
    write_samples_picture(tmp_path / "samples.png", board("image"))
    one = Image.open(io.BytesIO(picture()))
    assert Image.open(tmp_path / "samples.png").width > 3 * one.width
    write_samples_picture(tmp_path / "none.png", board("vector"))
    assert not (tmp_path / "none.png").exists()


def test_a_board_of_failures_is_a_page(tmp_path: Path) -> None:
    empty = board("image")
    failed = replace(empty, results=(Result("GAN", 0, failed="no"),), reference=Result("", 0), pictures={})
    text = write_board_page(tmp_path / "r.html", failed).read_text()
    assert_self_contained(text)
    assert "No method can be recommended" in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("size", ["390,2400", "1280,2400"])
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_opens_the_page_without_a_complaint(size: str, dark: bool, tmp_path: Path) -> None:
    path = write_board_page(tmp_path / "report.html", board("image"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--v=0"]
    flags += [
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={size}",
        f"--screenshot={tmp_path / 'shot.png'}",
    ]
    flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
    home = {**os.environ, "HOME": str(tmp_path)}
    ran = subprocess.run([str(BROWSER), *flags, path.as_uri()], capture_output=True, text=True, env=home, timeout=240)
    assert not [line for line in ran.stderr.splitlines() if re.search(r"CONSOLE", line)], ran.stderr
    shot = np.asarray(Image.open(tmp_path / "shot.png").convert("L"))
    assert shot.shape == tuple(int(part) for part in reversed(size.split(",")))
    assert (shot[0, 0] < 60) == dark
    assert shot.std() > 10


# ---------------------------------------------------------------------- the chart


def circles(svg: str) -> list[float]:
    return [float(x) for x in re.findall(r'<circle[^>]* cx="([\d.]+)"', svg)]


def test_dots_stand_where_their_values_are() -> None:
    chart = interval_chart(
        {"a": Interval(1, 0, 2), "b": Interval(2, 1, 3), "c": Interval(3, 2, 4)}, "t", line=("real", 2)
    )
    first, second, third = circles(chart)
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert f'd="M{second:.1f} ' in chart  # the line of the reference
    assert "a: 1, 0 to 2" in chart


def test_a_wide_range_gets_a_logarithmic_axis() -> None:
    first, second, third = circles(interval_chart({str(v): Interval(v, v, v) for v in (1.0, 10.0, 100.0)}, "t"))
    assert second - first == pytest.approx(third - second, abs=0.2)


@pytest.mark.parametrize(
    "items", [{}, {"a": Interval(0, 0, 0)}, {"a": Interval(1, float("nan"), float("nan"), [1, 1])}]
)
def test_odd_values_are_drawn_or_told(items: dict[str, Interval]) -> None:
    chart = interval_chart(items, EVIL)
    Page(chart)
    assert EVIL not in chart
    assert "nan" not in chart
