"""Residual laws: what a regression leaves out and a sampler has to add.

A generator fitted by least squares learns the conditional mean of the data given the code, so its samples are too smooth. The
residual law puts the spread back. Adding the residual of the nearest training row would return that row; combining
several neighbouring residuals does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pushforward.solvers.by_class import class_rows

_NUMBERS = 1 << 24  # of a block of deviations


class Residuals(nn.Module):
    """The conditional law of a residual ``[n, *event]`` given its code ``[n, d]`` and class ``[n]``; this one is zero."""

    def fit(self, codes: Tensor, residuals: Tensor, generator: torch.Generator, labels: Tensor | None = None) -> None:
        """Learn from training codes ``[n, d]``, residuals ``[n, *event]`` and class numbers ``[n]``."""

    def forward(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None, like: Tensor) -> Tensor:
        """Residuals for codes ``[m, d]`` and class numbers ``[m]``, in the shape of ``like`` ``[m, *event]``."""
        return torch.zeros_like(like)


class GaussianResiduals(Residuals):
    """Independent Gaussian noise with the residuals' own standard deviation in every coordinate."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.zeros(1))

    def fit(self, codes: Tensor, residuals: Tensor, generator: torch.Generator, labels: Tensor | None = None) -> None:
        """One standard deviation a coordinate."""
        self.scale = torch.linalg.vector_norm(residuals, dim=0) / len(residuals) ** 0.5

    def forward(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None, like: Tensor) -> Tensor:
        """Draw ``scale * N(0, 1)``."""
        return self.scale * torch.randn(like.shape, generator=generator, device=like.device)


class LocalResiduals(Residuals):
    """A random signed combination, of unit norm, of the residuals of a few neighbouring codes of the same class.

    Codes are cut into groups of ``neighbours`` by median splits, and a new code uses the group with the nearest centre. The
    residuals of a group are stored turned by a random rotation of the group: a unit combination has the same law
    before and after, and no single residual (which together with its code would give back a training row) is kept. This
    is no privacy guarantee: the span of a group's residuals can still be seen.
    """

    centres: Tensor
    factors: Tensor
    labels: Tensor

    def __init__(self, neighbours: int = 4) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.register_buffer("centres", torch.zeros(1, 1))
        self.register_buffer("factors", torch.zeros(1, neighbours, 1))
        self.register_buffer("labels", torch.zeros(1, dtype=torch.int64))

    def fit(self, codes: Tensor, residuals: Tensor, generator: torch.Generator, labels: Tensor | None = None) -> None:
        """Group the codes of every class and rotate the residuals of every group."""
        groups, label = groups_by_class(codes, self.neighbours, labels)
        self.centres, self.labels = codes[groups].mean(1), label[groups[:, 0]]
        rotation = rotations(len(groups), groups.shape[1], generator, codes.device)
        self.factors = rotation @ residuals.flatten(1)[groups]

    def forward(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None, like: Tensor) -> Tensor:
        """Draw from the group of the class whose centre is nearest to the code."""
        group = nearest_group(codes, labels, self.centres, self.labels)
        weights = unit_vectors(len(codes), self.factors.shape[1], generator, codes.device)
        return torch.bmm(weights[:, None], self.factors[group])[:, 0].reshape(like.shape)


