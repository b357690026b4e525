"""The law of what a generator network makes of Gaussian codes: what two players end with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pushforward.laws import Law


class GeneratorLaw(Law):
    """The law of ``G(z)``, ``z`` standard Gaussian; with classes, ``G`` also sees the class as a one-hot vector.

    Args:
        generator: a network from ``[n, d + classes]`` (``[n, d]`` without classes) to ``[n, *event_shape]``.
        latent_dim: ``d``.
        classes: number of classes, 1 for none.
    """

    frequencies: Tensor

    def __init__(self, generator: nn.Module, event_shape: tuple[int, ...], *, latent_dim: int, classes: int) -> None:
        super().__init__(event_shape)
        self.generator, self.classes = generator, classes
        self.latent_shape = (latent_dim,)
        self.register_buffer("frequencies", torch.full((classes,), 1 / classes))

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rows ``G(z)`` for codes ``[n, d]`` and class numbers ``[n]``."""
        if self.classes > 1:
            if labels is None:
                raise ValueError("labels: this law has classes; give a class number for every row.")
            z = torch.cat([z, one_hot(labels, self.classes).to(z.dtype)], dim=1)
        out: Tensor = self.generator(z)
        return out

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        return self.sample_given(torch.multinomial(self.frequencies, n, True, generator=generator), generator=generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        z = torch.randn(len(labels), *self.latent_shape, generator=generator, device=self.device)
        return self.decode(z, labels)
