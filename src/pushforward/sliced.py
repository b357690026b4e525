"""Maps that move points along a few directions: sliced layers, whitening as one of them, and bounds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.maps import Map
from pushforward.solvers.rational_quadratic import Spline, inverse, transform

_EDGE = 1e-5  # of the width, left free at both bounds: the logit's lambda
_AT_ONCE = {"cpu": 2**18}  # values along slices that are moved at once
_ON_A_CARD = 2**26
_Splines = Callable[[Spline, Tensor, Tensor | None], tuple[Tensor, Tensor]]


def slide(x: Tensor, slices: Tensor | None, spline: Spline, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """``x + A (psi(A^T x) - A^T x)`` ``[..., n, d]`` and its log-determinant ``[..., n]``.

    Args:
        x: points ``[..., n, d]``.
        slices: orthonormal directions ``A`` ``[..., d, K]``; None are the axes.
        spline: increasing functions ``psi``, knots ``[..., K, M]``, or ``[..., K, C, M]`` where there are classes.
        classes: class numbers ``[n]``.
    """
    return _along(transform, x, slices, spline, classes)


def slide_back(
    x: Tensor, slices: Tensor | None, spline: Spline, classes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The inverse of `slide` and its log-determinant, in closed form, since the directions are orthonormal."""
    return _along(inverse, x, slices, spline, classes)


