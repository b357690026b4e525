"""Files that are never half written, and folders that two processes never share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pushforward.errors import StorageError

OURS = frozenset(
    ("config.yaml", "checkpoint.pt", "model.safetensors", "history.jsonl", "README.md", "report.html")
    + ("samples.png", "samples.csv", "metrics.json", "features.safetensors", ".lock", ".previous")
)
_PREVIOUS = ".previous"


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write to a temporary name beside ``path``, flush to the disk, then move into place.

    Raises:
        StorageError: the disk is full or the folder cannot be written; what stood at ``path`` before is intact.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _discard(temporary)
        kept = f" The earlier {path.name} is intact." if path.exists() else ""
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. Free some space or choose another folder.{kept}"
        ) from error


def write_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write one record a line, atomically."""
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records))


def _discard(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        return


class Claim:
    """A folder held by one process; a run that was there before is kept aside until the new one is complete."""

    def __init__(self, folder: Path, lock: FolderLock, *, resume: bool) -> None:
        self._folder, self._lock, self._settled = folder, lock, resume

    def complete(self) -> None:
        """The new run is whole: the previous one is deleted."""
        self._settled = True
        shutil.rmtree(self._folder / _PREVIOUS, ignore_errors=True)

    def restore(self) -> None:
        """The new run came to nothing: its files go, and the previous one returns. Nothing happens to a run that was resumed."""
        if not self._settled:
            self._settled = True
            with suppress(OSError):  # the error that brought us here matters more
                _delete(_own_files(self._folder))
                _return_previous(self._folder)

    def release(self) -> None:
        """Give the folder back. Calling it twice does no harm."""
        self._lock.release()


def claim(folder: Path, *, overwrite: bool, resume: bool) -> Claim:
    """Create the folder of a run and take its lock.

    A folder that already holds a run is refused unless it is resumed or ``overwrite`` is set; files that are not a run's
    are never touched.

    Raises:
        StorageError: the folder cannot be made, holds something already, or another process works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot create the folder {folder}: {error.strerror or error}. Choose another one."
        ) from error
    lock = FolderLock(folder)
    try:
        if not resume:
            _set_aside(folder, overwrite)
    except OSError as error:
        lock.release()
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot move the run that is in {folder} aside: {error.strerror or error}.") from error
    return Claim(folder, lock, resume=resume)


def _set_aside(folder: Path, overwrite: bool) -> None:
    """Move the run that is in the folder into a hidden sub-folder, where it stays until the new one is complete."""
    strange = [entry.name for entry in folder.iterdir() if not _is_ours(entry)]
    if strange:
        raise StorageError(f"the folder {folder} holds other files ({strange[0]} ...); choose an empty or a new one.")
    previous = folder / _PREVIOUS
    if previous.exists() and (not (previous / "config.yaml").exists() or not _own_files(folder)):
        _return_previous(folder)  # a process died in the middle of moving
    if not _own_files(folder):
        return
    if not overwrite:
        raise StorageError(
            f"the folder {folder} already holds a run: continue it with `pushforward resume {folder}`, choose another "
            "folder, or replace it with --overwrite (Run(..., overwrite=True))."
        )
    if previous.exists() and not is_whole(folder):
        _delete(_own_files(folder))  # an unfinished run; the finished one before it is still kept
        return
    shutil.rmtree(previous, ignore_errors=True)
    previous.mkdir()
    for entry in sorted(_own_files(folder), key=lambda path: path.name == "config.yaml"):
        os.replace(entry, previous / entry.name)


def _return_previous(folder: Path) -> None:
    """Move the previous run back, config.yaml first: so a run is whole where its config.yaml is, whenever a process dies."""
    previous = folder / _PREVIOUS
    if previous.exists():
        for entry in sorted(previous.iterdir(), key=lambda path: path.name != "config.yaml"):
            os.replace(entry, folder / entry.name)
        previous.rmdir()


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a saved model, and not only the beginning of a run."""
    config = folder / "config.yaml"
    return config.exists() and "weights_sha256" in config.read_text(errors="replace")


def _delete(entries: Iterable[Path]) -> None:
    for entry in entries:
        entry.unlink()


def _is_ours(entry: Path) -> bool:
    """Whether a file is one that a run writes; a config.yaml of another program is not."""
    if entry.name.startswith(".") and entry.name.endswith(".tmp"):
        return True
    if entry.name not in OURS or entry.is_dir() != (entry.name == _PREVIOUS):
        return False
    return entry.name != "config.yaml" or "format:" in entry.read_text(errors="replace")[:200]


def _own_files(folder: Path) -> list[Path]:
    """The visible files of a run that are in the folder."""
    return [folder / name for name in sorted(OURS) if not name.startswith(".") and (folder / name).is_file()]


class FolderLock:
    """An advisory lock on a folder; the system releases it when the process dies."""

    NAME = ".lock"

    def __init__(self, folder: Path) -> None:
        self._stream: IO[str] | None = None
        path = folder / self.NAME
        stream = _open(path)
        while _lock(stream) and not _is_the_file(stream, path):  # its last owner deleted it just now
            stream.close()
            stream = _open(path)
        if not _lock(stream):
            stream.seek(0)
            owner = stream.read().strip() or "unknown"
            stream.close()
            raise StorageError(
                f"the folder {folder} is in use by another run (process {owner}); wait for it or choose another folder."
            )
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        self._stream = stream

    def release(self) -> None:
        """Give the folder back. Calling it twice does no harm."""
        if self._stream is not None:
            _discard(Path(self._stream.name))
            self._stream.close()
            self._stream = None


def _open(path: Path) -> IO[str]:
    try:
        return open(path, "a+")
    except OSError as error:
        raise StorageError(
            f"cannot write in the folder {path.parent}: {error.strerror or error}. Choose another one."
        ) from error


def _is_the_file(stream: IO[str], path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.fstat(stream.fileno()).st_ino == os.stat(path).st_ino
    except OSError:
        return False


def _lock(stream: IO[str]) -> bool:
    """Take an exclusive lock without waiting; True where it was free (or the system has no such locks)."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
