"""Generator and critic of DCGAN (Radford, Metz, Chintala, arXiv 1511.06434) for images of any size.

Adversarial training wants other networks than regression: a generator whose outputs differ from the first step on, and
no path that paints the whole picture at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from pushforward.nets.layers import LEAKY, mlp

_COARSEST = 2  # the coarsest grid has sides of at most that
_WIDEST = 4  # channels there, in widths, at most
_Size = tuple[int, int]


class DCGenerator(nn.Module):
    """Carries ``z`` ``[n, d]`` to images ``[n, c, h, w]`` in [-1, 1]: transposed convolutions that double a grid of 2 x 2.

    Each doubled grid is cropped to half of the next size, rounded up, so that any size can be made. Group normalisation
    replaces the batch normalisation of the paper, with which an image depends on the others of its batch.

    Args:
        latent_dim: Number of coordinates of ``z``.
        event_shape: ``(c, h, w)`` of the images.
        width: Channels at half the size of the image; they double from grid to coarser grid up to four times as many.
    """

    def __init__(self, latent_dim: int, event_shape: Sequence[int], *, width: int = 64) -> None:
        super().__init__()
        channels, *size = _checked(latent_dim, event_shape, width)
        self.sizes = _sizes((size[0], size[1]))  # fine to coarse, the image first
        widths = _widths(len(self.sizes), width)
        self.base = nn.Linear(latent_dim, widths[-1] * math.prod(self.sizes[-1]))
        self.norms = nn.ModuleList(_norm(c) for c in widths)
        outputs = [channels, *widths[:-1]]
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(widths, outputs, strict=True))

    def forward(self, z: Tensor) -> Tensor:
        """Images ``[n, c, h, w]`` for latent vectors ``[n, d]``."""
        x = self.base(z).unflatten(1, (-1, *self.sizes[-1]))
        for up, norm, (height, breadth) in list(zip(self.ups, self.norms, self.sizes, strict=False))[::-1]:
            x = up(F.relu(norm(x)))[:, :, :height, :breadth]
        image: Tensor = x.tanh()
        return image


class DCCritic(nn.Module):
    """Carries images ``[n, c, h, w]`` to ``[n, n_out]``: convolutions that halve the grid down to 2 x 2.

    Args:
        event_shape: ``(c, h, w)`` of the images.
        n_out: Number of outputs.
        width: Channels at half the size of the image; they double from grid to coarser grid up to four times as many.
        activation: Makes the nonlinearity after each convolution; the paper has leaky rectifiers.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        n_out: int,
        *,
        width: int = 64,
        activation: Callable[[], nn.Module] = LEAKY,
    ) -> None:
        super().__init__()
        channels, *size = _checked(n_out, event_shape, width)
        sizes = _sizes((size[0], size[1]))
        widths = _widths(len(sizes), width)
        inputs = [channels, *widths[:-1]]
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(inputs, widths, strict=True))
        self.out = nn.Linear(widths[-1] * math.prod(sizes[-1]), n_out)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``[n, n_out]`` for images ``[n, c, h, w]``."""
        for down in self.downs:
            even = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")
            x = self.activation(down(even))
        out: Tensor = self.out(x.flatten(1))
        return out


def gan_generator(latent_dim: int, event_shape: Sequence[int], *, width: int = 64) -> nn.Module:
    """A generator ``[n, latent_dim] -> [n, *event_shape]`` to train against a critic.

    It is that of DCGAN for images ``(c, h, w)``, and a perceptron of two hidden layers with ``4 width`` units for vectors.
    """
    if len(event_shape) == 3:
        return DCGenerator(latent_dim, event_shape, width=width)
    return mlp(latent_dim, (4 * width, 4 * width), event_shape[0])


def gan_critic(event_shape: Sequence[int], n_out: int, *, width: int = 64) -> nn.Module:
    """A critic ``[n, *event_shape] -> [n, n_out]``; the counterpart of `gan_generator`."""
    if len(event_shape) == 3:
        return DCCritic(event_shape, n_out, width=width)
    return mlp(event_shape[0], (4 * width, 4 * width), n_out)


def _checked(number: int, event_shape: Sequence[int], width: int) -> tuple[int, ...]:
    if len(event_shape) != 3 or min(number, width, *event_shape) < 1:
        raise ValueError(f"event_shape={tuple(event_shape)} must be (channels, height, width), and all sizes positive")
    return tuple(event_shape)


def _sizes(size: _Size) -> list[_Size]:
    """The image's size and its halves, rounded up, down to the coarsest grid; at least two sizes."""
    sizes = [size]
    while len(sizes) == 1 or max(sizes[-1]) > _COARSEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def _widths(n_sizes: int, width: int) -> list[int]:
    """Channels of every size but the first, fine to coarse; multiples of 8."""
    return [max(8, 8 * round(width * min(2**i, _WIDEST) / 8)) for i in range(n_sizes - 1)]


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(channels // 8, channels)
