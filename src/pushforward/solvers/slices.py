"""Directions along which two laws differ most: the max-K-sliced Wasserstein distance, many problems at once.

For orthonormal directions ``A = (a_1 .. a_K)`` and p = 2

    F(A) = 1/(K n) sum_k sum_i (sort(A_k^T x)_i - t_ki)^2,    t_k = sort(A_k^T y)  or  t_ki = Phi^-1((i - 1/2)/n)

is maximised over the Stiefel manifold (Dai, Seljak, arXiv 2007.00674, section 3.1). Its gradient has a closed form, since the
permutations are constant almost everywhere: ``dF/da_k = 2/(K n) sum_i (a_k.x_(i) - t_ki) (x_(i) - y_(i))``, without ``y`` for the
Gaussian. Steps along the projected gradient have the lengths of Barzilai and Borwein, with no line search, the best frame seen is
kept, and frames are made orthonormal by a Cholesky factor of a ``K x K`` matrix. One step costs one sort of ``[B, K, n]`` numbers.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from pushforward.solvers.ranks import order_by_class, order_of

_FIRST = 0.5  # length of the first step, and
_LONGEST = 1.0  # of any step, in the largest column's norm


def find_slices(
    x: Tensor,
    *,
    count: int,
    iterations: int,
    generator: torch.Generator,
    target: Tensor | None = None,
    weights: Tensor | None = None,
    classes: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Orthonormal directions ``[B, d, count]`` of large max-K-sliced Wasserstein distance, for each of ``B`` problems.

    Args:
        x: samples ``[B, n, d]``.
        count: number of directions ``K``, at most ``d``.
        iterations: evaluations of ``F``; 15 to 100 are useful.
        generator: of the random first frames; on the device of ``x``.
        target: samples ``[B, n, d]`` of the other law; None is the standard Gaussian.
        weights: of the samples, ``[n]`` or ``[B, n]``, for the Gaussian target; None is equal weights.
        classes: numbers from 0 ``[n]``: the samples of each class are compared with the Gaussian alone, along shared directions.
        start: first frames ``[B, d, count]``; None draws them uniformly.

    Raises:
        ValueError: shapes do not suit each other, or weights are given for two samples.
    """
    _check(x, count, target, weights)
    ideal = _ideal(x, target, weights, classes)
    frame = start if start is not None else random_frames(len(x), x.shape[2], count, generator).to(x)
    best, best_value = frame, x.new_full((len(x),), -torch.inf)
    before: tuple[Tensor, Tensor] | None = None
    for tick in range(iterations):
        value, gradient = _value_and_gradient(x, ideal, frame)
        better = value > best_value
        best = torch.where(better[:, None, None], frame, best)
        best_value = torch.where(better, value, best_value)
        if tick + 1 == iterations:
            break
        uphill = _tangent(frame, gradient)
        step = _step(frame, uphill, before, long=tick % 2 == 0)
        before = frame, uphill
        moved = orthonormal(frame + step * uphill)
        frame = torch.where(torch.isfinite(moved).all(2, keepdim=True).all(1, keepdim=True), moved, best)
    return orthonormal(best.double()).to(x)


