"""What all tests share: the folder of real data, and a guard on torch's global generator."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


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
