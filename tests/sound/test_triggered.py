"""Triggered recordings of an AudioMoth: what was below the threshold is time, and no sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sonyc_ml.errors import EmptyRecordingError, UnreadableRecordingError
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.files import read_output, write_output
from sonyc_ml.sound.files import open_recording, read_recording
from tests.support import odd_recordings as odd
from tests.support import wavs

LEAD = 12  # samples before the first multiple of 512 bytes of the file
LOUD = odd.noise(256 * 100, seed=1)
BLOCK = 256  # samples


def write(folder: Path, content: bytes, name: str = "20240501_063000T.WAV") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def segments_of(path: Path, *, salvage: bool = False) -> tuple[list[tuple[int, int]], int]:
    """Where the stretches begin and how long they are, and the length of all in time; the samples are those."""
    with open_recording(path, salvage=salvage) as recording:
        found = [(segment.start, segment.n_samples) for segment in recording.segments]
        assert [sum(map(len, blocks)) for _, blocks in recording.segment_blocks()] == [n for _, n in found]
        assert recording.n_samples == sum(n for _, n in found)
        assert recording.n_left == 0
        assert recording.duration_s == recording.n_elapsed / recording.sample_rate
        assert ("triggered" in recording.note) == (recording.n_elapsed > recording.n_samples)
        return found, recording.n_elapsed


@pytest.mark.parametrize("n_blocks", [1, 2, 255, 256, 937, 100_000])
@pytest.mark.parametrize("before", [488, 512, 490, 44 + 500])
@pytest.mark.parametrize("name", ["20240501_063000T.WAV", "night.wav"])
def test_a_gap_is_as_long_as_its_block_says(name: str, before: int, n_blocks: int, tmp_path: Path) -> None:
    """Between two stretches of sound lies the time that the block stands for, wherever blocks lie in the file."""
    lead = odd.noise(LEAD)
    content = odd.triggered(lead.tobytes(), LOUD.tobytes(), odd.skipped(n_blocks), LOUD.tobytes(), before=before)
    path = write(tmp_path, content, name)
    n_first = LEAD + len(LOUD)
    second = n_first + n_blocks * BLOCK
    assert segments_of(path) == ([(0, n_first), (second, len(LOUD))], second + len(LOUD))
    y, _ = read_recording(path)
    expected = np.zeros(second + len(LOUD), np.float32)
    expected[:n_first], expected[second:] = np.concatenate([lead, LOUD]) / 32768, LOUD / 32768
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    ("parts", "starts"),
    [
        ("sl", [10]),
        ("ls", [0]),
        ("slsls", [10, 120]),
        ("lssl", [0, 120]),
        ("lsllsl", [0, 110, 320]),
    ],
)
def test_any_order_of_sound_and_gaps(parts: str, starts: list[int], tmp_path: Path) -> None:
    """Gaps at the beginning, at the end, and one behind the other are told apart from sound."""
    content = odd.triggered(*(odd.skipped(10) if part == "s" else LOUD.tobytes() for part in parts), before=512)
    found, n_elapsed = segments_of(write(tmp_path, content))
    assert [start for start, _ in found] == [start * BLOCK for start in starts]
    assert n_elapsed == sum(10 * BLOCK if part == "s" else len(LOUD) for part in parts)


def test_zeros_at_either_end_are_time(tmp_path: Path) -> None:
    """In the first and the last buffer zeros stand for what was below the threshold; amid sound they are samples."""
    zeros = bytes(3000)
    content = odd.triggered(zeros, LOUD.tobytes(), zeros, LOUD.tobytes(), zeros)
    n_sound = 2 * len(LOUD) + 1500
    assert segments_of(write(tmp_path, content)) == ([(1500, n_sound)], n_sound + 3000)


@pytest.mark.parametrize("name", ["20240501_063000T.WAV", "20240501_063000.WAV"])
@pytest.mark.parametrize("text", [odd.AUDIOMOTH, ""])
def test_what_is_not_triggered(text: str, name: str, tmp_path: Path) -> None:
    """A recording without such a block has one stretch, whatever its name; so has one that no AudioMoth made."""
    quiet = np.tile([1, -1], 16).astype("<i2").tobytes()
    content = odd.triggered(LOUD.tobytes(), quiet, bytes(440), LOUD.tobytes(), text=text)
    n_samples = 2 * len(LOUD) + 32 + 220
    assert segments_of(write(tmp_path, content, name)) == ([(0, n_samples)], n_samples)


def test_nothing_above_the_threshold(tmp_path: Path) -> None:
    """A recording that holds nothing but time is empty."""
    with pytest.raises(EmptyRecordingError, match="threshold"):
        read_recording(write(tmp_path, odd.triggered(odd.skipped(4000))))


@pytest.mark.parametrize("n_blocks", [1 << 24, (1 << 32) - 1])
def test_more_time_than_there_is(n_blocks: int, tmp_path: Path) -> None:
    """A block that stands for weeks is damage, and takes no memory."""
    with pytest.raises(UnreadableRecordingError, match="damaged"):
        read_recording(write(tmp_path, odd.triggered(LOUD.tobytes(), odd.skipped(n_blocks))))


def test_an_unfinished_triggered_recording(tmp_path: Path) -> None:
    """What is salvaged of a triggered recording lies in time as well."""
    content = bytearray(odd.triggered(LOUD.tobytes(), odd.skipped(50), LOUD.tobytes(), before=512))
    content[508:512] = bytes(4)
    found, n_elapsed = segments_of(write(tmp_path, bytes(content)), salvage=True)
    assert found == [(0, len(LOUD)), (len(LOUD) + 50 * BLOCK, len(LOUD))]
    assert n_elapsed == 2 * len(LOUD) + 50 * BLOCK


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_windows_lie_in_real_time(suffix: str, tmp_path: Path, tiny_bundle: Path) -> None:
    """No window stands for what was not recorded; each stretch is embedded as a recording; outputs say so."""
    gap = 30 * 8000 // BLOCK
    path = write(tmp_path, odd.triggered(LOUD.tobytes(), odd.skipped(gap), LOUD.tobytes()))
    model = load_model(tiny_bundle)
    output = model.embed_file(path)
    alone = model.embed_file(write(tmp_path, wavs.wav(LOUD.tobytes()), "alone.wav"))
    n = len(alone.timestamps)
    assert len(output.timestamps) == 2 * n
    second_s = (len(LOUD) + gap * BLOCK) / 8000
    np.testing.assert_allclose(output.timestamps, np.concatenate([alone.timestamps, alone.timestamps + second_s]))
    assert output.embedding is not None
    assert alone.embedding is not None
    np.testing.assert_allclose(output.embedding[n:], alone.embedding, atol=1e-5)
    write_output(output, tmp_path / f"output.{suffix}")
    provenance = read_output(tmp_path / f"output.{suffix}").provenance
    assert provenance.duration_s == pytest.approx(second_s + len(LOUD) / 8000)
    assert json.loads(provenance.segments) == [[0, len(LOUD)], [len(LOUD) + gap * BLOCK, len(LOUD)]]
    assert "triggered" in provenance.note
