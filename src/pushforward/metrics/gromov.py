"""The Gromov-Wasserstein distance: how alike two samples are as shapes, wherever they lie and however they are turned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pushforward.metrics.measurement import T95_NINE, Measurement, fixed_generator
from pushforward.metrics.rows import FeatureMap, feature_name, feature_rows, take

_LEAST = 20
LEAST_ROWS = 2 * _LEAST
"""Of a sample, for two draws that do not overlap."""
_DRAWS = 10


def gromov_wasserstein(
    x: Tensor,
    y: Tensor,
    *,
    points: int = 250,
    features: FeatureMap | None = None,
    generator: torch.Generator | None = None,
) -> Measurement:
    """Squared Gromov-Wasserstein distance between two samples: square loss, distance matrices each over their largest entry.

    Memoli 2011 (Found. Comput. Math. 11), by POT's conditional gradients. These find a local optimum, so the value is an upper
    bound; it does not change where a sample is moved, turned or scaled. It tells shapes apart poorly: two draws from one law are
    not at 0 but at the number in the note, and other laws may be hardly farther. Use it to report, not to decide.

    The value is the mean over ten draws of ``points`` rows a side, and the interval is Student's over these draws; where the
    draws use most rows of a side they overlap, and the interval is too short.

    Args:
        x: ``[n, *event_shape]``, n at least 40.
        y: ``[m, *event_shape]``, m at least 40; rows of ``x`` and ``y`` may differ in their number of values.
        points: Rows of a draw, at least 20; at most half of the smaller side are used.
        features: Map applied to both; none by default.
        generator: Of the draws, on the CPU; a fixed one by default.

    Raises:
        ValueError: For too few rows or points, values that are not finite, or rows that are all equal.
        ImportError: POT is not installed.
    """
    solve = find_solver()
    if solve is None:
        raise ImportError("the Gromov-Wasserstein distance needs POT: pip install 'pushforward[metrics]'.")
    if points < _LEAST:
        raise ValueError(f"points={points} are too few for this metric; give at least {_LEAST}")
    rng = generator or fixed_generator()
    sides = [feature_rows(v, features, name=name, least=LEAST_ROWS).double() for v, name in ((x, "x"), (y, "y"))]
    n = min(points, *(len(side) // 2 for side in sides))
    pairs = [[_shuffled(side, n, rng) for side in sides] for _ in range(_DRAWS)]
    across = torch.tensor([_distance(solve, a[0], b[0]) for a, b in pairs], dtype=torch.float64)
    within = torch.tensor([_distance(solve, *b) for _, b in pairs], dtype=torch.float64)
    value, half = float(across.mean()), T95_NINE * float(across.std()) / _DRAWS**0.5
    note = f"squared; ten draws of {n} points a side; two draws of y are at {float(within.mean()):.4g}"
    return Measurement(value, max(0.0, value - half), value + half, n, feature_name(features), note)


def find_solver() -> Callable[..., Any] | None:
    """The function ``ot.gromov_wasserstein2``, or None where POT is not installed."""
    try:
        import ot
    except ImportError:
        return None
    found: Callable[..., Any] | None = getattr(ot, "gromov_wasserstein2", None)
    return found


def _shuffled(x: Tensor, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Distance matrices ``[n, n]`` over their largest entry, of two disjoint draws of ``n`` rows."""
    rows = take(x, 2 * n, rng)
    order = torch.randperm(len(rows), generator=rng).to(x.device)
    return _relative(rows[order[:n]]), _relative(rows[order[n : 2 * n]])


def _relative(x: Tensor) -> Tensor:
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    if not bool(distances.max() > 0):
        raise ValueError("x or y: all rows of a draw are equal; a point has no shape to compare")
    return distances / distances.max()


def _distance(solve: Callable[..., Any], a: Tensor, b: Tensor) -> float:
    """The smallest mean squared difference of distances that was found; rounding may put it below 0."""
    return max(float(solve(a.cpu().numpy(), b.cpu().numpy(), loss_fun="square_loss")), 0.0)
