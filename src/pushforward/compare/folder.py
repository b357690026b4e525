"""The folder of a comparison: one process at a time, one set of settings, results that are kept as soon as they exist."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pushforward.errors import StorageError
from pushforward.folders import FolderLock, write_atomically

RESULTS, WORK = "results", ".work"
FILES = ("config.yaml", "table.csv", "table.md", "samples.png", "report.html", "features.safetensors")
_FORMAT = 1


@contextmanager
def open_folder(folder: Path, settings: dict[str, Any], *, overwrite: bool) -> Iterator[Path]:
    """Hold the folder and make it ready: new, or with results of the same settings. Its working files are deleted at the end.

    Raises:
        StorageError: it holds something else, a comparison with other settings, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot create the folder {folder}: {error.strerror or error}. Choose another one."
        ) from error
    lock = FolderLock(folder)
    try:
        _prepare(folder, settings, overwrite)
        try:
            yield folder
        finally:
            shutil.rmtree(folder / WORK, ignore_errors=True)
    finally:
        lock.release()
        with suppress(OSError):  # only what is empty goes, because nothing came of it
            (folder / RESULTS).rmdir()
            folder.rmdir()


def write_config(folder: Path, settings: dict[str, Any], more: dict[str, Any]) -> None:
    """Write config.yaml: the settings that all results share, and what else a reader wants to know."""
    import yaml

    content = {"comparison": _FORMAT, "settings": settings, **more}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    write_atomically(folder / "config.yaml", text)


def _prepare(folder: Path, settings: dict[str, Any], overwrite: bool) -> None:
    before = _settings(folder)
    may_be = _is_a_beginning if before is None else _is_ours
    strange = [entry.name for entry in folder.iterdir() if not may_be(entry)]
    if strange:
        raise StorageError(f"the folder {folder} holds other files ({strange[0]} ...); choose an empty or a new one.")
    if overwrite:
        _clear(folder)
    elif before is not None and before != settings:
        raise StorageError(
            f"the folder {folder} holds a comparison with other settings ({_difference(before, settings)}): choose another "
            "folder, or replace it with --overwrite (overwrite=True)."
        )
    (folder / RESULTS).mkdir(exist_ok=True)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    (folder / WORK).mkdir()


def _settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the comparison in the folder; None where there is none."""
    import yaml

    try:
        content = yaml.safe_load((folder / "config.yaml").read_text())
        settings: dict[str, Any] | None = content["settings"] if content["comparison"] == _FORMAT else None
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None
    return settings


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    different = [key for key in (*now, *before) if before.get(key) != now.get(key)]
    told = [
        f"{key}: {before.get(key)!r} there, {now.get(key)!r} here" if key != "checksum" else "the rows have changed"
        for key in dict.fromkeys(different)
    ]
    return "; ".join(told)


def _is_a_beginning(entry: Path) -> bool:
    """Whether it is all that is left of a comparison that was killed before its config.yaml was written."""
    if entry.name in (RESULTS, WORK):
        return entry.is_dir() and not any(entry.iterdir())
    return _is_ours(entry) and (entry.name.startswith(".") or entry.name == "features.safetensors")


def _is_ours(entry: Path) -> bool:
    temporary = entry.name.startswith(".") and entry.name.endswith(".tmp")
    return temporary or entry.name in (*FILES, RESULTS, WORK, FolderLock.NAME)


def _clear(folder: Path) -> None:
    """Delete what an earlier comparison left, and nothing else."""
    results = [entry for ending in ("json", "png") for entry in (folder / RESULTS).glob(f"*.{ending}")]
    for entry in [*(folder / name for name in FILES), *results]:
        entry.unlink(missing_ok=True)
