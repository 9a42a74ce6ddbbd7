"""The chunks that RIFF, RF64, Wave64 and AIFF files are made of."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from sonyc_ml.errors import UnfinishedRecordingError, UnreadableRecordingError

# Before the sound. A recorder writes a handful, and a large file of zeros must not hold us up.
MAX_CHUNKS = 10_000
MAX_TAIL_CHUNKS = 1000

RIFF_MAGIC = (b"RIFF", b"RF64", b"RIFX", b"BW64")
# What recorders and editors append to the sound; a header of 0 bytes with one of them behind it is one without sound.
TRAILING_CHUNKS = (
    *(b"LIST", b"bext", b"id3 ", b"ID3 ", b"iXML", b"axml", b"_PMX", b"guan", b"JUNK", b"junk", b"PAD ", b"FLLR"),
    *(b"fact", b"cue ", b"smpl", b"inst", b"PEAK", b"umid", b"cart", b"chna", b"DISP", b"afsp"),
)
AIFF_TRAILING_CHUNKS = (
    *(b"MARK", b"INST", b"COMT", b"NAME", b"AUTH", b"(c) ", b"ANNO", b"APPL", b"MIDI", b"AESD", b"FVER"),
    *TRAILING_CHUNKS,
)
SOUND_CHUNKS = (b"data", b"SSND")

W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
W64_TAIL = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"

# Behind the sound: so many bytes are padding, or what a writer rounded; more of them are a chunk, a tag, or sound.
FEW_BYTES = 16
ID3V1_LENGTH = 128
PRINTABLE = re.compile(rb"[ -~]{4}")
TAIL_LENGTH = 1 << 16  # of a file, in which chunks are looked for that a header does not lead to


class Chunk(NamedTuple):
    """One chunk: its name, where its content begins, and how long that says it is (in bytes).

    `is_large` where the length has 64 bits, as in Wave64, or in the ``ds64`` chunk of an RF64 file.
    """

    name: bytes
    position: int
    length: int
    is_large: bool = False


class Container(NamedTuple):
    """A kind of file that is made of chunks.

    Attributes
    ----------
    kind : {"RIFF", "AIFF", "W64"}
    order : str
        Of bytes in numbers, ``"<"`` or ``">"``.
    """

    kind: str
    order: str

    def chunks(self, descriptor: int, size: int, position: int | None = None) -> Iterator[Chunk]:
        """Yield the chunks that begin within the file, from a position on.

        Raises
        ------
        UnreadableRecordingError
            There are more than anybody writes.
        UnfinishedRecordingError
            The file has become shorter.
        """
        if position is None:
            position = 40 if self.kind == "W64" else 12
        walk = (
            _w64_chunks(descriptor, size, position) if self.kind == "W64" else self._chunks(descriptor, size, position)
        )
        for i, chunk in enumerate(walk):
            if i == MAX_CHUNKS:
                raise UnreadableRecordingError(
                    f"it holds no sound: its header is damaged, with over {MAX_CHUNKS:,} chunks before the sound"
                )
            yield chunk

    def _chunks(self, descriptor: int, size: int, position: int) -> Iterator[Chunk]:
        large_length: int | None = None
        while position + 8 <= size:
            name, length = struct.unpack(f"{self.order}4sI", read_exactly(descriptor, 8, position))
            position += 8
            if name == b"ds64":
                content = os.pread(descriptor, 16, position)
                large_length = struct.unpack("<8xQ", content)[0] if len(content) == 16 else None
            is_large = name == b"data" and length == 0xFFFFFFFF and large_length is not None
            if is_large and large_length is not None:
                length = large_length
            yield Chunk(name, position, length, is_large)
            position += length + (length & 1)


def container_of(descriptor: int) -> Container | None:
    """What kind of chunks a file is made of; None for other files."""
    head = os.pread(descriptor, 16, 0)
    if head[:4] in RIFF_MAGIC and head[8:12] == b"WAVE":
        return Container("RIFF", ">" if head[:4] == b"RIFX" else "<")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Container("AIFF", ">")
    return Container("W64", "<") if head == W64_RIFF else None


def _w64_chunks(descriptor: int, size: int, position: int) -> Iterator[Chunk]:
    """Names are GUIDs of 16 bytes, of which the first four are those of RIFF; lengths count the header too."""
    while position + 24 <= size:
        guid, length = struct.unpack("<16sQ", read_exactly(descriptor, 24, position))
        yield Chunk(guid[:4] if guid[4:] == W64_TAIL else guid, position + 24, max(0, length - 24), is_large=True)
        position += length + (-length & 7)


def find_end(descriptor: int, size: int, container: Container, end: int) -> int:
    """Where the sound of a file may end: at `end`, if nothing but chunks stands behind it, else where the file's does.

    Parameters
    ----------
    descriptor : int
        Of the open file; its position is not touched.
    size : int
        Of the file (in bytes).
    container : Container
    end : int
        Where the header says that the sound ends (in bytes).
    """
    padding = -end & 7 if container.kind == "W64" else 1
    # Not every writer pads a chunk of odd length.
    if any(_is_tail(descriptor, size, container, start) for start in (end + padding, end)):
        return end
    return find_tail(descriptor, size, container, end)


def find_tail(descriptor: int, size: int, container: Container, start: int) -> int:
    """Where the chunks begin that end a file, wherever its header leads to; the file's end where there are none."""
    start = max(start, size - TAIL_LENGTH)
    tail = os.pread(descriptor, size - start, start)
    places = sorted({match.start() for match in re.finditer(b"|".join(map(re.escape, _names(container))), tail)})
    for place in places:
        if _is_tail(descriptor, size, container, start + place, may_be_cut=False):
            return start + place
    return size


def _is_tail(descriptor: int, size: int, container: Container, start: int, *, may_be_cut: bool = True) -> bool:
    """Whether what stands from here on is a chain of chunks that ends with the file, or next to nothing."""
    if size - start <= FEW_BYTES and may_be_cut:
        return True
    end = start
    for i, chunk in enumerate(container.chunks(descriptor, size, start)):
        name = chunk.name
        is_plausible = PRINTABLE.fullmatch(name) or len(name) == 16
        if i == MAX_TAIL_CHUNKS or not is_plausible or name in SOUND_CHUNKS:
            break
        end = chunk.position + chunk.length
        if end > size:  # a chunk that is cut off, if it is one
            return name in _names(container) and may_be_cut
        if size - end <= FEW_BYTES:
            return True
    return _is_id3v1(descriptor, size, end + (end & 1)) or _is_id3v1(descriptor, size, end)


def _is_id3v1(descriptor: int, size: int, start: int) -> bool:
    return size - start == ID3V1_LENGTH and os.pread(descriptor, 3, start) == b"TAG"


def _names(container: Container) -> tuple[bytes, ...]:
    return AIFF_TRAILING_CHUNKS if container.kind == "AIFF" else TRAILING_CHUNKS


def read_exactly(descriptor: int, length: int, position: int) -> bytes:
    """Read so many bytes.

    Raises
    ------
    UnfinishedRecordingError
        There are fewer, though there were more a moment ago.
    """
    content = os.pread(descriptor, length, position)
    if len(content) < length:
        raise UnfinishedRecordingError("it became shorter while it was read; something is still writing it")
    return content
