"""Constraints on the slope of a critic ``[n, *event] -> [n]``, put on when it is built or after every step.

What each one guarantees:

* `clip_weights`: weights in a box (WGAN, 1701.07875). Some Lipschitz constant, mostly far from the one that was wanted.
* `spectral_normalised`: every layer's matrix divided by its largest singular value (SN-GAN, 1802.05957). 1-Lipschitz for linear
  layers, often far below; for a convolution the matrix is the reshaped kernel, whose norm is not that of the convolution: the
  true norm can be larger, up to the square root of the number of its taps.
* `sorting_critic`: orthogonal layers and sorted activations (1811.05381). 1-Lipschitz, and slopes do not fade with depth.
* `GradientNormalised` (GraN, 2111.03162): slope below K inside every linear piece, but with jumps between pieces.
* `GradientBounded` (GN, 2109.02235): values in (-1, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from pushforward.maps import of_class

_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PIECEWISE_LINEAR = (
    *_LINEAR,
    nn.ConvTranspose2d,
    nn.ReLU,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ReLU6,
    nn.Hardtanh,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.MaxPool2d,
    nn.Upsample,
    nn.ZeroPad2d,
)


@torch.no_grad()
def clip_weights(critic: nn.Module, bound: float = 0.01) -> None:
    """Clamp every weight to ``[-bound, bound]`` (1701.07875, whose bound is 0.01); call it after every step.

    Raises:
        ValueError: the bound is not positive.
    """
    if bound <= 0:
        raise ValueError(f"bound: must be positive, got {bound}.")
    for p in critic.parameters():
        p.clamp_(-bound, bound)


def spectral_normalised(critic: nn.Module, *, iterations: int = 1) -> nn.Module:
    """Divide the matrix of every linear layer and convolution by its largest singular value, in place; returns the critic.

    The value comes from power iterations whose vectors are kept from call to call, and the gradient goes through it (the
    vectors alone are constants). It is right from the start, follows small steps, and lags behind jumps: call
    `settle` after weights were replaced. In evaluation mode the vectors rest.

    Args:
        critic: has at least one linear layer or convolution.
        iterations: power iterations a call in training mode (1802.05957: 1).

    Raises:
        ValueError: there is nothing to normalise.
    """
    layers = [layer for layer in critic.modules() if isinstance(layer, _LINEAR)]
    if not layers:
        raise ValueError("critic: it has no linear layer and no convolution, so there is nothing to normalise.")
    with torch.random.fork_rng(devices=[]):
        for layer in layers:
            parametrizations.spectral_norm(layer, n_power_iterations=iterations)
    settle(critic)
    return critic


@torch.no_grad()
def settle(critic: nn.Module, calls: int = 30) -> None:
    """Let the power iterations of a spectrally normalised critic find the singular values of new weights."""
    before = critic.training
    critic.train()
    for _ in range(calls):
        for layer in critic.modules():
            if parametrize.is_parametrized(layer, "weight"):
                _ = layer.weight
    critic.train(before)


class FullSort(nn.Module):
    """The entries of every row sorted: an activation that permutes, and so keeps the slope (1811.05381)."""

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``[n, d]``, ascending."""
        return x.sort(dim=1).values


class MaxMin(nn.Module):
    """The entries of every row sorted in pairs: entry ``i`` with entry ``i + d / 2`` (1811.05381)."""

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``[n, d]``, d even: the larger entries first."""
        a, b = x.chunk(2, dim=1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)


def orthogonal_linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer whose matrix has orthonormal rows or columns at every step, by the Cayley transform."""
    layer = nn.Linear(n_in, n_out)
    parametrizations.orthogonal(layer, orthogonal_map="cayley")
    return layer


