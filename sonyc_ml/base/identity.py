"""The identity of a recording: its name, size and time."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

HASH_BLOCK_SIZE = 1 << 18  # bytes


class Identity(NamedTuple):
    """One state of one file: a name that is used again is a new recording.

    Attributes
    ----------
    name : str
        Path relative to the spool folder, with ``/`` between its parts.
    n_bytes, mtime_ns : int
        Size of the file, and when it was last changed (in nanoseconds since 1970).
    """

    name: str
    n_bytes: int
    mtime_ns: int

    @property
    def mtime_s(self) -> float:
        """When the file was last changed (in seconds since 1970)."""
        return self.mtime_ns * 1e-9

    @property
    def stamp(self) -> str:
        """Its time to the nanosecond, as a part of a file name: ``20261121T105322.123456789Z``.

        In seconds since 1970 where there is no such date: a file system's time may be any number.
        """
        whole_s, rest_ns = divmod(self.mtime_ns, 10**9)
        try:
            return f"{datetime.fromtimestamp(whole_s, UTC):%Y%m%dT%H%M%S}.{rest_ns:09d}Z"
        except (OverflowError, ValueError, OSError):
            return f"{whole_s}.{rest_ns:09d}"


def state_of(status: os.stat_result) -> tuple[int, int]:
    """Size of a file, and when it was last changed (in nanoseconds since 1970)."""
    return status.st_size, status.st_mtime_ns


def has_sha256(path: str | Path, state: tuple[int, int], sha256: str) -> bool:
    """Whether a file in this state holds the bytes of a recording that was read before, under another time.

    A disk with FAT shifts the times of its files by an hour when summer time begins, and rounds them; a copy or
    ``touch`` sets them anew.

    Parameters
    ----------
    path : str or Path
    state : tuple of int
        Its size and time; see :func:`state_of`.
    sha256 : str
        Of the recording, in hexadecimal.

    Returns
    -------
    bool
        False too where the file cannot be read, or changes meanwhile.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            while content := file.read(HASH_BLOCK_SIZE):
                digest.update(content)
            return state_of(os.fstat(file.fileno())) == state and digest.hexdigest() == sha256
    except OSError:
        return False
