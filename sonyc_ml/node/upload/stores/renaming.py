"""Stores that are file systems: an object is written under another name, proved, and renamed."""

from __future__ import annotations

import os
import posixpath
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from sonyc_ml.base.durable import flush_folder
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.upload.pacing import RateLimit
from sonyc_ml.node.upload.stores.secrets import HOSTS_VARIABLE, KEY_VARIABLE, PASSWORD, USER, Credentials, UploadError
from sonyc_ml.node.upload.stores.store import BY_SIZE, READ_BACK, LimitedReader, Sent, Store, digest_of


class RenamingStore(Store):
    """What those stores have in common; see :class:`~sonyc_ml.node.upload.stores.store.Store`."""

    def __init__(self, to: str, credentials: Credentials, timeout_s: float, proof: str) -> None:
        super().__init__(to, credentials, timeout_s, proof)
        self.root = self.root_of(to)
        self._made: set[str] = set()

    def root_of(self, to: str) -> str:
        """The folder that an address names."""
        return unquote(urlsplit(to).path).rstrip("/")

    def prove(self, sent: Sent) -> str:
        """By its size, and by reading it back."""
        return self._proof_of(f"{self.root}/{sent.key}", sent)

    def _proof_of(self, path: str, sent: Sent) -> str:
        if self.size_of(path) != sent.n_bytes:
            return ""
        if self._proof == "size":
            return BY_SIZE
        with self.reading(path) as file:
            return READ_BACK if digest_of(file.read) == (sent.n_bytes, sent.sha256) else ""

    def put(self, sent: Sent, limit: RateLimit) -> str:
        """Under a hidden name beside its own first: that of what was interrupted is used again."""
        path = f"{self.root}/{sent.key}"
        folder = posixpath.dirname(path)
        if folder not in self._made:
            self.make_folder(folder)
            self._made.add(folder)
        temporary = f"{folder}/.{sent.sha256[:16]}.tmp"
        with sent.path.open("rb") as file:
            self.write(temporary, LimitedReader(file, limit), sent.n_bytes)
        proof = self._proof_of(temporary, sent)
        if not proof:
            raise self.refuse(sent)
        self.rename(temporary, path)
        if self.size_of(path) != sent.n_bytes:
            raise self.refuse(sent)
        return proof

    def check(self) -> None:
        """Looks at the folder itself."""
        with self.errors():
            if not self.is_folder(self.root):
                raise UploadError(f"{self.address}: the folder is not there; make it on the other side")

    def close(self) -> None:
        """What was made is looked at again: the other side may be another one by then."""
        self._made.clear()

    @abstractmethod
    def size_of(self, path: str) -> int | None:
        """Of a file; None where it is not there."""

    @abstractmethod
    def is_folder(self, path: str) -> bool:
        """Whether there is a folder."""

    @abstractmethod
    def make_folder(self, path: str) -> None:
        """Make a folder below the root and those above it; the root itself has to be there."""

    @abstractmethod
    def reading(self, path: str) -> Any:
        """A file to read, for a ``with`` block."""

    @abstractmethod
    def write(self, path: str, file: LimitedReader, n_bytes: int) -> None:
        """Write all of a file, over what is there."""

    @abstractmethod
    def rename(self, path: str, new: str) -> None:
        """In one step, over what is there."""


class FolderStore(RenamingStore):
    """A folder of this machine: another disk, or one that is mounted from elsewhere."""

    def size_of(self, path: str) -> int | None:
        """Of a file."""
        try:
            return os.stat(path).st_size  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_folder(self, path: str) -> bool:
        """Whether there is one."""
        return Path(path).is_dir()

    def make_folder(self, path: str) -> None:
        """Not the root: below the mount point of a disk that is away it would fill this one."""
        if not Path(self.root).is_dir():
            raise UploadError(f"{self.address}: the folder is not there; is its disk mounted?")
        Path(path).mkdir(parents=True, exist_ok=True)

    def reading(self, path: str) -> BinaryIO:
        """The file."""
        return Path(path).open("rb")

    def write(self, path: str, file: LimitedReader, n_bytes: int) -> None:  # noqa: ARG002
        """And flush it to the disk."""
        with Path(path).open("wb") as target:
            while block := file.read(1 << 18):
                target.write(block)
            target.flush()
            os.fsync(target.fileno())

    def rename(self, path: str, new: str) -> None:
        """And flush the folder."""
        Path(path).replace(new)
        flush_folder(Path(new).parent)


