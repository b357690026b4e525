"""Mixtures of Gaussians with full covariances: scikit-learn's EM for every class, shrinkage, and how many components to take."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # rows of the pooled covariance that are added to every component
_ROWS_EACH = 10  # a component needs that many rows
_MOST = 128
_FOLD = 5  # one row in five is held out
_ITERATIONS, _GAIN = 50, 1e-2  # of EM, and the gain in mean log-likelihood that ends it


@dataclass(frozen=True)
class Components:
    """Components of a mixture of Gaussians, in float64.

    Args:
        weights: ``[k]``, summing to 1 over all classes.
        means: ``[k, d]``.
        covariances: ``[k, d, d]``.
        labels: class number of each component ``[k]``.
        rows: number of rows that they were fitted to.
        bound: their mean log-likelihood of these rows, given the class.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    labels: Tensor
    rows: int
    bound: float

    def factors(self, strength: float) -> Tensor:
        """Cholesky factors ``[k, d, d]`` of covariances that ``strength`` rows of the pooled covariance were added to."""
        rows = (self.weights * self.rows)[:, None, None]
        pooled = (self.weights[:, None, None] * self.covariances).sum(0)
        factors: Tensor = torch.linalg.cholesky((rows * self.covariances + strength * pooled) / (rows + strength))
        return factors

    def log_prob(self, x: Tensor, labels: Tensor, strength: float) -> Tensor:
        """Log-density ``[n]`` of rows ``[n, d]`` given their class numbers ``[n]``."""
        parts = component_log_probs(x.double(), self.means, self.factors(strength))
        return given_class(parts + self.weights.log(), labels, self.labels, self.weights)


def fit_components(x: Tensor, labels: Tensor | None, k: int, *, floor: float, seed: int) -> Components:
    """EM from one start, class by class (Dempster, Laird, Rubin 1977; the start is k-means).

    Args:
        x: rows ``[n, d]``.
        labels: class numbers ``[n]``, or None.
        k: components for each class; a class of few rows gets one for every ten of them, and at least one.
        floor: variance that is added in every direction.
        seed: of the start.
    """
    y = labels if labels is not None else torch.zeros(len(x), dtype=torch.int64, device=x.device)
    names, counts = y.unique(return_counts=True)
    sizes = [max(1, min(k, count // _ROWS_EACH)) for count in counts.tolist()]
    found = [_em(x[y == name], size, floor, seed) for name, size in zip(names, sizes, strict=True)]
    shares = (counts / len(x)).tolist()
    weights = torch.cat([share * part[0] for share, part in zip(shares, found, strict=True)])
    means = torch.cat([part[1] for part in found]).to(x.device)
    covariances = torch.cat([part[2] for part in found]).to(x.device)
    bound = sum(share * part[3] for share, part in zip(shares, found, strict=True))
    owners = names.repeat_interleave(torch.tensor(sizes, device=x.device))
    return Components(weights.to(x.device), means, covariances, owners, len(x), bound)


def component_log_probs(x: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """Log-densities ``[n, k]`` of rows ``[n, d]`` under Gaussians with Cholesky factors ``[k, d, d]``, in bounded memory."""
    d, eye = x.shape[1], torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand_as(factors)
    inverse = torch.linalg.solve_triangular(factors, eye, upper=False)
    shift = torch.einsum("kij,kj->ki", inverse, means)
    parts = x.split(max(1, 2**24 // max(1, means.numel())))
    square = torch.cat([(torch.einsum("kij,nj->nki", inverse, part) - shift).square().sum(2) for part in parts])
    log_det = factors.diagonal(dim1=1, dim2=2).log().sum(1)
    return -0.5 * square - log_det - 0.5 * d * math.log(2 * math.pi)


def given_class(joint: Tensor, labels: Tensor, owners: Tensor, weights: Tensor) -> Tensor:
    """Conditional log-densities ``[n]`` from joint ones ``[n, k]`` of rows with ``labels`` and components of ``owners``."""
    mine = labels[:, None] == owners
    share = (mine * weights).sum(1)
    return joint.masked_fill(~mine, -math.inf).logsumexp(1) - share.log()


class Choice:
    """The number of components and the strength of shrinkage, by the likelihood of held-out rows.

    The mean log-likelihood of held-out rows is nearly flat over a wide range of both numbers. Of all settings within one
    standard error of the best one the most flexible is taken: most components, then least shrinkage. Samples of that
    one are closer to data than those of the best (benchmarks/baselines_digits.py).

    Args:
        x: rows ``[n, d]``.
        labels: class numbers ``[n]``, or None.
        floor: variance that is added in every direction.
        seed: of the split and of the starts.
    """

    def __init__(self, x: Tensor, labels: Tensor | None, *, floor: float, seed: int) -> None:
        y = labels if labels is not None else torch.zeros(len(x), dtype=torch.int64, device=x.device)
        held = _held_out(y, seed)
        self._train, self._held = (x[~held], y[~held]), (x[held], y[held])
        self._floor, self._seed = floor, seed
        most = min(_MOST, int(torch.bincount(self._train[1]).max()) // _ROWS_EACH)
        self.candidates = [2**i for i in range(1 + int(math.log2(max(1, most))))] if held.any() else []
        self.scores: list[tuple[int, float, float, float]] = []  # components, strength, mean and its standard error

    def look(self, k: int) -> None:
        """Score ``k`` components with every strength, unless fewer were too many already."""
        if self.scores and not any(score[0] == self.scores[-1][0] for score in self._good()):
            return
        parts = fit_components(*self._train, k, floor=self._floor, seed=self._seed)
        for strength in STRENGTHS:
            values = parts.log_prob(*self._held, strength)
            spread = 1.4826 * float((values - values.median()).abs().median())  # of a normal law; outliers do not count
            self.scores.append((k, strength, float(values.mean()), spread / math.sqrt(len(values))))

    @property
    def best(self) -> tuple[int, float]:
        """Components and strength."""
        good = self._good()
        if not good:
            return 1, STRENGTHS[-1]
        k, strength, *_ = max(good, key=lambda score: (score[0], -score[1]))
        return k, strength

    def state_dict(self) -> dict[str, list[tuple[int, float, float, float]]]:
        """The scores."""
        return {"scores": list(self.scores)}

    def load_state_dict(self, state: dict[str, list[tuple[int, float, float, float]]]) -> None:
        """Take over saved scores."""
        self.scores = list(state["scores"])

    def _good(self) -> list[tuple[int, float, float, float]]:
        top = max(self.scores, key=lambda score: score[2], default=None)
        return [score for score in self.scores if top is not None and score[2] >= top[2] - top[3]]


def _em(x: Tensor, k: int, floor: float, seed: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """Weights, means, covariances and mean log-likelihood of one class."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    rows = x.double().cpu().numpy()
    model = GaussianMixture(k, reg_covar=floor, tol=_GAIN, max_iter=_ITERATIONS, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows if len(rows) > 1 else rows.repeat(2, axis=0))
    weights, means, covariances = map(torch.from_numpy, (model.weights_, model.means_, model.covariances_))
    return weights, means, covariances, float(model.lower_bound_)


def _held_out(labels: Tensor, seed: int) -> Tensor:
    """Marks ``[n]`` one row in five of every class; classes of fewer than five rows are not touched."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    order = order[torch.argsort(labels[order], stable=True)]
    counts = torch.bincount(labels)
    first = (counts.cumsum(0) - counts)[labels[order]]
    held = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    held[order] = (torch.arange(len(labels), device=labels.device) - first) % _FOLD == _FOLD - 1
    return held
