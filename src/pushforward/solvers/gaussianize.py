"""One-dimensional laws carried to the standard Gaussian by monotone splines, many at once.

The map is ``psi = s Phi^-1(F(u))`` at quantiles of the data, where ``F`` is the distribution function of a kernel density estimate and
``s = sqrt(1 + b^2)``, with the bandwidth ``b`` in standard deviations, undoes the variance that the kernel adds: on Gaussian data ``psi``
is the identity in expectation. A few quantiles more lie in the outer two bins, the slope of each tail is that of a regression
through the data beyond the last knot, and both may be pulled towards the identity (Dai, Seljak, arXiv 2007.00674, section 3.2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pushforward.solvers.ranks import order_of, sort_values
from pushforward.solvers.rational_quadratic import Spline, blend, slopes_of_knots, strictly_increasing

_GROUPS = 256  # of sorted samples, that the kernel estimate takes together
_TAIL_LEVELS = 9  # deciles of the data beyond the last knot
_CHUNK = 2**22  # numbers at once
_FEW = 30  # samples of a class
_ROOT_HALF = math.sqrt(0.5)


def gaussianize(
    u: Tensor,
    *,
    bandwidth: float = 1.0,
    inner: float = 0.0,
    tails: float = 0.0,
    knots: int | None = None,
    weights: Tensor | None = None,
) -> Spline:
    """Splines, with knots ``[..., M]``, that carry each row of samples to the standard Gaussian.

    Args:
        u: samples ``[..., n]``.
        bandwidth: of the kernel estimate, in units of Scott's rule ``n^(-1/5)`` standard deviations; 0 takes plain quantiles.
        inner: pull towards the identity between the knots, in [0, 1]; 0 is none.
        tails: the same for the slopes outside.
        knots: their number ``M``; None takes the paper's rule, see `knots_for`.
        weights: of the samples, ``[..., n]`` or a shape that broadcasts to it; None is equal weights.
    """
    rows = max(1, _CHUNK // u.shape[-1])
    if u.dim() == 2 and len(u) > rows:
        each = [None] * -(-len(u) // rows) if weights is None else weights.expand(u.shape).split(rows)
        parts = [
            gaussianize(part, bandwidth=bandwidth, inner=inner, tails=tails, knots=knots, weights=own)
            for part, own in zip(u.split(rows), each, strict=True)
        ]
        return Spline(*(torch.cat(part) for part in zip(*parts, strict=True)))
    levels = _levels(u.shape[-1], knots or knots_for(u.shape[-1]), u.device)
    values, shares = _sorted(u, weights)
    points = _quantiles(values, shares, levels)
    scores = _scores(points, values, shares, levels, bandwidth)
    return blend(_through(points, scores), inner, tails)


def gaussianize_classes(
    u: Tensor, classes: Tensor | None, count: int, *, bandwidth: float, inner: float, tails: float, knots: int | None
) -> Spline:
    """`gaussianize` for each class alone: knots ``[K, count, M]``; ``[K, M]`` where there are no classes.

    Args:
        u: samples ``[K, n]``.
        classes: class numbers ``[n]``, or None.
        count: number of classes; one of fewer than 30 samples gets the splines of all samples together.
        bandwidth: as in `gaussianize`, like the others.
        inner: pull towards the identity between the knots.
        tails: pull towards the identity outside.
        knots: number of knots; None takes the paper's rule for the mean size of a class.
    """
    knots = knots or knots_for(u.shape[-1] // count)

    def fit(part: Tensor) -> Spline:
        return gaussianize(part, bandwidth=bandwidth, inner=inner, tails=tails, knots=knots)

    if classes is None:
        return fit(u)
    rows = [(classes == k).nonzero()[:, 0] for k in range(count)]
    pooled = fit(u) if min(len(own) for own in rows) < _FEW else None
    parts = [pooled if pooled is not None and len(own) < _FEW else fit(u[:, own]) for own in rows]
    return Spline(*(torch.stack(part, dim=1) for part in zip(*parts, strict=True)))


def knots_for(n: int) -> int:
    """The paper's number of knots, ``sqrt(n)`` held to [50, 200], but no more than a third of the samples (at least 5)."""
    return max(5, min(max(math.isqrt(n), 50), 200, n // 3))


def _levels(n: int, knots: int, device: torch.device) -> Tensor:
    """Probabilities ``[9 + M + 9]`` (float64): of the knots, with more of them in the outer bins, and of the data beyond."""
    extra = min(max(int(math.log10(n)) - 1, 0), (knots - 3) // 2)
    inner = knots - 2 * extra
    first = 1 / (inner + 1)
    edge = [first * i / (extra + 1) for i in range(1, extra + 1)]
    least = edge[0] if edge else first
    beyond = [least * i / (_TAIL_LEVELS + 1) for i in range(1, _TAIL_LEVELS + 1)]
    middle = torch.linspace(first, 1 - first, inner, dtype=torch.float64)
    lower = torch.tensor(beyond + edge, dtype=torch.float64)
    return torch.cat([lower, middle, (1 - lower).flip(0)]).to(device)


def _sorted(u: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Sorted samples, and their shares (float64, they sum to one) in that order where the weights differ."""
    if weights is None or bool((weights == weights.flatten()[0]).all()):
        return sort_values(u), None
    order = order_of(u)
    shares = weights.double().expand(u.shape).gather(-1, order)
    return u.gather(-1, order), shares / shares.sum(-1, keepdim=True)


def _quantiles(values: Tensor, shares: Tensor | None, levels: Tensor) -> Tensor:
    """Quantiles ``[..., L]`` by linear interpolation between sorted samples, each of which stands in the middle of its share."""
    n = values.shape[-1]
    if shares is None:
        place = (levels * n - 0.5).clamp(0, n - 1)
        low = place.long().clamp_max(max(n - 2, 0))
        return torch.lerp(values[..., low], values[..., (low + 1).clamp_max(n - 1)], (place - low).to(values))
    middle = (shares.cumsum(-1) - shares / 2).contiguous()
    wanted = levels.expand(*values.shape[:-1], -1).contiguous()
    low = (torch.searchsorted(middle, wanted) - 1).clamp(0, n - 2)
    left, right = middle.gather(-1, low), middle.gather(-1, low + 1)
    share = ((wanted - left) / (right - left).clamp_min(1e-30)).clamp(0, 1).to(values)
    return torch.lerp(values.gather(-1, low), values.gather(-1, low + 1), share)


def _scores(points: Tensor, values: Tensor, shares: Tensor | None, levels: Tensor, bandwidth: float) -> Tensor:
    """``s Phi^-1(F(points))`` ``[..., L]``; the upper half by the upper tail's probability, which keeps its digits."""
    if bandwidth == 0:
        plain: Tensor = torch.special.ndtri(levels)
        return plain.to(points).expand_as(points)
    size = (
        values.new_full((*values.shape[:-1], 1), values.shape[-1])
        if shares is None
        else 1 / shares.square().sum(-1, True)
    )
    factor = (bandwidth * size**-0.2).to(values)
    centres, masses, spread = _groups(values, shares)
    sign = torch.where(levels < 0.5, 1.0, -1.0).to(points)
    below = _smoothed(points * sign, centres, masses, sign, factor * spread)
    scores: Tensor = sign * torch.special.ndtri(below.double().clamp(1e-30, 1)).to(points)
    return scores * (1 + factor.square()).sqrt()


def _smoothed(points: Tensor, centres: Tensor, masses: Tensor, sign: Tensor, width: Tensor) -> Tensor:
    """``sum_j m_j Phi((points - sign c_j) / width)`` ``[..., L]``, some rows at a time."""
    shape = points.shape
    rows = max(1, _CHUNK // (shape[-1] * centres.shape[-1]))
    scale = _ROOT_HALF / width.clamp_min(1e-12)
    parts = zip(*(part.flatten(0, -2).split(rows) for part in (points, centres, masses, scale)), strict=True)
    done = [
        torch.erfc((sign[:, None] * c[:, None] - p[:, :, None]).mul_(s[:, :, None])) @ m[:, :, None]
        for p, c, m, s in parts
    ]
    return torch.cat(done)[..., 0].reshape(shape) / 2


def _groups(values: Tensor, shares: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Sorted samples in groups: means ``[..., G]``, masses ``[..., G]``, and the standard deviation of all ``[..., 1]``.

    The groups are those of equal width for Gaussian samples, so that the outermost hold one sample each.
    """
    n = values.shape[-1]
    reach = float(torch.special.ndtri(torch.tensor(0.5 / n, dtype=torch.float64)))
    z = torch.linspace(reach, -reach, _GROUPS + 1, dtype=torch.float64)[1:-1]
    inner = (torch.special.ndtr(z) * n).round().long().clamp(1, n - 1).unique() if n > 1 else z.long()[:0]
    ends = torch.cat([inner, torch.tensor([n])]).to(values.device)
    exact = values.double()
    mass = shares if shares is not None else torch.full_like(exact, 1 / n)
    mean = (exact * mass).sum(-1, keepdim=True)
    spread = ((exact - mean).square() * mass).sum(-1, keepdim=True).sqrt()
    masses, sums = _between(mass, ends), _between(exact * mass, ends)
    centres = torch.where(masses > 0, sums / masses.clamp_min(1e-300), exact[..., ends - 1])
    return centres.to(values), masses.to(values), spread.to(values)


def _between(terms: Tensor, ends: Tensor) -> Tensor:
    """Sums ``[..., G]`` of the terms ``[..., n]`` from one end to the next."""
    totals = terms.cumsum(-1)[..., ends - 1]
    return torch.cat([totals[..., :1], totals.diff(dim=-1)], dim=-1)


def _through(points: Tensor, scores: Tensor) -> Spline:
    """The spline through all but the outer points, which give the slopes of the tails."""
    t = _TAIL_LEVELS
    x, y = points[..., t:-t], scores[..., t:-t]
    lower = _regression(points[..., :t] - x[..., :1], scores[..., :t] - y[..., :1])
    upper = _regression(points[..., -t:] - x[..., -1:], scores[..., -t:] - y[..., -1:])
    x, y = strictly_increasing(x), strictly_increasing(y)
    return Spline(x, y, slopes_of_knots(x, y, lower, upper))


def _regression(dx: Tensor, dy: Tensor) -> Tensor:
    """Slopes ``[...]`` of lines through the origin by least squares; 1 where there is nothing to fit."""
    bottom = dx.square().sum(-1)
    return torch.where(bottom > 0, (dx * dy).sum(-1) / bottom.clamp_min(1e-30), 1.0)
