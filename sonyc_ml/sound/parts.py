"""Parts of a file, and bytes between them, as one file for the decoder."""

from __future__ import annotations

import io
import itertools
import os
from bisect import bisect_right
from collections.abc import Sequence

Part = bytes | tuple[int, int]  # what it holds, or where it begins in the file and how long it is


class Parts(io.RawIOBase):
    """What libsndfile reads instead of a file whose header is wrong, or whose end is cut off.

    Nothing is read from, or changed in, the descriptor's position. A disk that fails looks like the end: an exception
    would be printed, and lost, on its way through libsndfile.

    Parameters
    ----------
    descriptor : int
        Of the open file, which is not closed.
    parts : sequence of bytes or tuple of int
        In order: bytes as they are, or where a part begins in the file, and its length.

    Attributes
    ----------
    descriptor : int
    """

    def __init__(self, descriptor: int, parts: Sequence[Part]) -> None:
        self.descriptor, self._parts = descriptor, parts
        lengths = (len(part) if isinstance(part, bytes) else part[1] for part in parts)
        self._starts = [0, *itertools.accumulate(lengths)]
        self._position = 0

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it has positions."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; there is nothing before the first or behind the last byte."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self)}[whence]
        self._position = min(max(0, start + offset), len(self))
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def __len__(self) -> int:
        return self._starts[-1]

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer; return how many bytes there were."""
        content = self.content(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def content(self, position: int, length: int) -> bytes:
        """Read at a position."""
        found: list[bytes] = []
        i = bisect_right(self._starts, position) - 1
        while length > 0 and i < len(self._parts):
            part, offset = self._parts[i], position - self._starts[i]
            wanted = min(length, self._starts[i + 1] - position)
            try:
                piece = (
                    part[offset : offset + wanted]
                    if isinstance(part, bytes)
                    else os.pread(self.descriptor, wanted, part[0] + offset)
                )
            except OSError:
                break
            found.append(piece)
            if len(piece) < wanted:
                break
            position, length, i = position + wanted, length - wanted, i + 1
        return b"".join(found)

    def between(self, start: int, end: int) -> list[Part]:
        """The parts that make up what lies between two positions."""
        found: list[Part] = []
        for part, place in zip(self._parts, self._starts[:-1], strict=True):
            first, last = max(start - place, 0), min(end - place, len(part) if isinstance(part, bytes) else part[1])
            if first < last:
                found.append(part[first:last] if isinstance(part, bytes) else (part[0] + first, last - first))
        return found
