"""Files that are never half written, and folders that two processes never share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

from pushforward.errors import StorageError

OURS = ("config.yaml", "checkpoint.pt", "model.safetensors", "history.jsonl")


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


def _discard(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        return


def claim(folder: Path, *, overwrite: bool, resume: bool) -> FolderLock:
    """Create the folder of a run and take its lock.

    A folder that already holds a run is refused unless it is resumed or ``overwrite`` is set; a folder that holds
    something else is never touched.

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
            _make_empty(folder, overwrite)
    except StorageError:
        lock.release()
        raise
    return lock


def _make_empty(folder: Path, overwrite: bool) -> None:
    entries = [entry for entry in folder.iterdir() if entry.name != FolderLock.NAME]
    if not entries:
        return
    if not any((folder / name).exists() for name in OURS):
        raise StorageError(
            f"the folder {folder} holds other files ({entries[0].name} ...); choose an empty or a new one."
        )
    if not overwrite:
        raise StorageError(
            f"the folder {folder} already holds a run: continue it with `pushforward resume {folder}`, choose another "
            "folder, or replace it with --overwrite (Run(..., overwrite=True))."
        )
    for entry in entries:
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


class FolderLock:
    """An advisory lock on a folder; the system releases it when the process dies."""

    NAME = ".lock"

    def __init__(self, folder: Path) -> None:
        self._stream: IO[str] | None = None
        try:
            self._stream = open(folder / self.NAME, "a+")  # noqa: SIM115 - kept open while the lock is held
        except OSError as error:
            raise StorageError(
                f"cannot write in the folder {folder}: {error.strerror or error}. Choose another one."
            ) from error
        if not _lock(self._stream):
            self._stream.seek(0)
            owner = self._stream.read().strip() or "unknown"
            self._stream.close()
            raise StorageError(
                f"the folder {folder} is in use by another run (process {owner}); wait for it or choose another folder."
            )
        self._stream.truncate(0)
        self._stream.write(str(os.getpid()))
        self._stream.flush()

    def release(self) -> None:
        """Give the folder back. Calling it twice does no harm."""
        if self._stream is not None:
            _discard(Path(self._stream.name))
            self._stream.close()
            self._stream = None


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
