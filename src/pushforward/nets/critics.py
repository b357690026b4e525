"""Critics: networks ``[n, *event] -> [n]`` whose value for a row depends on that row alone (no batch normalisation)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

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


def check_critic(critic: nn.Module, x: Tensor, classes: int = 1) -> None:
    """See whether a user's critic can be trained on rows like ``x`` ``[n, *event_shape]``.

    Raises:
        ValueError: it cannot take them, gives another shape than ``[n]`` (``[n, classes]`` with labels), has no weights, has batch
            normalisation, draws random numbers, or its values have no gradient with respect to the rows.
    """
    if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in critic.modules()):
        raise ValueError("critic: batch normalisation ties rows together; use nn.GroupNorm, nn.LayerNorm or none.")
    if next(critic.parameters(), None) is None:
        raise ValueError("critic: it has no weights to train.")
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        values, drew = _values_of_copy(critic, x)
        wanted, found = [len(x)] + [classes] * (classes > 1), list(getattr(values, "shape", [type(values).__name__]))
        if found != wanted:
            fix = "end it with .squeeze(1)" if classes == 1 else "give a value for each class"
            raise ValueError(f"critic: for {len(x)} rows values of shape {wanted} are needed, got {found}; {fix}.")
        if drew:
            raise ValueError(
                "critic: it draws random numbers (dropout), with which no run could be resumed; leave them out."
            )
        if not values.requires_grad or torch.autograd.grad(values.sum(), x, allow_unused=True)[0] is None:
            raise ValueError(
                "critic: its values have no gradient with respect to the rows; remove detach() and no_grad()."
            )


def _values_of_copy(critic: nn.Module, x: Tensor) -> tuple[Tensor, bool]:
    """What a copy of the critic, in training mode, gives for rows, and whether torch's global generator was drawn from."""
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        before = _global_state(x.device)
        try:
            values: Tensor = deepcopy(critic).to(x.device).train()(x)
        except (RuntimeError, IndexError, ValueError) as error:
            raise ValueError(f"critic: it cannot take rows of shape {list(x.shape)} ({error}).") from error
        return values, not torch.equal(before, _global_state(x.device))


def _global_state(device: torch.device) -> Tensor:
    """The state of torch's global generator of a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.random.get_rng_state()


def _closed(body: Sequence[nn.Module], classes: int) -> nn.Sequential:
    return nn.Sequential(*body, *([nn.Flatten(0)] if classes == 1 else []))
