"""What all tests share: one thread, the same examples of Hypothesis in every run, the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

settings.register_profile("same", derandomize=True)
settings.load_profile("same")  # a change is judged by what it does; --hypothesis-profile=default looks for new examples


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("PUSHFORWARD_DATA") and Path(os.environ["PUSHFORWARD_DATA"]).is_dir():
        return
    skip = pytest.mark.skip(reason="real data: set PUSHFORWARD_DATA to the folder that holds them")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data; tests that use it are marked `data`."""
    return Path(os.environ["PUSHFORWARD_DATA"])
