"""A running average of a module's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """Keeps an exponential moving average of the weights of a module.

    The decay warms up as ``min(decay, (1 + t) / (10 + t))`` after ``t`` updates, so that the first weights are soon
    forgotten. Buffers and integer values are copied, not averaged. The state holds the averaged module and ``t``.

    Args:
        module: The module to follow; it is copied.
        decay: Weight of the past, in ``[0, 1)``.

    Attributes:
        module: The averaged copy; it asks for no gradient.
        steps: Number of updates so far, an int64 scalar.
    """

    steps: Tensor

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} must lie in [0, 1)")
        self.decay = decay
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Moves the average towards the current weights of ``source``, a module of the same architecture."""
        steps = int(self.steps)
        weight = 1 - min(self.decay, (1 + steps) / (10 + steps))
        mine: list[Tensor] = list(self.module.parameters())
        if mine:
            torch._foreach_lerp_(mine, [p.detach() for p in source.parameters()], weight)
        for copied, buffer in zip(self.module.buffers(), source.buffers(), strict=True):
            copied.copy_(buffer)
        self.steps += 1

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the averaged module makes of ``inputs``."""
        output: Tensor = self.module(*inputs)
        return output
