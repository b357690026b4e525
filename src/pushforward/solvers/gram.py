"""Additive regressions on ranks, as a search for the ranks sees them: through the Gram matrix of the rows, or with weights.

A search needs objectives, distances of rows from curves and explained sums of squares, not the coefficients of all ``p``
columns. Without weights these depend on the rows through ``S = x x'`` alone, in which ``p`` is summed over (2003.13119).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pushforward.solvers.splines import RankRegression

_POWERS = 12  # of S in the search for its leading eigenvectors
_BLOCK = 2048  # columns of wide rows that are turned to float64 at a time
_STRIP = 128  # rows of the Gram matrix that are computed at a time, up to the diagonal
_KEPT = 2  # products with S that are kept of each factor: its present ranks, and those that an assignment proposed last


class RankFit(Protocol):
    """An additive regression on ranks: (weighted) sum of squared residuals, and that with the penalty."""

    @property
    def misfit(self) -> float: ...  # noqa: D102

    @property
    def objective(self) -> float: ...  # noqa: D102

    def distances(self, factor: int, rows: Tensor | slice, *, every: int = 1) -> Tensor:
        """As ``RankRegression.distances``, up to a constant of each row, which no assignment depends on."""

    def shares(self) -> Tensor:
        """As ``RankRegression.shares``."""


class Rows(Protocol):
    """Centred rows ``[n, p]``; ``total`` is their (weighted) sum of squares, ``entries`` the number (sum of weights) of entries."""

    total: float
    entries: float

    def scores(self, k: int) -> Tensor:
        """The leading ``k`` left singular vectors of the (weighted) rows, ``[n, k]``."""

    def fit(self, regression: RankRegression, ranks: Tensor) -> RankFit:
        """The regression on ranks ``[q, n]``."""


class WeightedRows:
    """``Rows`` with weights ``[n, p]``, not negative; a step costs ``p d^2`` operations a row."""

    def __init__(self, x: Tensor, weights: Tensor) -> None:
        self.x, self.weights = x, weights
        self.total, self.entries = float((weights * x.square()).sum()), float(weights.sum())

    def scores(self, k: int) -> Tensor:
        """As in ``Rows``."""
        return GramRows(self.weights * self.x).scores(k)

    def fit(self, regression: RankRegression, ranks: Tensor) -> RankFit:
        """As in ``Rows``."""
        found = regression.fit(self.x, ranks, self.weights)
        return _WeightedFit(self, regression, ranks, found.coefficients, found.misfit, found.objective)


@dataclass(frozen=True)
class _WeightedFit:
    of: WeightedRows
    regression: RankRegression
    ranks: Tensor
    coefficients: Tensor
    misfit: float
    objective: float

    def distances(self, factor: int, rows: Tensor | slice, *, every: int = 1) -> Tensor:
        x, ranks, weights = self.of.x[rows], self.ranks[:, rows], self.of.weights[rows]
        return self.regression.distances(x, ranks, self.coefficients, factor, weights, every=every)

    def shares(self) -> Tensor:
        return self.regression.shares(self.of.x, self.ranks, self.of.weights)


class GramRows:
    """``Rows`` through ``S = x x'`` of the centred ``x``: formed where ``p > n``, and applied as two products otherwise."""

    def __init__(self, x: Tensor) -> None:
        self._wide, self.entries = x.shape[1] > len(x), float(x.numel())
        self._matrix = _centred_gram(x) if self._wide else x.double() - x.double().mean(0)
        self.total = float(self._matrix.trace() if self._wide else self._matrix.square().sum())
        self._kept: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def __matmul__(self, v: Tensor) -> Tensor:
        """``S v`` for ``v`` ``[n, k]``, of few columns: faster transposed."""
        return (v.T @ self._matrix if self._wide else (v.T @ self._matrix) @ self._matrix.T).T

    def scores(self, k: int) -> Tensor:
        """As in ``Rows``, by a block Krylov method with Rayleigh-Ritz."""
        n, device = len(self._matrix), self._matrix.device
        generator = torch.Generator(device).manual_seed(0)
        block = torch.randn(n, min(n, k + 2), generator=generator, dtype=torch.float64, device=device)
        blocks = [block := torch.linalg.qr(self @ block)[0] for _ in range(_POWERS)]
        basis = torch.linalg.qr(torch.cat(blocks, dim=1))[0]
        vectors: Tensor = basis @ torch.linalg.eigh(basis.T @ (self @ basis))[1].flip(1)[:, :k]
        return vectors

    def fit(self, regression: RankRegression, ranks: Tensor) -> RankFit:
        """As in ``Rows``: with ``M = D'D + penalty`` the coefficients are ``B = M^-1 D'x``, and ``tr(B'D'x) = tr(M^-1 D'S D)``."""
        design = regression.design(ranks)
        normal, seen = design.T @ design, self._seen(regression, ranks, design)
        inverse, cross = torch.linalg.inv(normal + regression.penalty), design.T @ seen
        products, explained = inverse @ cross @ inverse, float((inverse * cross).sum())
        misfit = self.total - 2 * explained + float((normal * products).sum())
        return _GramFit(regression, design, seen @ inverse, products, misfit, self.total - explained)

    def _seen(self, regression: RankRegression, ranks: Tensor, design: Tensor) -> Tensor:
        """``S D`` ``[n, q d]``, one factor at a time, because a search changes the ranks of one factor at a time."""
        blocks = [self._seen_by(f, regression, own, design) for f, own in enumerate(ranks)]
        return torch.cat(blocks, dim=1)

    def _seen_by(self, factor: int, regression: RankRegression, ranks: Tensor, design: Tensor) -> Tensor:
        """The columns ``[n, d]`` of ``S D`` that belong to one factor with ranks ``[n]``."""
        kept = self._kept.get(factor, [])
        for psi, known, seen in kept:
            if psi is regression.psi and torch.equal(known, ranks):
                return seen
        seen = self @ design[:, regression.block(factor)]
        self._kept[factor] = [(regression.psi, ranks, seen), *kept[: _KEPT - 1]]
        return seen


