"""The section on translation: source, moved and target rows stand below each other, with the error where rows are pairs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_checks import assert_self_contained

import pushforward as pf
from pushforward.data import Data
from pushforward.report import write_report

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}


def pictures(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    clean = np.repeat(rng.uniform(60, 200, size=(n, 1, 1)), 6, 1).repeat(6, 2)
    noisy = clean + 25 * rng.normal(size=clean.shape)
    first, second = (np.clip(x, 0, 255).astype(np.uint8) for x in (clean, noisy))
    return first, second


def report(model: pf.TTC, target: np.ndarray, path: Path) -> str:
    page = write_report(path / "report.html", method=model, data=Data(target, None, "these", None)).read_text()
    assert_self_contained(page)
    return page


def test_strips_of_pairs_and_the_error_before_and_after(tmp_path: Path) -> None:
    clean, noisy = pictures(120)
    model = pf.TTC(critics=2, width=8, penalty=10.0, batch_size=64)
    model.fit(clean, source=noisy, budget="80 steps", run=pf.Run(validation=0.2, **QUIET))
    page = report(model, clean, tmp_path)
    assert "Source and moved rows" in page
    assert [page.count(f"<span>{name}</span>") for name in ("source", "moved", "target")] == [2, 2, 2]
    found = re.search(r"error went from ([\d.]+) to ([\d.]+) on the encoded", page)
    assert found is not None
    before, after = map(float, found.groups())
    x, y = (model.schema_.encode(part[model.held_rows_][[0, -1]]) for part in (noisy, clean))
    assert before == pytest.approx(float((x - y).square().mean().sqrt()), rel=0.3)
    assert after < before


def test_without_pairs_there_is_no_target(tmp_path: Path) -> None:
    clean, noisy = pictures(80)
    model = pf.TTC(critics=1, width=8).fit(clean, source=noisy[:60], budget="5 steps", run=pf.Run(**QUIET))
    page = report(model, clean, tmp_path)
    assert "<span>moved</span>" in page
    assert "<span>target</span>" not in page


def test_vectors_are_shown_as_rows_and_noise_as_source_has_no_section(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 2))
    model = pf.TTC(critics=1, width=8).fit(rows + 3, source=rows, budget="5 steps", run=pf.Run(**QUIET))
    assert "Source and moved rows" in report(model, rows + 3, tmp_path)
    model = pf.TTC(critics=1, width=8).fit(rows, budget="5 steps", run=pf.Run(**QUIET))
    assert "Source and moved rows" not in report(model, rows, tmp_path)


def test_the_report_and_the_card_claim_no_density_of_critics_with_kinks() -> None:
    from pushforward.report.card import model_card
    from pushforward.report.material import able

    rows = np.random.default_rng(0).normal(size=(60, 2))
    kinked = pf.TTC(critics=1, width=4).fit(rows, budget="3 steps", run=pf.Run(**QUIET))
    smooth = pf.TTC(critics=1, width=4, activation="silu").fit(rows, budget="3 steps", run=pf.Run(**QUIET))
    assert "log_prob" in able(smooth)
    assert "log_prob" not in able(kinked)
    assert "log prob" not in model_card(kinked, "rows")
    assert "log prob" in model_card(smooth, "rows")
