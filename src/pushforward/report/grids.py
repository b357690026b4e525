"""Pictures laid out in grids, for files and for pages.

A grid is made from ``uint8`` pictures ``[n, h, w, c]`` (``c`` is 1 for grey, 3 for colour). Small pictures are enlarged
by a whole number, without smoothing, so that an 8 x 8 digit is as readable as a 64 x 64 photograph.
"""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pushforward.folders import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

Pictures = npt.NDArray[np.uint8]

TILE = 64  # the size on screen, in pixels, that small pictures are enlarged to, as nearly as a whole factor allows
WHITE = 255
_LABEL_GREY = 118  # reads on white and on near-black alike
_INK, _TITLE, _MARGIN = 27, 24, 14  # of panels with titles: grey level, height of a title, space between panels


def image_grid(
    images: Pictures,
    *,
    columns: int | None = None,
    pad: int = 1,
    scale: int | None = None,
    background: int | None = WHITE,
) -> Image:
    """Pictures in rows of ``columns``, with an even gap between them and around them.

    Args:
        images: ``uint8 [n, h, w, c]`` with ``c`` 1 or 3 (``[n, h, w]`` is taken as grey).
        columns: Pictures in a row; by default about as many as there are rows, slightly more.
        pad: Width of the gap in picture pixels; on screen it is at least two pixels for each.
        scale: Whole factor of enlargement; by default the one that brings the longer side nearest to 64 pixels.
        background: Grey level of the gap in [0, 255], or None for a transparent one.

    Returns:
        A PIL image in mode L or RGB (LA or RGBA with a transparent background).

    Raises:
        ValueError: ``images`` is empty or not an array of 8-bit pictures.
    """
    pictures = _checked(images)
    width = columns or min(len(pictures), math.ceil(math.sqrt(1.5 * len(pictures))))
    rows = [pictures[start : start + width] for start in range(0, len(pictures), width)]
    return _compose(rows, pad=pad, scale=scale, background=background, margin=0)


def grid_with_rows(
    rows: Sequence[Pictures],
    labels: Sequence[str] = (),
    *,
    pad: int = 1,
    scale: int | None = None,
    background: int | None = WHITE,
) -> Image:
    """Rows of pictures below each other, each with its label on the left: pairs, neighbours, strips of interpolation.

    Args:
        rows: One array ``uint8 [n, h, w, c]`` a row; all pictures of one size.
        labels: One label a row, or none at all.
        pad: Width of the gap, as in `image_grid`.
        scale: Factor of enlargement, as in `image_grid`.
        background: Grey level of the gap, or None for a transparent one.

    Returns:
        A PIL image.

    Raises:
        ValueError: Sizes or colours differ between rows, or there is not one label a row.
    """
    pictures = [_checked(row) for row in rows]
    if not pictures or len({row.shape[1:] for row in pictures}) != 1:
        sizes = [row.shape[1:] for row in pictures]
        raise ValueError(f"rows must be one or more arrays of pictures of one size, got the sizes {sizes}")
    if labels and len(labels) != len(rows):
        raise ValueError(f"labels must name each of the {len(rows)} rows, got {len(labels)} labels")
    image = _compose(pictures, pad=pad, scale=scale, background=background, margin=_label_width(labels))
    return _draw_labels(image, labels) if labels else image


