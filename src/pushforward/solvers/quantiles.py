"""Quantiles of one-dimensional laws and low-discrepancy lattices of any law that uniforms can be pushed to."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

CLIP = 1e-6
"""Uniforms stay this far inside (0, 1), so that an inverse CDF with unbounded support stays finite."""

MOST_DIMENSIONS = int(SobolEngine.MAXDIM)
"""Of a Sobol sequence."""


class UniformDriven(Protocol):
    """What ``lattice`` needs of a law: how many uniforms one draw takes, and the transport that takes them."""

    @property
    def uniform_dim(self) -> int:
        """Number k of independent uniforms that one draw consumes."""
        ...

    def from_uniform(self, u: Tensor) -> Tensor:
        """Push uniforms ``[n, k]`` in (0, 1) to draws ``[n, *event_shape]``."""
        ...


def lattice(law: UniformDriven, n: int, *, generator: torch.Generator, scramble: bool = True) -> Tensor:
    """Low-discrepancy points of a law: ``n`` points that fill it far more evenly than ``n`` random draws.

    One uniform a draw: the exact quantiles at levels r/(n+1), or, scrambled, one level drawn at random inside each of n
    equal cells. Several uniforms a draw: a Sobol sequence (Owen-scrambled with ``scramble``) pushed through
    ``law.from_uniform``. Every call with ``scramble`` is a fresh lattice, and every point alone then follows the law.

    Args:
        law: anything with ``uniform_dim`` and ``from_uniform``, e.g. ``Gaussian``, ``Uniform`` or ``Ball``.
        n: number of points, at least 1.
        generator: source of the scramble (on any device), advanced by one draw; not touched without ``scramble``.
        scramble: false gives the same points at every call.

    Returns:
        Float32 points ``[n, *event_shape]``, made from uniforms on the CPU.

    Raises:
        ValueError: when ``n`` is below 1 or the law takes more uniforms than a Sobol sequence has (21201).
    """
    if n < 1:
        raise ValueError(f"n={n} points were asked for; a lattice needs n >= 1.")
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device).item()) if scramble else 0
    k = law.uniform_dim
    u = _levels(n, seed, scramble) if k == 1 else _sobol(n, k, seed, scramble)
    return law.from_uniform(u.clamp(CLIP, 1.0 - CLIP)).to(torch.float32)


def empirical_quantiles(values: Tensor, levels: Tensor) -> Tensor:
    """Quantiles of samples along the last dimension, by linear interpolation between the order statistics.

    Level r/(n+1) gives the r-th smallest value exactly (r = 1 ... n); outside [1/(n+1), n/(n+1)] the extreme values hold.

    Args:
        values: samples ``[..., n]``, finite; the leading dimensions are a batch.
        levels: levels ``[m]`` in [0, 1].

    Returns:
        Quantiles ``[..., m]`` in the dtype of ``values``.

    Raises:
        ValueError: when there are no samples, a sample is not finite, or a level leaves [0, 1].
    """
    n = values.shape[-1] if values.ndim else 0
    if n == 0:
        raise ValueError(
            f"values has shape {list(values.shape)}; at least one sample along the last dimension is needed."
        )
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise ValueError(f"values holds {bad} NaN or infinite samples; remove them first.")
    if not bool(((levels >= 0) & (levels <= 1)).all()):
        raise ValueError(f"levels must lie in [0, 1], got {levels.min().item():g} ... {levels.max().item():g}.")
    ordered = values.sort(dim=-1).values
    position = (levels.to(values.device, torch.float64) * (n + 1) - 1).clamp(0, n - 1)
    # A level r/(n+1) is not exact in binary: a position this close to a rank is that rank.
    position = torch.where((position - position.round()).abs() < 1e-9 * n, position.round(), position)
    low = position.floor().long().clamp(max=max(n - 2, 0))
    high = (low + 1).clamp(max=n - 1)
    return torch.lerp(ordered[..., low], ordered[..., high], (position - low).to(values.dtype))


def _levels(n: int, seed: int, scramble: bool) -> Tensor:
    """Levels ``[n, 1]`` in increasing order: r/(n+1), or one at random in each of n equal cells; float64."""
    rank = torch.arange(n, dtype=torch.float64).unsqueeze(1)
    if not scramble:
        return (rank + 1) / (n + 1)
    jitter = torch.rand(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (rank + jitter) / n


def _sobol(n: int, k: int, seed: int, scramble: bool) -> Tensor:
    """The first n of the next power of two Sobol points ``[n, k]``, float64, in (0, 1)."""
    if k > MOST_DIMENSIONS:
        raise ValueError(
            f"the law takes {k} uniforms a draw, but a Sobol sequence has at most {MOST_DIMENSIONS} dimensions; "
            "draw the points with law.sample instead."
        )
    # Without a scramble the first point is the corner 0, which no unbounded law can use: it is left out.
    engine = SobolEngine(k, scramble=scramble, seed=seed)
    if not scramble:
        engine.fast_forward(1)
    return engine.draw(n, dtype=torch.float64)
