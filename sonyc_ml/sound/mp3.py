"""How much sound an MP3 file holds, whatever its header says (ISO/IEC 11172-3 and 13818-3, layer III).

It is frames one behind the other, each of which says how long it is. The first is often none of sound but a tag
(``Xing``, ``Info`` or ``VBRI``) with the number of the others. The decoder believes it, and without one it guesses by
the size of the first frame: it reads too little. So the frames are walked, and where their number is not that of the
tag, the decoder gets a tag that is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from sonyc_ml.errors import UnreadableRecordingError
from sonyc_ml.sound.chunks import ID3V1_LENGTH
from sonyc_ml.sound.ogg import SEVERAL
from sonyc_ml.sound.parts import Part, Parts

# By the bits of a frame's header: of MPEG 1, and of MPEG 2 and 2.5, which halve and quarter the rates of samples.
KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
SAMPLE_RATES = (44100, 48000, 32000)
DIVISORS = {3: 1, 2: 2, 0: 4}
LAYER_III, MONO = 1, 3

HEADER_LENGTH = 4
XING_OFFSETS = {(3, False): 36, (3, True): 21, (2, False): 21, (2, True): 13, (0, False): 21, (0, True): 13}
VBRI_OFFSET = 36
HAS_COUNTS, HAS_ALL = 3, 15  # of frames and bytes; and a table of places, and the quality
PADDING_OFFSET = 142  # from "Xing", where it has all: how many samples fill up the last frame, in 12 bits
MIN_FRAMES = 3  # in a row, so that bytes which happen to look like one are none
BLOCK_SIZE = 1 << 20  # bytes that are walked at once
TAGS = (b"TAG", b"APETAGEX", b"ID3", b"LYRICSBEGIN")
MAX_DELAY = 1 << 13  # samples of the encoder and decoder that a tag may take off, at both ends


class Frame(NamedTuple):
    """A frame by its header: its length (in bytes), its samples of each channel, and what all frames share."""

    length: int
    n_samples: int
    version: int
    sample_rate: int
    is_mono: bool


class Mp3Stream(NamedTuple):
    """What an MP3 file holds.

    Attributes
    ----------
    promised : int or None
        How many frames of sound the tag says; None without one.
    n_frames : int
        Of sound, whole.
    n_samples : int
        Of each channel, in those frames, with what the tag takes off.
    start, end : int
        Where the first frame of sound begins and the last whole one ends (in bytes).
    is_cut : bool
        Whether a frame behind it was not written to its end.
    tag : bytes
        The frame that holds the tag; empty without one.
    """

    promised: int | None
    n_frames: int
    n_samples: int
    start: int
    end: int
    is_cut: bool
    tag: bytes

    @property
    def is_as_promised(self) -> bool:
        """Whether the tag is right; some encoders count its own frame too."""
        return self.promised in (self.n_frames, self.n_frames + 1)


def read_frame(head: bytes) -> Frame | None:
    """A frame by its first four bytes; None where there is none of layer III with a length of its own."""
    if len(head) < HEADER_LENGTH or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, rate, place = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer != LAYER_III or rate == 3 or place in (0, 15):
        return None
    sample_rate = SAMPLE_RATES[rate] // DIVISORS[version]
    n_samples, kbps = (1152, KBPS_1[place]) if version == 3 else (576, KBPS_2[place])
    length = n_samples // 8 * kbps * 1000 // sample_rate + (head[2] >> 1 & 1)
    return Frame(length, n_samples, version, sample_rate, head[3] >> 6 == MONO)


def find_frames(stream: Parts, start: int) -> bool:
    """Whether frames of MP3 begin at a position."""
    first: Frame | None = None
    for n in range(MIN_FRAMES):
        frame = read_frame(stream.content(start, HEADER_LENGTH))
        if frame is None or (first is not None and frame[2:4] != first[2:4]):
            return n > 1 and start >= len(stream)
        first, start = frame, start + frame.length
    return True


def measure(stream: Parts, start: int) -> Mp3Stream:
    """Walk the frames of a file.

    Parameters
    ----------
    stream : Parts
        The whole file.
    start : int
        Where the first frame begins, behind a tag (in bytes).

    Raises
    ------
    UnreadableRecordingError
        Between two frames there is something else: it is damaged, or holds several recordings.
    """
    first = read_frame(stream.content(start, HEADER_LENGTH))
    if first is None:
        raise UnreadableRecordingError("it is damaged: its first frame of MP3 is missing")
    tag, promised = _read_tag(stream.content(start, first.length), first)
    start += len(tag)
    n_frames, end = 0, start
    for n_frames, end in enumerate(_ends(stream, start, first), 1):  # noqa: B007  the last ones are wanted
        pass
    is_cut = end < len(stream) and _is_cut(stream, end, first)
    return Mp3Stream(promised, n_frames, n_frames * first.n_samples, start, end, is_cut, tag)


def _ends(stream: Parts, start: int, first: Frame) -> Iterator[int]:
    """Where each whole frame ends."""
    block, place, position = b"", 0, start
    while position + HEADER_LENGTH <= len(stream):
        if position + HEADER_LENGTH > place + len(block):
            block, place = stream.content(position, BLOCK_SIZE), position
        frame = read_frame(block[position - place : position - place + HEADER_LENGTH])
        if frame is None or frame[2:4] != first[2:4] or position + frame.length > len(stream):
            return
        position += frame.length
        yield position


def _is_cut(stream: Parts, end: int, first: Frame) -> bool:
    """Whether a frame is cut off behind the last whole one, or zeros stand there; not so where a tag does.

    Raises
    ------
    UnreadableRecordingError
        It is something else, or there are frames behind it.
    """
    frame = read_frame(stream.content(end, HEADER_LENGTH))
    if frame is not None and frame[2:4] == first[2:4]:
        return True
    rest = stream.content(end, BLOCK_SIZE)
    is_tag = rest.startswith(TAGS)
    for place in (match.start() for match in re.finditer(b"\xff", rest)):
        if read_frame(rest[place : place + HEADER_LENGTH]) and find_frames(stream, end + place):
            text = SEVERAL.format(end, len(stream)) if is_tag else f"it is damaged: behind byte {end:,} a frame is lost"
            raise UnreadableRecordingError(text)
    if is_tag or len(stream) - end <= ID3V1_LENGTH:
        return False
    if rest.strip(b"\0"):
        raise UnreadableRecordingError(f"it is damaged: what stands behind byte {end:,} is no frame of MP3")
    return True


def with_length(stream: Parts, found: Mp3Stream) -> Parts:
    """The whole frames behind a tag that says how many they are."""
    n_bytes = len(found.tag) + found.end - found.start
    sound: list[Part] = stream.between(found.start, found.end)
    first = read_frame(stream.content(found.start, HEADER_LENGTH))
    if first is None:
        return Parts(stream.descriptor, sound)
    offset = XING_OFFSETS[first.version, first.is_mono]
    if found.tag[offset : offset + 4] in (b"Xing", b"Info") and found.tag[offset + 7] == HAS_ALL:
        tag = bytearray(found.tag)
        tag[offset + PADDING_OFFSET] &= 0xF0  # the last frame is not the encoder's last
        tag[offset + PADDING_OFFSET + 1] = 0
    else:
        tag = bytearray(stream.content(found.start, HEADER_LENGTH).ljust(first.length, b"\0"))
        tag[1] |= 1  # no checksum behind the header
        n_bytes += len(tag) - len(found.tag)
        tag[offset : offset + 8] = b"Xing\0\0\0" + bytes([HAS_COUNTS])
    tag[offset + 8 : offset + 16] = found.n_frames.to_bytes(4, "big") + n_bytes.to_bytes(4, "big")
    return Parts(stream.descriptor, [bytes(tag), *sound])


def _read_tag(content: bytes, first: Frame) -> tuple[bytes, int | None]:
    """The first frame where it is a tag, and how many others that says there are."""
    offset = XING_OFFSETS[first.version, first.is_mono]
    if content[offset : offset + 4] in (b"Xing", b"Info"):
        has_count = bool(content[offset + 7] & 1)
        return content, int.from_bytes(content[offset + 8 : offset + 12], "big") if has_count else None
    if content[VBRI_OFFSET : VBRI_OFFSET + 4] == b"VBRI":
        return content, int.from_bytes(content[VBRI_OFFSET + 14 : VBRI_OFFSET + 18], "big")
    return b"", None
