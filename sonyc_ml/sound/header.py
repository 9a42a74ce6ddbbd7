"""How much sound a file says it holds, and how much it does.

libsndfile reads a truncated or unfinished file short and says nothing, and leaves out what is damaged in an Ogg file.
This walks the chunks of RIFF, RF64, Wave64 and AIFF files and compares the promised length with the file's, and walks
the pages of Ogg files and compares their checksums. FLAC is left to its decoder, which does tell.

It also reads from a RIFF file what libsndfile does not give us: where an unfinished file's sound lies, and when a
recorder says that the sound begins.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sonyc_ml.errors import (
    EmptyRecordingError,
    RecordingError,
    UnfinishedRecordingError,
    UnreadableRecordingError,
)

# What a recorder writes for a length it does not know yet and, on a pipe, can never come back to correct.
STREAMING_SIZES = (0xFFFFFFFF, 0x80000000)
# A writer may round such a size down, or take the header's own length off it; SoX's is 0x7FFFF000, arecord's has been
# 0x7FFFFF00.
STREAMING_SLACK = 0x10000
LARGE_STREAMING_SIZE = 1 << 62  # the same where lengths have 64 bits

# Before the sound. A recorder writes a handful, and a large file of zeros must not hold us up.
MAX_CHUNKS = 10_000

RIFF_MAGIC = (b"RIFF", b"RF64", b"RIFX", b"BW64")
# What recorders and editors append to the sound; a header of 0 bytes with one of them behind it is one without sound.
TRAILING_CHUNKS = (
    *(b"LIST", b"bext", b"id3 ", b"ID3 ", b"iXML", b"axml", b"_PMX", b"guan", b"JUNK", b"junk", b"PAD ", b"FLLR"),
    *(b"fact", b"cue ", b"smpl", b"inst", b"PEAK", b"umid", b"cart", b"chna", b"DISP", b"afsp"),
)

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
MPEG_FORMATS = (0x50, 0x55)
# Bits of a sample, by format, in which the samples can be told from the bytes alone.
PLAIN_BITS = {PCM: (8, 16, 24, 32), FLOAT: (32, 64), ALAW: (8,), MULAW: (8,)}

# Where OriginationDate and OriginationTime stand in a bext chunk (EBU Tech 3285, section 2.3): behind 256 bytes of
# description, 32 of originator and 32 of its reference.
ORIGINATION_DATE, ORIGINATION_TIME = slice(320, 330), slice(330, 338)

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
    position : int
        Where it begins in the file.
    """

    promised: int | None
    present: int
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the sound of a RIFF file lies in it, where that needs no decoder.

    Attributes
    ----------
    position : int
        Where the sound begins (in bytes).
    n_bytes : int
        Length of the sound that is there; the last sample may be cut off.
    tag : int
        `PCM`, `FLOAT`, `ALAW` or `MULAW`.
    order : str
        Of bytes, ``"<"`` or ``">"``.
    bits : int
        Of one sample.
    n_channels : int
    sample_rate : int
        In Hz.
    """

    position: int
    n_bytes: int
    tag: int
    order: str
    bits: int
    n_channels: int
    sample_rate: int

    @property
    def n_samples(self) -> int:
        """Whole samples of each channel."""
        return self.n_bytes // (self.n_channels * self.bits // 8)


class _Chunk(NamedTuple):
    """One chunk of a RIFF file; `is_large` where its length comes from the ``ds64`` chunk."""

    name: bytes
    position: int
    length: int
    is_large: bool


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
    UnfinishedRecordingError
        The file ends before what its header promises, or its header promises nothing yet.
    UnreadableRecordingError, EmptyRecordingError
    """
    if os.pread(descriptor, 4, 0) == b"OggS":
        _check_pages(descriptor, size)
        return
    length = find_sound(descriptor, size)
    if length is None or length.promised is None:
        return
    if length.promised == 0 and (length.present == 0 or _is_chunk(descriptor, length.position)):
        raise EmptyRecordingError("it has a header and no sound")
    if length.promised == 0:
        raise UnfinishedRecordingError(
            f"it is unfinished: its header says 0 bytes of sound, the file holds {length.present:,} more; "
            "the recorder is still writing it, or was stopped"
        )
    if length.promised > length.present:
        raise UnfinishedRecordingError(
            f"it is truncated: its header promises {length.promised:,} bytes of sound, "
            f"the file holds {length.present:,}"
        )


