"""Whether somebody still writes a file: asked of the kernel."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path


def is_being_written(path: Path) -> bool:
    """Whether any process has a file open for writing; False where the kernel cannot say.

    A read lease is granted only while nobody has the file open for writing (fcntl(2), "Leases"). It is asked for and
    given back at once; whoever opens the file between waits for these microseconds. Leases are for a file's owner, and
    for those with CAP_LEASE; others learn nothing.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # a lease that is broken must not end the process
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False
