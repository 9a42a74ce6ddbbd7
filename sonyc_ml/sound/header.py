"""How much sound a file says it holds, and how much it does.

libsndfile reads a truncated or unfinished file short and says nothing, and leaves out what is damaged in an Ogg file.
This walks the chunks of RIFF, RF64, Wave64 and AIFF files and compares the promised length with the file's: it may be
shorter, and it may be longer, where a recorder died before it brought its header up to date or a length of 32 bits was
not enough. :mod:`sonyc_ml.sound.ogg` walks the pages of Ogg files, :mod:`sonyc_ml.sound.flac` the frames of FLAC.

It also reads from a RIFF file what libsndfile does not give us: where an unfinished file's sound lies, and when a
recorder says that the sound begins.
"""

from __future__ import annotations

import os
import struct

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import (
    EmptyRecordingError,
    RecordingError,
    UnfinishedRecordingError,
    UnreadableRecordingError,
)
from sonyc_ml.sound.chunks import TRAILING_CHUNKS, Chunk, Container, container_of, find_end, find_tail
from sonyc_ml.sound.ogg import check_pages

# What a recorder writes for a length it does not know yet and, on a pipe, can never come back to correct.
STREAMING_SIZES = (0xFFFFFFFF, 0x80000000)
# A writer may round such a size down, or take the header's own length off it; SoX's is 0x7FFFF000, arecord's has been
# 0x7FFFFF00.
STREAMING_SLACK = 0x10000
LARGE_STREAMING_SIZE = 1 << 62  # the same where lengths have 64 bits

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
MPEG_FORMATS = (0x50, 0x55)
# Bits of a sample's place in the file, by format, in which the samples can be told from the bytes alone.
PLAIN_BITS = {PCM: (8, 16, 24, 32), FLOAT: (32, 64), ALAW: (8,), MULAW: (8,)}
# The kinds of AIFF-C in which they can, each with its format and the order of its bytes; plain AIFF names none.
AIFF_KINDS = {
    **dict.fromkeys((b"", b"NONE", b"twos", b"in24", b"in32"), (PCM, ">")),
    b"sowt": (PCM, "<"),
    **dict.fromkeys((b"fl32", b"FL32", b"fl64", b"FL64"), (FLOAT, ">")),
    **dict.fromkeys((b"ulaw", b"ULAW"), (MULAW, ">")),
    **dict.fromkeys((b"alaw", b"ALAW"), (ALAW, ">")),
}