class SftpStore(RenamingStore):
    """A folder behind SSH; the server's key has to be known."""

    def __init__(self, to: str, credentials: Credentials, timeout_s: float, proof: str) -> None:
        super().__init__(to, credentials, timeout_s, proof)
        self._parts = urlsplit(to)
        self._system: Any = None

    def size_of(self, path: str) -> int | None:
        """Of a file."""
        try:
            return int(self._ftp.stat(path).st_size)
        except FileNotFoundError:
            return None

    def is_folder(self, path: str) -> bool:
        """Whether there is one."""
        return bool(self._connected().isdir(path))

    def make_folder(self, path: str) -> None:
        """With those above it."""
        if not self.is_folder(self.root):
            raise UploadError(f"{self.address}: the folder is not there; make it on the other side")
        self._connected().makedirs(path, exist_ok=True)

    @contextmanager
    def reading(self, path: str) -> Iterator[Any]:
        """The file, asked for ahead: else each block would wait for the one before."""
        with self._ftp.open(path, "rb") as file:
            file.prefetch()
            yield file

    def write(self, path: str, file: LimitedReader, n_bytes: int) -> None:  # noqa: ARG002
        """Without waiting for the answer to each block; all of them are looked at when it is closed."""
        with self._ftp.open(path, "wb") as target:
            target.set_pipelined(True)
            while block := file.read(1 << 15):
                target.write(block)

    def rename(self, path: str, new: str) -> None:
        """As POSIX has it, over what is there."""
        self._connected().mv(path, new)

    def close(self) -> None:
        """The connection too."""
        super().close()
        if self._system is not None:
            self._system.client.close()
            self._system = None

    @property
    def _ftp(self) -> Any:
        return self._connected().ftp

    def _connected(self) -> Any:
        if self._system is None:
            from sonyc_ml.node.upload.stores.ssh import Login, connect  # noqa: PLC0415  an extra

            known, parts = self._credentials, self._parts
            login = Login(
                host=str(parts.hostname),
                port=parts.port or 22,
                user=unquote(parts.username or "") or known.get(USER),
                password=known.get(PASSWORD),
                key_file=known.get(KEY_VARIABLE),
                hosts_file=known.get(HOSTS_VARIABLE),
                timeout_s=self._timeout_s,
            )
            self._system = connect(login)
        return self._system


class WebdavStore(RenamingStore):
    """A folder behind WebDAV."""

    def __init__(self, to: str, credentials: Credentials, timeout_s: float, proof: str) -> None:
        super().__init__(to, credentials, timeout_s, proof)
        self._system: Any = None
        if bool(credentials.get(USER)) != bool(credentials.get(PASSWORD)):
            raise ConfigError(f"{USER} and {PASSWORD} belong together; give both, or neither")

    def root_of(self, to: str) -> str:
        """Names are those below the address."""
        del to
        return ""

    def size_of(self, path: str) -> int | None:
        """Of a file."""
        try:
            return int(self._connected().info(path)["size"])
        except FileNotFoundError:
            return None

    def is_folder(self, path: str) -> bool:
        """Whether there is one."""
        return bool(self._connected().isdir(path or "/"))

    def make_folder(self, path: str) -> None:
        """With those above it."""
        self._connected().makedirs(path, exist_ok=True)

    def reading(self, path: str) -> Any:
        """The file."""
        return self._connected().open(path, "rb")

    def write(self, path: str, file: LimitedReader, n_bytes: int) -> None:
        """In one request."""
        self._connected().client.upload_fileobj(file, path, overwrite=True, size=n_bytes)

    def rename(self, path: str, new: str) -> None:
        """By the server."""
        self._connected().client.move(path, new, overwrite=True)

    def close(self) -> None:
        """The connection too."""
        super().close()
        if self._system is not None:
            self._system.client.http.close()
            self._system = None

    def _connected(self) -> Any:
        if self._system is None:
            from webdav4.fsspec import WebdavFileSystem  # noqa: PLC0415  an extra

            user, password = self._credentials.get(USER), self._credentials.get(PASSWORD)
            auth = (user, password) if user else None
            self._system = WebdavFileSystem(
                self.address, auth=auth, timeout=self._timeout_s, retry=False, skip_instance_cache=True
            )
        return self._system
