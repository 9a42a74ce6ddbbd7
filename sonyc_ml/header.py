"""How much sound a WAV file says it holds, and how much it does.

libsndfile reads a truncated or unfinished file short and says nothing. This walks the chunks of RIFF, RF64 and Wave64
files and compares the promised length with the file's.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from sonyc_ml.errors import EmptyRecordingError, UnreadableRecordingError

# What a recorder writes for a length it does not know yet and, on a pipe, can never come back to correct.
STREAMING_SIZES = (0xFFFFFFFF, 0x80000000, 0x7FFFFFFF)
# A writer may round such a size down to whole samples, or take the header's own length off it.
STREAMING_SLACK = 64

MPEG_FORMATS = (0x50, 0x55)

W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
W64_TAIL = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


@dataclass(frozen=True, slots=True)
class SoundLength:
    """The length of a WAV file's sound, in bytes.

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
    """Refuse a WAV file whose header and content disagree; other kinds of files pass.

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
    """Walk the chunks to the sound; None for a file of another kind.

    Raises
    ------
    UnreadableRecordingError
        The file is of this kind and has no sound chunk, or holds MP3.
    """
    head = os.pread(descriptor, 40, 0)
    if head[:4] in (b"RIFF", b"RF64", b"RIFX", b"BW64") and head[8:12] == b"WAVE":
        return _walk_riff(descriptor, size, ">" if head[:4] == b"RIFX" else "<")
    if head[:16] == W64_RIFF:
        return _walk_w64(descriptor, size)
    return None


def _walk_riff(descriptor: int, size: int, order: str) -> SoundLength:
    position, large_size = 12, None
    while position + 8 <= size:
        name, length = struct.unpack(f"{order}4sI", os.pread(descriptor, 8, position))
        position += 8
        if name == b"ds64":
            content = os.pread(descriptor, 16, position)
            large_size = struct.unpack("<8xQ", content)[0] if len(content) == 16 else None
        elif name == b"fmt ":
            _refuse_mpeg(os.pread(descriptor, 2, position), order)
        elif name == b"data":
            return SoundLength(_promised(length, large_size), max(0, size - position))
        position += length + (length & 1)
    raise UnreadableRecordingError("it is a WAV file without sound: its header ends before the sound begins")


def _walk_w64(descriptor: int, size: int) -> SoundLength:
    position = 40
    while position + 24 <= size:
        guid, length = struct.unpack("<16sQ", os.pread(descriptor, 24, position))
        if guid == b"data" + W64_TAIL:
            present = max(0, size - position - 24)
            return SoundLength(max(0, length - 24), present)
        position += max(24, length + (-length & 7))
    raise UnreadableRecordingError("it is a Wave64 file without sound: its header ends before the sound begins")


def _promised(length: int, large_size: int | None) -> int | None:
    if length == 0xFFFFFFFF and large_size is not None:
        return large_size
    if any(end - STREAMING_SLACK <= length <= end for end in STREAMING_SIZES):
        return None
    return length


def _refuse_mpeg(content: bytes, order: str) -> None:
    if len(content) == 2 and struct.unpack(f"{order}H", content)[0] in MPEG_FORMATS:
        raise UnreadableRecordingError("it holds MP3, which is not read: it has lost what a network would listen to")
