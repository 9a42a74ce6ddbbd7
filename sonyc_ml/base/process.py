"""How this process uses the machine; the command line sets it before numpy is imported."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT_BYTES, MAPPED_BYTES = 32 << 20, 4 << 20

SYNCHRONISED_PATH = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd makes it once it has set the clock
# From Linux's <linux/timex.h>, the same on every architecture.
TIME_ERROR, STA_UNSYNC = 5, 0x40


def use_one_thread_a_worker() -> None:
    """Keep numpy's matrix products on the thread that asks for them; the network's threads are set by name.

    Where numpy is imported already the variable comes too late: :mod:`sonyc_ml.base.blas` sees to it then.
    """
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def keep_freed_memory() -> None:
    """Let the allocator keep the few megabytes that every recording needs again.

    By default glibc hands arrays of over 128 kB back to the kernel, which zeroes their pages anew for the next
    recording: 3 ms of page faults for 10 s of sound, nearly as much as its spectra cost. Threads share what is kept:
    else each that works has as much of its own, and its own page faults.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(M_ARENA_MAX, 1)


def is_clock_synchronised(path: Path = SYNCHRONISED_PATH, adjtimex: Callable[[Any], int] | None = None) -> bool | None:
    """Whether the machine's clock agrees with a time server's, as far as systemd-timesyncd or the kernel know.

    Parameters
    ----------
    path : Path
        What is there if systemd-timesyncd has set the clock since the machine started.
    adjtimex : callable, optional
        Fills a ``struct timex`` and returns the clock's state, or -1; the C library's, adjtimex(2), where not given.

    Returns
    -------
    bool or None
        None where nobody can be asked: systemd's ``ProtectClock=`` forbids even reading the kernel's state.
    """
    if path.exists():
        return True
    adjtimex = adjtimex or getattr(_c_library(), "adjtimex", None)
    if adjtimex is None:
        return None
    # struct timex: the modes, 0 to change nothing, in the first place, and the status behind four more numbers of the
    # size of a long; 208 bytes in all, of which more are given.
    timex = (ctypes.c_long * 64)()
    state = adjtimex(timex)
    if state < 0:
        return None
    status = ctypes.c_int.from_buffer(timex, 5 * ctypes.sizeof(ctypes.c_long)).value
    return state != TIME_ERROR and not status & STA_UNSYNC


@cache
def _c_library() -> ctypes.CDLL:
    """What this process is linked with; each is a class of its own, and the clock is asked for every recording."""
    return ctypes.CDLL(None)


def ignore_known_warnings() -> None:
    """Keep off the terminal what watchdog 7.1 says when a folder is made inside a new folder: it is harmless."""
    warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)


def be_nice(nice: int) -> None:
    """Run with less (or more) of the processor's time than others; systemd's ``Nice=`` does it for a service.

    Raises
    ------
    OSError
        It may not: a sandbox forbids it, or it asks for more than its share.
    """
    os.nice(nice - os.nice(0))


def limit_memory(n_mb: int) -> None:
    """Refuse this process more memory of its own than this; what asks for more fails with a MemoryError."""
    resource.setrlimit(resource.RLIMIT_DATA, (n_mb << 20, resource.getrlimit(resource.RLIMIT_DATA)[1]))


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Log what a library writes to file descriptor 2 meanwhile, instead of showing it to the user.

    LiteRT announces its delegate there, on every start, and the decoder of MP3 what it thinks of a file; no setting of
    theirs prevents it.
    """
    with os.fdopen(os.memfd_create("stderr"), "w+b") as captured:
        shown = os.dup(2)
        try:
            os.dup2(captured.fileno(), 2)
            yield
        finally:
            os.dup2(shown, 2)
            os.close(shown)
            captured.seek(0)
            for line in captured.read().decode(errors="replace").splitlines():
                _log(line)


def _log(line: str) -> None:
    import logging  # noqa: PLC0415  most commands log nothing

    logging.getLogger(__name__).debug("%s", line)
