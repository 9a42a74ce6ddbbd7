"""The files of an archive, in a folder here or in a store elsewhere: listed, read in ranges, put and removed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Protocol, cast

from sonyc_ml.base.durable import flush_folder
from sonyc_ml.base.stores.hiding import scrubbed
from sonyc_ml.base.stores.opening import open_store
from sonyc_ml.errors import MissingOutputsError, StoreError

# What is put into these is there whole or not at all; elsewhere it is written under another name and renamed.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "tos", "memory"})


class Store(Protocol):
    """A folder with everything below it; keys are relative to it, with ``/`` between their parts.

    What is not there is a FileNotFoundError, and a store that fails a StoreError.
    """

    def where(self, key: str) -> str:
        """What a message calls it."""

    def folders(self) -> list[str]:
        """The names of the folders directly in it; none where it is not there."""

    def files(self, folder: str = "") -> dict[str, int]:
        """The keys of the files below a folder, with their sizes; none where there is no such folder."""

    def open(self, key: str, n_bytes: int) -> IO[bytes]:
        """Open a file of this size to read any part of it."""

    def write(self, key: str, write: Callable[[Path], None]) -> None:
        """Let `write` make a file, durably, and have it at a key whole or not at all."""

    def remove(self, key: str) -> None:
        """Remove a file, durably, if it is there."""


def is_remote(address: str | Path) -> bool:
    """Whether it is an address such as ``s3://bucket/key``, not a path."""
    return isinstance(address, str) and "://" in address and not address.startswith("file://")


def store_at(address: str | Path) -> Store:
    """The store at a path or an address, as in ``s3://bucket/archive``.

    Raises
    ------
    ConfigError
        There is no fsspec for it.
    MissingOutputsError
        There is no such folder here.
    """
    if is_remote(address):
        return Objects(str(address))
    path = Path(str(address).removeprefix("file://"))
    if not path.is_dir():
        raise MissingOutputsError(f"{path} does not exist; give the folder of a dataset")
    return Folder(path)


class Folder:
    """See :class:`Store`.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def where(self, key: str) -> str:
        """See :class:`Store`."""
        return str(self._root / key)

    def folders(self) -> list[str]:
        """See :class:`Store`."""
        with _reached(str(self._root)):
            return sorted(entry.name for entry in os.scandir(self._root) if entry.is_dir())

    def files(self, folder: str = "") -> dict[str, int]:
        """See :class:`Store`."""
        found: dict[str, int] = {}
        for path, folders, names in os.walk(self._root / folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                one = Path(path, name)
                if not name.startswith(".") and one.is_file():
                    found[one.relative_to(self._root).as_posix()] = one.stat().st_size
        return found

    def open(self, key: str, n_bytes: int) -> IO[bytes]:  # noqa: ARG002  a store elsewhere would ask for it
        """See :class:`Store`."""
        with _reached(self.where(key)):
            return (self._root / key).open("rb")

    def write(self, key: str, write: Callable[[Path], None]) -> None:
        """See :class:`Store`."""
        write(self._root / key)

    def remove(self, key: str) -> None:
        """See :class:`Store`."""
        path = self._root / key
        with _reached(str(path)):
            if path.exists():
                path.unlink(missing_ok=True)
                flush_folder(path.parent)


class Objects:
    """See :class:`Store`; through fsspec.

    Parameters
    ----------
    address : str
        As in ``s3://bucket/archive``, without credentials: they come from the environment.
    """

    def __init__(self, address: str) -> None:
        self._system, path = open_store(address.rstrip("/"))
        self._address, self._path = scrubbed(address.rstrip("/")), path.rstrip("/")
        self._is_whole = address.partition("://")[0] in OBJECT_STORES

    def where(self, key: str) -> str:
        """See :class:`Store`."""
        return f"{self._address}/{key}"

    def folders(self) -> list[str]:
        """See :class:`Store`."""
        with _reached(self._address):
            try:
                entries = self._system.ls(self._path, detail=True)
            except FileNotFoundError:
                return []
            return sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if _is_folder(entry))

    def files(self, folder: str = "") -> dict[str, int]:
        """See :class:`Store`."""
        start = f"{self._path}/{folder}" if folder else self._path
        with _reached(self.where(folder)):
            try:
                found = self._system.find(start, detail=True)
            except FileNotFoundError:
                return {}
        keys = {name[len(self._path) :].strip("/"): found[name] for name in sorted(found)}
        return {
            key: int(keys[key].get("size") or 0) for key in keys if not _is_hidden(key) and not _is_folder(keys[key])
        }

    def open(self, key: str, n_bytes: int) -> IO[bytes]:
        """See :class:`Store`: each read is a request for just these bytes."""
        return cast("IO[bytes]", io.BufferedReader(_Ranges(self._system, f"{self._path}/{key}", n_bytes), 1 << 16))

    def write(self, key: str, write: Callable[[Path], None]) -> None:
        """See :class:`Store`: made here, and put there."""
        target = f"{self._path}/{key}"
        with TemporaryDirectory(prefix="sonyc-ml-") as folder:
            write(path := Path(folder, "part"))
            with _reached(self.where(key)):
                self._put(path, target)

    def _put(self, path: Path, target: str) -> None:
        if self._is_whole:
            self._system.put_file(str(path), target)
            return
        folder, _, name = target.rpartition("/")
        self._system.makedirs(folder, exist_ok=True)
        self._system.put_file(str(path), f"{folder}/.{name}.tmp")
        self._system.mv(f"{folder}/.{name}.tmp", target)

    def remove(self, key: str) -> None:
        """See :class:`Store`."""
        with _reached(self.where(key)):
            try:
                self._system.rm_file(f"{self._path}/{key}")
            except FileNotFoundError:
                return


class _Ranges(io.RawIOBase):
    """An object, of which just what is read is asked for."""

    def __init__(self, system: Any, path: str, n_bytes: int) -> None:
        self._system, self._path, self._n_bytes, self._at = system, path, n_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._n_bytes}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._n_bytes, self._at + len(buffer))
        if end <= self._at:
            return 0
        with _reached(self._path):
            content = self._system.cat_file(self._path, start=self._at, end=end)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


@contextmanager
def _reached(where: str) -> Iterator[None]:
    """Make a StoreError of what a store says, but of what is not there: each store has its own errors."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise StoreError(f"{where} cannot be reached: {scrubbed(error)}") from error


def _is_folder(entry: dict[str, Any]) -> bool:
    return entry.get("type") == "directory"


def _is_hidden(key: str) -> bool:
    return any(part.startswith(".") for part in key.split("/"))