def sorting_critic(
    event_shape: Sequence[int], hidden: Sequence[int] = (128, 128, 128), *, activation: type[nn.Module] = FullSort
) -> nn.Sequential:
    """A 1-Lipschitz perceptron of orthogonal layers and sorted activations on rows ``[n, *event_shape]``, flattened.

    Args:
        event_shape: shape of one row.
        hidden: width of each hidden layer, even for `MaxMin`.
        activation: `FullSort` or `MaxMin`, which is faster.
    """
    widths = [math.prod(event_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [orthogonal_linear(n_in, n_out), activation()]
    return nn.Sequential(*layers, orthogonal_linear(widths[-1], 1), nn.Flatten(0))


class GradientNormalised(nn.Module):
    """``g(x) = K f(x) |n| / (|n|^2 + eps)`` with ``n = grad f(x)``, for a piecewise linear critic ``f`` (GraN, 2111.03162).

    Inside a linear piece the slope is ``K |n|^2 / (|n|^2 + eps)``, below K. From piece to piece ``g`` jumps, so it is no
    K-Lipschitz function, and the gap ``E g(x) - E g(y)`` has no bound: use it with losses that saturate (hinge, logistic),
    never to estimate a Wasserstein distance; `refuse_unbounded` holds this.

    Args:
        critic: a network of linear layers, convolutions and piecewise linear activations.
        bound: K.
        eps: keeps small gradients from being blown up.

    Raises:
        ValueError: a part is not piecewise linear (the slope of a smooth one has no bound), or a number is not positive.
    """

    def __init__(self, critic: nn.Module, *, bound: float = 1.0, eps: float = 0.1) -> None:
        super().__init__()
        if bound <= 0 or eps <= 0:
            raise ValueError(f"bound and eps: must be positive, got {bound} and {eps}.")
        _require_piecewise_linear(critic)
        self.critic, self.bound, self.eps = critic, bound, eps

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Values ``[n]`` of rows ``[n, *event]``; of a critic with a value for every class, those of the classes ``labels`` ``[n]``.

        Raises:
            ValueError: there is not one value a row.
        """
        values, norms = _values_and_slopes(lambda rows: of_class(self.critic(rows), labels), x)
        return self.bound * values * norms / (norms.square() + self.eps)


class GradientBounded(nn.Module):
    """``f(x) / (|grad f(x)| + |f(x)|)``, in (-1, 1) (GN, 2109.02235). For piecewise linear ``f`` its slope is below 1 inside a piece."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, x: Tensor) -> Tensor:
        """Values ``[n]`` of rows ``[n, *event]``."""
        values, norms = _values_and_slopes(self.critic, x)
        return values / (norms + values.abs()).clamp_min(torch.finfo(values.dtype).tiny)


def refuse_unbounded(critic: nn.Module) -> None:
    """Refuse critics for which the plain Wasserstein loss has no bound.

    Raises:
        ValueError: a part is a `GradientNormalised`.
    """
    if any(isinstance(part, GradientNormalised) for part in critic.modules()):
        raise ValueError(
            "critic: a gradient-normalised critic (GraN) jumps between its linear pieces, so the Wasserstein loss has no bound; "
            "use a hinge or logistic loss, or another constraint."
        )


def refuse_curved(critic: nn.Module, x: Tensor) -> None:
    """Refuse critics whose gradient changes along a row, such as those that call a smooth function between their layers.

    Args:
        critic: ``[n, *event] -> [n]`` or ``[n, classes]``.
        x: rows ``[n, *event]`` at which the second derivative is looked at, in a random direction; of a piecewise linear function it is 0.

    Raises:
        ValueError: the second derivative is not zero.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        along = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
        slope = (gradient * along).sum()
        curved = torch.autograd.grad(slope, x, allow_unused=True)[0] if slope.requires_grad else None
    if curved is not None and bool(curved.any()):
        raise ValueError(
            "critic: its gradient changes along a row, so it is not piecewise linear, and then gradient normalisation bounds nothing; "
            "use leaky_relu or relu."
        )


def _values_and_slopes(critic: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Values and norms of gradients ``[n]``, in the graph where gradients are enabled."""
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x if keep and x.requires_grad else x.detach().requires_grad_()
        values = critic(x)
        if values.shape != x.shape[:1]:
            raise ValueError(
                f"critic: one value a row, shape [{len(x)}], is needed, got {list(values.shape)}; with classes, give labels."
            )
        (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=keep)
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (values, norms) if keep else (values.detach(), norms.detach())


def _require_piecewise_linear(critic: nn.Module) -> None:
    for part in critic.modules():
        leaf = next(part.children(), None) is None
        if leaf and not isinstance(part, _PIECEWISE_LINEAR):
            raise ValueError(
                f"critic: {type(part).__name__} is not piecewise linear (as far as is known), and then gradient normalisation "
                "bounds nothing; use LeakyReLU or ReLU."
            )
