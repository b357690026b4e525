"""Latent-variable laws: a generator network on a known latent law, with codes found by optimisation instead of an encoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward.laws import Gaussian, Law, UnitLaw
from pushforward.residuals import Residuals, nearest_rows

_CHUNK = 2048


class LatentLaw(Law):
    """The law of ``g(z) + e(z)``; with classes, ``g`` also sees the class as a one-hot vector.

    Args:
        generator: network from ``[n, d + classes]`` (``[n, d]`` without classes) to ``[n, *event_shape]``.
        latent: law of ``z``.
        residuals: law of ``e`` given ``z`` (and the class).
        classes: number of classes, 1 for none.
    """

    codes: Tensor
    code_labels: Tensor
    noise_variance: Tensor

    def __init__(
        self, generator: nn.Module, latent: UnitLaw, residuals: Residuals, event_shape: tuple[int, ...], classes: int
    ) -> None:
        super().__init__(event_shape)
        self.generator, self.latent, self.residuals, self.classes = generator, latent, residuals, classes
        self.register_buffer("codes", torch.zeros(1, *latent.event_shape))
        self.register_buffer("code_labels", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("noise_variance", torch.ones(()))

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean image ``g(z)``, ``[n, *event_shape]``, of codes ``[n, d]`` and class numbers ``[n]``."""
        out: Tensor = self.generator(self._inputs(z, labels))
        return out

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        if self.classes == 1:
            return self._sample(n, None, generator)
        rows = torch.randint(len(self.code_labels), (n,), generator=generator, device=self.device)
        return self._sample(n, self.code_labels[rows], generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        return self._sample(len(labels), labels, generator)

    def encode(self, x: Tensor, labels: Tensor | None = None, *, steps: int = 60) -> Tensor:
        """Codes ``[n, d]``: that of the nearest training image, then ``steps`` of Adam on the posterior mode."""
        return torch.cat([self._mode(*part, steps) for part in self._parts(x, labels)])

    def outlier_score(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``|x - g(z)|^2 / s^2 + |z|^2`` at the posterior mode ``z``, with ``s^2`` the residual variance: ``[n]``."""
        return torch.cat([self._energy(*part, self._mode(*part, 60)).detach() for part in self._parts(x, labels)])

    def _inputs(self, z: Tensor, labels: Tensor | None) -> Tensor:
        if self.classes == 1:
            return z
        if labels is None:
            raise ValueError("labels: this law has classes; give a class number for every row.")
        return torch.cat([z, nn.functional.one_hot(labels, self.classes).to(z.dtype)], dim=1)

    def _sample(self, n: int, labels: Tensor | None, generator: torch.Generator | None) -> Tensor:
        z = self.latent.sample(n, generator=generator)
        mean = self.decode(z, labels)
        noise: Tensor = self.residuals(self.place(z, labels), generator, mean)
        return mean + noise

    def place(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Codes with the classes far apart, so that neighbours are of one class."""
        return z if self.classes == 1 else torch.cat([z, 100.0 * nn.functional.one_hot(labels, self.classes)], dim=1)  # type: ignore[arg-type]

    def _parts(self, x: Tensor, labels: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
        rows = torch.arange(len(x), device=x.device).split(_CHUNK)
        return [(x[part], labels[part] if labels is not None else None) for part in rows]

    def _energy(self, x: Tensor, labels: Tensor | None, z: Tensor) -> Tensor:
        misfit = (x - self.decode(z, labels)).flatten(1).square().sum(1)
        return misfit / self.noise_variance + self._prior(z)

    def _prior(self, z: Tensor) -> Tensor:
        """Minus twice the log-density of the latent law, for Gaussian latents; a soft wall outside for bounded ones."""
        if isinstance(self.latent, Gaussian):
            return z.square().sum(1)
        low, high = self.codes.amin(0), self.codes.amax(0)
        return 1e4 * ((low - z).clamp_min(0) + (z - high).clamp_min(0)).square().sum(1)

    def _mode(self, x: Tensor, labels: Tensor | None, steps: int) -> Tensor:
        start = self._nearest_code(x, labels)
        z = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([z], lr=0.05)
        for _ in range(steps):
            (gradient,) = torch.autograd.grad(self._energy(x, labels, z).sum(), z)
            z.grad = gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
            optimizer.step()
        with torch.no_grad():
            better = self._energy(x, labels, z) < self._energy(x, labels, start)
            return torch.where(better[:, None], z.detach(), start)

    @torch.no_grad()
    def _nearest_code(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The training code whose image is nearest, within the class where there are classes."""
        images = in_chunks(lambda z, y: self.decode(z, y).flatten(1), self.codes, self.code_labels)
        tags = [nn.functional.one_hot(y, self.classes) * 1e4 for y in (labels, self.code_labels) if y is not None]
        if self.classes == 1 or len(tags) < 2:
            return self.codes[nearest_rows(x.flatten(1), images)]
        return self.codes[nearest_rows(torch.cat([x.flatten(1), tags[0]], 1), torch.cat([images, tags[1]], 1))]


@torch.no_grad()
def in_chunks(function: Callable[[Tensor, Tensor | None], Tensor], z: Tensor, labels: Tensor | None) -> Tensor:
    """``function(z, labels)`` without gradients and in bounded memory."""
    rows = torch.arange(len(z), device=z.device).split(_CHUNK)
    return torch.cat([function(z[part], labels[part] if labels is not None else None) for part in rows])
