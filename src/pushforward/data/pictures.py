"""Folders of pictures: reading and writing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pushforward.data.checks import Array, check_finite, range_of, to_array
from pushforward.data.images import find_layout
from pushforward.data.rows import Data
from pushforward.errors import DataError, StorageError

if TYPE_CHECKING:
    from PIL import Image

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_RUN_FILES = ("model.safetensors", "checkpoint.pt", "history.jsonl")  # one of them beside config.yaml marks a saved run


class _Picture(NamedTuple):
    """Pixels as read, and whether their colours come from a palette, so that grey ones look like colour."""

    pixels: Array
    palette: bool

    @property
    def grey_palette(self) -> bool:
        """Whether all colours of the palette in use are grey."""
        shades = self.pixels
        return self.palette and shades.ndim == 3 and bool((shades == shades[..., :1]).all())


def read_folder(folder: Path) -> Data:
    """All pictures of a folder in the order of their names; sub-folders, where there are some, are the labels.

    Hidden files and folders, and sub-folders that are saved runs of this library, are skipped. Transparent pictures are
    laid on white. Turned photographs are set upright. Grey pictures, also those with a palette, give ``[n, h, w]``,
    colour pictures ``[n, h, w, 3]``.

    Raises:
        DataError: naming the file, for an unreadable picture, mixed sizes, or grey mixed with colour, or mixed depths.
    """
    files = _pictures_in(folder)
    labels, names = _folder_labels(folder, files)
    return Data(_stack(files, _flattened([_open(file) for file in files])), labels, folder.resolve().name, names)


def read_picture(path: Path) -> Data:
    """One picture as an array of one row."""
    return Data(_flattened([_open(path)])[0][None], name=path.stem)


def export_images(values: object, folder: str | Path) -> list[Path]:
    """Write images as PNG files 0000.png, 0001.png, ... into a folder, which is made where it is missing.

    Args:
        values: images ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]``, c = 1 or 3. uint8 values are written as they
            are; booleans and floats within [0, 1] are multiplied by 255; any other range is stretched so that the
            smallest value is black and the largest white.
        folder: where to write.

    Returns:
        The files written.
    """
    from PIL import Image

    shades, target = _shades(to_array(values.values if isinstance(values, Data) else values)), Path(folder)
    digits = max(4, len(str(len(shades) - 1)))
    files = [target / f"{i:0{digits}d}.png" for i in range(len(shades))]
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file, shade in zip(files, shades, strict=True):
            Image.fromarray(shade[..., 0] if shade.shape[2] == 1 else shade).save(file)
    except OSError as error:
        fix = "Fix: choose a folder that you may write to."
        raise StorageError(f"{target} cannot be written: {error}. {fix}") from error
    return files


def _pictures_in(folder: Path) -> list[Path]:
    seen = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _hidden(file.relative_to(folder))]
    runs = {file.parent for file in seen if file.name == "config.yaml" and _is_run(file.parent)} - {folder}
    found = [file for file in seen if runs.isdisjoint(file.parents)]
    pictures = [file for file in found if file.suffix.lower() in PICTURES]
    if not pictures:
        held = f"holds {len(found)} other files, such as {found[0].name}" if found else "is empty"
        held += f"; {len(runs)} folders in it are saved runs and are not read" if runs else ""
        raise DataError(
            f"The folder {folder} has no pictures ({', '.join(PICTURES)}): it {held}. "
            "Fix: name the folder with the pictures, or the one data file that you mean."
        )
    return pictures


def _is_run(folder: Path) -> bool:
    """Whether the folder with a config.yaml is a run of this library, whose pictures are samples and not data."""
    return any((folder / name).is_file() for name in _RUN_FILES)


def _hidden(relative: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in relative.parts)


def _folder_labels(folder: Path, files: list[Path]) -> tuple[Array | None, tuple[str, ...] | None]:
    groups = [file.relative_to(folder).parts[0] if file.parent != folder else "" for file in files]
    if "" in groups and len(set(groups)) > 1:
        loose = files[groups.index("")]
        raise DataError(
            f"Some pictures lie in {folder} itself (such as {loose.name}) and some in its sub-folders, which are read "
            "as labels. Fix: move the loose pictures into a sub-folder, or all pictures into one folder."
        )
    if groups[0] == "":
        return None, None
    names, numbers = np.unique(groups, return_inverse=True)
    return numbers, tuple(str(name) for name in names)


def _flattened(pictures: list[_Picture]) -> list[Array]:
    """The pixels; pictures with a palette become grey where all pictures are grey."""
    grey = all(picture.pixels.ndim == 2 or picture.grey_palette for picture in pictures)
    return [picture.pixels[..., 0] if grey and picture.palette else picture.pixels for picture in pictures]


def _open(path: Path) -> _Picture:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            picture.load()
            pixels = np.asarray(_plain_mode(ImageOps.exif_transpose(picture)))
            return _Picture(pixels, pixels.ndim == 3 and (picture.mode in ("P", "PA") or picture.format == "GIF"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"The picture {path} cannot be read: {error}. Fix: replace or remove the file.") from error


def _plain_mode(picture: Image.Image) -> Image.Image:
    """Grey (8, 16 or 32 bits) or RGB; anything transparent is laid on white."""
    if picture.mode in ("RGB", "F") or picture.mode.startswith("I"):
        return picture if "transparency" not in picture.info else _on_white(picture.convert("RGBA"))
    if picture.mode == "L":
        return picture if "transparency" not in picture.info else _on_white(picture.convert("RGBA")).convert("L")
    if picture.mode == "1":
        return picture.convert("L")
    if picture.mode in ("LA", "La"):
        return _on_white(picture.convert("RGBA")).convert("L")
    transparent = "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info
    return _on_white(picture.convert("RGBA")) if transparent else picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _stack(files: list[Path], arrays: list[Array]) -> Array:
    _refuse_mixture(files, [_size_text(array) for array in arrays], "sizes", "resize or crop them to one size")
    _refuse_mixture(files, [_mode_text(array) for array in arrays], "modes", "convert all to colour or all to grey")
    _refuse_mixture(files, [_depth_text(array) for array in arrays], "depths", "convert all to the same number of bits")
    return np.stack(arrays)


def _refuse_mixture(files: list[Path], found: list[str], what: str, fix: str) -> None:
    counts = Counter(found).most_common()
    if len(counts) > 1:
        examples = [f"{n} are {text} (such as {files[found.index(text)].name})" for text, n in counts[:3]]
        more = f" and {len(counts) - 3} more {what}" if len(counts) > 3 else ""
        raise DataError(f"The pictures have mixed {what}: {', '.join(examples)}{more}. Fix: {fix}.")


def _size_text(array: Array) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"


def _mode_text(array: Array) -> str:
    return "grey" if array.ndim == 2 else "colour"


def _depth_text(array: Array) -> str:
    return f"of {8 * array.dtype.itemsize} bits a value ({array.dtype})"


def _shades(array: Array) -> Array:
    """Images as uint8 ``[n, h, w, c]``."""
    if array.ndim not in (3, 4):
        raise DataError(f"Images have 3 or 4 axes, not shape {list(array.shape)}. Fix: give [n, h, w] or [n, h, w, c].")
    check_finite(array)
    layout = find_layout(array.shape)
    last = array[..., None] if layout == "nhw" else array.transpose([layout.index(axis) for axis in "nhwc"])
    return last if last.dtype == np.uint8 or not len(last) else _stretched(last)


def _stretched(array: Array) -> Array:
    low, high = range_of(array)
    unit_range = array.dtype.kind in "bf" and low >= 0 and high <= 1
    low, width = (0.0, 1.0) if unit_range else (low, (high - low) or 1.0)
    shades: Any = np.rint((array.astype(np.float64) - low) * (255.0 / width))
    return shades.astype(np.uint8)  # type: ignore[no-any-return]
