"""What the page shows of samples: a picture for images, points in a plane for other data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pushforward.compare.rows import Rows, in_random_order
from pushforward.folders import write_atomically

if TYPE_CHECKING:
    from pushforward.data import Schema

_TILES, _COLUMNS = 24, 6
_POINTS, _AXES_ROWS = 300, 2000


def write_picture(values: Any, schema: Schema, path: Path) -> str:
    """A grid of the first pictures as a PNG file; its name, or nothing where the data are no images."""
    if schema.kind != "image":
        return ""
    from pushforward.report.grids import image_grid, png_bytes

    shown = schema.as_images(schema.encode(values[:_TILES]))
    write_atomically(path, png_bytes(image_grid(shown, columns=min(_COLUMNS, len(shown)), background=None)))
    return path.name


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane of the first two principal axes of the held-out rows; None of it for images.

    Attributes:
        schema: encodes rows to ``[n, d]``.
        centre: mean of the held-out rows ``[d]``.
        axes: ``[d, 2]``; for a single column the second axis is zero.
    """

    schema: Schema
    centre: Tensor | None
    axes: Tensor | None

    @staticmethod
    def of(rows: Rows, seed: int) -> Plane:
        """The plane for these rows, of a random part of them where they are many."""
        if rows.schema.kind == "image":
            return Plane(rows.schema, None, None)
        some = in_random_order(rows.held, seed).values[:_AXES_ROWS]
        x = rows.schema.encode(some).flatten(1).double()
        centre = x.mean(0)
        axes = torch.linalg.svd(x - centre, full_matrices=False)[2][:2].T
        signs = torch.where(axes.sum(0) < 0, -1.0, 1.0)
        return Plane(rows.schema, centre, torch.nn.functional.pad(axes * signs, (0, 2 - axes.shape[1])))

    def points(self, values: Any) -> tuple[tuple[float, float], ...]:
        """The first rows as points of the plane."""
        if self.centre is None or self.axes is None:
            return ()
        shown = (self.schema.encode(values[:_POINTS]).flatten(1).double() - self.centre) @ self.axes
        return tuple((round(x, 4), round(y, 4)) for x, y in shown.tolist())
