"""Averages of a kernel over all pairs of rows of two samples, in bounded memory, with the error that sampling leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pushforward.metrics.measurement import two_order_error

Kernel = Callable[[Tensor, Tensor], Tensor]  # [a, d] and [b, d] to [a, b], symmetric
Sums = tuple[Tensor, Tensor, float]

_TILE = 2048  # rows on each side of a tile: memory does not grow with the samples, and sums in float32 stay short


def squared_discrepancy(x: Tensor, y: Tensor, kernel: Kernel) -> tuple[float, float]:
    """Unbiased ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` from rows ``[n, d]`` and ``[m, d]``, and its standard error.

    The estimate is the U-statistic of Gretton et al. 2012 (JMLR 13, Lemma 6). Its error has two parts: one from the mean of
    each row over the others, of order ``1/sqrt(n)``, which vanishes where the laws are equal; and one from the pairs, of order
    ``1/n``, from the mean square of the doubly centred kernel (the unbiased one of Szekely and Rizzo 2014, eq. 2.6).
    """
    n, m = len(x), len(y)
    xx, _, x_squares = _pair_sums(x, None, kernel)
    yy, _, y_squares = _pair_sums(y, None, kernel)
    xy, yx, cross_squares = _pair_sums(x, y, kernel)
    value = xx.sum() / (n * (n - 1)) + yy.sum() / (m * (m - 1)) - 2 * xy.sum() / (n * m)
    first = 4 * ((xx / (n - 1) - xy / m).var() / n + (yy / (m - 1) - yx / n).var() / m)
    spread = _centred_square(torch.cat([xx + xy, yy + yx]), x_squares + y_squares + 2 * cross_squares)
    second = (2 / (n * (n - 1)) + 2 / (m * (m - 1)) + 4 / (n * m)) * spread
    return float(value), two_order_error(float(first), second)


def _pair_sums(x: Tensor, y: Tensor | None, kernel: Kernel) -> Sums:
    """Kernel sums of the rows ``[n]`` and of the columns ``[m]``, and the sum of squares.

    Without ``y`` the pairs are those of ``x`` with itself, none with the row itself, and the columns' sums are zero.
    """
    others = x if y is None else y
    rows, columns = (torch.zeros(len(v), dtype=torch.float64, device=x.device) for v in (x, others))
    squares = torch.zeros((), dtype=torch.float64, device=x.device)
    for i, j in _tiles(len(x), None if y is None else len(y)):
        tile = kernel(x[i], others[j])
        mirrored = y is None and i != j
        if y is None and i == j:
            tile.fill_diagonal_(0)
        rows[i] += tile.sum(dim=1)
        if mirrored or y is not None:
            (rows if mirrored else columns)[j] += tile.sum(dim=0)
        squares += (1 + mirrored) * torch.linalg.vector_norm(tile, dim=1).double().square().sum()
    return rows, columns, float(squares)


def _tiles(n: int, m: int | None) -> Iterator[tuple[slice, slice]]:
    """Tiles of all pairs; of a sample with itself, where ``m`` is None, those on and above the diagonal."""
    for i in range(0, n, _TILE):
        for j in range(i if m is None else 0, n if m is None else m, _TILE):
            yield slice(i, i + _TILE), slice(j, j + _TILE)


def _centred_square(sums: Tensor, squares: float) -> float:
    """Mean square of a doubly centred kernel matrix ``[n, n]`` from its row sums and sum of squares without diagonal."""
    n = len(sums)
    total = squares - 2 / (n - 2) * float(sums.square().sum()) + float(sums.sum()) ** 2 / ((n - 1) * (n - 2))
    return max(0.0, total / (n * (n - 3)))
