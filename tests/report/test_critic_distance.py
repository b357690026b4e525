"""The section on the critic's distance: the flux is W1 on the line, its residual and the penalty's kind are told."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from html_checks import assert_self_contained
from torch import nn

import pushforward as pf
from pushforward.data import Data
from pushforward.methods import SNGAN, WGANGP
from pushforward.report import write_report

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}


@lru_cache
def shifted(one_sided: bool) -> tuple[WGANGP, Data]:
    """A generator that stays far from the data, and a critic with 300 steps for each of its four."""
    data = Data(np.random.default_rng(0).normal(size=(1200, 1)), None, "line", None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hidden = [nn.Linear(1, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1)]
    critic, rates = nn.Sequential(*hidden, nn.Flatten(0)), {"learning_rate": 1e-6, "critic_learning_rate": 2e-3}
    model = WGANGP(latent_dim=2, width=8, one_sided=one_sided, critic=critic, critic_steps=300, batch_size=128, **rates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data, budget="4 steps", run=pf.Run(validation=0.3, **QUIET))
    return model, data


def test_the_flux_is_w1_on_the_line_and_the_report_says_so(tmp_path: Path) -> None:
    model, data = shifted(True)
    held = np.sort(model.schema_.encode(data.values[model.held_rows_]).numpy().ravel())
    made = model.schema_.encode(model.sample(len(held), seed=1)).numpy().ravel()
    distance = np.abs(held - np.sort(made)).mean()
    numbers = model.validation_
    assert distance > 0.5
    assert numbers["flux"] == pytest.approx(distance, rel=0.12)
    assert numbers["flux_residual"] < 0.2
    page = write_report(tmp_path / "report.html", method=model, data=data).read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "Distance by the critic" in page
    assert "so the flux can be used" in page
    assert "two-sided" not in page
    again = pf.load(model.save(tmp_path / "m"), critic=model.critic)
    assert again.validation_["flux"] == pytest.approx(numbers["flux"])


def test_a_two_sided_penalty_is_named_in_the_report(tmp_path: Path) -> None:
    model, data = shifted(False)
    page = write_report(tmp_path / "report.html", method=model, data=data).read_text(encoding="utf-8")
    assert "two-sided penalty, for which there is no such theorem" in page
    other = SNGAN(latent_dim=2, width=8, critic_steps=1).fit(data, budget="2 steps", run=pf.Run(**QUIET))
    assert "Distance by the critic" not in write_report(tmp_path / "o.html", method=other, data=data).read_text()
