"""A model embeds whatever acts as a recording, not files alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml.errors import RecordingError
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.retention.proof import covers_recording
from sonyc_ml.outputs.files import read_output, write_output
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.recording import Recording
from sonyc_ml.sound.start_time import StartTime, StartTimes
from sonyc_ml.sound.triggered import Segment

Floats = npt.NDArray[np.float32]

SAMPLE_RATE = 8000
PCM = np.random.default_rng(5).integers(-9000, 9000, 30_001).astype(np.int16)


@dataclass
class Stretch:
    """A stretch of a stream: samples in memory, and a clock that has seen them come."""

    pcm: npt.NDArray[np.int16]
    n_at_once: int = 1024
    name: str = "microphone/1.wav"
    source: str = "microphone 1"
    sample_rate: int = SAMPLE_RATE
    mtime_ns: int = 1_790_000_000_000_000_007
    salvaged: bool = False
    asked: list[tuple[str, StartTimes]] = field(default_factory=list)

    @property
    def n_samples(self) -> int:
        return len(self.pcm)

    @property
    def n_bytes(self) -> int:
        return self.pcm.nbytes

    @property
    def description(self) -> dict[str, Any]:
        return {"note": "cut out of a stream"}

    def segment_blocks(self) -> Iterator[tuple[Segment, Iterable[Floats]]]:
        yield Segment(0, len(self.pcm)), self.blocks()

    def blocks(self) -> Iterator[Floats]:
        for start in range(0, len(self.pcm), self.n_at_once):
            yield self.pcm[start : start + self.n_at_once] * np.float32(1 / 32768)

    def sha256(self, progress: Callable[[], None] | None = None) -> str:  # noqa: ARG002
        return hashlib.sha256(self.pcm.tobytes()).hexdigest()

    def start_time(self, name: str, start_times: StartTimes) -> StartTime:
        self.asked.append((name, start_times))
        return StartTime(datetime(2026, 9, 21, 12, 30, 0, 250_000, tzinfo=UTC), "stream")


@pytest.fixture
def model(tiny_bundle: Path) -> Model:
    return load_model(tiny_bundle)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", PCM, SAMPLE_RATE)
    return tmp_path / "a.wav"


@pytest.mark.parametrize("hop_size", [None, 0.5])
def test_its_numbers_are_those_of_a_file_with_the_same_sound(model: Model, wav: Path, hop_size: float | None) -> None:
    """Sound from elsewhere gives, bit for bit, the windows that it gives as a file."""
    ours, theirs = model.embed(Stretch(PCM), hop_size), model.embed_file(wav, hop_size)
    for array, expected in zip(ours.by_kind().values(), theirs.by_kind().values(), strict=True):
        np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(ours.timestamps, theirs.timestamps)


def test_its_output_says_what_the_recording_says(model: Model, tmp_path: Path) -> None:
    """Name, identity, checksum and beginning are the recording's own, and are published with the numbers."""
    recording = Stretch(PCM, salvaged=True)
    write_output(model.embed(recording), tmp_path / "a.npz")
    provenance = read_output(tmp_path / "a.npz").provenance
    assert (provenance.recording, provenance.salvaged) == (recording.name, True)
    assert (provenance.recording_bytes, provenance.recording_mtime_ns) == (recording.n_bytes, recording.mtime_ns)
    assert (provenance.sample_rate, provenance.n_samples) == (SAMPLE_RATE, len(PCM))
    assert provenance.note == "cut out of a stream"
    assert provenance.recording_sha256 == recording.sha256()
    assert (provenance.start_time, provenance.start_time_source) == ("2026-09-21T12:30:00.250+00:00", "stream")


def test_it_is_named_by_whoever_asks(model: Model) -> None:
    """A name that is given goes before the recording's own; so does the way in which times are found."""
    recording, start_times = Stretch(PCM), StartTimes(time_zone="Asia/Tokyo")
    output = model.embed(recording, name="b.wav", start_times=start_times)
    assert output.provenance.recording == "b.wav"
    assert recording.asked == [("b.wav", start_times)]
    assert "Asia/Tokyo" in output.provenance.parameters


def test_what_fails_is_named_by_its_source(model: Model) -> None:
    """What the extractor refuses is refused by what the recording is called in messages."""
    loud = Stretch(PCM)
    loud.blocks = lambda: iter([np.zeros((2, 2), np.float32)])  # type: ignore[method-assign]
    with pytest.raises(RecordingError, match=r"^microphone 1: "):
        model.embed(loud)


def test_windows_with_a_hop_between_them_that_is_longer_than_they_are(model: Model) -> None:
    """Windows far apart hold sound, each of them; where none would hold any, the recording is refused."""
    duration_s, window_s = len(PCM) / SAMPLE_RATE, model.extractor.window_size_s
    for hop_size in (0.45 * duration_s, 0.3 * duration_s):
        output = model.embed(Stretch(PCM), hop_size)
        assert len(output.timestamps) == len(output.by_kind()["embedding"]) > 0
        assert (output.timestamps > -window_s).all()
        assert (output.timestamps < duration_s).all()
        assert covers_recording(output)
    for hop_size in (3 * duration_s, 1e9):
        with pytest.raises(RecordingError, match="no window would hold any"):
            model.embed(Stretch(PCM), hop_size)


def test_a_file_is_a_recording(wav: Path) -> None:
    """An open file has everything that is asked of one."""
    with open_recording(wav) as opened:
        recording: Recording = opened
        assert (recording.name, recording.source) == ("a.wav", str(wav))
        assert recording.start_time("20260921_123000.wav", StartTimes()).source == "name"
        ((segment, blocks),) = recording.segment_blocks()
        assert sum(map(len, blocks)) == segment.n_samples == recording.n_samples == len(PCM)


@pytest.mark.parametrize(
    ("n_promised", "reason"),
    [
        (len(PCM) + 1, "it ends after 30,001 of 30,002 samples"),
        (441_000, "it ends after 30,001 of 441,000 samples"),
        (len(PCM) - 1, "it goes on after its 30,000 samples"),
    ],
)
@pytest.mark.parametrize("sample_rate", [SAMPLE_RATE, 44100])
def test_a_stream_of_another_length_than_it_says_is_refused(
    model: Model, n_promised: int, reason: str, sample_rate: int
) -> None:
    """What is missing is never filled up with silence, and what is too much never left out, without a word."""
    stretch = Stretch(PCM, sample_rate=sample_rate)
    stretch.segment_blocks = lambda: iter([(Segment(0, n_promised), stretch.blocks())])  # type: ignore[method-assign]
    with pytest.raises(RecordingError, match=f"^microphone 1: {reason}$"):
        model.embed(stretch)