def find_sound(descriptor: int, size: int) -> SoundLength | None:
    """Walk the chunks to the sound; None for a file that is not made of them.

    Raises
    ------
    UnfinishedRecordingError
        The file is of this kind and ends before a sound chunk.
    UnreadableRecordingError
        It holds MP3, or more chunks than anybody writes and no sound among them.
    """
    head = os.pread(descriptor, 16, 0)
    if order := _riff_order(head):
        return _walk_riff(descriptor, size, order)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _walk_aiff(descriptor, size)
    if head == W64_RIFF:
        return _walk_w64(descriptor, size)
    return None


def find_layout(descriptor: int, size: int) -> Layout | None:
    """How the sound of a RIFF, RIFX, RF64 or BW64 file lies in it, finished or not.

    Parameters are those of :func:`check_header`; the position of the descriptor is not touched.

    Returns
    -------
    Layout or None
        None where there is no sound chunk behind a format chunk, or the sound needs a decoder.
    """
    form, order = b"", _riff_order(os.pread(descriptor, 12, 0))
    if not order:
        return None
    try:
        for chunk in _riff_chunks(descriptor, size, order):
            if chunk.name == b"fmt ":
                form = os.pread(descriptor, min(chunk.length, 40), chunk.position)
            elif chunk.name == b"data":
                return _layout(form, order, chunk.position, size - chunk.position)
    except RecordingError:
        return None
    return None


def read_origination(descriptor: int, size: int) -> str:
    """When a Broadcast Wave file says that its sound begins: the date, a space and the time as they stand in it.

    These are OriginationDate and OriginationTime of the ``bext`` chunk (EBU Tech 3285, section 2.3), ten and eight
    characters, which recorders separate in many ways. Parameters are those of :func:`check_header`; the position of
    the descriptor is not touched.

    Returns
    -------
    str
        Empty where nothing is said, the header is damaged, or it cannot be read.
    """
    try:
        order = _riff_order(os.pread(descriptor, 12, 0))
        for chunk in _riff_chunks(descriptor, size, order) if order else ():
            if chunk.name == b"bext":
                content = os.pread(descriptor, min(chunk.length, ORIGINATION_TIME.stop), chunk.position)
                if len(content) < ORIGINATION_TIME.stop:
                    return ""
                parts = (content[part].decode("ascii", "replace") for part in (ORIGINATION_DATE, ORIGINATION_TIME))
                return " ".join(part.partition("\0")[0] for part in parts).strip()
    except (RecordingError, OSError):
        return ""
    return ""


def _riff_order(head: bytes) -> str:
    """Order of a RIFF file's bytes, ``"<"`` or ``">"``; empty for another file."""
    if head[:4] not in RIFF_MAGIC or head[8:12] != b"WAVE":
        return ""
    return ">" if head[:4] == b"RIFX" else "<"


def _riff_chunks(descriptor: int, size: int, order: str) -> Iterator[_Chunk]:
    """Yield the chunks that begin within the file; raise where there are more than anybody writes."""
    position: int = 12
    large_size: int | None = None
    for _ in range(MAX_CHUNKS):
        if position + 8 > size:
            return
        name, length = struct.unpack(f"{order}4sI", _read(descriptor, 8, position))
        position += 8
        if name == b"ds64":
            content = os.pread(descriptor, 16, position)
            large_size = struct.unpack("<8xQ", content)[0] if len(content) == 16 else None
        is_large = name == b"data" and length == 0xFFFFFFFF
        if is_large and large_size is not None:
            length = large_size
        yield _Chunk(name, position, length, is_large and large_size is not None)
        position += length + (length & 1)
    raise _damaged()


