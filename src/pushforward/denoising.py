"""Laws whose rows are carried from Gaussian noise by a network that is asked at many times on the way."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward import nets
from pushforward.laws import Gaussian, Law

_MOST_ROWS = 2048
_MOST_NUMBERS = 2**20  # in one call of the network: 1337 images of 28 x 28, 85 of 64 x 64 in colour


class DenoisingLaw(Law):
    """Noise ``z ~ N(0, I)`` carried to rows one to one: ``decode`` goes from noise to rows, ``encode`` back.

    The network works on rows less their mean (of each channel or column), over their standard deviation (of all numbers).

    Args:
        network: ``net(x, t, labels)``, from rows ``[n, *event_shape]``, times ``[n]`` in [0, 1] and class numbers ``[n]`` to
            ``[n, *event_shape]``.
        event_shape: shape of one row.
        classes: number of classes, 1 for none.
        steps: how many steps lead from noise to a row.
    """

    centre: Tensor
    scale: Tensor
    weights: Tensor

    def __init__(self, network: nn.Module, event_shape: tuple[int, ...], classes: int, steps: int) -> None:
        super().__init__(event_shape)
        self.network, self.classes, self.steps = network, classes, steps
        self.latent = Gaussian((math.prod(event_shape),))
        self.register_buffer("centre", torch.zeros(event_shape[0], *(1 for _ in event_shape[1:])))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("weights", torch.full((classes,), 1 / classes))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one code: as many numbers as a row has."""
        return self.latent.event_shape

    def calibrate(self, x: Tensor, labels: Tensor | None) -> None:
        """Take mean, standard deviation and class frequencies from training rows ``[n, *event_shape]``."""
        others = [axis for axis in range(x.dim()) if axis != 1]
        self.centre = x.mean(others, keepdim=True)[0]
        self.scale = (x - self.centre).square().mean().sqrt().clamp_min(1e-6)
        if labels is not None:
            self.weights = torch.bincount(labels, minlength=self.classes) / len(labels)

    def standardised(self, x: Tensor) -> Tensor:
        """Rows as the network sees them."""
        return (x - self.centre) / self.scale

    def half_pays(self, x: Tensor) -> bool:
        """Whether training steps on batches like ``x`` are faster in bfloat16 on this device; see `nets.half_pays`."""
        labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)

        def work() -> None:
            self._ask(x, 0.5, labels).square().mean().backward()

        return nets.half_pays(work, x.device, math.prod(self.event_shape[1:]))

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        return self.sample_given(torch.multinomial(self.weights, n, True, generator=generator), generator=generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        return self.decode(self.latent.sample(len(labels), generator=generator), labels)

    @torch.no_grad()
    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rows ``[n, *event_shape]`` for codes ``[n, d]`` and class numbers ``[n]``."""

        def rows(part: Tensor, y: Tensor | None) -> Tensor:
            return self.centre + self.scale * self._to_rows(part.unflatten(1, self.event_shape), y)

        return self._in_parts(rows, z, labels)

    @torch.no_grad()
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes ``[n, d]`` of rows ``[n, *event_shape]``: the noise that ``decode`` carries to them."""

        def codes(part: Tensor, y: Tensor | None) -> Tensor:
            return self._to_noise(self.standardised(part), y).flatten(1)

        return self._in_parts(codes, x, labels)

    def between(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Codes on great circles from rows of ``a`` to rows of ``b``: ``[n * steps, d]``."""
        return self.latent.between(a, b, steps)

    @abstractmethod
    def _to_rows(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Noise to standardised rows, both ``[n, *event_shape]``."""

    @abstractmethod
    def _to_noise(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Standardised rows to noise, both ``[n, *event_shape]``."""

    def _ask(self, x: Tensor, t: float, labels: Tensor | None) -> Tensor:
        """The network at one time for all rows."""
        out: Tensor = self.network(x, x.new_full((len(x),), t), labels)
        return out

    def _in_parts(
        self, function: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, labels: Tensor | None, copies: int = 1
    ) -> Tensor:
        """``function(x, labels)`` in bounded memory; ``copies`` of each row are in the network at once."""
        size = max(1, min(_MOST_ROWS, _MOST_NUMBERS // self.latent.uniform_dim) // copies)
        rows = torch.arange(len(x), device=x.device).split(size)
        return torch.cat([function(x[part], labels[part] if labels is not None else None) for part in rows])


def stratified_times(n: int, *, generator: torch.Generator) -> Tensor:
    """Times ``[n]``, one uniform draw in each of ``n`` equal parts of [0, 1): a mean over them varies less than over free draws."""
    parts = torch.arange(n, device=generator.device)
    return (parts + torch.rand(n, generator=generator, device=generator.device)) / n


def against(t: Tensor, x: Tensor) -> Tensor:
    """Numbers ``[n]`` in a shape that multiplies the rows of ``x`` ``[n, *event_shape]``."""
    return t.reshape(-1, *(1 for _ in x.shape[1:]))
