"""What every store does: says whether it has an object, takes one, and proves it."""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sonyc_ml.base.records import dataclass
from sonyc_ml.base.stores.hiding import scrubbed
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.upload.pacing import RateLimit, Stopped
from sonyc_ml.node.upload.stores.secrets import Credentials, UploadError

BLOCK = 1 << 18  # bytes that are read back at once
# How it is known that the other side has an object, whole.
BY_STORE, BY_TAG, READ_BACK, BY_SIZE = "sha256 by the store", "md5 by the store", "sha256 read back", "size"


class LocalFileError(Exception):
    """The file here cannot be read for now, or, where `is_gone`, is not there any more as it was."""

    def __init__(self, text: str, *, is_gone: bool) -> None:
        super().__init__(text)
        self.is_gone = is_gone


@dataclass(frozen=True, slots=True)
class Sent:
    """What is sent: a name in the store, a file here, and what is known of it."""

    key: str
    path: Path
    n_bytes: int
    sha256: str

    def check(self) -> None:
        """See that the file is the one that is on record, to the last bit.

        Raises
        ------
        LocalFileError
        """
        try:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                n_bytes = os.fstat(file.fileno()).st_size
        except OSError as error:
            is_gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
            raise LocalFileError(f"{self.path}: {error.strerror or error}", is_gone=is_gone) from error
        if (n_bytes, digest) != (self.n_bytes, self.sha256):
            raise LocalFileError(f"{self.path} is not the file that was to be sent: it has changed", is_gone=True)


class LimitedReader(io.RawIOBase):
    """A file that is read no faster than a limit allows; ends with :class:`Stopped` where it is to stop."""

    def __init__(self, file: BinaryIO, limit: RateLimit) -> None:
        self._file, self._limit = file, limit

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Where a library begins again."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """How far it is."""
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        """At most a block, or all of it where nothing is said."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(self._limit.block_size), b""))
        content = self._file.read(min(size, self._limit.block_size))
        self._limit.spend(len(content))
        return content

    def readinto(self, buffer: Any) -> int:
        """For what is buffered."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


class Store(ABC):
    """Where objects go. Calls may take long, and a store that failed once may be asked again.

    Parameters
    ----------
    to : str
        Its address.
    credentials : Credentials
    timeout_s : float
        After which a call that hears nothing has failed (in seconds).
    proof : {"digest", "size"}
        What is asked of a store that has no checksums: to give each object back, or its size alone.
    """

    def __init__(self, to: str, credentials: Credentials, timeout_s: float, proof: str) -> None:
        self.address = to.rstrip("/")
        self._credentials, self._timeout_s, self._proof = credentials, timeout_s, proof

    def send(self, sent: Sent, limit: RateLimit) -> tuple[str, bool]:
        """Put an object where it is not there yet; returns its proof, and whether it had to be sent.

        Raises
        ------
        UploadError
            The store failed; nothing half-written has the object's name.
        LocalFileError
        Stopped
        """
        sent.check()
        with self.errors():
            proof = self.prove(sent)
            if proof:
                return proof, False
            return self.put(sent, limit), True

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Whatever a library raises, as one sentence without secrets; the connection is given up."""
        try:
            yield
        except (UploadError, Stopped, LocalFileError, ConfigError):
            self.close()
            raise
        except Exception as error:  # noqa: BLE001  each library has its own
            self.close()
            if (stopped := _in_chain(error, Stopped)) is not None:
                raise Stopped from None
            text = scrubbed(error, self._credentials.secrets)
            # The library's error may hold a secret, so it is not handed on.
            raise UploadError(f"{self.address}: {text}") from stopped

    @abstractmethod
    def prove(self, sent: Sent) -> str:
        """How it is known that the store has an object; empty where it has not."""

    @abstractmethod
    def put(self, sent: Sent, limit: RateLimit) -> str:
        """Send it, whole or not at all; returns its proof."""

    @abstractmethod
    def check(self) -> None:
        """See that the store answers, and knows who asks."""

    def close(self) -> None:  # noqa: B027  some have nothing to close
        """Give up the connection; the next call makes a new one."""

    def refuse(self, sent: Sent) -> UploadError:
        """What is said where the store has something else than what was sent."""
        return UploadError(f"{self.address}: what it has of {sent.key} is not what was sent; it is sent again")


def digest_of(read: Callable[[int], bytes]) -> tuple[int, str]:
    """Size and SHA-256 of what is read block by block."""
    digest, n_bytes = hashlib.sha256(), 0
    while block := read(BLOCK):
        digest.update(block)
        n_bytes += len(block)
    return n_bytes, digest.hexdigest()


def _in_chain(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """An error that lies behind another one: libraries wrap what a file raises."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