def _along(
    splines: _Splines, x: Tensor, slices: Tensor | None, spline: Spline, classes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Points moved along the slices by splines or their inverses, and the log-determinant, some rows at a time."""
    rows = max(1, _AT_ONCE.get(x.device.type, _ON_A_CARD) // spline.x.shape[-2 if classes is None else -3])
    if x.shape[-2] > rows:
        some = classes.split(rows) if classes is not None else [None] * -(-x.shape[-2] // rows)
        parts = [_along(splines, part, slices, spline, own) for part, own in zip(x.split(rows, -2), some, strict=True)]
        return torch.cat([moved for moved, _ in parts], -2), torch.cat([log_det for _, log_det in parts], -1)
    before = x.mT if slices is None else slices.mT @ x.mT
    after, log_slope = splines(spline, before, classes)
    return _moved(x, slices, before, after), log_slope.sum(-2)


def _moved(x: Tensor, slices: Tensor | None, before: Tensor, after: Tensor) -> Tensor:
    return after.mT.contiguous() if slices is None else x + (after - before).mT @ slices.mT


class SlicedLayers(Map):
    """``L`` layers, each moving points along its own ``K`` directions by increasing splines (Dai, Seljak, arXiv 2007.00674).

    The inverse, which leads from data to noise, is ``x + A (psi(A^T x) - A^T x)`` layer by layer, first to last. With
    classes there are splines for each, along the same directions. Buffers: ``slices`` ``[L, d, K]`` (``[L, 0, 0]`` stands for the
    axes) and ``x``, ``y``, ``slopes`` ``[L, K, C, M]``; any number of layers can be loaded.

    Args:
        slices: directions ``[L, d, K]``; None are the axes.
        spline: knots ``[L, K, C, M]``.
    """

    slices: Tensor
    x: Tensor
    y: Tensor
    slopes: Tensor

    def __init__(self, slices: Tensor | None = None, spline: Spline | None = None) -> None:
        super().__init__()
        knots = spline if spline is not None else Spline(*(torch.zeros(0, 0, 1, 2) for _ in range(3)))
        self.register_buffer("slices", slices if slices is not None else torch.zeros(len(knots.x), 0, 0))
        for name, part in zip(Spline._fields, knots, strict=True):
            self.register_buffer(name, part.contiguous())

    @classmethod
    def stack(cls, layers: list[tuple[Tensor | None, Spline]]) -> SlicedLayers:
        """Layers of equal sizes, each directions ``[d, K]`` (or None) and knots ``[K, C, M]``; none make the identity."""
        if not layers:
            return cls()
        frames, splines = [frame for frame, _ in layers if frame is not None], [spline for _, spline in layers]
        return cls(
            torch.stack(frames) if frames else None, Spline(*(torch.stack(p) for p in zip(*splines, strict=True)))
        )

    def __len__(self) -> int:
        return len(self.x)

    def layer(self, i: int) -> tuple[Tensor | None, Spline]:
        """Directions and splines of layer ``i``, as `slide` takes them."""
        parts = (self.x[i], self.y[i], self.slopes[i])
        spline = Spline(*(part[:, 0] if self.x.shape[2] == 1 else part for part in parts))
        return (self.slices[i] if self.slices.shape[1] else None), spline

    def forward(self, z: Tensor, classes: Tensor | None = None, part: slice = slice(None)) -> Tensor:
        """Noise ``[n, d]`` to data ``[n, d]``, by the layers of ``part``; class numbers ``[n]`` where there are classes."""
        for i in reversed(range(len(self))[part]):
            z = slide_back(z, *self.layer(i), self._known(classes))[0]
        return z

    def inverse_and_log_det(
        self, x: Tensor, classes: Tensor | None = None, part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Data to noise, and the log-determinant ``[n]`` of that; arguments as in ``forward``."""
        total = x.new_zeros(len(x))
        for i in range(len(self))[part]:
            x, log_det = slide(x, *self.layer(i), self._known(classes))
            total = total + log_det
        return x, total

    def _known(self, classes: Tensor | None) -> Tensor | None:
        return classes if self.x.shape[2] > 1 else None


def whitening(x: Tensor, classes: int = 1) -> tuple[Tensor, Spline]:
    """A sliced layer that whitens rows ``[n, d]``: principal axes, and lines that shift and scale along them.

    The covariance is shrunk towards a multiple of the identity by the oracle approximating rule (Chen, Wiesel, Eldar, Hero: Shrinkage
    algorithms for MMSE covariance estimation, IEEE Trans. Signal Processing 58, 2010).
    """
    n, d = x.shape
    mean = x.mean(0, dtype=torch.float64)
    covariance = torch.cov(x.double().T, correction=0).reshape(d, d)
    level, square = covariance.trace() / d, covariance.square().sum()
    excess = square - covariance.trace() ** 2 / d
    top = (1 - 2 / d) * square + covariance.trace() ** 2
    share = (top / ((n + 1 - 2 / d) * excess).clamp_min(1e-300)).clamp(0, 1)
    values, axes = torch.linalg.eigh((1 - share) * covariance)
    scale = (values + share * level).clamp_min(1e-12).rsqrt()
    centre = axes.T @ mean
    knots = torch.stack([centre - 1, centre + 1], dim=1)
    parts = (knots, (knots - centre[:, None]) * scale[:, None], scale[:, None].expand(-1, 2))
    return axes.to(x), Spline(*(part[:, None].expand(-1, classes, -1).to(x).contiguous() for part in parts))


class Bounds(Map):
    """From the whole space into a box or a half-space, coordinate by coordinate.

    Between two bounds ``x = l + (u - l) (sigmoid(z) (1 + 2 e) - e)`` with ``e = 1e-5``, above a lower one ``x = l + softplus(z)``,
    below an upper one ``x = u - softplus(z)``; a coordinate without bounds is left alone.

    Args:
        lower: bounds ``[d]``, minus infinity for none; empty where no coordinate has any.
        upper: bounds ``[d]``, infinity for none; empty as well.
    """

    lower: Tensor
    upper: Tensor

    def __init__(self, lower: Tensor, upper: Tensor) -> None:
        super().__init__()
        if bool((lower >= upper).any()):
            raise ValueError("upper: must lie above lower in every coordinate.")
        self.register_buffer("lower", lower)
        self.register_buffer("upper", upper)

    def forward(self, z: Tensor) -> Tensor:
        """Rows ``[n, d]`` into the bounds."""
        if not len(self.lower):
            return z
        low, high, both, soft = self._cases()
        width = torch.where(both, high - low, 1.0)
        inside = low + width * (torch.sigmoid(z) * (1 + 2 * _EDGE) - _EDGE)
        above = torch.nn.functional.softplus(z)
        half = torch.where(self.lower.isfinite(), low + above, high - above)
        x = torch.where(both, inside, torch.where(soft, half, z))
        return x.maximum(self.lower).minimum(self.upper)

    def inverse_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows from inside the bounds to the whole space; the log-determinant is minus infinity for rows outside."""
        if not len(self.lower):
            return x, x.new_zeros(len(x))
        low, high, both, soft = self._cases()
        width = torch.where(both, high - low, 1.0)
        share = (((x - low) / width).clamp(0, 1) + _EDGE) / (1 + 2 * _EDGE)
        log_both = -(share * (1 - share)).log() - (width * (1 + 2 * _EDGE)).log()
        rise = torch.where(self.lower.isfinite(), x - low, high - x).clamp_min(_EDGE)
        root = rise + (-torch.expm1(-rise)).log()  # the inverse of softplus
        log_soft = rise - root
        z = torch.where(both, torch.logit(share), torch.where(soft, root, x))
        total = torch.where(both, log_both, torch.where(soft, log_soft, 0.0)).sum(1)
        return z, total.where(((x >= self.lower) & (x <= self.upper)).all(1), -torch.inf)

    def _cases(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bounds with 0 for none; where there are two; where there is one."""
        below, above = self.lower.isfinite(), self.upper.isfinite()
        return (
            torch.where(below, self.lower, 0.0),
            torch.where(above, self.upper, 0.0),
            below & above,
            below ^ above,
        )