@dataclass(frozen=True)
class _GramFit:
    """``x B'`` ``[n, q d]`` and ``B B'`` ``[q d, q d]`` stand for the coefficients ``B`` ``[q d, p]``."""

    regression: RankRegression
    design: Tensor
    projections: Tensor
    products: Tensor
    misfit: float
    objective: float

    def distances(self, factor: int, rows: Tensor | slice, *, every: int = 1) -> Tensor:
        mine, psi, others = self.regression.block(factor), self.regression.psi[::every], self.design[rows].clone()
        others[:, mine] = 0
        linear = self.projections[rows][:, mine] - others @ self.products[:, mine]
        norms = ((psi @ self.products[mine, mine]) * psi).sum(1)
        return torch.addmm(norms.float(), linear.float(), psi.T.float(), alpha=-2)

    def shares(self) -> Tensor:
        linear = 2 * (self.design * self.projections).sum(0)
        square = ((self.design.T @ self.design) * self.products).sum(1)
        shares: Tensor = (linear - square).unflatten(0, (self.regression.factors, self.regression.basis)).sum(1)
        return shares


def permutation_on_a_curve(cost: Tensor) -> Tensor:
    """The permutation ``[n]`` of least total cost ``[n, n]``.

    By SciPy's solver, which where columns are points on a curve takes half the time of lapx's or less.
    """
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(cost.device)


def _centred_gram(x: Tensor) -> Tensor:
    """``x x'`` ``[n, n]`` of the centred rows in float64, without a float64 copy of all columns; one half is computed."""
    products = x.new_zeros((len(x), len(x)), dtype=torch.float64)
    for part in x.split(_BLOCK, dim=1):
        columns = part.double()
        for i in range(0, len(x), _STRIP):
            products[i : i + _STRIP, : i + _STRIP].addmm_(columns[i : i + _STRIP], columns[: i + _STRIP].T)
    products = products.tril() + products.tril(-1).T
    products -= products.mean(0)
    return products - products.mean(1, keepdim=True)
