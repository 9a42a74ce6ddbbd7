"""Bytes of a connection, however they arrive, are the samples that the other side sent, or refused in a sentence."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.errors import ProtocolError
from sonyc_ml.sound.header import Layout
from sonyc_ml.sound.live.audio_format import AudioFormat
from sonyc_ml.sound.live.formats import SAMPLE_FORMATS, describe, raw_layout
from sonyc_ml.sound.live.streams import AnyStream, Asked, Begins, Ends, Item, Missing, Sound, stream_for
from sonyc_ml.sound.live.wyoming import encode
from tests.conftest import examples
from tests.support.live import cut_at, wav_header

LAYOUT = raw_layout(48000, "S16_LE", 2)
CONTENT = bytes(range(256)) * 40
LENGTHS = st.lists(st.integers(1, 700), min_size=1, max_size=8)


def read(content: bytes, lengths: list[int], layout: Layout | None = None) -> list[Item]:
    """What a connection says whose bytes come in chunks of these lengths; sounds that touch are one."""
    stream, found = stream_for(layout), list[Item]()
    for chunk in cut_at(content, lengths):
        for item in stream.feed(chunk):
            if isinstance(item, Sound) and found and isinstance(found[-1], Sound):
                found[-1] = Sound(bytes(found[-1].content) + bytes(item.content))
            elif not isinstance(item, Sound) or item.content:
                found.append(item)
    return found


def wyoming(content: bytes, **said: object) -> bytes:
    """A stream as a voice satellite sends it."""
    audio = AudioFormat(48000, 2, 2)
    parts = [encode("audio-start", {**audio.data, **said})]
    for chunk in cut_at(content, [1024]):
        parts += [encode("audio-chunk", audio.data, len(chunk)), chunk]
    return b"".join([*parts, encode("audio-stop")])


@examples(40)
@given(LENGTHS)
def test_a_wav_stream_of_unknown_length(lengths: list[int]) -> None:
    """Header and samples are told apart wherever they are cut; it goes on for as long as something comes."""
    assert read(wav_header(LAYOUT) + CONTENT, lengths) == [Begins(LAYOUT), Sound(CONTENT)]


@pytest.mark.parametrize("size", [0, 0x80000000, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFDB])
def test_lengths_that_mean_that_nobody_knows(size: int) -> None:
    """GStreamer, arecord, SoX and ffmpeg each have their own."""
    assert read(wav_header(LAYOUT, size) + CONTENT, [999]) == [Begins(LAYOUT), Sound(CONTENT)]


@examples(20)
@given(LENGTHS)
def test_wav_files_one_after_another(lengths: list[int]) -> None:
    """Where a length is known the sound ends there; another file may follow, and chunks without sound."""
    file = wav_header(LAYOUT, len(CONTENT)) + CONTENT
    once = [Begins(LAYOUT), Sound(CONTENT), Ends()]
    assert read(file + b"LIST" + struct.pack("<I", 4) + b"INFO", lengths) == once
    assert read(file + file, [len(file)]) == once + once


@examples(20)
@given(LENGTHS)
def test_wyoming_events(lengths: list[int]) -> None:
    """What they describe is the layout; the connection may go on after a stream."""
    start_s = 1_795_885_200.0
    said = wyoming(CONTENT, source="street 1", start_time="2026-11-28T17:00:00Z")
    found = read(encode("describe") + said + wyoming(CONTENT), lengths)
    layout = raw_layout(48000, "S16_LE", 2)
    begins = Begins(layout, "street 1", start_s)
    assert found == [Asked(), begins, Sound(CONTENT), Ends(), Begins(layout), Sound(CONTENT), Ends()]


def test_chunks_that_do_not_come_are_missing() -> None:
    """A sequence with a gap says how much there would have been."""
    audio = AudioFormat(16000, 2, 1)
    content = encode("audio-start", audio.data)
    for sequence in (7, 8, 11):
        content += encode("audio-chunk", {**audio.data, "sequence": sequence}, 100) + bytes(100)
    found = read(content, [50])
    assert [type(item) for item in found] == [Begins, Sound, Missing, Sound]
    assert found[2] == Missing(200, "chunks 9 to 10 did not come")


def test_raw_samples_are_what_the_user_says() -> None:
    """With a layout every byte is a sample, whatever it looks like."""
    assert read(b"RIFF" + CONTENT, [3], LAYOUT) == [Begins(LAYOUT), Sound(b"RIFF" + CONTENT)]


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"fLaC\0\0\0\x22", "FLAC"),
        (b"OggS\0\2", "Ogg"),
        (b"GET / HTTP/1.1\r\n", "an HTTP request"),
        (b"\x01\x02\x03\x04\x05", r"begins with b'\\x01\\x02"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (wav_header(Layout(0, 0, 2, "<", 4, 1, 8000, 4)), "of format 02 00 01 00"),
        (wav_header(Layout(0, 0, 1, "<", 16, 1, 5, 16)), "sample rate must be from 1,000"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "before any format"),
        (b"RIFF\0\0\0\0WAVELIST\0\0\0\x7f", "LIST"),
        (b"{nothing}\n", "JSON"),
        (encode("audio-start", {"rate": 100, "width": 2, "channels": 1}), "100"),
    ],
)
def test_what_is_neither_is_refused_in_a_sentence(content: bytes, seen: str) -> None:
    """It says what was seen."""
    with pytest.raises(ProtocolError, match=seen):
        list(AnyStream().feed(content))


@pytest.mark.parametrize("name", SAMPLE_FORMATS)
def test_every_format_has_words(name: str) -> None:
    """Names of formats are taken in capitals or not, and described."""
    layout = raw_layout(16000, name.lower(), 2)
    assert f"{layout.valid_bits}-bit" in describe(layout)
    assert layout.frame_size == layout.bits // 4


def test_formats_that_no_recorder_has() -> None:
    """Each is refused by what is wrong with it."""
    for values, reason in (((16000, "S20_LE"), "S16_LE"), ((999,), "1,000"), ((16000, "S16_LE", 0), "0")):
        with pytest.raises(ValueError, match=reason):
            raw_layout(*values)
