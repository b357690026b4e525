"""Critics: networks ``[n, *event] -> [n]`` whose value for a row depends on that row alone (no batch normalisation)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import nn

from pushforward.nets.dcgan import DCCritic
from pushforward.nets.layers import LEAKY, mlp

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky": LEAKY,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}
SMOOTH = frozenset({"silu", "softplus"})  # twice differentiable: a step down their gradient has a Jacobian everywhere


def mlp_critic(
    event_shape: Sequence[int],
    hidden: Sequence[int] = (128, 128, 128),
    *,
    activation: Callable[[], nn.Module] = LEAKY,
    classes: int = 1,
) -> nn.Sequential:
    """A perceptron on rows ``[n, *event_shape]``, flattened.

    Args:
        event_shape: shape of one row.
        hidden: width of each hidden layer.
        activation: makes the nonlinearity after each hidden layer.
        classes: values a row; a single one has no axis of its own.
    """
    return _closed([nn.Flatten(), mlp(math.prod(event_shape), hidden, classes, activation=activation)], classes)


def conv_critic(
    event_shape: Sequence[int], *, width: int = 64, activation: Callable[[], nn.Module] = LEAKY, classes: int = 1
) -> nn.Sequential:
    """Convolutions that halve images ``[n, c, h, w]`` of any size and number of channels down to 2 x 2.

    Args:
        event_shape: ``(c, h, w)``.
        width: channels at half the size of the image; they double from grid to coarser grid up to four times as many.
        activation: makes the nonlinearity after each convolution.
        classes: values a row; a single one has no axis of its own.
    """
    return _closed([DCCritic(event_shape, classes, width=width, activation=activation)], classes)


def critic(
    event_shape: Sequence[int], *, width: int = 64, activation: Callable[[], nn.Module] = LEAKY, classes: int = 1
) -> nn.Sequential:
    """The usual critic for a shape: convolutions for images ``(c, h, w)``, three layers of ``2 width`` units for the rest.

    With several classes it gives ``[n, classes]``, a value for each.
    """
    if len(event_shape) == 3:
        return conv_critic(event_shape, width=width, activation=activation, classes=classes)
    return mlp_critic(event_shape, (2 * width,) * 3, activation=activation, classes=classes)


def _closed(body: Sequence[nn.Module], classes: int) -> nn.Sequential:
    return nn.Sequential(*body, *([nn.Flatten(0)] if classes == 1 else []))