def _walk_riff(descriptor: int, size: int, order: str) -> SoundLength:
    for chunk in _riff_chunks(descriptor, size, order):
        if chunk.name == b"fmt ":
            _refuse_mpeg(os.pread(descriptor, 2, chunk.position), order)
        elif chunk.name == b"data":
            promised = _promised_large(chunk.length) if chunk.is_large else _promised(chunk.length)
            return SoundLength(promised, size - chunk.position, chunk.position)
    raise _cut_off()


def _layout(form: bytes, order: str, position: int, n_bytes: int) -> Layout | None:
    """The layout that a format chunk describes; None where a decoder is needed, or it is damaged."""
    if len(form) < 16:
        return None
    tag, n_channels, sample_rate, frame_size, bits = struct.unpack(f"{order}HHI4xHH", form[:16])
    if tag == EXTENSIBLE and len(form) >= 26:
        tag = struct.unpack(f"{order}H", form[24:26])[0]  # the sub-format begins with it
    if bits not in PLAIN_BITS.get(tag, ()) or n_channels == 0 or frame_size != n_channels * bits // 8:
        return None
    return Layout(position, n_bytes, tag, order, bits, n_channels, sample_rate)


def _walk_aiff(descriptor: int, size: int) -> SoundLength:
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > size:
            break
        name, length = struct.unpack(">4sI", _read(descriptor, 8, position))
        position += 8
        if name == b"SSND":  # begins with 8 bytes on the alignment of the sound
            return SoundLength(_promised(max(0, length - 8)), max(0, size - position - 8), position + 8)
        position += length + (length & 1)
    else:
        raise _damaged()
    raise _cut_off()


def _walk_w64(descriptor: int, size: int) -> SoundLength:
    position = 40
    for _ in range(MAX_CHUNKS):
        if position + 24 > size:
            break
        guid, length = struct.unpack("<16sQ", _read(descriptor, 24, position))
        if guid == b"data" + W64_TAIL:
            return SoundLength(_promised_large(max(0, length - 24)), size - position - 24, position + 24)
        position += length + (-length & 7)
    else:
        raise _damaged()
    raise _cut_off()


def _is_chunk(descriptor: int, position: int) -> bool:
    return os.pread(descriptor, 4, position) in TRAILING_CHUNKS


def _promised_large(length: int) -> int | None:
    return None if length >= LARGE_STREAMING_SIZE else length


def _promised(length: int) -> int | None:
    if any(end - STREAMING_SLACK <= length <= end for end in STREAMING_SIZES):
        return None
    return length


def _read(descriptor: int, length: int, position: int) -> bytes:
    content = os.pread(descriptor, length, position)
    if len(content) < length:
        raise UnfinishedRecordingError("it became shorter while it was read; something is still writing it")
    return content


def _cut_off() -> UnfinishedRecordingError:
    return UnfinishedRecordingError("it holds no sound: the file ends, or is damaged, before the sound begins")


def _damaged() -> UnreadableRecordingError:
    return UnreadableRecordingError(
        f"it holds no sound: its header is damaged, with over {MAX_CHUNKS:,} chunks before the sound"
    )


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
        raise UnfinishedRecordingError(
            "it is unfinished: the last page of its sound is missing; the recorder is still writing it, or was stopped"
        )


def _read_page(descriptor: int, position: int, size: int) -> bytes:
    head = os.pread(descriptor, OGG_PAGE_HEADER + 255, position)
    if len(head) >= OGG_PAGE_HEADER:
        end_of_head = OGG_PAGE_HEADER + head[26]
        length = end_of_head + sum(head[OGG_PAGE_HEADER:end_of_head])
        if position + length <= size:
            return _read(descriptor, length, position)
    raise UnfinishedRecordingError(f"it is truncated: it ends within the Ogg page that begins at byte {position:,}")


def _checksum(page: bytes) -> int:
    """CRC-32 of an Ogg page: zlib's, with the bits of each byte, and of the result, in the opposite order."""
    blanked = page[:22] + bytes(4) + page[26:]
    reversed_crc = zlib.crc32(blanked.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reversed_crc.to_bytes(4, "little").translate(REVERSED_BITS), "big")
