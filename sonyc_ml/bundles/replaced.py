"""Whether bundles were replaced on the disk, so that whoever runs them loads them anew."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

CHECK_S = 10.0  # how often the files are looked at: they are replaced once in months

Signature: TypeAlias = tuple[tuple[str, int, int, int], ...]


class BundleFiles:
    """The files of bundles that are loaded.

    Parameters
    ----------
    paths : iterable of Path
        ``NAME.tflite`` of each.
    timer : callable
        Returns seconds that only grow.
    """

    def __init__(self, paths: Iterable[Path], timer: Callable[[], float] = time.monotonic) -> None:
        self._paths, self._timer = tuple(paths), timer
        self._next_check_s = timer() + CHECK_S
        self.are_known()

    def are_known(self) -> None:
        """What is there now counts as loaded, or tried."""
        self._seen = self._tried = _signature(self._paths)

    def were_replaced(self) -> bool:
        """Whether files were replaced since they were known, and are quiet again; once for each state."""
        now = self._timer()
        if now < self._next_check_s:
            return False
        self._next_check_s = now + CHECK_S
        before, self._seen = self._seen, _signature(self._paths)
        if not before == self._seen != self._tried:
            return False
        self._tried = self._seen  # once is enough
        return True


def _signature(paths: Iterable[Path]) -> Signature:
    """What tells one state of the files from another."""
    return tuple(sorted(_files(paths)))


def _files(paths: Iterable[Path]) -> Iterator[tuple[str, int, int, int]]:
    for path in paths:
        try:
            with os.scandir(path.parent) as entries:
                found = [entry for entry in entries if entry.name.startswith(f"{path.stem}.")]
            for entry in found:
                status = entry.stat()
                yield entry.path, status.st_ino, status.st_size, status.st_mtime_ns
        except OSError:  # somebody is at it
            continue
