"""Every source that can be read, and every broken one with the message it gives."""

from __future__ import annotations

import gzip
import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pushforward.data import Data, describe, fit_schema, load_data, named
from pushforward.errors import DataError

X = np.random.default_rng(0).random((12, 3))


def refused(source: object) -> str:
    with pytest.raises(DataError) as caught:
        load_data(source)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------- memory


def test_objects_in_memory() -> None:
    frame = pd.DataFrame(X)
    assert load_data(X).values is X
    assert load_data(frame).values is frame
    data = Data(X, name="mine")
    assert load_data(data) is data
    assert len(data) == 12
    assert load_data(torch.from_numpy(X)).name == "tensor"
    assert load_data(X.tolist()).values.shape == (12, 3)
    assert "to_frame" in refused(frame[0])
    assert "Data of type int" in refused(3)
    assert "list is empty" in refused([])
    assert "row 0 has shape [2, 2] and row 1 has [3, 3]" in refused([np.zeros((2, 2)), np.zeros((3, 3))])
    assert "ragged" in refused([[[1, 2], [3]], [[1, 2], [3]]])
    with pytest.raises(DataError, match="12 rows but 5 labels"):
        Data(X, np.zeros(5))


class Pairs(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(torch.ones(5, 2))


def test_datasets_and_loaders_leave_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    x, y = torch.arange(20.0).reshape(10, 2), torch.arange(10)
    whole = load_data(TensorDataset(x, y))
    assert isinstance(whole.values, torch.Tensor)
    assert torch.equal(whole.values, x)
    assert whole.labels is not None
    assert whole.labels.tolist() == y.tolist()
    batches = load_data(DataLoader(TensorDataset(x, y), batch_size=3, shuffle=True))
    assert batches.labels is not None
    assert sorted(batches.labels.tolist()) == y.tolist()
    assert torch.equal(torch.as_tensor(batches.values)[:, 0] // 2, torch.as_tensor(batches.labels).float())
    assert load_data(TensorDataset(x)).labels is None
    assert load_data(Stream()).values.shape == (5, 2)
    pictures = Pairs([(Image.new("L", (4, 5)), "cat"), (Image.new("L", (4, 5)), "dog")])
    found = load_data(pictures)
    assert found.values.shape == (2, 5, 4)
    assert found.labels is not None
    assert found.labels.tolist() == ["cat", "dog"]
    assert torch.equal(state, torch.get_rng_state())


class Noisy(Pairs):
    def __getitem__(self, i: int) -> Any:
        return np.random.rand(2), int(torch.randint(9, (1,))) + random.randrange(9)


def test_all_global_generators_are_put_back() -> None:
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    load_data(Noisy([0] * 5))
    load_data(DataLoader(Noisy([0] * 5), batch_size=2))
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


class Broken(Pairs):
    def __getitem__(self, i: int) -> Any:
        if i == 3:
            raise OSError("no such scan")
        return torch.zeros(2)


def test_errors_of_a_dataset_name_the_row() -> None:
    message = refused(Broken([0] * 5))
    assert "dataset broken cannot give row 3: OSError: no such scan. Fix:" in message
    assert "data loader cannot give batch 1: OSError" in refused(DataLoader(Broken([0] * 5), batch_size=2))
    with pytest.raises(DataError, match=r"batch_size=None.*Fix: give its dataset"):
        load_data(DataLoader(Pairs([torch.zeros(2)] * 3), batch_size=None))


@pytest.mark.parametrize("place", [0, 2])
def test_a_row_without_label_is_named(place: int) -> None:
    items = [(torch.zeros(2), i) for i in range(4)]
    items[place] = (torch.zeros(2), None)  # type: ignore[assignment]
    assert f"1 of 4 have no label (None), the first of them row {place}" in refused(Pairs(items))
    assert load_data(Pairs([(torch.zeros(2), None)] * 3)).labels is None


def test_bad_datasets() -> None:
    assert "0 rows" in refused(Pairs([]))
    assert "mixed sizes: row 0 has shape [2] and row 1 has [3]" in refused(Pairs([torch.zeros(2), torch.zeros(3)]))
    assert "keys ['a']" in refused(Pairs([{"a": 1}]))
    assert "hold 3 things" in refused(Pairs([(1, 2, 3)]))
    boxes = Pairs([(torch.zeros(2), {"box": 1}), (torch.zeros(2), {"box": 2})])
    assert load_data(boxes).labels is None
    assert load_data(Pairs([(torch.zeros(2), [1]), (torch.zeros(2), [1, 2])])).labels is None
    assert "no batch" in refused(DataLoader(Pairs([])))


# ---------------------------------------------------------------------------------------------- arrays


def test_npy_and_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    np.testing.assert_array_equal(load_data(tmp_path / "a.npy").values, X)
    np.savez(tmp_path / "known.npz", X=X, y=np.arange(12.0), other=np.zeros(3))
    data = load_data(str(tmp_path / "known.npz"))
    np.testing.assert_array_equal(data.values, X)
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert data.name == "known"
    np.savez(tmp_path / "only.npz", whatever=X)
    assert load_data(tmp_path / "only.npz").values.shape == X.shape
    np.savez(tmp_path / "target.npz", X=X, y=X[:, 0])
    assert load_data(tmp_path / "target.npz").labels is None
    np.savez(tmp_path / "many.npz", left=X, right=X)
    assert "'left', 'right'" in refused(tmp_path / "many.npz")


def test_broken_array_files(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    assert "pickled" in refused(tmp_path / "objects.npy")
    np.savez(tmp_path / "objects.npz", X=np.array([{}, []], dtype=object))
    assert "pickled" in refused(tmp_path / "objects.npz")
    np.save(tmp_path / "whole.npy", X)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:150])
    assert "cut.npy cannot be read" in refused(tmp_path / "cut.npy")
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04 junk")
    assert "junk.npz cannot be read" in refused(tmp_path / "junk.npz")
    (tmp_path / "empty.npy").touch()
    assert "empty.npy cannot be read" in refused(tmp_path / "empty.npy")
    (tmp_path / "whole.npy").rename(tmp_path / "whole.npz")
    assert "not an .npz archive" in refused(tmp_path / "whole.npz")


def idx(array: np.ndarray) -> bytes:
    code = {"u1": 8, "i4": 12, "f4": 13}[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_with_labels_beside_it(tmp_path: Path, zipped: bool) -> None:
    images, labels = np.arange(60, dtype=np.uint8).reshape(5, 4, 3), np.arange(5, dtype=np.uint8)
    end = ".gz" if zipped else ""
    for name, array in (("train-images-idx3", images), ("train-labels-idx1", labels)):
        raw = idx(array)
        (tmp_path / f"{name}-ubyte{end}").write_bytes(gzip.compress(raw) if zipped else raw)
    data = load_data(tmp_path / f"train-images-idx3-ubyte{end}")
    np.testing.assert_array_equal(data.values, images)
    np.testing.assert_array_equal(data.labels, labels)
    (tmp_path / f"train-labels-idx1-ubyte{end}").unlink()
    assert load_data(tmp_path / f"train-images-idx3-ubyte{end}").labels is None


def test_idx_types_and_broken_idx(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(3, 2)
    (tmp_path / "n.idx").write_bytes(idx(numbers))
    read = load_data(tmp_path / "n.idx").values
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, numbers)
    (tmp_path / "cut.idx").write_bytes(idx(numbers)[:-3])
    assert "promises shape [3, 2] (24 bytes), but 21 bytes" in refused(tmp_path / "cut.idx")
    (tmp_path / "head.idx").write_bytes(idx(numbers)[:7])
    assert "damaged" in refused(tmp_path / "head.idx")
    (tmp_path / "no.idx").write_bytes(b"hello")
    assert "not an idx file" in refused(tmp_path / "no.idx")
    (tmp_path / "a-idx1-ubyte.gz").write_bytes(gzip.compress(idx(numbers))[:20])
    assert "cannot be read" in refused(tmp_path / "a-idx1-ubyte.gz")


# ---------------------------------------------------------------------------------------------- tables

TEXTS: dict[str, tuple[str, list[str], dict[str, list[Any]]]] = {
    "header.csv": ("age,town\n3,Bern\n4,?\n", ["age", "town"], {"age": [3, 4]}),
    "none.csv": ("39, State-gov, 7\n50, ?, 8\n\n", ["c0", "c1", "c2"], {"c0": [39, 50], "c2": [7, 8]}),
    "numbers.csv": ("1,2.5\n3,4.5\n", ["c0", "c1"], {"c1": [2.5, 4.5]}),
    "saved.csv": ("0,1\n0.5,0.25\n0.1,0.2\n", ["0", "1"], {"0": [0.5, 0.1]}),
    "years.csv": ("name,2019,2020\na,1,2\nb,3,4\n", ["c0", "c1", "c2"], {}),
    "mixed_years.csv": ("size,2019\n1,2\n3,4\n", ["size", "2019"], {"size": [1, 3]}),
    "text.csv": ("kind,town\na,Bern\nb,Rome\na,Rome\n", ["kind", "town"], {"kind": ["a", "b", "a"]}),
    "text_none.csv": ("a,Bern\nb,Rome\na,Rome\n", ["c0", "c1"], {"c0": ["a", "b", "a"]}),
    "semicolon.csv": ("a;b\n1,5;2\n2,5;3\n", ["a", "b"], {"a": [1.5, 2.5]}),
    "tabs.tsv": ("a\tb\n1\tx y\n2\tz\n", ["a", "b"], {"b": ["x y", "z"]}),
    "bars.csv": ("a|b\n1|2\n3|4\n", ["a", "b"], {"b": [2, 4]}),
    "space.txt": (" 1.5  2 -3e2\n 2.5 3   4\n", ["c0", "c1", "c2"], {"c2": [-300.0, 4.0]}),
    "space_header.txt": ("x y\n1 2\n3 4\n", ["x", "y"], {"y": [2, 4]}),
    "comma.txt": ("x,y\n1,2\n3,4\n", ["x", "y"], {"y": [2, 4]}),
    "bom.csv": ("\ufeffx,y\n1,2\n3,4\n", ["x", "y"], {"x": [1, 3]}),
    "quotes.csv": ('x,y\n1,"a, b"\n3,"c"\n', ["x", "y"], {"y": ["a, b", "c"]}),
    "one.csv": ("0\n1\n0\n", ["c0"], {"c0": [0, 1, 0]}),
    "spaces.csv": ("x , y\n1 , a \n2 , b\n", ["x", "y"], {"x": [1, 2], "y": ["a", "b"]}),
    "thousands.csv": ("a;b\n1.000,50;x\n12,5;y\n-2.345.678,00;z\n", ["a", "b"], {"a": [1000.5, 12.5, -2345678.0]}),
    "late.csv": ("a;b\n" + "1;2\n" * 900 + "1,5;3\n", ["a", "b"], {"a": [1.0] * 900 + [1.5]}),
    "comma_text.csv": ("a;b\n1.5;x 1,2\n2.5;y\n", ["a", "b"], {"a": [1.5, 2.5], "b": ["x 1,2", "y"]}),
    "comma_tabs.tsv": ("a\tb\n1,5\t2\n2,5\t3\n", ["a", "b"], {"a": [1.5, 2.5]}),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_text_tables(tmp_path: Path, name: str, zipped: bool) -> None:
    text, columns, content = TEXTS[name]
    path = tmp_path / (name + ".gz" * zipped)
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    frame = load_data(path).values
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == columns
    for column, expected in content.items():
        assert frame[column].tolist() == expected
    assert load_data(path).name == name.split(".")[0]


def test_missing_values_and_row_numbers_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n1,?,x\n,NA,\n3,5, ? \n")
    frame = load_data(path).values
    assert isinstance(frame, pd.DataFrame)
    assert frame.isna().to_numpy().tolist() == [[False, True, False], [True, True, True], [False, False, True]]
    pd.DataFrame({"x": [0.5, 1.5]}).to_csv(path)
    with pytest.warns(UserWarning, match="counts the rows"):
        assert list(load_data(path).values.columns) == ["x"]  # type: ignore[union-attr]


def test_words_for_nothing_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "".join(f"{word},1\n" for word in ("None", "none", "null", "NULL", "nan", "x")))
    assert load_data(path).values["a"].isna().tolist() == [True] * 5 + [False]  # type: ignore[call-overload,index]


def test_describe_says_where_no_header_was_found(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2.5\n3,4.5\n2,1.5\n")
    assert "no header found: the columns are named c0 to c1" in describe(path)
    path.write_text("a,b\n1,2.5\n3,4.5\n2,1.5\n")
    assert "no header" not in describe(path)


def test_a_sampled_table_is_read_back_as_it_was(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [0.25, np.nan, 1.5], "c": ["x", None, "y"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(load_data(tmp_path / "a.csv").values, frame)
    pd.testing.assert_frame_equal(load_data(tmp_path / "a.parquet").values, frame)


def test_latin1_and_broken_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("x,y\n1,Zürich\n2,Bern\n".encode("latin-1"))
    assert load_data(path).values["y"][0] == "Zürich"  # type: ignore[call-overload,index]
    path.write_text("")
    assert "a.csv is empty" in refused(path)
    path.write_text("a,b\n1,2\n3,4,5\n")
    assert "line 3" in refused(path)
    path.write_text("a,b\n1,2,3\n4,5,6\n")
    assert "more cells than" in refused(path)
    path.write_bytes(b"PK\x03\x04\0\0\0\0")
    assert "not a text file" in refused(path)
    zipped = tmp_path / "b.csv.gz"
    zipped.write_bytes(gzip.compress(b"a,b\n1,2\n" * 100)[:30])
    assert "cannot be unpacked" in refused(zipped)
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no")
    assert "cannot be read as parquet" in refused(tmp_path / "c.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("no pyarrow")

    (tmp_path / "a.parquet").touch()
    monkeypatch.setattr(pd, "read_parquet", absent)
    assert "pip install 'pushforward[parquet]'" in refused(tmp_path / "a.parquet")


# ---------------------------------------------------------------------------------------------- names


def test_unknown_names_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scans.npy").touch()
    assert "Perhaps you meant 'digits'" in refused("digit")
    assert "Perhaps you meant 'scans.npy'" in refused(tmp_path / "scan.npy")
    assert "nowhere does not exist" in refused(tmp_path / "nowhere" / "a.npy")
    (tmp_path / "model.pt").touch()
    assert "'.pt' cannot be read. Known are .npy" in refused(tmp_path / "model.pt")
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="./digits"):
        data = load_data("digits")
    assert (len(data), data.source) == (1797, "digits")
    assert load_data("iris").source == "iris"
    assert "no pictures" in refused("./digits")


def test_sources_are_found_again_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", X)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    expected = str((tmp_path / "x.npy").resolve())
    for source in ("~/x.npy", Path("~/x.npy")):
        assert load_data(source).source == expected
    monkeypatch.chdir(tmp_path)
    assert load_data("x.npy").source == expected
    assert "cannot be a path" in refused("x" * 5000)


@pytest.mark.parametrize(
    ("name", "shape", "labels"),
    [
        ("digits", (1797, 8, 8), 10),
        ("iris", (150, 4), 3),
        ("wine", (178, 13), 3),
        ("breast_cancer", (569, 30), 2),
        ("Diabetes", (442, 11), 0),
    ],
)
def test_bundled_sets(name: str, shape: tuple[int, ...], labels: int) -> None:
    data = load_data(name)
    assert data.values.shape == shape
    assert (0 if data.labels is None else len(set(data.labels.tolist()))) == labels
    assert len(data.label_names or ()) == labels
    schema = fit_schema(data)
    assert len(schema.encode(data)) == shape[0]


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A pretended server: address to content; the cache is a temporary folder."""
    files: dict[str, bytes] = {}

    def fetch(address: str) -> bytes:
        if address not in files:
            raise OSError("no network")
        return files[address]

    monkeypatch.delenv("PUSHFORWARD_DATA", raising=False)
    monkeypatch.setenv("PUSHFORWARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(named, "_fetch", fetch)
    return files


def test_no_network_says_where_to_put_the_files(remote: dict[str, bytes], tmp_path: Path) -> None:
    message = refused("mnist")
    assert "no network" in message
    assert str(tmp_path / "cache" / "mnist") in message
    assert "train-images-idx3-ubyte.gz" in message
    assert "PUSHFORWARD_DATA" in message


def test_downloads_are_checked_and_kept(
    remote: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = gzip.compress(idx(np.zeros((4, 3, 3), dtype=np.uint8)))
    labels = gzip.compress(idx(np.arange(4, dtype=np.uint8)))
    names = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
    remote.update({named.MNIST.addresses[1] + name: raw for name, raw in zip(names, (images, labels), strict=True)})
    assert "sha256 differs" in refused("mnist")
    assert not list((tmp_path / "cache").rglob("*.gz"))
    for name, raw in zip(names, (images, labels), strict=True):
        monkeypatch.setitem(named.MNIST.sha256, name, hashlib.sha256(raw).hexdigest())
    assert load_data("mnist").values.shape == (4, 3, 3)
    remote.clear()
    again = load_data("mnist")
    assert again.name == "mnist"
    assert again.labels is not None
    assert again.labels.tolist() == [0, 1, 2, 3]
    monkeypatch.setenv("PUSHFORWARD_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("PUSHFORWARD_CACHE", str(tmp_path / "empty"))
    assert len(load_data("mnist")) == 4


# ---------------------------------------------------------------------------------------------- describe


def test_describe_says_what_was_understood() -> None:
    text = describe("digits")
    for part in ("1797 rows", "grey images, 8 x 8", "0 to 16", "10 labels", "0: 178"):
        assert part in text
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.5, 4], "b": ["x", "y", "x", "x"], "c": [1, 1, 1, 1]})
    with pytest.warns(UserWarning, match="'c'"):
        text = describe(frame)
    for part in ("4 rows", "25.0% missing", "1 to 4", "2 categories, 75% 'x'", "constant 1", "no labels"):
        assert part in text
    with pytest.raises(DataError, match="one row"):
        describe(np.zeros((1, 2)))


# ---------------------------------------------------------------------------------------------- real data


@pytest.mark.data
def test_adult(real_data: Path) -> None:
    train = load_data(real_data / "adult" / "adult-train.csv.gz")
    assert isinstance(train.values, pd.DataFrame)
    assert train.values.shape == (32561, 15)
    assert train.values["c1"].isna().sum() == 1836
    schema = fit_schema(train)
    back = schema.decode(schema.encode(train))
    pd.testing.assert_frame_equal(back, train.values)
    test = load_data(real_data / "adult" / "adult-test.csv.gz")
    with pytest.raises(DataError, match=r"'c14' holds the category '<=50K\.'"):
        schema.encode(test)


@pytest.mark.data
def test_housing(real_data: Path) -> None:
    data = load_data(real_data / "california-housing" / "housing.csv.gz")
    assert isinstance(data.values, pd.DataFrame)
    assert data.values.columns[0] == "longitude"
    schema = fit_schema(data)
    pd.testing.assert_frame_equal(schema.decode(schema.encode(data)), data.values)
    drawn = schema.decode(torch.randn(2000, *schema.event_shape, generator=torch.Generator().manual_seed(0)))
    assert (drawn["median_house_value"] == 500001).mean() == pytest.approx(0.047, abs=0.02)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows", "event"),
    [
        ("fashion-mnist/t10k-images-idx3-ubyte.gz", 10000, (1, 28, 28)),
        ("noto-emoji-64/noto_emoji_faces_animals_64.npz", 227, (3, 64, 64)),
        ("brain-slices-64/brain_slices_64.npz", 480, (1, 64, 64)),
        ("adbench-small/2_annthyroid.npz", 7200, (6,)),
        ("uci-small/concrete.txt.gz", 1030, (9,)),
        ("cytof-batches/Person1Day1_3month.csv.gz", 1911, (25,)),
    ],
)
def test_real_files(real_data: Path, name: str, rows: int, event: tuple[int, ...]) -> None:
    data = load_data(real_data / name)
    schema = fit_schema(data)
    assert (schema.n_rows, schema.event_shape) == (rows, event)
    back = schema.decode(schema.encode(data))
    np.testing.assert_allclose(np.asarray(back, float), np.asarray(data.values, float), rtol=1e-5, atol=5e-3)


@pytest.mark.data
def test_fashion_mnist_by_name(real_data: Path) -> None:
    data = load_data("Fashion_MNIST:test")
    assert data.values.shape == (10000, 28, 28)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [1000] * 10
    assert data.label_names is not None
    assert data.label_names[9] == "Ankle boot"
