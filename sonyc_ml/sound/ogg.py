"""The pages of Ogg files, of which a decoder leaves out what is damaged and says nothing (RFC 3533)."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from sonyc_ml.errors import UnfinishedRecordingError, UnreadableRecordingError
from sonyc_ml.sound.chunks import read_exactly

PAGE_HEADER_LENGTH = 27
FIRST_PAGE, LAST_PAGE = 2, 4
OGG_FLAC = b"\x7fFLAC"
OGG_FLAC_HEADER_LENGTH = 9  # before the native stream's own "fLaC"
SEVERAL = (
    "it holds several recordings, one behind the other, of which a decoder reads the first, up to byte {:,} of {:,}; "
    "split it into one file for each"
)
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """One page: where it begins and ends, and where its content begins (in bytes)."""

    position: int
    content: int
    end: int
    flags: int


def pages(descriptor: int, size: int) -> Iterator[Page]:
    """Yield the pages of a file.

    Raises
    ------
    UnreadableRecordingError
        One is missing or damaged, or another recording begins behind the first.
    UnfinishedRecordingError
        The file ends within one.
    """
    position, has_begun = 0, False
    while position < size:
        page, n_segments = _read_page(descriptor, position, size)
        if page[:4] != b"OggS" or _checksum(page) != int.from_bytes(page[22:26], "little"):
            raise UnreadableRecordingError(f"it is damaged: the Ogg page at byte {position:,} is not as it was written")
        if page[5] & FIRST_PAGE and has_begun:
            raise UnreadableRecordingError(SEVERAL.format(position, size))
        has_begun = not page[5] & FIRST_PAGE
        yield Page(position, position + PAGE_HEADER_LENGTH + n_segments, position + len(page), page[5])
        position += len(page)


def check_pages(descriptor: int, size: int) -> None:
    """Refuse an Ogg file with a page that is cut off, missing or damaged."""
    flags = 0
    for page in pages(descriptor, size):
        flags = page.flags
    if not flags & LAST_PAGE:
        raise UnfinishedRecordingError(
            "it is unfinished: the last page of its sound is missing; the recorder is still writing it, or was stopped"
        )


def whole_pages(descriptor: int, size: int) -> list[Page]:
    """The pages before the one that is cut off, if one is."""
    whole: list[Page] = []
    with suppress(UnfinishedRecordingError):
        for page in pages(descriptor, size):
            whole.append(page)  # noqa: PERF402  what came before the one that is cut off is kept
    return whole


def holds_flac(descriptor: int) -> bool:
    """Whether an Ogg file holds FLAC, which is not decoded from it but can be taken out of it."""
    head = os.pread(descriptor, PAGE_HEADER_LENGTH + 255 + len(OGG_FLAC), 0)
    n_segments = head[26] if len(head) > 26 else 0
    return head[PAGE_HEADER_LENGTH + n_segments :].startswith(OGG_FLAC)


def _read_page(descriptor: int, position: int, size: int) -> tuple[bytes, int]:
    head = os.pread(descriptor, PAGE_HEADER_LENGTH + 255, position)
    if len(head) >= PAGE_HEADER_LENGTH:
        end_of_head = PAGE_HEADER_LENGTH + head[26]
        length = end_of_head + sum(head[PAGE_HEADER_LENGTH:end_of_head])
        if position + length <= size:
            return read_exactly(descriptor, length, position), head[26]
    raise UnfinishedRecordingError(f"it is truncated: it ends within the Ogg page that begins at byte {position:,}")


def _checksum(page: bytes) -> int:
    """CRC-32 of an Ogg page: zlib's, with the bits of each byte, and of the result, in the opposite order."""
    blanked = page[:22] + bytes(4) + page[26:]
    reversed_crc = zlib.crc32(blanked.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reversed_crc.to_bytes(4, "little").translate(REVERSED_BITS), "big")
