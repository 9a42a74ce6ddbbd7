"""A store of bundles, through fsspec: S3, SSH, HTTP, a folder. Nothing in it is trusted, neither content nor size."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sonyc_ml.base.durable import atomic_file
from sonyc_ml.base.stores.hiding import scrubbed
from sonyc_ml.base.stores.opening import open_store
from sonyc_ml.errors import BundleIntegrityError, SonycMLError, StoreError

CHUNK_BYTES = 1 << 18
PASSWORD = re.compile(r"://[^/@:]*:[^/@]*@")
READ_AS_IT_COMES = ("http", "https")  # a server there may say nothing of sizes, and know no parts of files


def check_source(source: str) -> None:
    """Refuse what is no address of a store.

    Raises
    ------
    ValueError
    """
    if "://" not in source:
        raise ValueError(f"source must be an address such as s3://bucket/bundles/NAME, not {source!r}")
    if PASSWORD.search(source):
        raise ValueError("source holds a password: give it in the environment, as fsspec's package for the store says")


class BundleStore:
    """The folder of one bundle in a store.

    Parameters
    ----------
    source : str
        As in ``s3://bucket/bundles/NAME``, ``sftp://host/bundles/NAME``, ``https://…``, ``file:///mnt/bundles/NAME``.

    Raises
    ------
    ConfigError
        fsspec, or its package for this kind of store, is not installed; or the address is none.
    """

    def __init__(self, source: str) -> None:
        self.source = source.rstrip("/")
        self._system, self._root = open_store(self.source)

    def read(self, name: str, max_bytes: int) -> bytes:
        """A small file, whole.

        Raises
        ------
        StoreError
            The store does not give it for now, or has none.
        BundleIntegrityError
            It is larger than `max_bytes`; no more than that is read.
        """
        content = b"".join(self._chunks(name, max_bytes))
        if len(content) > max_bytes:
            raise BundleIntegrityError(f"{self.source}/{name} is larger than {max_bytes:,} bytes, and was not read on")
        return content

    def fetch(self, name: str, path: Path, size: int, sha256: str | None) -> None:
        """Copy a file of which size and digest are known; nothing else comes to lie at `path`.

        Raises
        ------
        StoreError
            The store does not give it for now, or the disk does not take it.
        BundleIntegrityError
            It is another file; what is too long is not read to its end.
        """
        digest, n_bytes = hashlib.sha256(), 0
        with atomic_file(path) as file:
            for chunk in self._chunks(name, size):
                n_bytes += len(chunk)
                digest.update(chunk)
                file.write(chunk)
            if n_bytes != size:
                than = "more" if n_bytes > size else "fewer"
                raise BundleIntegrityError(f"{self.source}/{name} has {than} than the {size:,} bytes that were signed")
            if sha256 is not None and digest.hexdigest() != sha256:
                raise BundleIntegrityError(
                    f"{self.source}/{name} is not the file that was signed: its SHA-256 is "
                    f"{digest.hexdigest()[:12]}…, not {sha256[:12]}…"
                )

    def has(self, name: str) -> bool:
        """Whether there is a file of this name.

        Raises
        ------
        StoreError
        """
        try:
            return bool(self._system.exists(self._path(name)))
        except Exception as error:  # each store has its own
            raise self._trouble(name, error) from error

    def folders(self) -> list[str]:
        """The names of the folders in it.

        Raises
        ------
        StoreError
        """
        try:
            found = self._system.ls(self._root, detail=True)
        except Exception as error:  # each store has its own
            raise self._trouble("", error) from error
        return [posixpath.basename(one["name"].rstrip("/")) for one in found if one["type"] == "directory"]

    def write(self, name: str, content: bytes) -> None:
        """Put a file into the store.

        Raises
        ------
        StoreError
        """
        path = self._path(name)
        try:
            self._system.makedirs(posixpath.dirname(path), exist_ok=True)
            self._system.pipe_file(path, content)
        except Exception as error:  # each store has its own
            raise StoreError(f"{self.source}/{name} cannot be written: {scrubbed(error)}") from error

    def _chunks(self, name: str, max_bytes: int) -> Iterator[bytes]:
        """What a file holds; no more than one byte beyond `max_bytes` is asked for."""
        protocols = self._system.protocol
        is_plain = {*((protocols,) if isinstance(protocols, str) else protocols)} & {*READ_AS_IT_COMES}
        try:
            if not is_plain and (self._system.size(self._path(name)) or 0) > max_bytes:
                raise BundleIntegrityError(f"{self.source}/{name} has more than {max_bytes:,} bytes, and was not read")
            file: Any = self._system.open(self._path(name), "rb", **({"block_size": 0} if is_plain else {}))
            with closing(file):
                left = max_bytes + 1
                while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                    left -= len(chunk)
                    yield chunk
        except SonycMLError:
            raise
        except Exception as error:  # each store has its own
            raise self._trouble(name, error) from error

    def _trouble(self, name: str, error: Exception) -> StoreError:
        why = "it is not there" if isinstance(error, FileNotFoundError) else scrubbed(error)
        return StoreError(f"{self.source}/{name} cannot be read: {why}")

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"
