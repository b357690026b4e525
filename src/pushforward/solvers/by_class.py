"""Linear assignment within classes."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.solvers.assignment import EXACT_LIMIT, assign


def class_rows(labels: Tensor | None, n: int, device: torch.device) -> list[Tensor]:
    """The rows of each class in ``labels`` ``[n]``; all ``n`` rows where there are no labels."""
    if labels is None:
        return [torch.arange(n, device=device)]
    return [(labels == k).nonzero()[:, 0] for k in labels.unique().tolist()]


def assign_by_class(x: Tensor, y: Tensor, labels: Tensor | None, *, generator: torch.Generator) -> Tensor:
    """The best permutation ``[n]`` from rows of ``x`` ``[n, k]`` to rows of ``y`` ``[n, k]``, within each class of ``labels`` ``[n]``.

    It is exact up to 6000 rows a class. Above, an assignment within some per cent of the optimum is made in seconds
    instead of minutes: for alternating schemes, in which the next one comes with other rows anyway.
    """
    found = torch.empty(len(x), dtype=torch.int64, device=x.device)
    for rows in class_rows(labels, len(x), x.device):
        pairs = assign(x[rows], y[rows], generator=generator, sparse_limit=EXACT_LIMIT, quick=True)
        found[rows] = rows[pairs.permutation]
    return found


def drawn_rows(n: int, most: int, labels: Tensor | None, generator: torch.Generator, device: torch.device) -> Tensor:
    """At most ``most`` of ``n`` row numbers, drawn at random and in order; one of each class at least, where ``most`` allows it."""
    order = torch.randperm(n, generator=generator, device=device)
    if labels is not None:
        by_class = labels[order].argsort(stable=True)
        first = by_class[torch.diff(labels[order][by_class], prepend=labels.new_full((1,), -1)) != 0]
        others = torch.ones(n, dtype=torch.bool, device=device).index_fill(0, first, False)
        order = torch.cat([order[first], order[others]])
    found: Tensor = order[:most].sort().values
    return found
