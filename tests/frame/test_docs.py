"""The method in docs/adding-a-method.md is a whole one: it fits, samples, has a density, saves and loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward import method
from pushforward.laws import Gaussian, Law, Pushforward
from pushforward.maps import Affine
from pushforward.method import Method, Paper, TrainingSet
from pushforward.run import Run

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"


def test_the_example_method_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "_REGISTRY", pf.registry())  # all are read by now, and what is added is forgotten
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {
        **{"torch": torch, "Method": Method, "Paper": Paper, "TrainingSet": TrainingSet, "Run": Run, "Law": Law},
        **{"Affine": Affine, "Gaussian": Gaussian, "Pushforward": Pushforward, "__name__": "example"},
    }
    exec(compile(found[1], str(PAGE), "exec", flags=0x1000000), names)  # noqa: S102 - the page's own code, annotations as text
    x = np.random.default_rng(0).normal(size=(500, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 2]])
    model = names["GaussianFit"]().fit(x, run=pf.Run(progress=False, device="cpu"))
    assert np.abs(np.cov(model.sample(20_000, seed=0).T) - np.cov(x.T)).max() < 0.3
    assert model.log_prob(x).shape == (500,)
    model.save(tmp_path / "m")
    assert np.array_equal(pf.load(tmp_path / "m").sample(5, seed=0), model.sample(5, seed=0))
