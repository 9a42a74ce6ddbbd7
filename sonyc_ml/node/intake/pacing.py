"""When a source is read again: sound comes at a known rate, so a reader need not wake for each of its chunks."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from fcntl import fcntl

F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032  # of Linux's <fcntl.h>
PIPE_SIZE = 1 << 20  # bytes: seconds that a recorder goes on in while this process is held up
READ_SIZE, MOST_READ = 1 << 16, 1 << 19  # bytes that are read at a time: the first, of sound that nobody knows yet
REST_S = 2.0  # the longest rest
SHORTEST_REST_S = 0.02  # a shorter one is not worth it
SHARE = 2  # of what the kernel holds for a source, a rest lets come one part in so many


def enlarge(descriptor: int) -> None:
    """Make a pipe as large as it may be; leave anything else."""
    with suppress(OSError):
        fcntl(descriptor, F_SETPIPE_SZ, PIPE_SIZE)


def capacity_of(descriptor: int) -> int:
    """How much the kernel holds of what comes to a descriptor (in bytes); 0 where nobody waits to write it."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode):
        return fcntl(descriptor, F_GETPIPE_SZ)
    if stat.S_ISSOCK(mode):
        with socket.socket(fileno=os.dup(descriptor)) as found:
            return found.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return 0


def read_size(bytes_per_s: float) -> int:
    """How much is read at a time (in bytes): what comes during a rest and a little, not more than there is room for."""
    return max(READ_SIZE, min(MOST_READ, round(1.25 * REST_S * bytes_per_s)))


def rest_s(capacity: int, bytes_per_s: float, until_s: float) -> float:
    """How long a source can be left alone (in seconds).

    Parameters
    ----------
    capacity : int
        What the kernel holds of it (in bytes).
    bytes_per_s : float
        Of its sound.
    until_s : float
        When the sound will have come that is waited for (in seconds from now).
    """
    found = min(REST_S, capacity / SHARE / bytes_per_s, until_s)
    return found if found >= SHORTEST_REST_S else 0.0
