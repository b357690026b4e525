"""Folders of pictures, exported images, and rows picked and split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pushforward.data import Data, export_images, fit_schema, load_data, split_rows, take_rows
from pushforward.errors import DataError, StorageError

RNG = np.random.default_rng(0)


def save(path: Path, mode: str = "L", size: tuple[int, int] = (6, 5), colour: object = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
    pixels = RNG.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    if colour is not None:
        pixels[...] = colour
    Image.fromarray(pixels, mode if mode == "LA" else None).save(path)


def refused(source: object) -> str:
    with pytest.raises(DataError) as caught:
        load_data(source)
    assert "Fix:" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "PNG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_folder_of_pictures(tmp_path: Path, ending: str, mode: str) -> None:
    for i in range(4):
        save(tmp_path / f"{i}.{ending}", mode)
    save(tmp_path / ".hidden.png", mode, (9, 9))
    (tmp_path / "notes.md").write_text("not a picture")
    data = load_data(tmp_path)
    assert data.values.shape == ((4, 5, 6) if mode == "L" else (4, 5, 6, 3))
    assert data.labels is None
    assert data.name == tmp_path.name
    assert fit_schema(data).event_shape == ((1, 5, 6) if mode == "L" else (3, 5, 6))


@pytest.mark.parametrize("ending", ["jpg", "webp", "gif"])
def test_other_formats(tmp_path: Path, ending: str) -> None:
    for i in range(3):
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{i}.{ending}")
    assert load_data(str(tmp_path)).values.shape == (3, 8, 8, 3)


def test_sub_folders_are_labels(tmp_path: Path) -> None:
    for name in ("dog/1", "cat/1", "cat/deep/2"):
        save(tmp_path / f"{name}.png")
    data = load_data(tmp_path)
    assert data.label_names == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    save(tmp_path / "loose.png")
    assert "loose.png" in refused(tmp_path)


def test_transparent_pictures_lie_on_white(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", "RGBA", colour=(10, 20, 30, 0))
    save(tmp_path / "a" / "2.png", "RGBA", colour=(10, 20, 30, 255))
    values = np.asarray(load_data(tmp_path / "a").values)
    assert (values[0] == 255).all()
    assert (values[1] == (10, 20, 30)).all()
    save(tmp_path / "b" / "1.png", "LA", colour=(10, 0))
    save(tmp_path / "b" / "2.png", "LA", colour=(10, 255))
    values = np.asarray(load_data(tmp_path / "b").values)
    assert values.shape == (2, 5, 6)
    assert (values[0] == 255).all()
    assert (values[1] == 10).all()


def test_sixteen_bits_and_black_and_white(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "flat").mkdir()
    for i in range(2):
        Image.fromarray(RNG.integers(0, 65536, (5, 6), dtype=np.uint16)).save(tmp_path / "deep" / f"{i}.png")
        Image.fromarray(RNG.random((5, 6)) > 0.5).save(tmp_path / "flat" / f"{i}.png")
    assert np.asarray(load_data(tmp_path / "deep").values).max() > 255
    assert set(np.unique(load_data(tmp_path / "flat").values)) == {0, 255}


def test_saved_runs_and_hidden_folders_are_no_data(tmp_path: Path) -> None:
    for name in ("cat/1", "dog/1", ".cache/1", "runs/one/samples", "runs/two/figures/1", "old/samples", "kept/1"):
        save(tmp_path / f"{name}.png")
    for name, file in (("runs/one", "model.safetensors"), ("runs/two", "history.jsonl"), ("old", "checkpoint.pt")):
        (tmp_path / name / "config.yaml").touch()
        (tmp_path / name / file).touch()
    (tmp_path / "kept" / "config.yaml").touch()
    assert load_data(tmp_path).label_names == ("cat", "dog", "kept")
    assert load_data(tmp_path / "old").values.shape == (1, 5, 6)
    assert "2 folders in it are saved runs" in refused(tmp_path / "runs")


def test_loose_pictures_beside_runs(tmp_path: Path) -> None:
    for name in ("1", "2", "runs/one/samples"):
        save(tmp_path / f"{name}.png")
    for file in ("config.yaml", "model.safetensors"):
        (tmp_path / "runs" / "one" / file).touch()
    assert load_data(tmp_path).values.shape == (2, 5, 6)
    assert load_data(tmp_path).labels is None


@pytest.mark.parametrize("ending", ["png", "gif"])
def test_grey_palettes_are_grey(tmp_path: Path, ending: str) -> None:
    for i in range(3):
        shades = RNG.integers(0, 256, (5, 6), dtype=np.uint8) // 64 * 64
        Image.fromarray(np.stack([shades] * 3, axis=2)).quantize(8).save(tmp_path / f"{i}.{ending}")
    values = np.asarray(load_data(tmp_path).values)
    assert values.shape == (3, 5, 6)
    assert load_data(tmp_path / f"0.{ending}").values.shape == (1, 5, 6)
    Image.fromarray(RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)).quantize(8).save(tmp_path / f"3.{ending}")
    assert load_data(tmp_path).values.shape == (4, 5, 6, 3)


def test_a_grey_picture_with_a_transparent_shade_stays_grey(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (5, 6), dtype=np.uint8)).save(tmp_path / "0.png", transparency=3)
    assert load_data(tmp_path).values.shape == (1, 5, 6)


def test_mixed_depths_are_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    Image.fromarray(RNG.integers(0, 65536, (5, 6), dtype=np.uint16)).save(tmp_path / "b.png")
    message = refused(tmp_path)
    assert "mixed depths: 1 are of 8 bits a value (uint8) (such as a.png), 1 are of 16 bits" in message


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused(tmp_path / "empty")
    (tmp_path / "empty" / "x.csv").touch()
    assert "x.csv" in refused(tmp_path / "empty")
    for i, size in enumerate([(6, 5), (6, 5), (9, 8)]):
        save(tmp_path / "sizes" / f"{i}.png", size=size)
    message = refused(tmp_path / "sizes")
    assert "mixed sizes: 2 are 6 x 5 (such as 0.png), 1 are 9 x 8 (such as 2.png)" in message
    save(tmp_path / "modes" / "0.png", "L")
    save(tmp_path / "modes" / "1.png", "RGB")
    assert "mixed modes: 1 are grey (such as 0.png), 1 are colour" in refused(tmp_path / "modes")
    save(tmp_path / "cut" / "0.png", "RGB", (64, 64))
    whole = (tmp_path / "cut" / "0.png").read_bytes()
    (tmp_path / "cut" / "1.png").write_bytes(whole[: len(whole) // 2])
    assert "cut/1.png cannot be read" in refused(tmp_path / "cut").replace("\\", "/")
    (tmp_path / "cut" / "1.png").write_bytes(b"no picture")
    assert "1.png cannot be read" in refused(tmp_path / "cut")


def test_one_picture_is_one_row(tmp_path: Path) -> None:
    save(tmp_path / "0.png", "RGB")
    assert load_data(tmp_path / "0.png").values.shape == (1, 5, 6, 3)
    with pytest.raises(DataError, match="one row"):
        fit_schema(load_data(tmp_path))


@pytest.mark.parametrize("shape", [(3, 5, 6), (3, 5, 6, 3), (3, 1, 5, 6), (3, 3, 5, 6)])
def test_exported_images_are_read_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = RNG.integers(0, 256, shape, dtype=np.uint8)
    files = export_images(torch.from_numpy(x), tmp_path / "out")
    assert [file.name for file in files] == ["0000.png", "0001.png", "0002.png"]
    last = x.transpose(0, 2, 3, 1) if x.ndim == 4 and shape[-1] == 6 else x
    np.testing.assert_array_equal(load_data(tmp_path / "out").values, last[..., 0] if last.shape[-1] == 1 else last)


def test_exported_ranges(tmp_path: Path) -> None:
    unit = np.full((2, 4, 4), 0.5)
    export_images(unit, tmp_path / "unit")
    assert set(np.unique(load_data(tmp_path / "unit").values)) == {128}
    wide = np.linspace(-3, 9, 32).reshape(2, 4, 4)
    export_images(wide, tmp_path / "wide")
    shades = np.asarray(load_data(tmp_path / "wide").values)
    assert (shades.min(), shades.max()) == (0, 255)
    with pytest.raises(DataError, match="3 or 4 axes"):
        export_images(np.zeros((2, 3)), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        export_images(unit, tmp_path / "file")


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 80), st.floats(0.01, 0.99), st.integers(0, 5))
def test_split_covers_every_row_once(n: int, fraction: float, seed: int) -> None:
    train, held = split_rows(n, fraction, seed=seed)
    assert sorted([*train, *held]) == list(range(n))
    assert (np.diff(train) > 0).all()
    assert len(train) >= 1
    assert len(held) >= 1
    assert abs(len(held) - fraction * n) <= 1
    again = split_rows(n, fraction, seed=seed)
    np.testing.assert_array_equal(train, again[0])


def test_whole_groups_stay_together() -> None:
    groups = np.repeat([f"p{i}" for i in range(30)], 8)
    train, held = split_rows(240, 0.2, seed=1, groups=groups)
    assert len(held) == 48
    assert not set(groups[train]) & set(groups[held])
    assert split_rows(5, 0.0, seed=0)[1].size == 0
    with pytest.raises(DataError, match="one group"):
        split_rows(4, 0.5, seed=0, groups=np.zeros(4))
    with pytest.raises(DataError, match="3 entries for 4 rows"):
        split_rows(4, 0.5, seed=0, groups=np.zeros(3))
    with pytest.raises(ValueError, match=r"fraction=1\.5"):
        split_rows(4, 1.5, seed=0)


def test_rows_are_taken_from_every_container() -> None:
    x, index = np.arange(12.0).reshape(6, 2), np.array([1, 4])
    np.testing.assert_array_equal(take_rows(x, index), x[index])
    taken = take_rows(torch.from_numpy(x), index)
    assert isinstance(taken, torch.Tensor)
    np.testing.assert_array_equal(taken, x[index])
    frame = take_rows(pd.DataFrame(x, index=list("abcdef")), index)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(x[index]))
    data = take_rows(Data(x, np.arange(6), "mine"), index)
    assert isinstance(data, Data)
    assert data.labels is not None
    assert data.labels.tolist() == [1, 4]
