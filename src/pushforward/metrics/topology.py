"""Shape: loops of a cloud of samples beside those of the data, and how evenly a decoder stretches its latent space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward.metrics.rows import FeatureMap, feature_rows
from pushforward.solvers.neighbours import nearest_neighbours

_LEAST_ROWS = 20
_SHARE = 0.5


@dataclass(frozen=True)
class Lifetimes:
    """Persistent homology of a cloud of points (Vietoris-Rips).

    Attributes:
        values: lifetimes of the features of each dimension 0, 1, ..., longest first, in the unit of the points. The part that
            never ends in dimension 0 is left out.
        births: the radius from which the longest feature of each dimension is there; NaN where there is none.
        points: how many points were used.
    """

    values: tuple[Tensor, ...]
    births: tuple[float, ...]
    points: int

    def top(self, dim: int, rank: int = 0) -> float:
        """The longest lifetime of a dimension (``rank`` 1: the second longest, ...), 0 where there is none."""
        return float(self.values[dim][rank]) if len(self.values[dim]) > rank else 0.0

    def betti(self, dim: int, least: float) -> int:
        """Number of features of a dimension that live longer than ``least``; connected parts for dimension 0."""
        return int((self.values[dim] > least).sum()) + (dim == 0)


@dataclass(frozen=True)
class HomologyMatch:
    """Holes of samples beside those of the data, in one dimension.

    Attributes:
        data: lifetimes of the data.
        samples: lifetimes of the samples.
        top_ratio: longest lifetime of the samples over that of the data.
        second_ratio: the samples' second longest lifetime over their longest: small where there is one hole.
        betti: features that live longer than half the data's longest, of the data and of the samples.
    """

    data: Lifetimes
    samples: Lifetimes
    top_ratio: float
    second_ratio: float
    betti: tuple[int, int]


def lifetimes(
    x: Tensor, *, most_dim: int = 1, points: int = 250, features: FeatureMap | None = None, seed: int = 0
) -> Lifetimes:
    """Persistent homology of rows, on ``points`` of them that lie as far apart as possible.

    Args:
        x: rows ``[n, *event_shape]``.
        most_dim: largest dimension: 0 for parts, 1 for loops, 2 for voids (slow).
        points: landmarks; the time grows with a high power of their number.
        features: maps rows to vectors; None takes the values.
        seed: of the first landmark.

    Raises:
        ValueError: fewer than 20 rows, values that are not finite, or a number out of range.
        ImportError: ripser is not installed.
    """
    if most_dim not in (0, 1, 2) or points < _LEAST_ROWS:
        raise ValueError(
            f"most_dim, points: 0, 1 or 2 and at least {_LEAST_ROWS} are needed, got {most_dim}, {points}."
        )
    rows = feature_rows(x, features, name="x", least=_LEAST_ROWS).double()
    landmarks = rows[farthest_points(rows, min(points, len(rows)), seed=seed)]
    ended = [d[torch.isfinite(d[:, 1])] for d in _diagrams(landmarks, most_dim)]
    sorted_ = [d[(d[:, 1] - d[:, 0]).argsort(descending=True)] for d in ended]
    births = tuple(float(d[0, 0]) if len(d) else math.nan for d in sorted_)
    return Lifetimes(tuple(d[:, 1] - d[:, 0] for d in sorted_), births, len(landmarks))


def homology_match(
    samples: Tensor, data: Tensor, *, dim: int = 1, points: int = 250, features: FeatureMap | None = None, seed: int = 0
) -> HomologyMatch:
    """Whether samples have the holes of the data: see `HomologyMatch`.

    Args:
        samples: ``[n, *event_shape]``.
        data: ``[m, *event_shape]``.
        dim: of the holes: 0 parts, 1 loops, 2 voids.
        points: landmarks of either; as many of both as the smaller one has rows, at most.
        features: maps rows to vectors; None takes the values.
        seed: of the landmarks.
    """
    n = min(points, len(samples), len(data))
    mine, theirs = (lifetimes(x, most_dim=dim, points=n, features=features, seed=seed) for x in (samples, data))
    top, known = mine.top(dim), theirs.top(dim)
    least = _SHARE * known
    return HomologyMatch(
        theirs,
        mine,
        top / known if known else math.nan,
        mine.top(dim, 1) / top if top else math.nan,
        (theirs.betti(dim, least), mine.betti(dim, least)),
    )


def farthest_points(x: Tensor, n: int, *, seed: int = 0) -> Tensor:
    """Row numbers ``[n]`` of points each of which is farthest from those before it; ``x`` is ``[m, d]``, ``n`` at most ``m``."""
    found = [int(torch.randint(len(x), (1,), generator=torch.Generator().manual_seed(seed)))]
    distance = (x - x[found[0]]).square().sum(1)
    for _ in range(n - 1):
        found.append(int(distance.argmax()))
        distance = torch.minimum(distance, (x - x[found[-1]]).square().sum(1))
    return torch.tensor(found, device=x.device)


def stretch_ratio(z: Tensor, x: Tensor, *, neighbours: int = 20) -> Tensor:
    """Local bi-Lipschitz ratio ``[n]``: the largest over the smallest stretch ``|x_i - x_j| / |z_i - z_j|`` among near codes.

    It is 1 where the map from codes to rows is a similarity near a code, whatever the units of both; large where it folds or tears.

    Args:
        z: codes ``[n, d]``.
        x: their rows ``[n, *event_shape]``.
        neighbours: nearest codes ``j`` of each code; copies of a code are left out.

    Raises:
        ValueError: numbers of rows differ, or ``neighbours`` is out of range.
    """
    if len(z) != len(x):
        raise ValueError(f"x: one row for each code is needed, got {len(x)} for {len(z)}.")
    index, squared = nearest_neighbours(z, neighbours)
    flat = x.flatten(1).double()
    gaps = torch.stack([(flat - flat[column]).square().sum(1) for column in index.T], 1)
    stretch = (gaps / squared).sqrt()
    near = squared > 0
    largest = stretch.masked_fill(~near, -torch.inf).amax(1)
    smallest = stretch.masked_fill(~near, torch.inf).amin(1)
    return torch.where(near.sum(1) > 1, largest / smallest, torch.nan)


def find_ripser() -> Callable[..., Any] | None:
    """The function ``ripser.ripser``, or None where it is not installed."""
    try:
        import ripser
    except ImportError:
        return None
    found: Callable[..., Any] | None = getattr(ripser, "ripser", None)
    return found


def _diagrams(points: Tensor, most_dim: int) -> list[Tensor]:
    """Births and deaths ``[m, 2]`` for each dimension."""
    ripser = find_ripser()
    if ripser is None:
        raise ImportError("persistent homology needs ripser: pip install 'pushforward[topology]'.")
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").cpu().numpy()
    found = ripser(distances, maxdim=most_dim, distance_matrix=True)["dgms"]
    return [torch.from_numpy(diagram) for diagram in found]
