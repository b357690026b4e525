"""Residual laws: what a regression leaves out and a sampler has to add.

A generator fitted by least squares learns the conditional mean of the data given the code, so its samples are too smooth. The
residual law puts the spread back. Adding the residual of the nearest training row would return that row; combining
several neighbouring residuals does not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Residuals(nn.Module):
    """The conditional law of a residual ``[n, *event]`` given its code ``[n, d]``; this one is zero."""

    def fit(self, codes: Tensor, residuals: Tensor, generator: torch.Generator) -> None:
        """Learn from training codes ``[n, d]`` and residuals ``[n, *event]``."""

    def forward(self, codes: Tensor, generator: torch.Generator | None, like: Tensor) -> Tensor:
        """Residuals for codes ``[m, d]``, in the shape of ``like`` ``[m, *event]``."""
        return torch.zeros_like(like)


class GaussianResiduals(Residuals):
    """Independent Gaussian noise with the residuals' own standard deviation in every coordinate."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.zeros(1))

    def fit(self, codes: Tensor, residuals: Tensor, generator: torch.Generator) -> None:
        """One standard deviation a coordinate."""
        self.scale = residuals.square().mean(0).sqrt()

    def forward(self, codes: Tensor, generator: torch.Generator | None, like: Tensor) -> Tensor:
        """Draw ``scale * N(0, 1)``."""
        return self.scale * torch.randn(like.shape, generator=generator, device=like.device)


class LocalResiduals(Residuals):
    """A random signed combination, of unit norm, of the residuals of a few neighbouring codes.

    Codes are cut into groups of ``neighbours`` by median splits. The residuals of a group are stored turned by a random
    rotation of the group: a unit combination has the same law before and after, and no single residual (which together with
    its code would give back a training row) is kept. This is no privacy guarantee: the span of a group's residuals
    can still be seen.
    """

    centres: Tensor
    factors: Tensor

    def __init__(self, neighbours: int = 4) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.register_buffer("centres", torch.zeros(1, 1))
        self.register_buffer("factors", torch.zeros(1, neighbours, 1))

    def fit(self, codes: Tensor, residuals: Tensor, generator: torch.Generator) -> None:
        """Group the codes and rotate the residuals of every group."""
        groups = neighbour_groups(codes, self.neighbours)
        self.centres = codes[groups].mean(1)
        turn = torch.randn(len(groups), groups.shape[1], groups.shape[1], generator=generator, device=codes.device)
        rotation, triangle = torch.linalg.qr(turn)
        rotation = rotation * torch.diagonal(triangle, dim1=1, dim2=2).sign()[:, None]
        self.factors = rotation @ residuals.flatten(1)[groups]

    def forward(self, codes: Tensor, generator: torch.Generator | None, like: Tensor) -> Tensor:
        """Draw from the group whose centre is nearest to the code."""
        group = nearest_rows(codes, self.centres)
        weights = torch.randn(len(codes), self.factors.shape[1], generator=generator, device=codes.device)
        weights = weights / weights.norm(dim=1, keepdim=True).clamp_min(1e-12)
        out = torch.bmm(weights[:, None], self.factors[group])[:, 0]
        return out.reshape(like.shape)


RESIDUALS: dict[str, type[Residuals]] = {"none": Residuals, "gaussian": GaussianResiduals, "local": LocalResiduals}


def neighbour_groups(points: Tensor, size: int) -> Tensor:
    """Cut points ``[n, d]`` into groups of neighbours: row numbers ``[g, size]`` (a few rows stand in two groups).

    Every cell is split at its median along its own widest coordinate until cells have about ``size`` points.
    """
    n = len(points)
    levels = max(0, round(math.log2(max(n / size, 1))))
    order = torch.arange(n, device=points.device)
    for level in range(levels):
        cell = torch.arange(n, device=points.device) * 2**level // n
        inside = points[order]
        count = torch.bincount(cell, minlength=2**level)[:, None]
        mean = torch.zeros(2**level, points.shape[1], device=points.device).index_add_(0, cell, inside) / count
        spread = torch.zeros_like(mean).index_add_(0, cell, (inside - mean[cell]).square())
        value = inside.gather(1, spread.argmax(1)[cell][:, None])[:, 0]
        by_value = torch.argsort(value, stable=True)
        order = order[by_value[torch.argsort(cell[by_value], stable=True)]]
    size = min(size, n)
    cells = -(-n // size)
    starts = torch.arange(cells, device=points.device) * (n - size) // max(cells - 1, 1)
    within = torch.arange(size, device=points.device)
    groups: Tensor = order[starts[:, None] + within]
    return groups


def nearest_rows(points: Tensor, candidates: Tensor, chunk: int = 4096) -> Tensor:
    """For every point ``[m, d]`` the number of its nearest candidate ``[n, d]``: ``[m]``, in bounded memory."""
    return (
        torch.cat([torch.cdist(part, candidates).argmin(1) for part in points.split(chunk)])
        if len(points)
        else points.new_zeros(0, dtype=torch.int64)
    )
