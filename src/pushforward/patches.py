"""Patches of images, the order in which they are visited, and maps that move every patch along its own slices.

Rows are kept as columns here, ``[p, n]`` with ``p`` the numbers of one row: taking patches is then a gather of contiguous runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.maps import Map
from pushforward.solvers.compact_splines import pack, unpack
from pushforward.solvers.rational_quadratic import Spline, inverse, values

_FEW = 8  # halves down to this side, then one less each time; vectors have at least so many slices
_AT_ONCE = {"cpu": 2**18}  # slice values in a chunk: what a core's cache holds
_ON_A_CARD = 2**26


@dataclass(frozen=True)
class Patch:
    """One stage: patches ``[channels, height, width]``, ``slices`` directions in each, and its share of the layers."""

    channels: int
    height: int
    width: int
    slices: int
    share: int

    @property
    def size(self) -> int:
        """Numbers in a patch."""
        return self.channels * self.height * self.width


def schedule(event_shape: Sequence[int], *, hierarchy: bool = True) -> list[Patch]:
    """The stages for rows of a shape, coarse to fine.

    Images: the whole image, squares of half its shorter side and so on down to 8, then one less each time, down to 2. Colour images
    have after each square of at most 8 the same square in one channel at a time, with half as many layers. The slices are twice the
    side, once the side for one channel of several. Reproduces the schedules of 2007.00674 for 28x28x1, 32x32x3 and 64x64x3.

    Args:
        event_shape: ``(c, h, w)`` or ``(d,)``.
        hierarchy: False leaves only the stage of whole rows, as vectors have.
    """
    if len(event_shape) != 3:
        d = math.prod(event_shape)
        return [Patch(1, 1, d, min(d, max(_FEW, round(2 * math.sqrt(d)))), 1)]
    c, h, w = event_shape
    share = 1 if c == 1 else 2
    stages = [Patch(c, h, w, min(c * h * w, h + w), share)]
    for side in sides(min(h, w)) if hierarchy else []:
        stages.append(Patch(c, side, side, min(c * side * side, 2 * side), share))
        if c > 1 and side <= _FEW:
            stages.append(Patch(1, side, side, side, 1))
    return _whole_in_one_channel(stages, hierarchy)


def sides(side: int) -> list[int]:
    """Sides of the squares that follow a whole image of that side: ``28 -> 14, 7, 6, 5, 4, 3, 2``."""
    found = []
    while side > 2:
        side = side // 2 if side > _FEW else side - 1
        found.append(side)
    return found


def _whole_in_one_channel(stages: list[Patch], hierarchy: bool) -> list[Patch]:
    """Small colour images have the whole image in one channel as well."""
    first = stages[0]
    if first.channels > 1 and hierarchy and max(first.height, first.width) <= _FEW:
        single = Patch(1, first.height, first.width, (first.height + first.width) // 2, 1)
        return [first, single, *stages[1:]]
    return stages


def patch_index(event_shape: Sequence[int], patch: Patch, shift: Sequence[int]) -> Tensor:
    """Which numbers of a row belong to which patch: ``[patches, size]``.

    The grid of patches starts at ``shift`` (down, right) and goes around the border. Rows and columns that are left over, and only they,
    are in no patch.
    """
    c, h, w = event_shape if len(event_shape) == 3 else (1, 1, math.prod(event_shape))
    down = ((shift[0] + torch.arange(h // patch.height * patch.height)) % h).view(-1, 1, 1, patch.height, 1)
    right = ((shift[1] + torch.arange(w // patch.width * patch.width)) % w).view(1, -1, 1, 1, patch.width)
    plane = down * w + right  # [down, right, 1, height, width]
    channels = (h * w * torch.arange(c)).view(-1, 1, 1, patch.channels, 1, 1)
    return (channels + plane).reshape(-1, patch.size)


def take_patches(x: Tensor, index: Tensor) -> Tensor:
    """Patches ``[patches, size, n]`` of columns ``x`` ``[p, n]``; a view where one patch is everything."""
    if _is_whole(x, index):
        return x[None]
    return x.index_select(0, index.flatten()).view(*index.shape, x.shape[1])


def put_patches(x: Tensor, index: Tensor, patches: Tensor) -> Tensor:
    """Columns ``[p, n]`` with the patches ``[patches, size, n]`` in their places and everything else as in ``x``."""
    if _is_whole(x, index):
        return patches[0]
    return x.index_copy(0, index.flatten(), patches.flatten(0, 1))


def _is_whole(x: Tensor, index: Tensor) -> bool:
    """One patch of all numbers; its shift is always zero, so that they are in order."""
    return index.shape[1] == x.shape[0]


class Layer(NamedTuple):
    """One sliced layer on columns ``[p, n]``.

    Attributes:
        places: numbers of every patch, ``[P, size]``.
        frame: directions in every patch, ``[P, size, K]``.
        spline: along every direction, knots ``[P, K, M]``, or ``[P, K, C, M]`` with classes.
    """

    places: Tensor
    frame: Tensor
    spline: Spline

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The columns moved, with class numbers ``[n]`` where there are classes; in bounded memory."""
        return torch.cat([self._moved(x[:, part], _of(labels, part)) for part in self._chunks(x)], dim=1)

    def move_(self, x: Tensor, labels: Tensor | None = None) -> None:
        """As ``forward``, in place."""
        for part in self._chunks(x):
            x[:, part] = self._moved(x[:, part], _of(labels, part))

    def inverse(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Columns moved back, and the log-determinant ``[n]`` of that."""
        back = [self._moved_back(x[:, part], _of(labels, part)) for part in self._chunks(x)]
        return torch.cat([z for z, _ in back], dim=1), torch.cat([log_det for _, log_det in back])

    def _moved(self, x: Tensor, labels: Tensor | None) -> Tensor:
        patches = take_patches(x, self.places)
        u = self.frame.mT @ patches
        return put_patches(x, self.places, torch.baddbmm(patches, self.frame, values(self.spline, u, labels) - u))

    def _moved_back(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        patches = take_patches(x, self.places)
        v = self.frame.mT @ patches
        u, log_slope = inverse(self.spline, v, labels)
        return put_patches(x, self.places, torch.baddbmm(patches, self.frame, u - v)), log_slope.sum((0, 1))

    def _chunks(self, x: Tensor) -> list[slice]:
        """Ranges of columns that are moved at once."""
        columns = max(1, _AT_ONCE.get(x.device.type, _ON_A_CARD) // math.prod(self.spline.x.shape[:2]))
        return [slice(start, start + columns) for start in range(0, max(x.shape[1], 1), columns)]


def _of(labels: Tensor | None, part: slice) -> Tensor | None:
    return labels[part] if labels is not None else None


class PatchLayers(Map):
    """The layers of one stage, one after the other, each on patches of its own grid.

    In every patch with numbers ``v`` ``[size]`` a layer is ``v + A (psi(A^T v) - A^T v)``: increasing splines ``psi`` along the orthonormal
    columns of ``A`` ``[size, K]``, both of this patch alone. With classes there are splines for each, along the same ``A``.

    Buffers, for ``L`` layers of ``P`` patches, ``C`` classes and ``M`` knots: ``shifts`` ``[L, 2]``, ``frames`` ``[L, P, size, K]``,
    ``starts`` ``[L, P, K, C, 2]`` and ``steps`` ``[L, P, K, C, 2, M - 1]`` (see `compact_splines`).

    Args:
        event_shape: shape of a row.
        patch: the stage.
        classes: number of classes, 1 for none.
    """

    shifts: Tensor
    frames: Tensor
    starts: Tensor
    steps: Tensor

    def __init__(self, event_shape: Sequence[int], patch: Patch, classes: int = 1) -> None:
        super().__init__()
        self.event_shape, self.patch, self.classes = tuple(event_shape), patch, classes
        patches = len(patch_index(event_shape, patch, (0, 0)))
        self.register_buffer("shifts", torch.zeros(0, 2, dtype=torch.int64))
        self.register_buffer("frames", torch.zeros(0, patches, patch.size, patch.slices))
        self.register_buffer("starts", torch.zeros(0, patches, patch.slices, classes, 2))
        self.register_buffer("steps", torch.zeros(0, patches, patch.slices, classes, 2, 1, dtype=torch.float16))

    def __len__(self) -> int:
        return len(self.shifts)

    def draw_shift(self, generator: torch.Generator) -> tuple[int, int]:
        """A random place for the grid; zero along an axis that one patch covers."""
        heights, widths = self.event_shape[-2:] if len(self.event_shape) == 3 else (1, self.patch.width)
        drawn = (
            torch.rand(2, generator=generator, device=generator.device)
            * torch.tensor([heights, widths]).to(generator.device)
        ).tolist()
        return int(drawn[0]) * (heights > self.patch.height), int(drawn[1]) * (widths > self.patch.width)

    def index(self, shift: Sequence[int]) -> Tensor:
        """Numbers of the patches ``[P, size]`` with the grid at ``shift``."""
        return patch_index(self.event_shape, self.patch, shift).to(self.frames.device)

    def add(self, shift: Sequence[int], frame: Tensor, spline: Spline) -> Layer:
        """Append a layer: ``frame`` ``[P, size, K]``, knots ``[P, K, C, M]``; returns it as it is stored, which is not quite as given."""
        starts, steps = pack(spline.x, spline.y)
        news = (
            ("shifts", torch.tensor([shift], device=frame.device)),
            ("frames", frame[None]),
            ("starts", starts[None]),
            ("steps", steps[None]),
        )
        for name, new in news:
            old = self.get_buffer(name)
            setattr(self, name, torch.cat([old, new.to(old)]) if len(old) else new.to(old.dtype))
        return self.layer(len(self) - 1)

    def layer(self, i: int) -> Layer:
        """The layer number ``i``."""
        spline = unpack(self.starts[i], self.steps[i])
        knots = spline if self.classes > 1 else Spline(*(part[:, :, 0] for part in spline))
        return Layer(self.index(self.shifts[i].tolist()), self.frames[i], knots)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rows ``[n, *event_shape]`` moved by all layers, with class numbers ``[n]`` where there are classes."""
        x = z.flatten(1).T
        for i in range(len(self)):
            x = self.layer(i).forward(x, labels)
        return x.T.reshape(z.shape)

    def inverse_and_log_det(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo all layers, last to first: ``z`` and ``log |det dz/dx|`` ``[n]``."""
        z, total = x.flatten(1).T, x.new_zeros(len(x))
        for i in reversed(range(len(self))):
            z, log_det = self.layer(i).inverse(z, labels)
            total = total + log_det
        return z.T.reshape(x.shape), total

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take over any number of layers and knots."""
        for name, buffer in self.named_buffers(recurse=False):
            if (stored := state.get(prefix + name)) is not None:
                setattr(self, name, buffer.new_empty(stored.shape))
        super()._load_from_state_dict(state, prefix, *rest)
