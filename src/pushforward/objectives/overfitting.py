"""How far a critic tells its training rows from held-out rows: 0 where it cannot, 1 where it can in every case.

Values are ``[n]`` on training rows, ``[m]`` on held-out rows and ``[k]`` on made rows, each batch changed by the same augmentation.
"""

from __future__ import annotations

from torch import Tensor


def r_auc(train: Tensor, held: Tensor) -> Tensor:
    """``2 P(D(train) > D(held)) - 1``, ties counted half: a rank statistic in [-1, 1], for any critic.

    It stays what it is when values go through any increasing function, so that no zero and no scale of the critic matters.
    """
    difference = train[:, None] - held[None, :]
    return difference.sign().to(train.dtype).mean()


def r_v(train: Tensor, held: Tensor, made: Tensor) -> Tensor:
    """``(E D(train) - E D(held)) / (E D(train) - E D(made))`` (2006.06676, eq. 1); does not change with ``D -> a D + b``.

    For a critic of W1 it is the share of the training estimate of the distance that held-out rows do not confirm. Where training rows and
    made rows have equal means it is not defined, and near there it is as large as you like: average numerator and denominator first.
    """
    return (train.mean() - held.mean()) / (train.mean() - made.mean())


def r_t(train: Tensor) -> Tensor:
    """``E sign D(train)`` (2006.06676, eq. 1), in [-1, 1].

    Only for losses that give the critic's zero a meaning (logistic, hinge): a Wasserstein critic may have any constant added.
    """
    return train.sign().mean()
