from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pushforward.errors import StorageError
from pushforward.report.grids import data_uri, grid_with_rows, image_grid, save_grid, titled_panels


def pictures(n: int, h: int, w: int, c: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, h, w, c), dtype=np.uint8)


@pytest.mark.parametrize(("h", "w", "c"), [(8, 8, 1), (28, 28, 1), (64, 64, 3), (5, 9, 3), (1, 1, 1), (200, 31, 3)])
def test_tiles_are_exact_whole_enlargements_at_their_places(h: int, w: int, c: int) -> None:
    images = pictures(7, h, w, c)
    grid = np.asarray(image_grid(images, columns=3))
    scale = max(1, round(64 / max(h, w)))
    gap = max(2, scale // 2)
    assert grid.shape[:2] == (3 * (h * scale + gap) + gap, 3 * (w * scale + gap) + gap)
    for k, picture in enumerate(images):
        top, left = gap + (k // 3) * (h * scale + gap), gap + (k % 3) * (w * scale + gap)
        tile = grid[top : top + h * scale : scale, left : left + w * scale : scale]
        assert np.array_equal(tile.reshape(h, w, c), picture)


@pytest.mark.parametrize("size", [8, 16, 28, 32, 40, 64])
def test_small_pictures_come_to_a_readable_size(size: int) -> None:
    grid = image_grid(pictures(1, size, size, 1), pad=0)
    assert 48 <= grid.width <= 96


def test_gap_is_even_and_of_the_background() -> None:
    grid = np.asarray(image_grid(np.zeros((4, 8, 8, 1), np.uint8), columns=2))
    assert grid[0].min() == 255
    assert grid[:, 0].min() == 255
    assert grid[:, -1].min() == 255
    assert grid.min() == 0


@pytest.mark.parametrize(("c", "mode"), [(1, "LA"), (3, "RGBA")])
def test_transparent_background(c: int, mode: str) -> None:
    grid = image_grid(pictures(3, 8, 8, c), columns=2, background=None)
    cover = np.asarray(grid)[..., -1]
    assert grid.mode == mode
    assert set(np.unique(cover)) == {0, 255}
    assert cover[-10, -10] == 0, "the empty place of the fourth picture is transparent"


def test_rows_with_labels_make_room_for_them() -> None:
    rows = [pictures(4, 8, 8, 1), pictures(4, 8, 8, 1)]
    plain, labelled = grid_with_rows(rows), grid_with_rows(rows, ["original", "a much longer label"])
    assert labelled.height == plain.height
    assert labelled.width > plain.width + 80
    margin = labelled.width - plain.width
    assert np.array_equal(np.asarray(labelled)[:, margin:], np.asarray(plain))
    assert np.asarray(labelled)[:, :margin].min() < 200, "the label is drawn"


@pytest.mark.parametrize("background", [255, None])
@pytest.mark.parametrize("c", [1, 3])
def test_labels_can_be_drawn_in_every_mode(background: int | None, c: int) -> None:
    assert grid_with_rows([pictures(2, 8, 8, c)], ["x"], background=background).width > 0


def test_rows_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        grid_with_rows([pictures(2, 8, 8, 1), pictures(2, 9, 8, 1)])
    with pytest.raises(ValueError, match="labels"):
        grid_with_rows([pictures(2, 8, 8, 1)], ["a", "b"])


@pytest.mark.parametrize(
    "bad", [np.zeros((0, 8, 8, 1), np.uint8), np.zeros((3, 8, 8, 1)), np.zeros((2, 8, 8, 4), np.uint8)]
)
def test_what_is_no_picture_is_refused_by_name(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="images must be"):
        image_grid(bad)


def test_grey_pictures_may_come_without_their_channel() -> None:
    images = pictures(3, 8, 8, 1)
    assert np.array_equal(np.asarray(image_grid(images[..., 0])), np.asarray(image_grid(images)))


def test_saved_and_embedded_grids_are_the_same_picture(tmp_path) -> None:
    images = pictures(5, 8, 8, 3)
    saved = Image.open(save_grid(tmp_path / "samples.png", images, columns=5))
    embedded = Image.open(io.BytesIO(base64.b64decode(data_uri(image_grid(images, columns=5)).partition(",")[2])))
    assert np.array_equal(np.asarray(saved), np.asarray(embedded))
    assert [entry.name for entry in tmp_path.iterdir()] == ["samples.png"]


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path) -> None:
    with pytest.raises(StorageError, match="samples.png"):
        save_grid(tmp_path / "nowhere" / "samples.png", pictures(1, 8, 8, 1))


def test_panels_stand_side_by_side_under_their_titles() -> None:
    panels = {f"method {k}": image_grid(pictures(6, 8, 8, 1), columns=3, background=None) for k in range(4)}
    assert titled_panels(panels, columns=3).mode == "L"
    image = np.asarray(titled_panels(panels, columns=3).convert("RGB"))
    width, height = panels["method 0"].size
    assert image.shape[0] > 2 * height
    assert 3 * width < image.shape[1] < 4 * width
    strip = 255 - image[14 : 14 + 24].astype(int).mean(2)  # the titles of the first row
    assert all(strip[:, 14 + k * (width + 14) :][:, :width].max() > 100 for k in range(3))
    panel = image[14 + 24 : 14 + 24 + height, 14 : 14 + width, 0]
    grid = np.asarray(panels["method 0"])
    assert np.array_equal(panel[grid[..., 1] == 255], grid[..., 0][grid[..., 1] == 255])


def test_no_panels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        titled_panels({})
