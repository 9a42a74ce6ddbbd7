"""How much sound a file says it holds, and how much it does.

libsndfile reads a truncated or unfinished file short and says nothing, and leaves out what is damaged in an Ogg file.
This walks the chunks of RIFF, RF64, Wave64 and AIFF files and compares the promised length with the file's, and walks
the pages of Ogg files and compares their checksums. FLAC is left to its decoder, which does tell.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass

from sonyc_ml.errors import EmptyRecordingError, UnreadableRecordingError

# What a recorder writes for a length it does not know yet and, on a pipe, can never come back to correct.
STREAMING_SIZES = (0xFFFFFFFF, 0x80000000)
# A writer may round such a size down, or take the header's own length off it; SoX's is 0x7FFFF000, arecord's has been
# 0x7FFFFF00.
STREAMING_SLACK = 0x10000
LARGE_STREAMING_SIZE = 1 << 62  # the same where lengths have 64 bits

# Before the sound. A recorder writes a handful, and a large file of zeros must not hold us up.
MAX_CHUNKS = 10_000

MPEG_FORMATS = (0x50, 0x55)

W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
W64_TAIL = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

OGG_PAGE_HEADER = 27
OGG_LAST_PAGE = 4
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class SoundLength:
    """The length of a file's sound, in bytes.

    Attributes
    ----------
    promised : int or None
        What the header says; None where the recorder left it open.
    present : int
        What the file holds behind the header.
    """

    promised: int | None
    present: int


def check_header(descriptor: int, size: int) -> None:
    """Refuse a file whose header and content disagree; kinds that are not known here pass.

    Parameters
    ----------
    descriptor : int
        Of the open file; its position is not touched.
    size : int
        Of the file (in bytes).

    Raises
    ------
    UnreadableRecordingError, EmptyRecordingError
    """
    if os.pread(descriptor, 4, 0) == b"OggS":
        _check_pages(descriptor, size)
        return
    length = find_sound(descriptor, size)
    if length is None or length.promised is None:
        return
    if length.promised == 0 and length.present == 0:
        raise EmptyRecordingError("it has a header and no sound")
    if length.promised == 0:
        raise UnreadableRecordingError(
            f"it is unfinished: its header says 0 bytes of sound, the file holds {length.present:,} more; "
            "the recorder is still writing it, or was stopped"
        )
    if length.promised > length.present:
        raise UnreadableRecordingError(
            f"it is truncated: its header promises {length.promised:,} bytes of sound, "
            f"the file holds {length.present:,}"
        )


def find_sound(descriptor: int, size: int) -> SoundLength | None:
    """Walk the chunks to the sound; None for a file that is not made of them.

    Raises
    ------
    UnreadableRecordingError
        The file is of this kind and has no sound chunk, or holds MP3.
    """
    head = os.pread(descriptor, 16, 0)
    if head[:4] in (b"RIFF", b"RF64", b"RIFX", b"BW64") and head[8:12] == b"WAVE":
        return _walk_riff(descriptor, size, ">" if head[:4] == b"RIFX" else "<")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _walk_aiff(descriptor, size)
    if head == W64_RIFF:
        return _walk_w64(descriptor, size)
    return None


def _walk_riff(descriptor: int, size: int, order: str) -> SoundLength:
    position, large_size = 12, None
    for _ in range(MAX_CHUNKS):
        if position + 8 > size:
            break
        name, length = struct.unpack(f"{order}4sI", _read(descriptor, 8, position))
        position += 8
        if name == b"ds64":
            content = os.pread(descriptor, 16, position)
            large_size = struct.unpack("<8xQ", content)[0] if len(content) == 16 else None
        elif name == b"fmt ":
            _refuse_mpeg(os.pread(descriptor, 2, position), order)
        elif name == b"data":
            return SoundLength(_promised(length, large_size), size - position)
        position += length + (length & 1)
    raise _without_sound()


def _walk_aiff(descriptor: int, size: int) -> SoundLength:
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > size:
            break
        name, length = struct.unpack(">4sI", _read(descriptor, 8, position))
        position += 8
        if name == b"SSND":  # begins with 8 bytes on the alignment of the sound
            return SoundLength(_promised(max(0, length - 8)), max(0, size - position - 8))
        position += length + (length & 1)
    raise _without_sound()


def _walk_w64(descriptor: int, size: int) -> SoundLength:
    position = 40
    for _ in range(MAX_CHUNKS):
        if position + 24 > size:
            break
        guid, length = struct.unpack("<16sQ", _read(descriptor, 24, position))
        if guid == b"data" + W64_TAIL:
            promised = None if length >= LARGE_STREAMING_SIZE else max(0, length - 24)
            return SoundLength(promised, size - position - 24)
        position += length + (-length & 7)
    raise _without_sound()


def _promised(length: int, large_size: int | None = None) -> int | None:
    if length == 0xFFFFFFFF and large_size is not None:
        return None if large_size >= LARGE_STREAMING_SIZE else large_size
    if any(end - STREAMING_SLACK <= length <= end for end in STREAMING_SIZES):
        return None
    return length


def _read(descriptor: int, length: int, position: int) -> bytes:
    content = os.pread(descriptor, length, position)
    if len(content) < length:
        raise UnreadableRecordingError("it became shorter while it was read; something is still writing it")
    return content


def _without_sound() -> UnreadableRecordingError:
    return UnreadableRecordingError("it holds no sound: its header ends, or is damaged, before the sound begins")


def _refuse_mpeg(content: bytes, order: str) -> None:
    if len(content) == 2 and struct.unpack(f"{order}H", content)[0] in MPEG_FORMATS:
        raise UnreadableRecordingError("it holds MP3, which is not read: it has lost what a network would listen to")


def _check_pages(descriptor: int, size: int) -> None:
    """Refuse an Ogg file with a page that is cut off, missing or damaged."""
    position, flags = 0, 0
    while position < size:
        page = _read_page(descriptor, position, size)
        if page[:4] != b"OggS" or _checksum(page) != int.from_bytes(page[22:26], "little"):
            raise UnreadableRecordingError(f"it is damaged: the Ogg page at byte {position:,} is not as it was written")
        flags = page[5]
        position += len(page)
    if not flags & OGG_LAST_PAGE:
        raise UnreadableRecordingError(
            "it is unfinished: the last page of its sound is missing; the recorder is still writing it, or was stopped"
        )


def _read_page(descriptor: int, position: int, size: int) -> bytes:
    head = os.pread(descriptor, OGG_PAGE_HEADER + 255, position)
    if len(head) >= OGG_PAGE_HEADER:
        end_of_head = OGG_PAGE_HEADER + head[26]
        length = end_of_head + sum(head[OGG_PAGE_HEADER:end_of_head])
        if position + length <= size:
            return _read(descriptor, length, position)
    raise UnreadableRecordingError(f"it is truncated: it ends within the Ogg page that begins at byte {position:,}")


def _checksum(page: bytes) -> int:
    """CRC-32 of an Ogg page: zlib's, with the bits of each byte, and of the result, in the opposite order."""
    blanked = page[:22] + bytes(4) + page[26:]
    reversed_crc = zlib.crc32(blanked.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reversed_crc.to_bytes(4, "little").translate(REVERSED_BITS), "big")
