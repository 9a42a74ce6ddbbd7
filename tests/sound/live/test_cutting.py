"""Streams become recordings: every sample once, and when it was taken."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.errors import UnreadableRecordingError
from sonyc_ml.model.loading import load_model
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.live.clock import CLOCK_STEP_S, TOLERANCE_S
from sonyc_ml.sound.live.cutting import Cutter
from sonyc_ml.sound.live.formats import raw_layout
from sonyc_ml.sound.live.segment import LiveRecording, LiveSegment
from sonyc_ml.sound.start_time import StartTimes
from tests.conftest import examples
from tests.support.live import START_S, SUBTYPES, Clocks, cut_at, samples, write_wav

RATE = 8000
LAYOUT = raw_layout(RATE)


def feed(
    cutter: Cutter, clocks: Clocks, seconds: float, chunk_s: float = 0.125, speed: float = 1.0
) -> list[LiveSegment]:
    """Sound as a recorder sends it: a chunk comes when it is over."""
    found = []
    for _ in range(round(seconds / chunk_s)):
        found += cutter.feed(bytes(2 * round(chunk_s * RATE)), clocks.after(chunk_s / speed))
    return found


@examples(60)
@given(
    st.sampled_from(sorted(SUBTYPES)),
    st.integers(1, 8),
    st.lists(st.integers(1, 9000), min_size=1, max_size=6),
    st.integers(0, 1),
    st.integers(0, 99),
)
def test_samples_are_those_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, name: str, n_channels: int, lengths: list[int], channel: int, seed: int
) -> None:
    """Of every width, number of channels and chunks of any size: the same blocks, and levels, bit for bit."""
    layout = raw_layout(RATE, name, n_channels)
    content = samples(name, 2100, n_channels, seed)
    clocks, cutter = Clocks(), Cutter("a", layout, 1000 / RATE)
    segments = [segment for chunk in cut_at(content, lengths) for segment in cutter.feed(chunk, clocks())]
    segments += cutter.interrupt(clocks(), "", "")
    assert [(segment.n_samples, segment.salvaged) for segment in segments] == [
        (1000, False),
        (1000, False),
        (100, True),
    ]
    chosen = None if channel >= n_channels or seed % 2 else channel
    path = tmp_path_factory.mktemp("live") / "a.wav"
    for segment in segments:
        write_wav(path, bytes(segment.content), layout)
        live = LiveRecording(segment, "a_1", chosen)
        with open_recording(path, chosen) as file:
            assert (live.n_samples, live.n_channels, live.sample_rate) == (file.n_samples, file.n_channels, RATE)
            for of_live, of_file in zip(live.segment_blocks(), file.segment_blocks(), strict=True):
                np.testing.assert_array_equal(np.concatenate(list(of_live[1])), np.concatenate(list(of_file[1])))
            wanted = {name: value for name, value in file.description.items() if name in live.description}
            assert live.description == wanted
        assert live.sha256() == hashlib.sha256(bytes(segment.content)).hexdigest()


def test_outputs_are_those_of_the_file(tiny_bundle: Path, tmp_path: Path) -> None:
    """Embedded from memory, the numbers and time stamps are the file's, bit for bit; the origin says live."""
    model = load_model(tiny_bundle)
    for name in SUBTYPES:
        layout = raw_layout(RATE, name, 2)
        content = samples(name, 3 * RATE, 2)
        segment = LiveSegment("a", layout, bytearray(content), START_S + 0.000125, 3 * RATE)
        live = model.embed(LiveRecording(segment, "a_20261128T170000Z", None))
        file = model.embed_file(write_wav(tmp_path / "a.wav", content, layout))
        assert live.by_kind().keys() == file.by_kind().keys()
        for kind, array in file.by_kind().items():
            np.testing.assert_array_equal(live.by_kind()[kind], array)
        np.testing.assert_array_equal(live.timestamps, file.timestamps)
        provenance = live.provenance
        assert (provenance.start_time, provenance.start_time_source) == ("2026-11-28T17:00:00.000125+00:00", "live")
        assert (provenance.is_live, provenance.marks, provenance.recording_bytes) == (True, (), len(content))


def test_samples_in_the_lower_bits_of_their_place(tmp_path: Path) -> None:
    """24 bits in four bytes are read where they are, as from a file."""
    layout = raw_layout(RATE, "S24_LE")
    numbers = np.array([1, -1, 2**23 - 1, -(2**23)], "<i4")
    for shift in (0, 8):
        segment = LiveSegment("a", layout, bytearray((numbers << shift).astype("<i4").tobytes()), START_S, 4)
        ((_, blocks),) = LiveRecording(segment, "a_1").segment_blocks()
        np.testing.assert_array_equal(np.concatenate(list(blocks)), numbers.astype(np.float32) / 2**23)


def test_what_is_no_sound_is_refused() -> None:
    """NaN in a stream costs this recording."""
    segment = LiveSegment("a", raw_layout(RATE, "FLOAT_LE"), bytearray(np.full(8, np.nan, "<f4").tobytes()), 0.0, 8)
    with pytest.raises(UnreadableRecordingError, match=r"a \(live\): it holds NaN"):
        [list(blocks) for _, blocks in LiveRecording(segment, "a_1").segment_blocks()]


def test_recordings_follow_each_other_to_the_sample() -> None:
    """The count is the clock: what comes late or in a burst is no later for that."""
    clocks, cutter = Clocks(), Cutter("a", LAYOUT, 1.0)
    found = feed(cutter, clocks, 2.0)
    clocks.after(0.2)  # held up
    found += feed(cutter, clocks, 2.0, speed=1.1)
    assert [segment.start_s for segment in found] == [START_S + i for i in range(4)]
    assert [segment.reason for segment in found] == [""] * 4