def titled_panels(panels: Mapping[str, Image], *, columns: int = 3) -> Image:
    """Grids side by side on white, each under its title.

    Args:
        panels: PIL images by title; they may differ in size.
        columns: Panels in a row.

    Returns:
        A PIL image, grey (mode L) where all panels are, otherwise in mode RGB.

    Raises:
        ValueError: There is no panel.
    """
    from PIL import Image as pil
    from PIL import ImageDraw

    if not panels:
        raise ValueError("panels must hold at least one image, got none")
    wide, high = (max(side) for side in zip(*(panel.size for panel in panels.values()), strict=True))
    across, down = wide + _MARGIN, high + _TITLE + _MARGIN
    rows, columns = math.ceil(len(panels) / columns), min(columns, len(panels))
    mode = "L" if all(panel.mode in ("L", "LA") for panel in panels.values()) else "RGB"
    canvas = pil.new(mode, (across * columns + _MARGIN, down * rows + _MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    for k, (title, panel) in enumerate(panels.items()):
        left, top = _MARGIN + k % columns * across, _MARGIN + k // columns * down
        draw.text((left, top), title, fill=_INK if mode == "L" else (_INK,) * 3, font=_font(15))
        canvas.paste(panel.convert(mode), (left, top + _TITLE), panel.convert(f"{mode}A").getchannel("A"))
    return canvas


def save_grid(path: str | os.PathLike[str], images: Pictures, *, columns: int | None = None) -> Path:
    """Write `image_grid` of ``images [n, h, w, c]`` as a PNG file, moved into place when complete.

    Raises:
        StorageError: The folder cannot be written.
    """
    target = Path(path)
    write_atomically(target, png_bytes(image_grid(images, columns=columns)))
    return target


def png_bytes(image: Image) -> bytes:
    """The image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(image: Image) -> str:
    """The image as a ``data:`` address that stands in a page by itself."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode("ascii")


def _checked(images: Pictures) -> Pictures:
    pictures = np.asarray(images)
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    if pictures.ndim != 4 or pictures.shape[-1] not in (1, 3) or pictures.dtype != np.uint8 or pictures.size == 0:
        raise ValueError(
            f"images must be a non-empty uint8 array [n, h, w, c] with c 1 or 3, got {pictures.dtype} "
            f"{list(pictures.shape)}; Schema.as_images makes one from encoded rows"
        )
    return pictures


def _compose(rows: Sequence[Pictures], *, pad: int, scale: int | None, background: int | None, margin: int) -> Image:
    """Paste every picture on one canvas; ``margin`` pixels on the left stay free for labels."""
    from PIL import Image as pil

    height, width, channels = rows[0].shape[1:]
    factor = scale or max(1, round(TILE / max(height, width)))
    gap = pad * max(2, factor // 2)
    down, across = height * factor + gap, width * factor + gap
    shape = (down * len(rows) + gap, across * max(len(row) for row in rows) + gap + margin, channels)
    canvas, cover = np.full(shape, WHITE if background is None else background, np.uint8), np.zeros(shape[:2], np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = gap + i * down, gap + margin + j * across
            box = np.s_[top : top + down - gap, left : left + across - gap]
            canvas[box], cover[box] = _enlarge(picture, factor), WHITE
    colours = canvas[..., 0] if channels == 1 else canvas
    return pil.fromarray(colours if background is not None else np.dstack([colours, cover]))


def _enlarge(picture: Pictures, factor: int) -> Pictures:
    """Each pixel of ``picture [h, w, c]`` as a square of ``factor`` by ``factor`` (nearest neighbour)."""
    return np.repeat(np.repeat(picture, factor, axis=0), factor, axis=1)


def _label_width(labels: Sequence[str]) -> int:
    return 12 + max(math.ceil(_font().getlength(label)) for label in labels) if labels else 0


def _font(size: int = 13):  # type: ignore[no-untyped-def]  # the two font classes of Pillow share no base
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _draw_labels(image: Image, labels: Sequence[str]) -> Image:
    """Each label beside the middle of its row, in a grey that reads on light and dark pages."""
    from PIL import ImageDraw

    draw, step = ImageDraw.Draw(image), image.height / len(labels)
    ink = tuple([_LABEL_GREY] * (len(image.getbands()) - (image.mode in ("LA", "RGBA"))))
    ink += (WHITE,) if image.mode in ("LA", "RGBA") else ()
    for i, label in enumerate(labels):
        draw.text((2, (i + 0.5) * step), label, fill=ink if len(ink) > 1 else ink[0], font=_font(), anchor="lm")
    return image
