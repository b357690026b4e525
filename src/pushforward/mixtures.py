"""A mixture of Gaussians with full covariances as a law, with classes where there are some."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.laws import Law
from pushforward.solvers.expectation import Choice, Components, component_log_probs, fit_components, given_class

_CHUNK = 2**23  # numbers in the factors that are gathered at once for sampling


class FullMixture(Law):
    """A mixture of Gaussians on ``[n, d]``, each with a covariance and a class of its own.

    Buffers: ``weights`` ``[k]`` (of all components together), ``means`` ``[k, d]``, ``factors`` ``[k, d, d]`` (lower
    Cholesky factors of the covariances), ``owners`` ``[k]`` (class numbers).

    Args:
        dim: ``d``.
        classes: before it is fitted, the law is a standard Gaussian for each of so many classes of equal weight.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor
    owners: Tensor

    def __init__(self, dim: int, classes: int = 1) -> None:
        super().__init__((dim,))
        self.register_buffer("weights", torch.full((classes,), 1 / classes))
        self.register_buffer("means", torch.zeros(classes, dim))
        self.register_buffer("factors", torch.eye(dim).repeat(classes, 1, 1))
        self.register_buffer("owners", torch.arange(classes))

    def take(self, parts: Components, strength: float) -> FullMixture:
        """Take over fitted components, with ``strength`` rows of the pooled covariance added to each; returns self."""
        self.weights, self.means = parts.weights.float(), parts.means.float()
        self.factors, self.owners = parts.factors(strength).float(), parts.labels
        return self

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows ``[n, d]``; classes come with their training frequencies."""
        return self._sample(torch.multinomial(self.weights, n, replacement=True, generator=generator), generator)

    def sample_labels(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw class numbers ``[n]`` with the training frequencies."""
        return self.owners[torch.multinomial(self.weights, n, replacement=True, generator=generator)]

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        weights = self.weights * (labels[:, None] == self.owners)
        return self._sample(torch.multinomial(weights, 1, generator=generator)[:, 0], generator)

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log-density ``[n]`` of rows ``[n, d]``, given the class numbers ``[n]`` where there are some."""
        joint = component_log_probs(x, self.means, self.factors) + self.weights.log()
        if labels is None:
            return joint.logsumexp(1)
        return given_class(joint, labels, self.owners, self.weights)

    def _sample(self, component: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(len(component), self.means.shape[1], generator=generator, device=self.device)
        rows = max(1, _CHUNK // self.factors[0].numel())
        pairs = zip(component.split(rows), noise.split(rows), strict=True)
        return torch.cat([self.means[k] + torch.bmm(self.factors[k], e[:, :, None])[:, :, 0] for k, e in pairs])


def fitted_mixture(x: Tensor, labels: Tensor | None, *, floor: float, seed: int, rows: int = 5000) -> FullMixture:
    """A mixture for rows ``[n, d]``, class by class, with as many components as held-out rows allow (see `Choice`).

    Args:
        x: rows ``[n, d]``, in random order.
        labels: class numbers ``[n]``, or None.
        floor: variance that is added in every direction.
        seed: of the split and of the starts.
        rows: the choice looks at no more rows than that.
    """
    choice = Choice(x[:rows], labels[:rows] if labels is not None else None, floor=floor, seed=seed)
    for k in choice.candidates:
        choice.look(k)
    k, strength = choice.best
    return FullMixture(x.shape[1]).take(fit_components(x, labels, k, floor=floor, seed=seed), strength)
