"""A linear model with the attributes of a fitted Method, so that reports can be tested without training anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pushforward.data import Data, fit_schema, split_rows, take_rows
from pushforward.method import Paper


class LinearModel:
    """Principal components with Gaussian codes."""

    paper = Paper("A <b>title</b> & more", "Ada Author and Ben Writer", 2026, "2602.00000")

    def __init__(self, rank: int = 8) -> None:
        self.rank = rank

    def fit(self, data: Data, *, validation: float = 0.2) -> LinearModel:
        self.train_rows_, self.held_rows_ = split_rows(len(data), validation, seed=0)
        self.schema_ = fit_schema(take_rows(data.values, self.train_rows_))
        x = self.schema_.encode(take_rows(data.values, self.train_rows_)).flatten(1)
        self._mean = x.mean(0)
        _, size, axes = torch.linalg.svd(x - self._mean, full_matrices=False)
        self._axes = axes[: self.rank] * (size[: self.rank, None] / len(x) ** 0.5).clamp_min(1e-3)
        self.condition_ = None
        self.validation_ = {
            "n": 300.0,
            "w2_ratio": 1.31,
            "precision": 0.78,
            "recall": 0.36,
            "nearest_ratio": 0.97,
            "memorisation_p": 0.4,
            "something_else": 3.25,
        }
        self.warnings_ = ["half of the <i>codes</i> are unused; lower latent_dim"]
        self.seconds_ = {"lattice": 0.4, "assignment": 21.5, "regression": 64.0, "validate": 1.2}
        self.run_ = {"seed": 0, "validation": validation, "device": "cpu", "budget": "60s", "seconds": 87.1}
        self.history_ = history()
        return self

    def can(self) -> frozenset[str]:
        return frozenset({"sample", "encode", "decode", "reconstruct", "interpolate"})

    @property
    def params_(self) -> dict[str, Any]:
        return self.get_params()

    def get_params(self) -> dict[str, Any]:
        return {"rank": self.rank}

    def _back(self, codes: torch.Tensor) -> Any:
        return self.schema_.decode((self._mean + codes @ self._axes).reshape(-1, *self.schema_.event_shape))

    def _codes(self, data: Data) -> torch.Tensor:
        x = self.schema_.encode(data.values).flatten(1)
        codes = (x - self._mean).double() @ torch.linalg.pinv(self._axes.double())
        return codes.round(decimals=6).float()  # so that the order of a sum cannot show

    def sample(self, n: int, *, seed: int | None = None) -> Any:
        generator = torch.Generator().manual_seed(seed or 0)
        return self._back(torch.randn(n, len(self._axes), generator=generator))

    def reconstruct(self, data: Data) -> Any:
        return self._back(self._codes(data))

    def interpolate(self, first: Data, last: Data, *, steps: int = 8) -> Any:
        share = torch.linspace(0, 1, steps)[None, :, None]
        path = (1 - share) * self._codes(first)[:, None] + share * self._codes(last)[:, None]
        return self._back(path.flatten(0, 1))


def history(n: int = 400) -> list[dict[str, Any]]:
    """Records as a run leaves them: losses every step, the change of assignment now and then, a number that diverged."""
    rng = np.random.default_rng(0)
    records: list[dict[str, Any]] = []
    for step in range(1, n + 1):
        loss = 2.0 * step**-0.8 + 0.02 * rng.random()
        records.append({"stage": "regression", "step": step, "seconds": 0.1 * step, "loss": loss})
        if step % 20 == 0:
            change = 1.0 / (1 + step / 40)
            records.append({"stage": "regression", "step": step, "seconds": 0.1 * step, "assignment_change": change})
            records.append({"stage": "regression", "step": step, "seconds": 0.1 * step, "held_loss": 1.1 * loss + 0.05})
            records.append({"stage": "regression", "step": step, "seconds": 0.1 * step, "broken": float("nan")})
    return records
