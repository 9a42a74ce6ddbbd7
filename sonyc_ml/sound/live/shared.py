"""Samples in memory that a process and its child both see: copied once, where a socket takes many turns of both."""

from __future__ import annotations

import mmap
import os


class SharedSamples:
    """Memory without a file (memfd_create(2)); it grows with what is put into it.

    Parameters
    ----------
    descriptor : int, optional
        Of the memory that another process has made; new memory where not given. Closed by :meth:`close`.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = os.memfd_create("sonyc-ml samples") if descriptor is None else descriptor
        self._map: mmap.mmap | None = None

    def put(self, samples: memoryview) -> None:
        """Copy bytes to the beginning."""
        if os.fstat(self.descriptor).st_size < len(samples):
            os.ftruncate(self.descriptor, len(samples))
        self._mapped(len(samples))[: len(samples)] = samples

    def view(self, n_bytes: int) -> memoryview:
        """Return so many bytes from the beginning; they are what is put there next, too.

        Raises
        ------
        ValueError
            There are fewer.
        """
        return memoryview(self._mapped(n_bytes))[:n_bytes]

    def close(self) -> None:
        """Let go of the memory."""
        self._map = None  # it is unmapped once nobody looks at it
        os.close(self.descriptor)

    def _mapped(self, n_bytes: int) -> mmap.mmap:
        if self._map is None or len(self._map) < n_bytes:
            if os.fstat(self.descriptor).st_size < n_bytes:  # to read beyond its end would kill the process
                raise ValueError(f"there are not {n_bytes:,} bytes of samples")
            self._map = mmap.mmap(self.descriptor, 0)
        return self._map
