"""Adaptive discriminator augmentation: the critic sees randomly changed images only, and how many depends on how much it overfits.

Karras, Aittala, Hellsten, Laine, Lehtinen, Aila: Training generative adversarial networks with limited data, arXiv 2006.06676.

Data and made images go through the same changes, each applied to a row with probability ``p < 1``. Then the law of changed images
determines the law of images, so that the generator does not learn the changes; it is trained through them, because they are
differentiable. A penalty on the critic's slope is taken at changed images: the critic never sees others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pushforward.errors import nearest_name
from pushforward.nets.augment import (
    BLITS,
    COLOURS,
    GEOMETRIES,
    Chance,
    blit,
    draw_blit,
    draw_colour,
    draw_inverse_map,
    recolour,
    warp,
)
from pushforward.objectives.overfitting import r_auc

Preset = Literal["bgc", "mild"]
PRESETS: dict[Preset, frozenset[str]] = {
    "bgc": frozenset({*BLITS, *GEOMETRIES, *COLOURS}),
    "mild": frozenset({"shift", "move", "scale", "stretch", "brightness", "contrast"}),
}
_SMALL = 32  # images with sides up to this get the mild preset
_MAX_P = 0.8  # beyond it finite networks begin to leak changes (2006.06676, section 2.2)
_TARGET = 0.3
_UPDATE_EVERY = 4  # minibatches
_SLOWEST = 500_000  # images in which p goes from 0 to 1 (2006.06676), at most
_SHARE = 0.1  # of all images of a run, in which p goes from 0 to 1
_LEAST_TOTAL = 200_000  # images that a run of unknown length is taken to have, at least


def preset_for(event_shape: Sequence[int]) -> Preset:
    """``"mild"`` for images with sides up to 32 pixels, ``"bgc"`` for larger ones.

    Turned and mirrored, a small image (a digit, a garment) is often another one, and a few pixels leave little to scale.
    """
    return "mild" if max(event_shape[1:]) <= _SMALL else "bgc"


class AdaptiveAugmentation(nn.Module):
    """Changes images for a critic, with a probability ``p`` that follows the critic's overfitting.

    ``p`` and all that it depends on are buffers, so that ``state_dict`` resumes bitwise.

    Args:
        event_shape: ``(c, h, w)``.
        transforms: ``"bgc"`` (all), ``"mild"`` (shifts, scales, brightness, contrast: nothing turned or mirrored), a collection of names
            of transforms, or None for `preset_for` the shape.
        target: of the statistic: ``p`` rises above it and falls below it.
        total_images: training images that the critic will have seen at the end of the run, repeated ones counted again:
            ``p`` goes from 0 to 1 in a tenth of them, and in 500 000 at most. None where it is not known: those seen so
            far, at least 200 000, take its place.
        statistic: of the critic's values ``[n]`` on training rows and ``[m]`` on held-out rows; for the paper's choice
            ``lambda train, held: r_t(train)``, with ``target=0.6``.

    Raises:
        ValueError: an argument is out of its range.
    """

    p: Tensor
    statistic_value: Tensor
    images: Tensor
    _sum: Tensor
    _batches: Tensor
    _images: Tensor

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        transforms: Preset | Collection[str] | None = None,
        target: float = _TARGET,
        total_images: int | None = None,
        statistic: Callable[[Tensor, Tensor], Tensor] = r_auc,
    ) -> None:
        super().__init__()
        if len(event_shape) != 3 or min(event_shape) < 1:
            raise ValueError(f"event_shape: (channels, height, width) is needed, got {tuple(event_shape)}.")
        if not -1 < target < 1:
            raise ValueError(f"target: must be between -1 and 1, got {target}; try {_TARGET}.")
        if total_images is not None and not total_images >= 1:
            raise ValueError(f"total_images: must be positive or None, got {total_images}.")
        self.event_shape = tuple(event_shape)
        self.transforms = _names(preset_for(event_shape) if transforms is None else transforms)
        self.target, self.total_images, self.statistic = target, total_images, statistic
        for name in ("p", "statistic_value", "_sum"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        for name in ("images", "_images", "_batches"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Changed images ``[n, c, h, w]``, differentiable in ``x``; at ``p = 0`` they are ``x``, bit by bit.

        Args:
            x: images ``[n, c, h, w]`` in [-1, 1]; changed ones may leave that range, because clipping could not be undone.
            generator: source of randomness, on the device of ``x``; None is torch's global one.

        Raises:
            ValueError: ``x`` has another shape or is not real.
        """
        if x.dim() != 4 or tuple(x.shape[1:]) != self.event_shape or not x.is_floating_point():
            raise ValueError(f"x: real images {['n', *self.event_shape]} are needed, got {list(x.shape)} of {x.dtype}.")
        chance = Chance(len(x), self.p, generator, x.dtype)
        c, h, w = self.event_shape
        moved = blit(x, *draw_blit(self.transforms, chance, h, w))
        inverse = draw_inverse_map(self.transforms, chance, h, w)
        matrix = draw_colour(self.transforms, chance, c)
        return _where_changed(recolour, _where_changed(warp, moved, inverse), matrix)

    @torch.no_grad()
    def observe(self, train: Tensor, held: Tensor, *, processes: int = 1) -> None:
        """Look at the critic's values on one minibatch; after every fourth, move ``p`` by the sign of what they say on average.

        Args:
            train: values ``[n]`` on changed training images.
            held: values ``[m]`` on changed held-out images.
            processes: how many look at as many images each; ``p`` is then to be averaged over them.

        Raises:
            ValueError: there are no values, or not one a row.
        """
        for name, values in (("train", train), ("held", held)):
            if values.dim() != 1 or not len(values):
                raise ValueError(f"{name}: one value for each of at least one row is needed, got {list(values.shape)}.")
        self._sum += self.statistic(train, held)
        self._batches += 1
        self._images += processes * len(train)
        self.images += processes * len(train)
        due = self._batches == _UPDATE_EVERY
        mean = self._sum / _UPDATE_EVERY
        moved = self.p + (mean - self.target).sign() * self._images / self.images_to_one()
        self.p.copy_(torch.where(due, moved.clamp(0, _MAX_P), self.p))
        self.statistic_value.copy_(torch.where(due, mean, self.statistic_value))
        for so_far in (self._sum, self._batches, self._images):
            so_far.masked_fill_(due, 0)

    def images_to_one(self) -> Tensor:
        """Training images in which ``p`` would go from 0 to 1 if it always rose."""
        known = self.total_images
        total = self.images.clamp_min(_LEAST_TOTAL) if known is None else torch.full_like(self.images, known)
        return (_SHARE * total.double()).clamp(1, _SLOWEST)


def _names(transforms: str | Collection[str]) -> frozenset[str]:
    known = PRESETS["bgc"]
    if isinstance(transforms, str):
        if transforms not in PRESETS:
            near = nearest_name(transforms, PRESETS)
            raise ValueError(f"transforms: presets are {', '.join(PRESETS)}; got {transforms!r}.{near}")
        return PRESETS[transforms]
    for name in transforms:
        if name not in known:
            raise ValueError(f"transforms: {name!r} is none of {', '.join(sorted(known))}.{nearest_name(name, known)}")
    return frozenset(transforms)


def _where_changed(change: Callable[[Tensor, Tensor], Tensor], x: Tensor, matrix: Tensor) -> Tensor:
    """``change(x, matrix)`` in the rows whose matrix is not the identity; the other rows as they are."""
    rows = (matrix != torch.eye(matrix.shape[1], device=x.device, dtype=x.dtype)).flatten(1).any(1).nonzero()[:, 0]
    return x.index_copy(0, rows, change(x[rows], matrix[rows])) if len(rows) else x
