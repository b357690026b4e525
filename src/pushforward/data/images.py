"""Images: from any layout and range to ``[n, c, h, w]`` in [-1, 1], and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from pushforward.data.checks import Array, range_of, to_integers
from pushforward.errors import DataError

_CHANNELS = (1, 3)
_DARKEST_BYTE_IMAGE = 64  # uint8 data that never reach this value are counts (0..16, 0..1), not bytes of brightness


@dataclass(frozen=True)
class ImageCoder:
    """Grey or colour images of one size.

    Attributes:
        layout: ``"nhw"``, ``"nhwc"`` or ``"nchw"``: the axes of the user's array.
        event_shape: ``(c, h, w)`` of an encoded image.
        low: the value that becomes -1.
        high: the value that becomes +1.
        dtype: name of the user's numpy dtype.
    """

    kind: ClassVar[str] = "image"
    layout: str
    event_shape: tuple[int, ...]
    low: float
    high: float
    dtype: str

    @staticmethod
    def fit(array: Array) -> ImageCoder:
        """Find layout and range of an array ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` with c = 1 or 3."""
        layout = find_layout(array.shape)
        low, high = _value_range(array)
        if low == high:
            raise DataError(
                f"All pixels of all images are {low:g}, so there is nothing to learn. "
                "Fix: check how the images were read."
            )
        if not np.isfinite(high - low):
            raise DataError(f"Pixel values from {low:g} to {high:g} overflow. Fix: rescale the images.")
        return ImageCoder(layout, _channels_first(array[:1], layout).shape[1:], low, high, str(array.dtype))

    def encode(self, array: Array) -> Array:
        """The user's array as float32 ``[n, c, h, w]``, -1 at the lowest and 1 at the highest value of the fit."""
        self._check(array)
        work = np.result_type(array.dtype, np.float32)
        scaled = _channels_first(array, self.layout).astype(work)
        scaled -= work.type(self.low)
        scaled *= work.type(2.0 / (self.high - self.low))
        scaled -= work.type(1.0)
        return np.ascontiguousarray(scaled, dtype=np.float32)

    def decode(self, x: Array) -> Array:
        """Encoded images as the user's dtype, layout and range; values outside the range are clipped."""
        dtype = np.dtype(self.dtype)
        work = np.result_type(dtype, np.float32)
        values = (x.astype(work) + work.type(1.0)) * work.type((self.high - self.low) / 2.0) + work.type(self.low)
        values = _from_channels_first(values, self.layout)
        if dtype.kind in "bui":
            return to_integers(values, self.low, self.high, dtype)
        return np.clip(values, self.low, self.high).astype(dtype)

    def as_images(self, x: Array) -> Array:
        """Encoded images as uint8 ``[n, h, w, c]`` for display: -1 is black, 1 is white."""
        shades = np.rint((np.clip(x, -1.0, 1.0) + 1.0) * 127.5)
        return np.ascontiguousarray(shades.transpose(0, 2, 3, 1)).astype(np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self) | {"event_shape": list(self.event_shape)}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> ImageCoder:
        """The inverse of ``to_dict``."""
        return ImageCoder(**(stored | {"event_shape": tuple(stored["event_shape"])}))

    def summary(self) -> list[str]:
        """Lines for humans."""
        channels, height, width = self.event_shape
        colour = "grey" if channels == 1 else "colour"
        return [
            f"{colour} images, {height} x {width} pixels (height x width), axes {self.layout}, {self.dtype}",
            f"values from {self.low:g} to {self.high:g}, scaled to [-1, 1]",
        ]

    def _check(self, array: Array) -> None:
        if array.ndim != len(self.layout) or _channels_first(array, self.layout).shape[1:] != self.event_shape:
            raise DataError(
                f"Images of shape {list(array.shape)} do not fit a model of images {self._shape_text()}. "
                "Fix: bring them to that size and order of axes."
            )
        if (array.dtype.kind == "f") != (np.dtype(self.dtype).kind == "f"):
            raise DataError(
                f"Images of dtype {array.dtype} were given to a model fitted on {self.dtype} values from {self.low:g} "
                f"to {self.high:g}. Fix: bring them to that dtype and range."
            )
        self._check_range(array)

    def _check_range(self, array: Array) -> None:
        if not len(array):
            return
        width, (low, high) = self.high - self.low, range_of(array)
        if low < self.low - width or high > self.high + width:
            raise DataError(
                f"The images have values from {low:g} to {high:g}, but the model was fitted on {self.low:g} to "
                f"{self.high:g}. Fix: bring them to the same scale."
            )

    def _shape_text(self) -> str:
        sizes = dict(zip("chw", self.event_shape, strict=True))
        return "[n, " + ", ".join(str(sizes[axis]) for axis in self.layout[1:]) + "]"


def find_layout(shape: tuple[int, ...]) -> str:
    """Name the axes of an image array: ``"nhw"``, ``"nhwc"`` or ``"nchw"``; DataError where two readings fit."""
    if 0 in shape[1:]:
        raise DataError(f"Images of shape {list(shape)} have no pixels. Fix: check how they were read.")
    if len(shape) == 3:
        return _grey_layout(shape)
    last, second = shape[3] in _CHANNELS, shape[1] in _CHANNELS
    if last and second:
        raise DataError(
            f"The shape {list(shape)} can be read as [n, h, w, c] and as [n, c, h, w], since axis 1 and axis 3 both "
            "have 1 or 3 entries. Fix: for grey images drop the channel axis and give [n, h, w]; otherwise flatten, "
            "x.reshape(len(x), -1)."
        )
    if not last and not second:
        raise DataError(
            f"The shape {list(shape)} has no channel axis: neither axis 1 nor axis 3 has 1 (grey) or 3 "
            "(colour) entries. Fix: drop an alpha channel with x[..., :3], or flatten with x.reshape(len(x), -1) for "
            "plain vectors."
        )
    return "nhwc" if last else "nchw"


def _grey_layout(shape: tuple[int, ...]) -> str:
    if shape[2] in _CHANNELS and shape[1] > 3:
        raise DataError(
            f"The shape {list(shape)} can be read as one image [h, w, {shape[2]}] and as {shape[0]} grey images of "
            f"{shape[1]} x {shape[2]} pixels. Fix: x[None] for one image, x[:, None] for grey images, "
            "x.reshape(len(x), -1) for plain vectors."
        )
    return "nhw"


def _value_range(array: Array) -> tuple[float, float]:
    low, high = range_of(array)
    bytes_of_brightness = array.dtype == np.uint8 and high >= _DARKEST_BYTE_IMAGE
    return (0.0, 255.0) if bytes_of_brightness else (low, high)


def _channels_first(array: Array, layout: str) -> Array:
    return array[:, None] if layout == "nhw" else array.transpose([layout.index(axis) for axis in "nchw"])


def _from_channels_first(array: Array, layout: str) -> Array:
    moved = array[:, 0] if layout == "nhw" else array.transpose(["nchw".index(axis) for axis in layout])
    return np.ascontiguousarray(moved)
