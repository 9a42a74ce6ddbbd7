"""What a file says of its length, against what it holds."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from sonyc_ml.errors import (
    EmptyRecordingError,
    RecordingError,
    UnfinishedRecordingError,
    UnreadableRecordingError,
)
from sonyc_ml.sound.chunks import MAX_CHUNKS, TRAILING_CHUNKS, W64_RIFF
from sonyc_ml.sound.header import (
    SoundLength,
    check_header,
    find_layout,
    find_sound,
    read_origination,
)
from tests.support import wavs
from tests.support.wavs import bext

HEADS = (
    b"",
    *(magic + b"\0\0\0\0WAVE" for magic in (b"RIFF", b"RIFX", b"RF64", b"BW64")),
    b"RF64\xff\xff\xff\xffWAVEds64",
    b"FORM\0\0\0\0AIFF",
    b"FORM\0\0\0\0AIFC",
    W64_RIFF + bytes(8) + wavs.W64_WAVE,
    b"OggS",
)
OTHERS = (b"LIST", b"bext", b"JUNK", b"fact", b"iXML", b"\0\0\0\0", b"Data")

# Each maker of a file takes the sound, what its header is to promise, and other chunks before the sound.
Maker = Callable[..., bytes]
MAKERS: dict[str, Maker] = {
    "RIFF": wavs.wav,
    "RIFX": lambda *args, **options: wavs.wav(*args, **options, magic=b"RIFX"),
    "RF64": wavs.rf64,
    "W64": wavs.w64,
    "AIFF": wavs.aiff,
}

makers = st.sampled_from(sorted(MAKERS))
chunks = st.lists(st.tuples(st.sampled_from(OTHERS), st.binary(max_size=9)), max_size=6)


@contextmanager
def descriptor_of(content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("recording")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def found(content: bytes) -> SoundLength | None:
    with descriptor_of(content) as descriptor:
        return find_sound(descriptor, len(content))


def check(content: bytes) -> None:
    with descriptor_of(content) as descriptor:
        check_header(descriptor, len(content))


def refused(content: bytes, kind: type[RecordingError] = UnreadableRecordingError) -> str:
    with pytest.raises(RecordingError) as caught:
        check(content)
    assert type(caught.value) is kind
    return str(caught.value)


@cache
def vorbis() -> bytes:
    content = io.BytesIO()
    y = np.random.default_rng(0).normal(0, 0.1, 3000)
    soundfile.write(content, y, 8000, format="OGG", subtype="VORBIS")
    return content.getvalue()


@given(st.sampled_from(HEADS), st.binary(max_size=400), st.integers(0, 300))
@example(HEADS[1], struct.pack("<4sI", b"LIST", 0xFFFFFFFF), 0)
@example(HEADS[8], bytes(16) + struct.pack("<Q", 0), 0)
@example(HEADS[8], bytes(16) + struct.pack("<Q", 2**64 - 1), 0)
@example(HEADS[5], struct.pack("<I", 2**32 - 1), 0)
def test_no_bytes_upset_the_walk(head: bytes, rest: bytes, n_vanished: int) -> None:
    """Whatever a file holds, and however much of it vanishes meanwhile, it passes or is a RecordingError."""
    with descriptor_of(head + rest) as descriptor:
        for walk in (find_sound, check_header, find_layout, read_origination):
            try:
                walk(descriptor, len(head + rest) + n_vanished)
            except RecordingError as error:
                assert str(error)  # noqa: PT017


@given(makers, st.binary(max_size=20), chunks)
def test_the_sound_is_found_behind_any_chunks(kind: str, sound: bytes, before: list[tuple[bytes, bytes]]) -> None:
    """LIST, bext, odd and unknown chunks before the sound do not hide its length."""
    length = found(MAKERS[kind](sound, before=before))
    assert length is not None
    assert length.promised == len(sound)
    assert 0 <= length.present - len(sound) < 8  # what pads the last chunk


@given(makers, st.binary(min_size=2, max_size=40), chunks, st.data())
def test_a_cut_is_seen_wherever_it_falls(
    kind: str, sound: bytes, before: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    """A file cut anywhere before the end of its sound is refused."""
    content = MAKERS[kind](sound, before=before)
    whole = found(content)
    assert whole is not None
    end = len(content) - whole.present + len(sound)
    cut = data.draw(st.integers(16, end - 1))
    reason = refused(content[:cut], UnfinishedRecordingError)
    assert "truncated" in reason or "holds no sound" in reason


@given(makers, st.binary(max_size=20), st.integers(1, 1 << 30))
def test_a_promise_is_reported_as_made(kind: str, sound: bytes, missing: int) -> None:
    """The promised length is what the header says, not what the file holds."""
    length = found(MAKERS[kind](sound, promised=len(sound) + missing))
    assert length is not None
    assert length.promised == len(sound) + missing


@pytest.mark.parametrize("kind", MAKERS)
def test_a_whole_file_passes(kind: str) -> None:
    """A file that holds what it promises is not refused."""
    check(MAKERS[kind](b"\1\2\3\4", before=[(b"LIST", b"odd")]))


@pytest.mark.parametrize("kind", MAKERS)
def test_truncated(kind: str) -> None:
    """A truncated file is refused with both lengths."""
    reason = refused(MAKERS[kind](bytes(2000), promised=3000), UnfinishedRecordingError)
    assert "truncated" in reason
    assert "3,000" in reason
    assert "2,000" in reason


@pytest.mark.parametrize("kind", MAKERS)
def test_unfinished(kind: str) -> None:
    """A header that says 0 before sound that is there belongs to a recorder at work, or one that was stopped."""
    reason = refused(MAKERS[kind](bytes(2000), promised=0), UnfinishedRecordingError)
    assert "unfinished" in reason
    assert "2,000" in reason


@pytest.mark.parametrize("kind", MAKERS)
def test_empty(kind: str) -> None:
    """A header with nothing behind it is an empty recording."""
    assert "no sound" in refused(MAKERS[kind](b""), EmptyRecordingError)


@pytest.mark.parametrize(
    "size",
    [0xFFFFFFFF, 0xFFFFFFFF - 44, 0xFFFFF000, 0x80000000, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x7FFFFF00, 0x7FFFF000],
    ids=hex,
)
def test_lengths_left_open(size: int) -> None:
    """The sizes that recorders write to a pipe promise nothing."""
    assert found(wavs.wav(bytes(20), promised=size)) == SoundLength(None, 20)


@pytest.mark.parametrize("size", [0x80000001, 0x7FFE0000, 0xFFFE0000], ids=hex)
def test_large_lengths_are_promises(size: int) -> None:
    """Other sizes of some gigabytes are taken at their word."""
    assert found(wavs.wav(bytes(20), promised=size)) == SoundLength(size, 20)


@pytest.mark.parametrize("make", [wavs.w64, wavs.rf64])
@pytest.mark.parametrize("size", [2**63 - 1 - 24, 2**64 - 1 - 24], ids=hex)
def test_large_lengths_left_open(make: Maker, size: int) -> None:
    """Where lengths have 64 bits, those near their end promise nothing."""
    assert found(make(bytes(24), promised=size)) == SoundLength(None, 24)


@pytest.mark.parametrize("length", [100, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_chunk_that_reaches_beyond_the_file(length: int) -> None:
    """A chunk longer than the file hides the sound, and the walk ends: the rest may be still to come."""
    content = b"RIFF\0\0\0\0WAVE" + wavs.chunk(b"LIST", b"", length) + wavs.chunk(b"data", bytes(20))
    assert "holds no sound" in refused(content, UnfinishedRecordingError)


@pytest.mark.timing
@pytest.mark.parametrize("head", [b"RIFF\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF", W64_RIFF], ids=["RIFF", "AIFF", "W64"])
def test_a_file_of_zeros_does_not_hold_us_up(head: bytes) -> None:
    """A quarter of a gigabyte of zeros after a header, as a power cut leaves it, is refused at once."""
    with descriptor_of(head) as descriptor:
        os.truncate(descriptor, 1 << 28)
        start_s = time.perf_counter()
        with pytest.raises(UnreadableRecordingError, match="holds no sound"):
            check_header(descriptor, 1 << 28)
        assert time.perf_counter() - start_s < 5


def test_as_many_chunks_as_anybody_writes() -> None:
    """A thousand chunks before the sound are walked."""
    assert MAX_CHUNKS > 1000
    assert found(wavs.wav(b"\0\0", before=[(b"LIST", b"abc")] * 1000)) == SoundLength(2, 2)


@pytest.mark.parametrize("tag", [0x50, 0x55])
@pytest.mark.parametrize("magic", [b"RIFF", b"RIFX"])
def test_mp3_inside(tag: int, magic: bytes) -> None:
    """MP3 in a WAV header is refused by name, before a decoder sees it."""
    form = wavs.fmt(tag, order=">" if magic == b"RIFX" else "<")
    assert "MP3" in refused(wavs.wav(bytes(20), form, magic=magic))


@pytest.mark.parametrize("content", [b"", b"fLaC", b"hello, world", b"RIFF\0\0\0\0AVI LIST", b"FORM\0\0\0\x008SVX"])
def test_other_kinds_pass(content: bytes) -> None:
    """What is not made of chunks that are known here is left to the decoder."""
    assert found(content) is None
    check(content)


@pytest.mark.parametrize("content", [wavs.wav(bytes(20)), wavs.w64(bytes(20)), wavs.ogg_page(b"a", 4)])
def test_the_position_stays(content: bytes) -> None:
    """The walk does not move the descriptor, which the decoder reads from."""
    with descriptor_of(content) as descriptor:
        for walk in (check_header, find_layout, read_origination):
            walk(descriptor, len(content))
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0


@given(st.lists(st.binary(max_size=600), min_size=1, max_size=4))
def test_whole_ogg_pages_pass(contents: list[bytes]) -> None:
    """Pages with the checksum of RFC 3533, the last one marked, are whole."""
    last = len(contents) - 1
    check(b"".join(wavs.ogg_page(content, 4 * (i == last), i) for i, content in enumerate(contents)))


def test_a_real_ogg_passes() -> None:
    """What libsndfile writes is whole."""
    check(vorbis())


@given(st.data())
def test_damage_to_an_ogg_is_seen(data: st.DataObject) -> None:
    """One bit changed anywhere in an Ogg file is refused: the decoder would leave out a page and say nothing."""
    content = bytearray(vorbis())
    content[data.draw(st.integers(4, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(UnreadableRecordingError, match=r"damaged|truncated"):
        check(bytes(content))


@given(st.data())
def test_a_cut_ogg_is_seen(data: st.DataObject) -> None:
    """An Ogg file cut anywhere is refused: the decoder would read what is left and say nothing."""
    content = vorbis()
    reason = refused(content[: data.draw(st.integers(4, len(content) - 1))], UnfinishedRecordingError)
    assert "unfinished" in reason or "truncated" in reason


def test_an_unfinished_ogg() -> None:
    """An Ogg file that stops between two pages is unfinished."""
    assert "unfinished" in refused(wavs.ogg_page(b"abc", 2, 0) + wavs.ogg_page(b"def", 0, 1), UnfinishedRecordingError)


def test_a_hole_in_an_ogg() -> None:
    """Zeros where a page should begin are damage, told by their place."""
    assert "damaged: the Ogg page at byte 31" in refused(wavs.ogg_page(b"abc") + bytes(400))


@pytest.mark.parametrize("name", TRAILING_CHUNKS)
@pytest.mark.parametrize("make", [wavs.wav, wavs.rf64])
def test_nothing_but_other_chunks(make: Maker, name: bytes) -> None:
    """A length of 0 with another chunk behind it, and not sound, is an empty recording: its writer did finish it."""
    assert "no sound" in refused(make(b"") + wavs.chunk(name, b"something"), EmptyRecordingError)


def test_shorter_than_it_was() -> None:
    """A file that becomes shorter while its header is read is still being written."""
    with descriptor_of(wavs.wav(b"")[:36]) as descriptor, pytest.raises(UnfinishedRecordingError, match="shorter"):
        check_header(descriptor, 100)


def origination_of(content: bytes) -> str:
    with descriptor_of(content) as descriptor:
        return read_origination(descriptor, len(content))


@pytest.mark.parametrize("kind", ["RIFF", "RIFX", "RF64"])
@pytest.mark.parametrize("is_behind", [False, True])
def test_origination(kind: str, is_behind: bool) -> None:
    """Date and time of the bext chunk are found before the sound and behind it."""
    chunks = [(b"LIST", b"odd"), (b"bext", bext("2019-11-14", "19:17:30"))]
    if is_behind:
        order = ">" if kind == "RIFX" else "<"
        content = MAKERS[kind](b"\1\2\3") + b"".join(wavs.chunk(*chunk, order=order) for chunk in chunks)
    else:
        content = MAKERS[kind](b"\1\2\3", before=chunks)
    assert origination_of(content) == "2019-11-14 19:17:30"


@given(st.data())
def test_origination_of_a_damaged_header(data: st.DataObject) -> None:
    """A header that is cut off or damaged anywhere says nothing, or something, and raises nothing."""
    content = bytearray(wavs.wav(b"\1\2", before=[(b"bext", bext("2019-11-14", "19:17:30"))]))
    content[data.draw(st.integers(0, 60))] = data.draw(st.integers(0, 255))
    assert origination_of(bytes(content)) is not None
    assert origination_of(bytes(content[: data.draw(st.integers(0, 380))])) == ""


@pytest.mark.parametrize(
    "content",
    [b"", wavs.wav(b"\1\2"), wavs.aiff(b"\1\2"), wavs.wav(b"", before=[(b"bext", b"short")]), wavs.ogg_page(b"a")],
    ids=["nothing", "no bext", "AIFF", "short", "Ogg"],
)
def test_no_origination(content: bytes) -> None:
    """A file without a whole bext chunk says nothing."""
    assert origination_of(content) == ""


def test_origination_of_a_disk_that_fails() -> None:
    """Nothing is said where nothing can be read."""
    folder = os.open("/", os.O_RDONLY)  # reading a folder fails as a disk does
    try:
        assert read_origination(folder, 1000) == ""
    finally:
        os.close(folder)


def layout_of(content: bytes) -> tuple[int, int] | None:
    with descriptor_of(content) as descriptor:
        layout = find_layout(descriptor, len(content))
    return (layout.position, layout.n_samples) if layout else None


@pytest.mark.parametrize(
    ("content", "layout"),
    [
        (wavs.wav(bytes(22), promised=0)[:-1], (44, 10)),
        (wavs.wav(bytes(22), wavs.fmt(n_channels=2), promised=0), (44, 5)),
        (wavs.wav(bytes(22), wavs.fmt(bits=-24), promised=99), (68, 7)),
        (wavs.rf64(bytes(20)), (80, 10)),
        (wavs.wav(bytes(20), wavs.fmt(bits=12)), None),
        (wavs.wav(bytes(20), wavs.fmt(wavs.FLOAT, bits=16)), None),
        (wavs.wav(bytes(20), wavs.fmt(0x11, bits=4)), None),
        (wavs.wav(bytes(20), wavs.fmt(n_channels=0)), None),
        (wavs.wav(bytes(20), wavs.fmt()[:14]), None),
        (wavs.wav(bytes(20), wavs.fmt()[:12] + b"\4\0" + wavs.fmt()[14:]), None),  # samples of 4 bytes, or of 2?
        (wavs.wav(bytes(20), wavs.fmt(bits=24)[:12] + b"\4\0" + wavs.fmt(bits=24)[14:]), (44, 5)),
        (b"RIFF\0\0\0\0WAVE" + wavs.chunk(b"data", bytes(20)), None),
        (wavs.wav(b"")[:36], None),
        (wavs.w64(bytes(24)), (104, 12)),
        (wavs.aiff(bytes(20)), (54, 10)),
        (wavs.ogg_page(bytes(20)), None),
    ],
)
def test_layouts(content: bytes, layout: tuple[int, int] | None) -> None:
    """Where plain samples lie is told from the header; what needs a decoder, or is damaged, has no layout."""
    assert layout_of(content) == layout