def test_the_first_sample_was_taken_before_its_chunk_came() -> None:
    """A chunk comes when it is over; where the other side says when it began, that is when."""
    clocks = Clocks()
    (segment,) = Cutter("a", LAYOUT, 0.5).feed(bytes(RATE), clocks.after(0.5))
    assert segment.start_s == START_S
    (segment,) = Cutter("a", LAYOUT, 0.5, start_s=5.0).feed(bytes(RATE), clocks.after(7.0))
    assert segment.start_s == 5.0


def test_samples_that_were_lost_on_the_way_are_a_gap() -> None:
    """A recorder that overran sends less than there was, and says nothing: the clock does, in the next recording."""
    clocks, cutter = Clocks(), Cutter("a", LAYOUT, 2.0)
    found = feed(cutter, clocks, 3.0)
    clocks.after(3.5)
    found += feed(cutter, clocks, 5.0)
    assert [round(segment.start_s - START_S, 3) for segment in found] == [0.0, 2.0, 7.5, 9.5]
    assert [segment.reason for segment in found] == ["", "", "skipped", ""]
    assert "3.50 s of sound did not come" in found[2].detail


@pytest.mark.parametrize(("ppm", "word"), [(200, "faster"), (-200, "slower")])
def test_a_quartz_that_drifts_is_followed_and_said(ppm: int, word: str) -> None:
    """Never further from the clock than the tolerance; a note says by how much."""
    clocks, cutter = Clocks(), Cutter("a", LAYOUT, 10.0)
    found = feed(cutter, clocks, 4000.0, chunk_s=1.0, speed=1 + ppm * 1e-6)
    for number, segment in enumerate(found):
        true_s = START_S + number * 10 / (1 + ppm * 1e-6)
        assert abs(segment.start_s - true_s) <= TOLERANCE_S + 0.01
    drifts = [segment for segment in found if segment.reason]
    assert {segment.reason for segment in drifts} == {"drift"}
    assert len(drifts) == 3
    assert f"{abs(ppm)} ppm {word}" in drifts[-1].note or f"{abs(ppm) - 1} ppm {word}" in drifts[-1].note


def test_a_clock_that_is_set_moves_what_comes_after() -> None:
    """No sound is missing; what was cut before keeps the time it had."""
    clocks, cutter = Clocks(), Cutter("a", LAYOUT, 1.0)
    found = feed(cutter, clocks, 1.5)
    clocks.offset_s += 3600.0
    found += feed(cutter, clocks, 2.5)
    assert [segment.start_s - START_S for segment in found] == [0.0, 3601.0, 3602.0, 3603.0]
    assert [segment.reason for segment in found] == ["", "clock set", "", ""]
    clocks.offset_s += CLOCK_STEP_S / 2
    assert [segment.reason for segment in feed(cutter, clocks, 1.0)] == [""]


def test_sound_faster_than_its_time_is_counted_alone() -> None:
    """A file that is piped in at once has the times of its samples, and can wait."""
    clocks, cutter = Clocks(), Cutter("a", LAYOUT, 1.0)
    assert not cutter.is_ahead(clocks())
    found = feed(cutter, clocks, 30.0, speed=50.0)
    assert [segment.start_s - START_S for segment in found] == pytest.approx(list(range(30)), abs=0.13)
    assert {segment.reason for segment in found} == {""}
    assert cutter.is_ahead(clocks())
    assert not cutter.is_ahead(clocks.after(60.0))


def test_an_interruption_ends_the_recording_there() -> None:
    """What there is of it is one, and says that it is short; the next says why it begins later."""
    clocks, cutter = Clocks(), Cutter("a", LAYOUT, 1.0)
    found = feed(cutter, clocks, 1.25)
    found += cutter.interrupt(clocks(), "stalled", "nothing came")
    assert [(segment.n_own, segment.salvaged) for segment in found] == [(RATE, False), (RATE // 4, True)]
    clocks.after(20.0)
    found = feed(cutter, clocks, 1.0)
    assert [(segment.start_s - START_S, segment.reason) for segment in found] == [(21.25, "stalled")]
    cutter.interrupt(clocks(), "skipped", "chunk 5 did not come", 2 * RATE)
    clocks.after(1.0)
    (segment,) = feed(cutter, clocks, 1.0)
    assert (segment.start_s - START_S, segment.reason) == (23.25, "skipped")


def test_recordings_that_reach_into_the_next() -> None:
    """With an overlap each has the beginning of the next, and its own length is to where that begins."""
    clocks, cutter = Clocks(), Cutter("a", raw_layout(RATE, "U8"), 1.0, 0.5)
    content = np.random.default_rng(3).bytes(3 * RATE)
    found = [segment for chunk in cut_at(content, [777]) for segment in cutter.feed(chunk, clocks())]
    found += cutter.interrupt(clocks(), "", "")
    assert [bytes(segment.content) for segment in found] == [
        content[start : start + length] for start, length in ((0, 12000), (8000, 12000), (16000, 8000))
    ]
    assert [segment.n_own for segment in found] == [8000] * 3


def test_it_is_a_recording(tiny_bundle: Path) -> None:
    """Its time is its own, whatever names and metadata of files would say."""
    segment = LiveSegment("a", LAYOUT, bytearray(2 * RATE), START_S, RATE)
    start = LiveRecording(segment, "20200101T000000Z").start_time("20200101T000000Z", StartTimes())
    assert (start.text, start.source) == ("2026-11-28T17:00:00+00:00", "live")
