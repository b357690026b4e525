"""What a report is made from: real rows, fresh samples, and the nearest training rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pushforward.condition import split_condition
from pushforward.data import take_rows
from pushforward.data.named_columns import split_group

if TYPE_CHECKING:
    from pushforward.data import Data, Schema
    from pushforward.laws import Law
    from pushforward.method import Method

Rows = npt.NDArray[np.int64]

SAMPLES = {"image": 128, "table": 1000, "vector": 1000}  # drawn for the report
FEWEST_HELD_OUT = 16  # with fewer held-out rows the report compares with training rows, and says so
MOST_REAL = 2000
QUERIES = 256  # rows whose nearest training rows are looked for
_CHUNK_NUMBERS = 2**23  # numbers of encoded training data held at a time


@dataclass(frozen=True)
class Material:
    """A fitted method, its data, and what was drawn from it.

    Attributes:
        method: The fitted method.
        data: All rows that were given to ``fit``.
        origin: "held-out" or "training": which rows the samples are compared with.
        real_rows: Row numbers of those (at most 2000), in ``data``.
        samples: Fresh samples, in the kind of the data.
        samples_x: The same, encoded: ``[k, *event_shape]``.
        real_x: The real rows, encoded: ``[m, *event_shape]``.
    """

    method: Method
    data: Data
    origin: str
    real_rows: Rows
    samples: Any
    samples_x: Tensor
    real_x: Tensor

    @property
    def schema(self) -> Schema:
        """The description of the data."""
        return self.method.schema_

    @property
    def kind(self) -> str:
        """Kind of the data: "image", "table" or "vector"."""
        return self.method.schema_.kind

    @property
    def seed(self) -> int:
        """Seed of the fit, from which the report draws too."""
        return int(self.method.run_["seed"])

    def can(self, ability: str) -> bool:
        """Whether the method can do it, on these data (a conditional model needs their labels)."""
        condition = self.method.condition_
        return ability in self.method.can() and (condition is None or condition.labelled(self.data))

    def rows(self, index: Rows) -> Data:
        """Some rows of the data, with their labels."""
        return some_rows(self.data, index)

    def pictures(self, values: Any) -> npt.NDArray[np.uint8]:
        """Raw values of the image kind as ``uint8 [n, h, w, c]``."""
        return self.schema.as_images(self.schema.encode(values))


def gather(method: Method, data: Data) -> Material:
    """Draw samples and choose the real rows that they are shown beside."""
    data, _ = split_group(data, getattr(method, "data_info_", {}).get("group"))  # a column of groups is not modelled
    held, trained = np.asarray(method.held_rows_), np.asarray(method.train_rows_)
    origin, pool = ("held-out", held) if len(held) >= FEWEST_HELD_OUT else ("training", trained)
    real_rows = evenly(pool, MOST_REAL)
    samples = method.sample(SAMPLES[method.schema_.kind], seed=int(method.run_["seed"]))
    real_x = encoded(method, some_rows(data, real_rows))
    return Material(method, data, origin, real_rows, samples, encoded_values(method, data, samples), real_x)


def able(method: Method) -> frozenset[str]:
    """The abilities of a method: those of its kind that its law, as it was fitted, does not refuse."""
    law: Law | None = getattr(method, "law_", None)
    return frozenset(ability for ability in method.can() if law is None or not law.refusal(ability))


def some_rows(data: Data, index: Rows) -> Data:
    """Rows of the data with their labels."""
    picked: Any = take_rows(data, index)
    return replace(data, values=picked.values, labels=picked.labels, arrays=picked.arrays)


def encoded(method: Method, data: Data) -> Tensor:
    """Rows as the method sees them ``[n, *event_shape]``, on the CPU; the label column of a table is left out."""
    column = method.condition_.column if method.condition_ is not None else None
    return method.schema_.encode(split_condition(data, column)[0]).cpu()


def encoded_values(method: Method, like: Data, values: Any) -> Tensor:
    """`encoded` for samples, which come without labels."""
    return encoded(method, replace(like, values=values, labels=None, arrays={}))


def evenly(rows: Rows, most: int) -> Rows:
    """At most ``most`` of ``rows``, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def nearest_training_rows(material: Material, queries: Tensor, k: int) -> tuple[Tensor, Rows]:
    """The ``k`` training rows nearest to each query, by Euclidean distance of encoded rows.

    Args:
        material: Names the training rows.
        queries: Encoded rows ``[m, *event_shape]``.
        k: Neighbours of each; fewer where there are fewer training rows.

    Returns:
        Distances ``[m, k]``, increasing, and row numbers in the data ``[m, k]``.
    """
    flat = queries.flatten(1)
    best = torch.full((len(flat), 0), torch.inf)
    where = torch.zeros((len(flat), 0), dtype=torch.int64)
    for rows, x in _training_chunks(material):
        distance, index = _nearest_in(flat, x, k)
        best, where = torch.cat([best, distance], 1), torch.cat([where, torch.from_numpy(rows)[index]], 1)
        order = best.argsort(dim=1, stable=True)[:, :k]
        best, where = best.gather(1, order), where.gather(1, order)
    return best, where.numpy()


def _nearest_in(queries: Tensor, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Nearest rows of one chunk; their distances are computed again without cancellation, so that a copy has distance 0."""
    index = torch.cdist(queries, x).topk(min(k, len(x)), largest=False).indices
    return torch.stack([(queries - x[column]).norm(dim=1) for column in index.T], dim=1), index


def _training_chunks(material: Material) -> Iterator[tuple[Rows, Tensor]]:
    """Training rows and their encoding, a few at a time."""
    rows = np.asarray(material.method.train_rows_, dtype=np.int64)
    size = max(64, _CHUNK_NUMBERS // max(1, material.real_x[0].numel()))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield part, encoded(material.method, material.rows(part)).flatten(1)