class CentredResiduals(Residuals):
    """The mean residual of a group of neighbouring codes, and a random combination of the deviations from it.

    The mean is what the regression has wrong around there; it is shrunk by the part of it that is noise (James and Stein), so
    that a regression without bias is left alone. Then the second moment is that of the group's residuals, less the noise of
    their mean, where `LocalResiduals` counts the bias twice. Of a group of ``k`` residuals are kept the mean and ``k - 1``
    turned deviations, none of which belongs to a row.
    """

    centres: Tensor
    means: Tensor
    factors: Tensor
    labels: Tensor

    def __init__(self, neighbours: int = 8) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.register_buffer("centres", torch.zeros(1, 1))
        self.register_buffer("means", torch.zeros(1, 1))
        self.register_buffer("factors", torch.zeros(1, neighbours - 1, 1))
        self.register_buffer("labels", torch.zeros(1, dtype=torch.int64))

    def fit(self, codes: Tensor, residuals: Tensor, generator: torch.Generator, labels: Tensor | None = None) -> None:
        """Group the codes of every class; mean and turned deviations of every group."""
        groups, label = groups_by_class(codes, self.neighbours, labels)
        self.centres, self.labels = codes[groups].mean(1), label[groups[:, 0]]
        found, k = residuals.flatten(1)[groups], groups.shape[1]
        mean = found.mean(1, keepdim=True)
        noise = (found - mean).square().sum() / (k * (k - 1))
        several = (groups != groups[:, :1]).any(1, keepdim=True)  # the mean of a class of one row would be its residual
        self.means = mean[:, 0] * several * (1 - noise / mean.square().sum().clamp_min(1e-30)).clamp_min(0)
        across = torch.linalg.qr(torch.eye(k, device=codes.device) - 1 / k).Q[:, : k - 1]  # orthogonal to ones
        turned = rotations(len(groups), k - 1, generator, codes.device) @ across.T
        self.factors = turned @ (found - mean) / k**0.5 * (k - 1) ** 0.5

    def forward(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None, like: Tensor) -> Tensor:
        """Draw from the group of the class whose centre is nearest to the code."""
        group = nearest_group(codes, labels, self.centres, self.labels)
        weights = unit_vectors(len(codes), self.factors.shape[1], generator, codes.device)
        rows = max(1, _NUMBERS // self.factors[0].numel())
        parts = zip(weights.split(rows), group.split(rows), strict=True)
        drawn = torch.cat([torch.bmm(weight[:, None], self.factors[of])[:, 0] for weight, of in parts])
        return (self.means[group] + drawn).reshape(like.shape)


RESIDUALS: dict[str, type[Residuals]] = {"none": Residuals, "gaussian": GaussianResiduals, "local": LocalResiduals}


def groups_by_class(codes: Tensor, size: int, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Row numbers ``[g, size]`` of neighbours in one class, and the class ``[n]`` of every row (0 without labels)."""
    label = labels if labels is not None else codes.new_zeros(len(codes), dtype=torch.int64)
    rows = class_rows(label, len(codes), codes.device)
    return torch.cat([part[neighbour_groups(codes[part], size)] for part in rows]), label


def nearest_group(codes: Tensor, labels: Tensor | None, centres: Tensor, theirs: Tensor) -> Tensor:
    """The group ``[m]`` with the nearest of ``centres`` ``[g, d]`` among those of the code's class; ``theirs`` ``[g]`` are classes."""
    group = torch.empty(len(codes), dtype=torch.int64, device=codes.device)
    for mine, others in same_class(labels, theirs, len(codes)):
        group[mine] = others[nearest_rows(codes[mine], centres[others])]
    return group


def rotations(n: int, k: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Uniformly distributed orthogonal matrices ``[n, k, k]``."""
    turn = torch.randn(n, k, k, generator=generator, device=device)
    rotation, triangle = torch.linalg.qr(turn)
    found: Tensor = rotation * torch.diagonal(triangle, dim1=1, dim2=2).sign()[:, None]
    return found


def unit_vectors(n: int, k: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Uniformly distributed directions ``[n, k]``."""
    weights = torch.randn(n, k, generator=generator, device=device)
    found: Tensor = weights / weights.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return found


def neighbour_groups(points: Tensor, size: int) -> Tensor:
    """Disjoint groups of neighbours among points ``[n, d]``: row numbers ``[g, size]``.

    Every cell is split at its median along its own widest coordinate while its halves keep at least ``size`` points; of the
    fewer than ``2 size`` points that remain in a cell, ``size`` make the group. Fewer than ``size`` points are repeated.
    """
    n, device = len(points), points.device
    if n <= size:
        return (torch.arange(size, device=device) % n)[None]
    cells = 2 ** int(math.log2(n / size))
    order = torch.arange(n, device=device)
    for level in range(int(math.log2(cells))):
        order = order[_halved(points[order], 2**level)]
    bounds = torch.arange(cells + 1, device=device) * n // cells
    count = bounds[1:] - bounds[:-1]
    groups: Tensor = order[bounds[:-1, None] + torch.arange(size, device=device) * count[:, None] // size]
    return groups


def _halved(points: Tensor, cells: int) -> Tensor:
    """An order ``[n]`` that sorts the points of each of the equal consecutive cells along the cell's widest coordinate."""
    n, d = points.shape
    bounds = torch.arange(cells + 1, device=points.device) * n // cells
    cell = torch.repeat_interleave(torch.arange(cells, device=points.device), bounds[1:] - bounds[:-1])
    mean = points.new_zeros(cells, d).index_add_(0, cell, points) / (bounds[1:] - bounds[:-1])[:, None]
    spread = points.new_zeros(cells, d).index_add_(0, cell, (points - mean[cell]).square())
    by_value = torch.argsort(points.gather(1, spread.argmax(1)[cell][:, None])[:, 0], stable=True)
    order: Tensor = by_value[torch.argsort(cell[by_value], stable=True)]
    return order


def nearest_rows(points: Tensor, candidates: Tensor, chunk: int = 4096) -> Tensor:
    """For every point ``[m, d]`` the number of its nearest candidate ``[n, d]``: ``[m]``, in bounded memory."""
    parts = [torch.cdist(part, candidates).argmin(1) for part in points.split(chunk)]
    return torch.cat(parts)


def same_class(labels: Tensor | None, others: Tensor, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For every class the rows of ``labels`` ``[n]`` and of ``others`` that are in it; all rows at once without labels."""
    if labels is None:
        yield torch.arange(n, device=others.device), torch.arange(len(others), device=others.device)
        return
    for k in labels.unique().tolist():
        yield (labels == k).nonzero()[:, 0], (others == k).nonzero()[:, 0]