# Where OriginationDate and OriginationTime stand in a bext chunk (EBU Tech 3285, section 2.3): behind 256 bytes of
# description, 32 of originator and 32 of its reference.
ORIGINATION_DATE, ORIGINATION_TIME = slice(320, 330), slice(330, 338)


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
    """How the sound of a file lies in it, where that needs no decoder.

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
        Of the place that one sample takes.
    n_channels : int
    sample_rate : int
        In Hz.
    valid_bits : int
        Of one sample; fewer than `bits` where some are left over.
    is_signed : bool
        Whether 8 bits are signed, as they are in AIFF and not in WAV files.
    """

    position: int
    n_bytes: int
    tag: int
    order: str
    bits: int
    n_channels: int
    sample_rate: int
    valid_bits: int = 0
    is_signed: bool = False

    @property
    def frame_size(self) -> int:
        """Of a sample of every channel (in bytes)."""
        return self.n_channels * self.bits // 8

    @property
    def n_samples(self) -> int:
        """Whole samples of each channel."""
        return self.n_bytes // self.frame_size


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
        The file ends before what its header promises, or holds more, or its header promises nothing yet.
    UnreadableRecordingError, EmptyRecordingError
    """
    if os.pread(descriptor, 4, 0) == b"OggS":
        check_pages(descriptor, size)
        return
    container = container_of(descriptor)
    length = find_sound(descriptor, size) if container else None
    if container is None or length is None or length.promised is None:
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
    end = length.position + length.promised
    held = find_end(descriptor, size, container, end) - length.position
    if held > length.promised:
        raise UnfinishedRecordingError(
            f"it holds more than its header says: {held:,} bytes of sound, not {length.promised:,}; "
            "the recorder is still writing it, or its header was not brought up to date"
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
    container = container_of(descriptor)
    if container is None:
        return None
    for chunk in container.chunks(descriptor, size):
        if chunk.name == b"fmt " and container.kind == "RIFF":
            _refuse_mpeg(os.pread(descriptor, 2, chunk.position), container.order)
        elif chunk.name == b"SSND" and container.kind == "AIFF":
            # It begins with 8 bytes on the alignment of the sound.
            position, present = chunk.position + 8, size - chunk.position - 8
            return SoundLength(promised_length(max(0, chunk.length - 8)), max(0, present), position)
        elif chunk.name == b"data" and container.kind != "AIFF":
            promised = _promised_large(chunk.length) if chunk.is_large else promised_length(chunk.length)
            return SoundLength(promised, size - chunk.position, chunk.position)
    raise UnfinishedRecordingError("it holds no sound: the file ends, or is damaged, before the sound begins")


def find_layout(descriptor: int, size: int, *, trusts_header: bool = False) -> Layout | None:
    """How the sound of a RIFF, RF64, Wave64 or AIFF file lies in it, finished or not.

    Parameters
    ----------
    descriptor, size
        Those of :func:`check_header`; the position of the descriptor is not touched.
    trusts_header : bool
        Whether the sound is as long as the header says, where it does; else it reaches to the end of the file, or to
        the chunks that stand there.

    Returns
    -------
    Layout or None
        None where there is no sound chunk behind a format chunk, or the sound needs a decoder.
    """
    container, form = container_of(descriptor), b""
    try:
        for chunk in container.chunks(descriptor, size) if container else ():
            if container is None:
                break
            if chunk.name == (b"COMM" if container.kind == "AIFF" else b"fmt "):
                form = os.pread(descriptor, min(chunk.length, 40), chunk.position)
            elif chunk.name == (b"SSND" if container.kind == "AIFF" else b"data"):
                position = chunk.position + 8 * (container.kind == "AIFF")
                end = _end_of_sound(descriptor, size, container, chunk, trusts_header=trusts_header)
                describe = _aiff_layout if container.kind == "AIFF" else wav_layout
                return describe(form, container.order, position, max(0, end - position))
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
        container = container_of(descriptor)
        for chunk in container.chunks(descriptor, size) if container and container.kind == "RIFF" else ():
            if chunk.name == b"bext":
                content = os.pread(descriptor, min(chunk.length, ORIGINATION_TIME.stop), chunk.position)
                if len(content) < ORIGINATION_TIME.stop:
                    return ""
                parts = (content[part].decode("ascii", "replace") for part in (ORIGINATION_DATE, ORIGINATION_TIME))
                return " ".join(part.partition("\0")[0] for part in parts).strip()
    except (RecordingError, OSError):
        return ""
    return ""


def _end_of_sound(descriptor: int, size: int, container: Container, chunk: Chunk, *, trusts_header: bool) -> int:
    promised = _promised_large(chunk.length) if chunk.is_large else promised_length(chunk.length)
    if trusts_header and promised is not None:
        return min(size, chunk.position + promised)
    return find_tail(descriptor, size, container, chunk.position)


def wav_layout(form: bytes, order: str, position: int, n_bytes: int) -> Layout | None:
    """The layout that a WAV file's format chunk describes; None where a decoder is needed, or it is damaged."""
    if len(form) < 16:
        return None
    tag, n_channels, sample_rate, n_bytes_per_s, frame_size, bits = struct.unpack(f"{order}HHIIHH", form[:16])
    valid_bits = bits
    if tag == EXTENSIBLE and len(form) >= 26:
        # How many of the bits are used, and the sub-format, which begins with the tag.
        valid_bits, tag = struct.unpack(f"{order}H4xH", form[18:26])
    size, rest = divmod(8 * frame_size, n_channels) if n_channels else (0, 0)
    if (
        tag == PCM
        and not rest
        and 0 < bits < size <= 32
        and (bits > size // 2 or n_bytes_per_s == sample_rate * frame_size)
    ):
        bits = size  # 24 bits in four bytes, or 12 in two; of 16 in four, the rate of the bytes says so too
    if bits not in PLAIN_BITS.get(tag, ()) or n_channels == 0 or frame_size != n_channels * bits // 8:
        return None
    valid_bits = valid_bits if tag == PCM and 0 < valid_bits < bits else bits
    return Layout(position, n_bytes, tag, order, bits, n_channels, sample_rate, valid_bits)


def _aiff_layout(form: bytes, order: str, position: int, n_bytes: int) -> Layout | None:
    """The layout that a COMM chunk describes: channels, samples, bits, the rate as an 80-bit float, and its kind."""
    if len(form) < 18:
        return None
    n_channels, bits, exponent, mantissa = struct.unpack(">h4xhHQ", form[:18])
    tag, order = AIFF_KINDS.get(form[18:22], (0, order))
    if n_channels <= 0 or bits not in PLAIN_BITS.get(tag, ()) or not 0 <= 16383 + 63 - exponent < 64:
        return None
    rate = mantissa >> (16383 + 63 - exponent)
    return Layout(position, n_bytes, tag, order, bits, n_channels, rate, bits, is_signed=True)


def _is_chunk(descriptor: int, position: int) -> bool:
    return os.pread(descriptor, 4, position) in TRAILING_CHUNKS


def _promised_large(length: int) -> int | None:
    return None if length >= LARGE_STREAMING_SIZE else length


def promised_length(length: int) -> int | None:
    """What a length of 32 bits promises (in bytes); None for what a recorder writes that does not know it yet."""
    if any(end - STREAMING_SLACK <= length <= end for end in STREAMING_SIZES):
        return None
    return length


def _refuse_mpeg(content: bytes, order: str) -> None:
    if len(content) == 2 and struct.unpack(f"{order}H", content)[0] in MPEG_FORMATS:
        raise UnreadableRecordingError("it holds MP3 in a WAV header, which is not read; convert it to WAV or FLAC")