def sliced_distance(x: Tensor, slices: Tensor, target: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """``F`` of the directions ``slices`` ``[B, d, K]``, ``[B]``: the mean squared W2 along them; arguments as in `find_slices`."""
    _check(x, slices.shape[2], target, weights)
    return _value_and_gradient(x, _ideal(x, target, weights), slices)[0]


def random_frames(problems: int, d: int, count: int, generator: torch.Generator) -> Tensor:
    """Uniformly distributed orthonormal frames ``[problems, d, count]`` (float32)."""
    normal = torch.randn(problems, d, count, generator=generator, device=generator.device, dtype=torch.float64)
    return orthonormal(orthonormal(normal)).float()


def orthonormal(frame: Tensor) -> Tensor:
    """The Q of the QR factorisation (with positive diagonal) of well conditioned ``[B, d, K]``, by Cholesky."""
    factor, _ = torch.linalg.cholesky_ex(frame.mT @ frame)
    turned: Tensor = torch.linalg.solve_triangular(factor, frame.mT, upper=False)
    return turned.mT


def gaussian_quantiles(n: int, device: torch.device) -> Tensor:
    """``Phi^-1((i - 1/2) / n)`` for ``i = 1 .. n``, ``[n]`` (float32)."""
    levels = (torch.arange(n, device=device, dtype=torch.float64) + 0.5) / n
    quantiles: Tensor = torch.special.ndtri(levels)
    return quantiles.float()


class _Ideal(NamedTuple):
    """What the samples are compared with: one of the first three is given."""

    target: Tensor | None
    shares: Tensor | None
    quantiles: Tensor | None
    classes: Tensor | None = None


def _ideal(x: Tensor, target: Tensor | None, weights: Tensor | None, classes: Tensor | None = None) -> _Ideal:
    if target is not None:
        return _Ideal(target, None, None)
    shares = _shares(weights, x)
    if shares is not None:
        return _Ideal(None, shares, None)
    sizes = torch.bincount(classes).tolist() if classes is not None else [x.shape[1]]
    return _Ideal(None, None, torch.cat([gaussian_quantiles(size, x.device) for size in sizes]).to(x), classes)


def _value_and_gradient(x: Tensor, ideal: _Ideal, frame: Tensor) -> tuple[Tensor, Tensor]:
    """``F`` ``[B]``, and its gradient times ``K / 2``, ``[B, d, K]``."""
    u = frame.mT @ x.mT
    if ideal.target is not None:
        return _between_samples(x, ideal.target, u, frame.mT @ ideal.target.mT)
    order = order_of(u)
    if ideal.quantiles is not None:
        order = order if ideal.classes is None else order_by_class(order, ideal.classes)
        gap = u - torch.empty_like(u).scatter_(-1, order, ideal.quantiles.expand_as(u))
        return gap.square().mean((1, 2)), (gap @ x).mT / u.shape[2]
    shares = cast(Tensor, ideal.shares)
    gap = u - torch.empty_like(u).scatter_(-1, order, weighted_quantiles(shares, order).to(u))
    weighted = gap * shares[:, None].to(u)
    return (weighted * gap).sum((1, 2)) / u.shape[1], (weighted @ x).mT


def weighted_quantiles(shares: Tensor, order: Tensor) -> Tensor:
    """Gaussian quantiles ``[B, K, n]`` of sorted samples with shares ``[B, n]`` (float64, they sum to one) in ``order`` ``[B, K, n]``."""
    sorted_shares = shares[:, None].expand(order.shape).gather(-1, order)
    levels = sorted_shares.cumsum(-1) - sorted_shares / 2
    quantiles: Tensor = torch.special.ndtri(levels.clamp(1e-12, 1 - 1e-12))
    return quantiles


def _between_samples(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """As `_value_and_gradient`, for two samples with projections ``u`` and ``v`` ``[B, K, n]``."""
    order_u, order_v = order_of(u), order_of(v)
    gap = u.gather(-1, order_u) - v.gather(-1, order_v)
    gap_x, gap_y = torch.empty_like(u).scatter_(-1, order_u, gap), torch.empty_like(v).scatter_(-1, order_v, gap)
    return gap.square().mean((1, 2)), (gap_x @ x - gap_y @ y).mT / u.shape[2]


def _tangent(frame: Tensor, gradient: Tensor) -> Tensor:
    """The gradient projected on the tangent space of the Stiefel manifold."""
    inner = frame.mT @ gradient
    return gradient - frame @ ((inner + inner.mT) / 2)


def _step(frame: Tensor, uphill: Tensor, before: tuple[Tensor, Tensor] | None, *, long: bool) -> Tensor:
    """Step lengths ``[B, 1, 1]``: Barzilai and Borwein's two in turn, held to frames that stay well conditioned."""
    norm = uphill.square().sum(1).amax(1).sqrt().clamp_min(1e-30)
    if before is None:
        return (_FIRST / norm)[:, None, None]
    moved, turned = frame - before[0], uphill - before[1]
    product = (moved * turned).sum((1, 2)).abs()
    top, bottom = (moved.square().sum((1, 2)), product) if long else (product, turned.square().sum((1, 2)))
    step = (top / bottom.clamp_min(1e-30)).minimum(_LONGEST / norm)
    return step[:, None, None]


def _shares(weights: Tensor | None, x: Tensor) -> Tensor | None:
    """Weights that sum to one, ``[B, n]`` (float64); None where all are equal."""
    if weights is None or bool((weights == weights.flatten()[0]).all()):
        return None
    shares = weights.double().expand(len(x), -1)
    return shares / shares.sum(1, keepdim=True)


def _check(x: Tensor, count: int, target: Tensor | None, weights: Tensor | None) -> None:
    if x.dim() != 3 or not 1 <= count <= x.shape[2]:
        raise ValueError(
            f"count: from 1 to d directions can be found in samples [B, n, d], got {count} for {list(x.shape)}."
        )
    if target is not None and (target.shape != x.shape or weights is not None):
        raise ValueError(
            f"target: samples of the shape of x, {list(x.shape)}, without weights are needed, got {list(target.shape)}."
        )
    if weights is not None and (weights.shape[-1] != x.shape[1] or bool((weights < 0).any())):
        raise ValueError(f"weights: {x.shape[1]} numbers that are not negative are needed, got {list(weights.shape)}.")
