"""How this process uses the machine; the command line sets it before numpy is imported."""

from __future__ import annotations

import ctypes
import os
import warnings

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, MAPPED_BYTES = 32 << 20, 4 << 20


def use_one_thread_a_worker() -> None:
    """Keep numpy's matrix products on the thread that asks for them; the network's threads are set by name."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def keep_freed_memory() -> None:
    """Let the allocator keep the few megabytes that every recording needs again.

    By default glibc hands arrays of over 128 kB back to the kernel, which zeroes their pages anew for the next
    recording: 3 ms of page faults for 10 s of sound, nearly as much as its spectra cost.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


def ignore_known_warnings() -> None:
    """Keep off the terminal what watchdog 7.1 says when a folder is made inside a new folder: it is harmless."""
    warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)
