"""Tracks as files: what was given is what is read, at any length, and PCM counts what it cannot hold."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml.errors import RecordingError
from sonyc_ml.outputs.tracks import SUBTYPES, TrackWriter, read_track_file, track_path, wav_header
from sonyc_ml.sound.files import open_recording

FOUR_GIB = 1 << 32


def written(path: Path, samples: npt.NDArray[np.float32], subtype: str) -> TrackWriter:
    """Write a track in a few pieces."""
    with path.open("wb") as file:
        writer = TrackWriter(file, 16000, samples.shape[0], samples.shape[1], subtype)
        for piece in np.array_split(samples, 3, axis=1):
            writer.write(piece)
        writer.finish()
    return writer


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("n_channels", [1, 2, 5])
@pytest.mark.parametrize("n_samples", [1, 3, 4097])
def test_what_is_written_is_what_is_read(subtype: str, n_channels: int, n_samples: int, tmp_path: Path) -> None:
    """libsndfile and this package read what was written: to the last bit of float, to half a step of PCM."""
    samples = np.random.default_rng(0).uniform(-1, 0.99, (n_channels, n_samples)).astype(np.float32)
    path = tmp_path / "a.wav"
    writer = written(path, samples, subtype)
    assert path.stat().st_size == writer.n_bytes
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (16000, n_channels, n_samples, subtype)
    read, _ = soundfile.read(path, dtype="float64", always_2d=True)
    bits = SUBTYPES[subtype][1]
    np.testing.assert_allclose(read.T, samples, rtol=0, atol=0 if subtype == "FLOAT" else 2.0**-bits)
    with open_recording(path) as recording:
        assert (recording.n_samples, recording.n_channels, recording.note) == (n_samples, n_channels, "")
        frames = np.concatenate([block for _, blocks in recording.segment_frames() for block in blocks], axis=1)
    np.testing.assert_array_equal(frames, read.T.astype(np.float32))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_pcm_saturates_and_counts(subtype: str) -> None:
    """What is louder than PCM can be is as loud as it can be, and counted; what just fits is not."""
    step = 2.0 ** (1 - SUBTYPES[subtype][1])
    writer = TrackWriter(io.BytesIO(), 8000, 1, 6, subtype)
    kept = writer.write(np.array([[1.5, 1.0, 1 - step, -1.0, -1 - 2 * step, -7.0]]))
    assert writer.n_saturated == 4
    np.testing.assert_array_equal(kept, [[1 - step, 1 - step, 1 - step, -1, -1, -1]])


def test_floats_are_not_clipped() -> None:
    """A float beyond full scale stays what it is."""
    writer = TrackWriter(io.BytesIO(), 8000, 1, 2, "FLOAT")
    np.testing.assert_array_equal(writer.write(np.array([[3.5, -9.25]], np.float32)), [[3.5, -9.25]])
    assert writer.n_saturated == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    """NaN and infinity are not written as something else."""
    with pytest.raises(RecordingError, match="NaN or infinity"):
        TrackWriter(io.BytesIO(), 8000, 1, 1, "PCM_16").write(np.array([[bad]]))


def test_a_file_is_as_long_as_its_header_says() -> None:
    """A writer that got fewer samples than it promised does not finish."""
    writer = TrackWriter(io.BytesIO(), 8000, 1, 3, "PCM_16")
    writer.write(np.zeros((1, 2)))
    with pytest.raises(RuntimeError, match="2 samples were written where 3"):
        writer.finish()


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_beyond_four_gib_it_is_rf64(subtype: str, n_channels: int, tmp_path: Path) -> None:
    """The last file that 32 bits can describe is RIFF, the next one RF64; both are read, with all of their samples."""
    frame_size = n_channels * SUBTYPES[subtype][1] // 8
    n_most = (FOUR_GIB - 1 + 8 - len(wav_header(48000, n_channels, 1, subtype))) // frame_size
    if (
        n_most * frame_size % 2
        and len(wav_header(48000, n_channels, 1, subtype)) + n_most * frame_size + 1 > FOUR_GIB + 7
    ):
        n_most -= 1
    for n_samples, magic in ((n_most, b"RIFF"), (n_most + 1, b"RF64"), (3 * n_most, b"RF64")):
        header = wav_header(48000, n_channels, n_samples, subtype)
        assert header[:4] == magic
        n_bytes = n_samples * frame_size
        path = tmp_path / "large.wav"
        with path.open("wb") as file:  # sparse: it takes no room
            file.write(header)
            file.truncate(len(header) + n_bytes + n_bytes % 2)
        size = struct.unpack("<I", header[4:8])[0] if magic == b"RIFF" else struct.unpack("<Q", header[20:28])[0]
        assert size == path.stat().st_size - 8
        assert soundfile.info(path).frames == n_samples
        with open_recording(path) as recording:
            assert (recording.n_samples, recording.n_channels) == (n_samples, n_channels)
        path.unlink()


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    """A track lies below its folder, by the name of its recording and its own."""
    assert track_path("sub/a.wav", tmp_path, "dry") == tmp_path / "sub" / "a.wav.dry.wav"
    with pytest.raises(RecordingError, match="leads out of the folder"):
        track_path("../a.wav", tmp_path, "dry")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"track": 5}', "[" * 100_000])
def test_what_is_said_of_no_track_is_nothing(content: str, tmp_path: Path) -> None:
    """A JSON file beside a track that is no description, or damaged, counts as none."""
    (tmp_path / "a.wav.dry.json").write_text(content)
    assert read_track_file(tmp_path / "a.wav.dry.wav") is None
    assert read_track_file(tmp_path / "b.wav.dry.wav") is None
