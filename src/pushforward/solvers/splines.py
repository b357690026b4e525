"""B-splines on [0, 1] with roughness penalties, and additive penalised regression, also where entries are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

_ROWS = 32  # squared at a time
_SWEEPS = 3  # over the factors at every width of the grid


class BSplines:
    """B-splines with equally spaced knots on [0, 1], clamped at both ends; they sum to one.

    C. de Boor, A Practical Guide to Splines (2001), chapters IX (values) and X (derivatives).

    Args:
        count: number of functions, at least ``degree + 1``.
        degree: of the polynomial pieces; 3 is cubic.

    Raises:
        ValueError: there are too few functions for the degree.
    """

    def __init__(self, count: int, degree: int = 3) -> None:
        if degree < 0 or count <= degree:
            raise ValueError(f"count: splines of degree {degree} need at least {degree + 1} functions, got {count}.")
        self.count, self.degree = count, degree
        self.breaks = torch.linspace(0, 1, count - degree + 1, dtype=torch.float64)
        self.knots = torch.cat([self.breaks.new_zeros(degree), self.breaks, self.breaks.new_ones(degree)])

    def __call__(self, u: Tensor) -> Tensor:
        """Values ``[..., count]`` at arguments ``[...]``, which are held to [0, 1]."""
        return self._values(u.clamp(0, 1), self.degree)

    def derivative(self, u: Tensor, order: int = 1) -> Tensor:
        """Derivatives of that order, ``[..., count]``, at arguments ``[...]``."""
        if order > self.degree:
            return u.new_zeros(*u.shape, self.count)
        values = self._values(u.clamp(0, 1), self.degree - order)
        for degree in range(self.degree - order + 1, self.degree + 1):
            scaled = degree * values * self._inverse_widths(degree).to(u)
            values = scaled[..., :-1] - scaled[..., 1:]
        return values

    def penalty(self, order: int = 2) -> Tensor:
        """Roughness ``[count, count]`` in float64: the integrals of products of derivatives of that order.

        Gauss-Legendre quadrature with ``degree + 1`` nodes between two knots is exact for these piecewise polynomials.
        """
        nodes, weights = np.polynomial.legendre.leggauss(self.degree + 1)
        width = self.breaks[1]
        points = self.breaks[:-1, None] + width * torch.from_numpy(nodes + 1) / 2
        values = self.derivative(points, order)
        roughness: Tensor = torch.einsum("g,bgi,bgj->ij", width * torch.from_numpy(weights) / 2, values, values)
        return roughness

    def _values(self, u: Tensor, degree: int) -> Tensor:
        """Values of the splines of a lower degree on the same knots, ``[..., len(knots) - 1 - degree]``."""
        piece = torch.bucketize(u.detach(), self.breaks[1:-1].to(u), right=True)
        values = torch.nn.functional.one_hot(piece + self.degree, len(self.knots) - 1).to(u)
        knots = self.knots.to(u)
        for k in range(1, degree + 1):
            scaled = values * self._inverse_widths(k).to(u)
            rising, falling = (u[..., None] - knots[:-k]) * scaled, (knots[k:] - u[..., None]) * scaled
            values = rising[..., :-1] + falling[..., 1:]
        return values

    def _inverse_widths(self, degree: int) -> Tensor:
        """``1 / (t[i + degree] - t[i])``, and 0 where knots coincide."""
        width = self.knots[degree:] - self.knots[:-degree]
        return torch.where(width > 0, 1 / width.clamp_min(1e-12), 0.0)


def penalised_fit(design: Tensor, x: Tensor, penalty: Tensor, weights: Tensor | None = None) -> Tensor:
    """Coefficients ``B`` ``[k, p]`` that minimise ``sum w (x - design B)^2 + trace(B' penalty B)``.

    Args:
        design: ``[n, k]``.
        x: responses ``[n, p]``; without weights they may be less precise than the design.
        penalty: positive semi-definite ``[k, k]``.
        weights: ``[n, p]``, not negative; 0 leaves an entry out. None weighs all alike, which needs one solve for all columns.
    """
    solve: Callable[[Tensor, Tensor], Tensor] = torch.linalg.solve
    if weights is None:
        return solve(design.T @ design + penalty, (design.T.to(x.dtype) @ x).to(design.dtype))
    k = design.shape[1]
    normal = (weights.T @ _products(design)).reshape(-1, k, k) + penalty
    right = (design.T @ (weights * x)).T
    return solve(normal, right[..., None])[..., 0].T


def curve_distances(x: Tensor, coefficients: Tensor, basis: Tensor, weights: Tensor | None = None) -> Tensor:
    """``sum_c w_ic (x_ic - (basis_j B)_c)^2`` for every row and every point of a curve: ``[n, m]``.

    The curve lies in ``d`` dimensions, so that the sum over columns is taken once: ``n p d + n m d`` operations (``d^2``
    with weights) instead of ``n m p``.

    Args:
        x: rows ``[n, p]``.
        coefficients: ``B`` ``[d, p]``.
        basis: values of the basis on the curve's points ``[m, d]``.
        weights: ``[n, p]``, not negative, or None.
    """
    weighted = _weighted(x, weights)
    norms = ((basis @ (coefficients @ coefficients.T)) * basis).sum(1)
    if weights is not None:
        norms = (weights @ _products(coefficients.T)) @ _products(basis).T
    distances = torch.addmm(norms, weighted @ coefficients.T, basis.T, alpha=-2)
    return distances.add_((weighted * x).sum(1, keepdim=True))


def principal_coordinates(x: Tensor) -> Tensor:
    """Rows ``[n, p]`` turned to their principal axes, largest first: ``[n, rank]``, with the same Gram matrix.

    Regressions of all columns on one design, and distances between rows, see the Gram matrix alone: they may be taken of these
    at most ``n`` columns instead of ``p``.
    """
    wide = x.shape[1] > len(x)
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values > 1e-12 * values[0]
    turned: Tensor = vectors[:, kept] * values[kept].sqrt() if wide else x @ vectors[:, kept]
    return turned


def column_means(x: Tensor, weights: Tensor | None) -> Tensor:
    """Column means ``[p]`` of what is observed (0 where nothing is)."""
    return x.mean(0) if weights is None else (weights * x).sum(0) / weights.sum(0).clamp_min(1.0)


def square_sums(x: Tensor) -> Tensor:
    """Sums of squares of the columns ``[p]``, a few rows at a time: fresh memory for all squares takes longer than they do."""
    return sum((part.square().sum(0) for part in x.split(_ROWS)), start=x.new_zeros(x.shape[1]))


def ranks_of(scores: Tensor) -> Tensor:
    """Ranks ``0 .. n-1`` along the first axis."""
    order: Tensor = scores.sort(dim=0, stable=True).indices
    return order.argsort(0)


def codes_of(ranks: Tensor) -> Tensor:
    """Standard normal quantiles of ranks ``[q, n]``, in float64."""
    quantiles: Tensor = torch.special.ndtri((ranks.double() + 1) / (ranks.shape[1] + 1))
    return quantiles


@dataclass(frozen=True)
class AdditiveFit:
    """An additive regression: coefficients ``[q d, p]``, (weighted) sum of squared residuals, and that with the penalty."""

    coefficients: Tensor
    misfit: float
    objective: float


class RankRegression:
    """Penalised regression of rows on ``q`` factors that are known by their ranks: ``x_i ~ sum_l g_l(u)``, ``u = (rank_il + 1) / (n + 1)``.

    The penalty is ``smoothing`` times the integral of ``g_l''^2``. A ridge of 1e-6 keeps the regression regular where two factors
    coincide or a column has no entry.

    Args:
        n: number of rows.
        factors: number ``q`` of factors.
        basis: number ``d`` of functions a factor: ``d + 1`` cubic B-splines, centred over the rows, the last one dropped.
        smoothing: weight of the penalty.
        device: of everything.
    """

    def __init__(self, n: int, factors: int, basis: int, smoothing: float, device: torch.device) -> None:
        splines = BSplines(basis + 1)
        values = splines(torch.arange(1, n + 1, dtype=torch.float64, device=device) / (n + 1))[:, :basis]
        rough = smoothing * splines.penalty()[:basis, :basis] + 1e-6 * torch.eye(basis, dtype=torch.float64)
        self.factors, self.basis, self.centre = factors, basis, values.mean(0)
        self.psi = values - self.centre
        self.penalty = torch.block_diag(*[rough] * factors).to(device)

    def coefficients(self, x: Tensor, ranks: Tensor, weights: Tensor | None = None) -> Tensor:
        """Coefficients ``[q d, p]`` of centred rows ``[n, p]`` on ranks ``[q, n]``; weights ``[n, p]`` or None."""
        return penalised_fit(self.design(ranks), x, self.penalty, weights)

    def fit(self, x: Tensor, ranks: Tensor, weights: Tensor | None = None) -> AdditiveFit:
        """The regression with its objective."""
        b = self.coefficients(x, ranks, weights)
        misfit = float(_weighted(self.residuals(x, ranks, b).square(), weights).sum())
        return AdditiveFit(b, misfit, misfit + float((b * (self.penalty @ b)).sum()))

    def residuals(self, x: Tensor, ranks: Tensor, coefficients: Tensor) -> Tensor:
        """Rows less their fit, ``[n, p]``."""
        return torch.addmm(x, self.design(ranks), coefficients, alpha=-1)

    def distances(
        self,
        x: Tensor,
        ranks: Tensor,
        coefficients: Tensor,
        factor: int,
        weights: Tensor | None = None,
        *,
        every: int = 1,
    ) -> Tensor:
        """Squared distances ``[m, n]`` of rows ``[m, p]`` with ranks ``[q, m]``, less all factors but one, from that one's curve.

        Only each ``every``-th point of the curve is looked at.
        """
        mine, others = self.block(factor), self.design(ranks)
        others[:, mine] = 0
        return curve_distances(x - others @ coefficients, coefficients[mine], self.psi[::every], weights)

    def shares(self, x: Tensor, ranks: Tensor, weights: Tensor | None = None) -> Tensor:
        """Sums of squares that the factors explain, ``<part_l, x + e>``, ``[q]``: they add up to ``|x|^2 - |e|^2``."""
        return self.column_shares(x, ranks, self.coefficients(x, ranks, weights), weights).sum(1)

    def column_shares(self, x: Tensor, ranks: Tensor, coefficients: Tensor, weights: Tensor | None = None) -> Tensor:
        """``shares`` of every column, ``[q, p]``: ``B o D'(x + e)`` for the coefficients ``B`` of the regression.

        Without weights ``D'(x + e) = (D'D + 2 penalty) B``, so that ``x`` is not looked at.
        """
        design = self.design(ranks)
        if weights is None:
            seen = (design.T @ design + 2 * self.penalty) @ coefficients
        else:
            seen = design.T @ (weights * (x + self.residuals(x, ranks, coefficients)))
        shares: Tensor = (coefficients * seen).unflatten(0, (self.factors, self.basis)).sum(1)
        return shares

    def design(self, ranks: Tensor) -> Tensor:
        """The basis functions of all factors at ranks ``[q, n]``: ``[n, q d]``."""
        return self.psi[ranks].transpose(0, 1).flatten(1)

    def block(self, factor: int) -> slice:
        """Where the functions of one factor stand in the design."""
        return slice(factor * self.basis, (factor + 1) * self.basis)


class AdditiveSplines(nn.Module):
    """The map ``z -> mean + sum_l g_l(z_l)`` with ``g_l`` a spline in ``u = Phi(z_l)``; with classes, one such map for each.

    Args:
        factors: number ``q`` of codes.
        basis: number ``d`` of spline functions a factor (``d + 1`` B-splines, the last one dropped after centring).
        width: length ``p`` of the output.
        classes: number of classes; above 1 the input is ``[z, one-hot class]``.
    """

    coefficients: Tensor
    centre: Tensor
    mean: Tensor

    def __init__(self, factors: int, basis: int, width: int, classes: int = 1) -> None:
        super().__init__()
        self.factors, self.basis, self.classes = factors, basis, classes
        self._splines = BSplines(basis + 1)
        self.register_buffer("coefficients", torch.zeros(classes, factors * basis, width))
        self.register_buffer("centre", torch.zeros(classes, basis))
        self.register_buffer("mean", torch.zeros(classes, width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs ``[n, q]``, or ``[n, q + classes]`` with classes, to ``[n, p]``."""
        z, label = inputs[:, : self.factors], inputs[:, self.factors :]
        if self.classes == 1:
            return torch.addmm(self.mean[0], self.features(z, 0), self.coefficients[0])
        made = torch.zeros(len(z), self.mean.shape[1], dtype=z.dtype, device=z.device)
        for k in range(self.classes):
            made = made + label[:, k, None] * torch.addmm(self.mean[k], self.features(z, k), self.coefficients[k])
        return made

    def features(self, z: Tensor, k: int) -> Tensor:
        """Centred basis functions of all factors, ``[..., q]`` to ``[..., q * d]``, in class ``k``."""
        return (self._splines(torch.special.ndtr(z))[..., :-1] - self.centre[k]).flatten(-2)

    def functions(self, z: Tensor) -> Tensor:
        """Values ``[classes, q, m, p]`` of all additive functions at codes ``[m]``."""
        basis = torch.stack([self.features(z[:, None], k) for k in range(self.classes)])
        values: Tensor = basis[:, None] @ self.coefficients.unflatten(1, (self.factors, self.basis))
        return values

    @torch.no_grad()
    def nearest(self, x: Tensor, k: int, codes: Tensor, ridge: Tensor, weights: Tensor | None = None) -> Tensor:
        """Codes ``[n, q]`` that minimise ``|x - g(z)|^2 + ridge |z|^2`` in class ``k``.

        The best of some known codes, then every factor in turn over a grid that gets finer. Rows meet the functions once, in
        ``q d`` numbers each, so that the search does not depend on ``p``.

        Args:
            x: rows ``[n, p]``.
            k: the class.
            codes: where to begin, ``[m, q]``.
            ridge: noise variance, a scalar.
            weights: ``[n, p]``, 0 for what is missing; or None.
        """
        y, b = x - self.mean[k], self.coefficients[k]
        start = curve_distances(y, b, self.features(codes, k), weights) + ridge * codes.square().sum(1)
        z = codes[start.argmin(1)]
        linear = _weighted(y, weights) @ b.T
        square = b @ b.T if weights is None else (weights @ _products(b.T)).unflatten(1, (len(b), len(b)))
        for width, m in ((3.5, 57), (0.1, 15), (0.01, 15)):
            offsets = width * torch.linspace(-1, 1, m, device=x.device)
            for factor in list(range(self.factors)) * _SWEEPS:
                own = z[:, factor, None]
                options = torch.cat([own, offsets + own * (width < 1)], dim=1)
                z = z.clone()
                z[:, factor] = self._best(z, factor, options, linear, square, ridge, k)
        return z

    def _best(
        self, z: Tensor, factor: int, options: Tensor, linear: Tensor, square: Tensor, ridge: Tensor, k: int
    ) -> Tensor:
        """Of the options ``[n, m]`` for one factor's code those that minimise ``f'Sf - 2 f'l + ridge z^2``: ``[n]``."""
        mine = slice(factor * self.basis, (factor + 1) * self.basis)
        others = self.features(z, k)
        others[:, mine] = 0
        slope = linear[:, mine] - (others[:, None] @ square[..., :, mine])[:, 0]
        f = self._splines(torch.special.ndtr(options))[..., :-1] - self.centre[k]
        value = ((f @ square[..., mine, mine]) * f).sum(-1) - 2 * (f @ slope[..., None])[..., 0]
        return options.gather(1, (value + ridge * options.square()).argmin(1, keepdim=True))[:, 0]


def _products(rows: Tensor) -> Tensor:
    """All products of two entries of each row: ``[n, k]`` to ``[n, k * k]``."""
    return (rows[:, :, None] * rows[:, None]).flatten(1)


def _weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    return values if weights is None else weights * values
