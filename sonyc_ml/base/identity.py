"""The identity of a recording: its name, size and time."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import NamedTuple


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
