"""How far a permutation is from the optimum at most, estimated on a sample of rows in linear time.

For any numbers v_j the dual value mean_i min_j (c_ij - v_j) + mean_j v_j is at most the optimum, so that the mean over i of

    s_i = c_i,pi(i) - v_pi(i) - min_j (c_ij - v_j)  >=  0

is at least the gap of pi. A sample of rows i, each against all columns j, estimates that mean without bias. The better v, the
tighter it is: v is the mean of the potentials of a few small samples of both sides, solved exactly and extended to all points
by c-transforms (the dual value is concave in v, so a mean is at least as good as its parts are on average), times the factor
that does best on rows of its own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pushforward.solvers.assignment_dense import solve_dense, squared_distances

SAMPLE, SAMPLES = 1024, 4
"""Points of a sample that is solved exactly, and number of samples."""
ROWS_TO_CHOOSE, ROWS = 256, 1024
"""Rows that the factor is chosen on, and other rows that the gap is estimated on."""
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)
SWEEPS = 200
"""Most Bellman-Ford sweeps: stopping early leaves potentials that are feasible after the c-transform, if less tight."""
BLOCK_ENTRIES = 1 << 24


def estimated_gap(x: Tensor, y: Tensor, permutation: Tensor, *, generator: torch.Generator) -> tuple[float, float]:
    """An unbiased estimate of an upper bound on ``mean cost of permutation - optimum``, and its standard error.

    Args:
        x: centred points ``[n, d]``, float32.
        y: centred points ``[n, d]``, float32, on the same device.
        permutation: ``[n]``, on the same device.
        generator: CPU generator of the samples.
    """
    drawn = (_sampled_potential(x, y, generator) for _ in range(SAMPLES))
    v = torch.stack(list(drawn)).mean(0)
    rows = torch.randperm(len(x), generator=generator)[: ROWS_TO_CHOOSE + ROWS].to(x.device)
    # Few points: all rows serve for both.
    choose, judge = (rows, rows) if len(x) < ROWS_TO_CHOOSE + ROWS else (rows[:ROWS_TO_CHOOSE], rows[ROWS_TO_CHOOSE:])
    factor = min(FACTORS, key=lambda t: _slack(x, y, permutation, t * v, choose).mean().item())
    slack = _slack(x, y, permutation, factor * v, judge)
    error = slack.std().item() * (max(0.0, 1 / len(slack) - 1 / len(x))) ** 0.5 if len(slack) > 1 else 0.0
    return slack.mean().item(), error


def _slack(x: Tensor, y: Tensor, permutation: Tensor, v: Tensor, rows: Tensor) -> Tensor:
    """``s_i`` of the rows ``[m]`` in float64, for column potentials ``v`` ``[n]``."""
    own = permutation[rows]
    best = _least_reduced(x[rows], y, v)
    paid = (x[rows] - y[own]).double().square().sum(1) - v[own]
    return (paid - best).clamp_min(0)


def _least_reduced(x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """The c-transform ``min_j |x_i - y_j|^2 - v_j``, ``[len(x)]``."""
    blocks = x.split(max(1, BLOCK_ENTRIES // len(y)))
    return torch.cat([squared_distances(block, y).sub_(v).amin(1) for block in blocks])


def _sampled_potential(x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Potentials ``[n]`` of all rows of ``y``, with mean 0, from the exact ones of a sample of both sides."""
    near_x, near_y = (z[torch.randperm(len(z), generator=generator)[:SAMPLE].to(z.device)] for z in (x, y))
    u = _row_potentials(squared_distances(near_x, near_y))
    v = _least_reduced(y, near_x, u)
    return v - v.mean()


def _row_potentials(cost: Tensor) -> Tensor:
    """Optimal row potentials ``[m]`` of a dense problem ``[m, m]``: midway between the largest and the smallest.

    In the order of the optimal pairs they satisfy u_i - u_k <= c_ik - c_kk, so that they are lengths of shortest paths.
    """
    columns, _ = solve_dense(cost.cpu().numpy())
    paired = cost[:, torch.from_numpy(np.asarray(columns)).to(cost.device)]
    arc = paired - paired.diagonal()
    high, low = _shortest(arc), -_shortest(arc.T)
    return (high - high.mean() + low - low.mean()) / 2


def _shortest(arc: Tensor) -> Tensor:
    """The largest ``[m]`` that is at most 0 and has ``u_i <= u_k + arc_ik``."""
    u = torch.zeros(len(arc), dtype=arc.dtype, device=arc.device)
    for _ in range(SWEEPS):
        relaxed = torch.minimum(u, (arc + u).amin(1))
        if torch.equal(relaxed, u):
            break
        u = relaxed
    return u
