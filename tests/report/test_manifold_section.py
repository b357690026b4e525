"""The section on the data manifold: drawn for methods that have walks, and for no others."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_checks import Page, assert_self_contained
from stand_in import LinearModel

import pushforward as pf
from pushforward.data import Data
from pushforward.methods import VDAE
from pushforward.metrics.gromov import find_solver
from pushforward.report import manifold_walk as manifold
from pushforward.report import write_report
from pushforward.report.charts import marked_scatter
from pushforward.report.manifold_walk import STRIP, manifold_walk
from pushforward.report.material import gather


def fitted(data: Data) -> Any:
    run = pf.Run(progress=False, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VDAE(latent_dim=2, neighbours=12, local=4, width=8).fit(data, budget="20 steps", run=run)


def pictures(n: int = 80) -> Data:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    rows, columns = np.mgrid[-1:1:6j, -1:1:6j]
    values = 127 + 127 * np.sin(3 * (rows * np.cos(t)[:, None, None] + columns * np.sin(t)[:, None, None]))
    return Data(values.astype(np.uint8), np.where(t < np.pi, "left", "right"), "turns", None)


def test_a_method_without_walks_has_no_section() -> None:
    data = Data(np.random.default_rng(0).normal(size=(200, 3)), None, "vectors", None)
    assert manifold_walk(gather(LinearModel().fit(data), data)) is None


def test_pictures_have_spectrum_labels_and_two_walks() -> None:
    data = pictures()
    section = manifold_walk(gather(fitted(data), data))
    assert section is not None
    body = str(section.body)
    assert "Eigenvalues of the walk" in body
    marks = re.findall(r'<text class="point s\d" [^>]*>(..)</text>', body)
    assert set(marks) == {"le", "ri"}
    assert len(marks) == 72
    assert body.count("<img") == 4
    assert f"{2 * STRIP} of them shown in order" in body
    assert "near training rows by construction" in body


def test_samples_and_real_rows_are_compared_as_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    data = Data(rng.normal(size=(120, 3)), None, "vectors", None)
    material = gather(fitted(data), data)
    if find_solver() is not None:
        assert "Gromov-Wasserstein distance" in str(manifold_walk(material).body)
    monkeypatch.setattr(manifold, "find_solver", lambda: None)
    assert "Gromov" not in str(manifold_walk(material).body)


def test_rows_have_a_walk_as_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = Data(rng.normal(size=(90, 3)), None, "vectors", None)
    path = write_report(tmp_path / "report.html", method=fitted(data), data=data)
    page = path.read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "The data manifold" in page
    assert "A walk on the data from one training row." in page
    assert '<text class="point s' not in page


def test_marks_are_escaped() -> None:
    chart = marked_scatter(np.eye(2), ["<b", "&"], "t")
    assert ">&lt;b</text>" in chart
    assert ">&amp;</text>" in chart
    assert Page(chart).all("svg")[0]["aria-label"] == "t: 2 points with 2 different marks"
