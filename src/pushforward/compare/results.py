"""What one fit of a comparison came to, as it stands in ``results/*.json``."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pushforward.metrics.measurement import Measurement

REFERENCE = "training rows"  # the label of the reference: training rows in the place of samples


@dataclass(frozen=True)
class Result:
    """One method and one seed.

    Attributes:
        label: of the method with its parameters.
        seed: of training and sampling.
        failed: why there is nothing to measure; empty where all went well.
        refused: whether it failed because the method does not take the data or its parameters, whatever the seed.
        metrics: the numbers by name.
        unmeasured: why others were not measured, by name.
        facts: ``seconds`` and ``cpu_seconds`` of training, ``steps``, ``samples`` and ``sampling_seconds``, ``parameters``,
            ``peak_bytes``, and ``total_seconds`` from the start of the process to the last number.
        warnings: of the fit.
        plane: samples on the first two principal axes of the held-out rows ``[k, 2]``, for vectors and tables.
        picture: name of a picture of samples beside the file, for images; empty otherwise.
    """

    label: str
    seed: int
    failed: str = ""
    refused: bool = False
    metrics: dict[str, Measurement] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    plane: tuple[tuple[float, float], ...] = ()
    picture: str = ""

    @property
    def settled(self) -> bool:
        """Whether continuing leaves it as it is: it went well, or was refused; what broke down is tried again."""
        return not self.failed or self.refused

    def as_json(self) -> str:
        """As the text of a file; what is not finite is null."""
        plain = asdict(self) | {"metrics": {name: _nulls(asdict(found)) for name, found in self.metrics.items()}}
        return json.dumps(plain, indent=1, allow_nan=False) + "\n"

    @staticmethod
    def read(path: Path) -> Result | None:
        """The result in a file; None where there is none, or it cannot be read."""
        try:
            plain: dict[str, Any] = json.loads(path.read_text())
            plain["metrics"] = {name: Measurement(**_nans(found)) for name, found in plain["metrics"].items()}
            plain["warnings"], plain["plane"] = tuple(plain["warnings"]), tuple(tuple(p) for p in plain["plane"])
            return Result(**plain)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _nulls(numbers: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in numbers.items()}


def _nans(numbers: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in numbers.items()}
