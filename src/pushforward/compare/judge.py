"""The judge of a comparison: the same features, the same held-out rows and the same random numbers for all samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pushforward.compare.handover import read_data
from pushforward.compare.results import REFERENCE, Result
from pushforward.compare.rows import Rows, in_random_order, some_rows
from pushforward.compare.views import Plane, write_picture
from pushforward.data import Data
from pushforward.features import FeatureName, features_for
from pushforward.metrics.measurement import Measurement
from pushforward.metrics.rows import FeatureMap
from pushforward.scoring import score


class Judge:
    """Measures samples.

    Args:
        rows: those of the comparison.
        features: as for `features_for`, which makes them from the training rows.
        seed: of the features and of the metrics.
        device: where both are computed.
        cache: file that keeps a trained classifier.
    """

    def __init__(
        self, rows: Rows, features: FeatureName | FeatureMap | None, *, seed: int, device: torch.device, cache: Path
    ) -> None:
        self.rows, self.seed, self.device = rows, seed, device
        labelled = replace(rows.train, labels=rows.labels)
        self.features = features_for(labelled, rows.schema, features=features, seed=seed, device=device, cache=cache)
        self._plane = Plane.of(rows, seed)

    def reference(self, picture: Path) -> Result:
        """Training rows in the place of samples: the numbers of the right law, where every sample is a copy.

        Its picture and its points are those of held-out rows in random order: files are often sorted by class.
        """
        order = np.random.default_rng(self.seed).permutation(len(self.rows.train))
        picked = some_rows(self.rows.train, np.sort(order[: len(self.rows.held)]))
        found, unmeasured = self._score(picked, None)
        held = in_random_order(self.rows.held, self.seed).values
        points, name = self._plane.points(held), write_picture(held, self.rows.schema, picture)
        return Result(REFERENCE, self.seed, metrics=found, unmeasured=unmeasured, plane=points, picture=name)

    def result(self, label: str, seed: int, outcome: dict[str, Any], work: Path, picture: Path) -> Result:
        """The outcome of `trial`, with the numbers of the samples that it has left in ``work``."""
        if "failed" in outcome:
            return Result(label, seed, failed=outcome["failed"], refused=bool(outcome.get("refused")))
        warnings = tuple(outcome["warnings"])
        facts = {key: value for key, value in outcome.items() if key != "warnings" and value is not None}
        rebuilt = work / "rebuilt.npz"
        try:
            samples = read_data(work / "samples.npz")
            found, unmeasured = self._score(samples, read_data(rebuilt).values if rebuilt.exists() else None)
            points, name = self._plane.points(samples.values), write_picture(samples.values, self.rows.schema, picture)
        except Exception as error:  # whatever the samples are, the other methods go on
            why = f"the samples could not be measured: {type(error).__name__}: {error}"
            return Result(label, seed, failed=why, facts=facts, warnings=warnings)
        return Result(label, seed, "", False, found, unmeasured, facts, warnings, points, name)

    def _score(self, samples: Data, rebuilt: Any) -> tuple[dict[str, Measurement], dict[str, str]]:
        rows = self.rows
        return score(
            samples,
            rows.train,
            rows.held,
            rows.schema,
            features=self.features,
            target=rows.target,
            rebuilt=rebuilt,
            seed=self.seed,
            device=self.device,
        )
