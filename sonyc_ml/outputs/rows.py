"""Rows that come as they are computed: in memory while they are few, in a file without a name beyond.

A day of sound has 864,000 windows at a hop of 0.1 s: near a gigabyte of embeddings, on a node with 256 MB. What is kept
in a file is gone with the process, however it ends.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import StoreError

IN_MEMORY_BYTES = 8 << 20  # of one array: 8,192 windows of 256 numbers
CHUNK_BYTES = 1 << 20


class Rows:
    """The rows of one array, in the order in which they come.

    Parameters
    ----------
    folder : Path, optional
        Where the file lies, once there is one; everything stays in memory where not given.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._parts: list[npt.NDArray[Any]] = []
        self._n_bytes = 0
        self._n_rows = 0
        self._file: IO[bytes] | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()  # an array that was handed out keeps what it needs

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows of one shape and dtype, `(n, …)`.

        Raises
        ------
        StoreError
            The disk is full, or fails.
        """
        self._n_rows += len(rows)
        self._n_bytes += rows.nbytes
        self._parts.append(rows)
        if self._folder is not None and (self._file or self._n_bytes > IN_MEMORY_BYTES):
            self._move_to_file(self._folder)

    def array(self) -> npt.NDArray[Any]:
        """All rows, `(n_rows, …)`; read from the file as they are used, where they are in one."""
        if self._file is None:
            return np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)
        row = self._parts[0]  # kept for its shape
        self._file.flush()
        return np.memmap(self._file, row.dtype, mode="r", shape=(self._n_rows, *row.shape[1:]))

    def _move_to_file(self, folder: Path) -> None:
        try:
            if self._file is None:
                folder.mkdir(parents=True, exist_ok=True)
                self._file = self._opened.enter_context(TemporaryFile(dir=folder))  # noqa: SIM115
            for rows in self._parts:
                self._file.write(np.ascontiguousarray(rows).data)
        except OSError as error:
            raise StoreError(f"{folder}: results cannot be kept there: {error.strerror or error}") from error
        self._parts = [self._parts[-1][:0]]


class RowsByName:
    """:class:`Rows` of several arrays that grow together.

    Parameters
    ----------
    folder : Path, optional
        See :class:`Rows`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._rows: dict[str, Rows] = {}
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def append(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add rows to the arrays of these names; see :meth:`Rows.append`."""
        for name, some in rows.items():
            if name not in self._rows:
                self._rows[name] = self._opened.enter_context(Rows(self._folder))
            self._rows[name].append(some)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays by their names; see :meth:`Rows.array`."""
        return {name: rows.array() for name, rows in self._rows.items()}


def chunks(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield an array's rows a megabyte at a time; what was read of a file leaves memory again."""
    row_bytes = max(1, array.nbytes // max(1, len(array)))
    n_rows = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, len(array), n_rows):
        yield array[start : start + n_rows]
        forget(array)


def forget(array: npt.NDArray[Any]) -> None:
    """Let what was read of an array that lies in a file leave memory; it is read again where it is needed."""
    source: Any = array
    while isinstance(source, np.ndarray):  # a view of a view of a memmap, whose own base is the map
        source = source.base
    if isinstance(source, mmap.mmap):
        source.madvise(mmap.MADV_DONTNEED)
