"""How much sound a FLAC file holds, whatever its header says (RFC 9639).

Its length stands in the header (STREAMINFO), where an encoder on a pipe leaves it open, and firmware has been seen to
double it. libsndfile believes it: it reads too little, or nothing. The frames number themselves, so the last whole one
tells what there is; a file that is cut off is whole up to there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import EmptyRecordingError, UnfinishedRecordingError
from sonyc_ml.sound import ogg
from sonyc_ml.sound.chunks import ID3V1_LENGTH
from sonyc_ml.sound.parts import Part, Parts

MAGIC = b"fLaC"
STREAMINFO = slice(8, 42)  # behind "fLaC" and four bytes of block header
COUNT = slice(18, 26)  # of its bytes: the rate, the channels, the bits, and in the lower 36 bits the number of samples
COUNT_BITS = 36
MAX_BLOCKS = 1000  # of metadata
MAX_HEADER_LENGTH = 16  # of a frame (in bytes)
TAIL_LENGTH = 1 << 15  # what is read from the end (in bytes); doubled until a frame is found in it
MAX_TAIL_LENGTH = 1 << 24  # the largest frame that the format knows
N_TRIED = 16  # places before one that looks like a frame that may be the frame before it
BLOCK_SIZES = (0, 192, 576, 1152, 2304, 4608, 0, 0, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
POLYNOMIAL, PIECE_LENGTH = 0x8005, 1 << 13


class FlacStream(NamedTuple):
    """What a FLAC stream holds.

    Attributes
    ----------
    promised : int
        How many samples of each channel the header says; 0 where it leaves it open.
    n_samples : int
        In whole frames, of each channel.
    end : int
        Where the last whole frame ends (in bytes of the stream).
    is_cut : bool
        Whether there is more behind it: a frame that was not written to its end.
    """

    promised: int
    n_samples: int
    end: int
    is_cut: bool


class _Frame(NamedTuple):
    position: int
    first_sample: int
    n_samples: int


def find_stream(descriptor: int, size: int, *, salvage: bool = False) -> Parts | None:
    """The native FLAC stream of a file: behind an ID3 tag, or out of the pages of Ogg; None where there is none.

    Raises
    ------
    UnfinishedRecordingError, UnreadableRecordingError
        The pages of Ogg are cut off, without `salvage`, or damaged.
    """
    start = id3_length(os.pread(descriptor, 10, 0))
    magic = os.pread(descriptor, 4, start)
    if magic == MAGIC:
        return Parts(descriptor, [(start, size - start)])
    if magic == b"OggS" and start == 0 and ogg.holds_flac(descriptor):
        found = ogg.whole_pages(descriptor, size) if salvage else ogg.pages(descriptor, size)
        parts: list[Part] = [(page.content, page.end - page.content) for page in found]
        if parts:
            position, length = parts[0]
            parts[0] = (int(position) + ogg.OGG_FLAC_HEADER_LENGTH, int(length) - ogg.OGG_FLAC_HEADER_LENGTH)
        return Parts(descriptor, parts)
    return None


def id3_length(head: bytes) -> int:
    """Length of the ID3v2 tag that a file begins with (in bytes), 0 without one; from its first ten bytes."""
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
        return 0
    length = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return length + 10 * bool(head[5] & 0x10)  # a footer


def measure(stream: Parts) -> FlacStream:
    """Find out what a stream holds.

    Raises
    ------
    EmptyRecordingError
        It ends behind its header, which promises nothing.
    UnfinishedRecordingError
        It ends within its header, or before its first frame does.
    """
    promised = int.from_bytes(stream.content(COUNT.start, 8), "big") & (1 << COUNT_BITS) - 1
    start, end = _first_frame(stream), _without_tag(stream)
    if start == len(stream) and promised == 0:
        raise EmptyRecordingError("it has a header and no sound")
    head = stream.content(start, MAX_HEADER_LENGTH) if start else b""
    block_length = probed.n_samples if (probed := _frame(head, 0, 0)) else 0
    first = _frame(head, 0, block_length)
    if first is None:
        raise UnfinishedRecordingError("it holds no sound: the file ends, or is damaged, before the sound begins")
    last = _last_frame(stream, start, end, block_length)
    if last is None:
        raise UnfinishedRecordingError("it is truncated: it ends within its first frame")
    last_frame, frame_end = last
    n_samples = last_frame.first_sample + last_frame.n_samples - first.first_sample
    return FlacStream(promised, n_samples, frame_end, frame_end < end)


def with_length(stream: Parts, found: FlacStream) -> Parts:
    """The stream up to its last whole frame, under a header that says how long it is."""
    count = int.from_bytes(stream.content(COUNT.start, 8), "big") >> COUNT_BITS << COUNT_BITS | found.n_samples
    header: list[Part] = [stream.content(0, COUNT.start), count.to_bytes(8, "big")]
    return Parts(stream.descriptor, [*header, *stream.between(COUNT.stop, found.end)])


def count_behind(stream: Parts, position: int, end: int) -> int:
    """How many bytes of frames lie behind a position; what is zero there is none, as a power cut leaves it."""
    return max(0, end - position) if stream.content(position, TAIL_LENGTH).strip(b"\0") else 0


def _first_frame(stream: Parts) -> int:
    """Where the metadata end; 0 where they do not."""
    position = len(MAGIC)
    for _ in range(MAX_BLOCKS):
        head = stream.content(position, 4)
        if len(head) < 4:
            return 0
        position += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:
            return position if position <= len(stream) else 0
    return 0


def _without_tag(stream: Parts) -> int:
    """Where a stream ends, but for the tag that some programs put there."""
    end = len(stream)
    return end - ID3V1_LENGTH if stream.content(end - ID3V1_LENGTH, 3) == b"TAG" else end


def _last_frame(stream: Parts, start: int, end: int, block_length: int) -> tuple[_Frame, int] | None:
    """The last whole frame, and where it ends."""
    sync = stream.content(start, 2)
    length = TAIL_LENGTH
    while True:
        place = max(start, end - length)
        tail = stream.content(place, end - place)
        n_sound = len(tail.rstrip(b"\0"))  # a power cut leaves zeros
        followers = [n_sound, n_sound + 1, n_sound + 2, len(tail)]
        for frame in _frames_from_behind(tail, sync, block_length):
            for follower in reversed(followers[-N_TRIED:]):
                if _remainder(tail[frame.position : follower]) == 0:
                    return frame, place + follower
            followers.append(frame.position)
        if place == start or length > MAX_TAIL_LENGTH:
            return None
        length *= 2


def _frames_from_behind(tail: bytes, sync: bytes, block_length: int) -> Iterator[_Frame]:
    """Yield what looks like a frame, the last one first."""
    position = tail.rfind(sync)
    while position >= 0:
        if frame := _frame(tail[position : position + MAX_HEADER_LENGTH], position, block_length):
            yield frame
        position = tail.rfind(sync, 0, position + len(sync) - 1)


def _frame(head: bytes, position: int, block_length: int) -> _Frame | None:
    """A frame by its header; `block_length` is that of all frames but the last, where they number themselves."""
    if len(head) < 6 or head[0] != 0xFF or head[1] not in (0xF8, 0xF9):
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    coded = _coded_number(head[4:])
    if size_code == 0 or rate_code == 15 or coded is None:
        return None
    number, length = coded
    place = 4 + length
    n_samples = BLOCK_SIZES[size_code]
    if size_code in (6, 7):
        n_bytes = size_code - 5
        n_samples = int.from_bytes(head[place : place + n_bytes], "big") + 1
        place += n_bytes
    place += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if place >= len(head) or _crc8(head[:place]) != head[place]:
        return None
    is_variable = head[1] & 1
    return _Frame(position, number if is_variable else number * block_length, n_samples)


def _coded_number(head: bytes) -> tuple[int, int] | None:
    """The number of a frame or sample, coded as UTF-8 is, and its length in bytes."""
    n_ones = 8 - (~head[0] & 0xFF).bit_length()
    if n_ones == 0:
        return head[0], 1
    rest = head[1:n_ones]
    if n_ones in (1, 8) or len(rest) < n_ones - 1 or any(byte >> 6 != 2 for byte in rest):
        return None
    number = head[0] & (1 << (7 - n_ones)) - 1
    for byte in rest:
        number = number << 6 | byte & 63
    return number, n_ones


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 7) & 0xFF if crc & 0x80 else crc << 1
    return crc


@cache
def _powers() -> npt.NDArray[np.uint16]:
    """Remainder of each power of x by the polynomial of FLAC's CRC-16, `(n_bits,)`, the highest first."""
    powers: list[int] = [1]
    for _ in range(8 * (PIECE_LENGTH + 2) - 1):
        power = powers[-1] << 1
        powers.append((power ^ POLYNOMIAL) & 0xFFFF if power & 0x10000 else power)
    return np.array(powers[::-1], np.uint16)


def _remainder(frame: bytes) -> int:
    """What is left of a frame with its CRC-16 behind it; 0 where it is whole."""
    left = b""
    for start in range(0, len(frame), PIECE_LENGTH):
        bits = np.unpackbits(np.frombuffer(left + frame[start : start + PIECE_LENGTH], np.uint8))
        powers = _powers()
        left = int(np.bitwise_xor.reduce(powers[len(powers) - len(bits) :] * bits)).to_bytes(2, "big")
    return int.from_bytes(left, "big")
