"""Data sets known by name: those that come with scikit-learn, and MNIST and Fashion-MNIST from disk or download."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from pushforward.data.array_files import read_idx
from pushforward.data.rows import Data
from pushforward.errors import DataError, StorageError

_TIMEOUT = 20.0  # seconds without an answer before a download is given up


@dataclass(frozen=True)
class IdxSet:
    """Where the files of a set in idx format come from.

    Attributes:
        folder: name of the folder that holds the files.
        addresses: official places, tried in order.
        sha256: of every file.
        label_names: of label 0, 1, ...
    """

    folder: str
    addresses: tuple[str, ...]
    sha256: dict[str, str]
    label_names: tuple[str, ...]


MNIST = IdxSet(
    "mnist",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    tuple(str(digit) for digit in range(10)),
)

FASHION_MNIST = IdxSet(
    "fashion-mnist",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def load_named(name: str) -> Data:
    """The data set of that name; ``named_sets()`` lists the names (``_`` and upper case are fine)."""
    return _LOADERS[standard_name(name)]()


def named_sets() -> tuple[str, ...]:
    """All known names."""
    return tuple(_LOADERS)


def standard_name(name: str) -> str:
    """``Fashion_MNIST`` as ``fashion-mnist``."""
    return name.strip().lower().replace("_", "-")


def cache_folder() -> Path:
    """Where downloads are kept: ``PUSHFORWARD_CACHE``, or ``~/.cache/pushforward``."""
    return Path(os.environ.get("PUSHFORWARD_CACHE") or Path.home() / ".cache" / "pushforward")


def _digits() -> Data:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return Data(bunch.images, bunch.target, "digits", tuple(str(digit) for digit in range(10)))


def _labelled_table(loader: str, name: str) -> Data:
    from sklearn import datasets

    bunch: Any = getattr(datasets, loader)(as_frame=True)
    names = tuple(str(label) for label in bunch.target_names)
    return Data(bunch.data, bunch.target.to_numpy(), name, names)


def _diabetes() -> Data:
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes(as_frame=True, scaled=False)
    return Data(bunch.frame, None, "diabetes")


def _idx_set(source: IdxSet, split: str) -> Data:
    images, labels = (f"{split}-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1"))
    folder = _folder_with(source, [images, labels])
    data = read_idx(_either(folder / images))
    name = source.folder if split == "train" else f"{source.folder}:test"
    return Data(data.values, np.asarray(data.labels), name, source.label_names)


def _folder_with(source: IdxSet, files: list[str]) -> Path:
    """The first folder that holds the files; the cache, after a download, where none does."""
    own = os.environ.get("PUSHFORWARD_DATA")
    folders = [Path(own) / source.folder] if own else []
    folders.append(cache_folder() / source.folder)
    for folder in folders:
        if all(_either(folder / file).is_file() for file in files):
            return folder
    for file in files:
        _download(source, file, folders[-1])
    return folders[-1]


def _either(path: Path) -> Path:
    """The gzipped file, or the unpacked one where only that exists."""
    bare = path.with_suffix("")
    return bare if bare.is_file() and not path.is_file() else path


def _download(source: IdxSet, file: str, folder: Path) -> None:
    problems = []
    for address in source.addresses:
        try:
            content = _fetch(address + file)
        except (OSError, HTTPException) as error:
            problems.append(f"{address}: {error}")
            continue
        if hashlib.sha256(content).hexdigest() == source.sha256[file]:
            _store(content, folder / file)
            return
        problems.append(f"{address}: the file received is not the published one (its sha256 differs)")
    raise DataError(
        f"{source.folder} is not on this machine and cannot be downloaded ({'; '.join(problems)}). Fix: put "
        f"{', '.join(source.sha256)} into {folder}, or into the folder {source.folder}/ inside the folder named by the "
        "environment variable PUSHFORWARD_DATA."
    )


def _fetch(address: str) -> bytes:
    with urlopen(address, timeout=_TIMEOUT) as answer:
        content: bytes = answer.read()
    return content


def _store(content: bytes, path: Path) -> None:
    """Write under a temporary name and move into place, so that no half file is ever found."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(content)
        os.replace(part.name, path)
    except OSError as error:
        fix = "Fix: set PUSHFORWARD_CACHE to another folder."
        raise StorageError(f"{path} cannot be written: {error}. {fix}") from error


_LOADERS: dict[str, Callable[[], Data]] = {
    "digits": _digits,
    "iris": partial(_labelled_table, "load_iris", "iris"),
    "wine": partial(_labelled_table, "load_wine", "wine"),
    "breast-cancer": partial(_labelled_table, "load_breast_cancer", "breast-cancer"),
    "diabetes": _diabetes,
    "mnist": partial(_idx_set, MNIST, "train"),
    "mnist:test": partial(_idx_set, MNIST, "t10k"),
    "fashion-mnist": partial(_idx_set, FASHION_MNIST, "train"),
    "fashion-mnist:test": partial(_idx_set, FASHION_MNIST, "t10k"),
}
