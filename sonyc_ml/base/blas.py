"""numpy's matrix products on one thread, for as long as ours are computed.

The commands set ``OPENBLAS_NUM_THREADS`` before numpy is imported; a library cannot, for whoever uses it has imported
numpy already. OpenBLAS' idle threads wait by spinning: from Python, the same recording cost two to seven times the
processor time that the command takes.

threadpoolctl limits OpenBLAS too, but its newest version only for the first thread that asks, and models run on any.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path

GET, SET = "openblas_get_num_threads", "openblas_set_num_threads"
# numpy's wheels and Debian name the same two functions in their own ways.
AFFIXES = tuple(product(("", "scipy_"), ("", "64_", "_64")))
LIBRARY = re.compile(r"/\S*openblas\S*\.so\S*$", re.MULTILINE)

_lock = threading.Lock()
_n_users = 0
_before: list[tuple[Callable[[int], object], int]] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep numpy's products on the thread that asks for them, and restore what was before.

    Whatever was imported first, and from several threads at once: the number is the process's, so the first one to
    enter sets it, and the last one to leave restores it. Does nothing where the whole process has one thread.
    """
    if os.environ.get("OPENBLAS_NUM_THREADS") == "1":
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _n_users  # noqa: PLW0603  what it counts is the process's
    with _lock:
        if _n_users == 0:
            for get, set_ in _controls():
                _before.append((set_, get()))
                set_(1)
        _n_users += 1


def _leave() -> None:
    global _n_users  # noqa: PLW0603
    with _lock:
        _n_users -= 1
        if _n_users == 0:
            while _before:
                set_, n_threads = _before.pop()
                set_(n_threads)


@cache
def _controls() -> tuple[tuple[Callable[[], int], Callable[[int], object]], ...]:
    """How each OpenBLAS that numpy has loaded is asked and told: two functions."""
    if "numpy" not in sys.modules:
        import numpy  # noqa: F401, ICN001, PLC0415  loaded now, so that there is something to find
    try:
        paths = sorted(set(LIBRARY.findall(Path("/proc/self/maps").read_text(errors="replace"))))
    except OSError:  # another system: the variable is all there is
        return ()
    found = (_functions(path) for path in paths)
    return tuple(pair for pair in found if pair is not None)


def _functions(path: str) -> tuple[Callable[[], int], Callable[[int], object]] | None:
    try:
        library = ctypes.CDLL(path)  # loaded already: no second copy
    except OSError:
        return None
    for prefix, suffix in AFFIXES:
        if hasattr(library, f"{prefix}{SET}{suffix}"):
            return getattr(library, f"{prefix}{GET}{suffix}"), getattr(library, f"{prefix}{SET}{suffix}")
    return None
