"""MP3 files: read whole, whatever their tag says; and none of them half in silence."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml.errors import EmptyRecordingError, RecordingError, UnfinishedRecordingError, UnreadableRecordingError
from sonyc_ml.sound.files import open_recording

Floats = npt.NDArray[np.float32]

pytestmark = pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="libsndfile before 1.1 reads none")

N_SAMPLES = 40_000
TAG = b"TAG" + bytes(125)


@cache
def mp3(sample_rate: int = 16000, n_channels: int = 1) -> bytes:
    """Noise as MP3 of a variable bit rate, with the tag that libsndfile's encoder writes."""
    y = np.random.default_rng(0).normal(0, 0.1, (N_SAMPLES, n_channels))
    content = io.BytesIO()
    soundfile.write(content, y, sample_rate, format="MP3")
    return content.getvalue()


def without_tag(content: bytes) -> bytes:
    """The same without the first frame, which holds the tag."""
    start = content.index(content[:2], 4)
    return content[start:]


def read(folder: Path, content: bytes, *, salvage: bool = False) -> tuple[Floats, bool, int]:
    """The samples, whether they are marked as salvaged, and how many the file holds beyond."""
    path = folder / "recording.mp3"
    path.write_bytes(content)
    with open_recording(path, salvage=salvage) as recording:
        y = np.concatenate(list(recording.blocks()))
        assert len(y) == recording.n_samples
        return y, recording.salvaged, recording.n_left


@pytest.mark.parametrize(("sample_rate", "n_channels"), [(16000, 1), (44100, 2), (48000, 1), (8000, 1)])
def test_whole(sample_rate: int, n_channels: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A whole file has as many samples as were encoded, with tags of other kinds at its ends too."""
    content = mp3(sample_rate, n_channels)
    y, is_salvaged, n_left = read(tmp_path, content)
    assert (len(y), is_salvaged, n_left) == (N_SAMPLES, False, 0)
    tagged, *_ = read(tmp_path, b"ID3\3\0\0\0\0\0\x10" + bytes(16) + content + TAG)
    assert np.array_equal(tagged, y)
    assert capfd.readouterr() == ("", "")


def test_without_a_tag(tmp_path: Path) -> None:
    """Without a tag the decoder guesses the length by the first frame, and reads half: here all of it is read."""
    content = without_tag(mp3())
    with soundfile.SoundFile(io.BytesIO(content)) as sound:
        assert sound.frames < 0.9 * N_SAMPLES
    y, is_salvaged, _ = read(tmp_path, content)
    assert N_SAMPLES <= len(y) < N_SAMPLES + 2 * 1152
    assert not is_salvaged


def test_cut_off(tmp_path: Path) -> None:
    """A file that ends within a frame is unfinished; salvaged, it is what there is, at the same place in time."""
    content, (whole, *_) = mp3(), read(tmp_path, mp3())
    for cut in (content[: len(content) // 2], content[: len(content) // 2] + bytes(5000)):
        with pytest.raises(UnfinishedRecordingError, match=r"within a frame|its header says"):
            read(tmp_path, cut)
        y, is_salvaged, _ = read(tmp_path, cut, salvage=True)
        assert is_salvaged
        assert len(y) > 0.4 * N_SAMPLES
        n = len(y) - 2 * 1152  # the last frames want what follows them
        assert np.allclose(y[:n], whole[:n], atol=1e-4)


def test_more_or_less_than_the_tag_says(tmp_path: Path) -> None:
    """A tag that was not brought up to date is not believed."""
    content = mp3()
    place = content.index(b"Xing") + 8 if b"Xing" in content else content.index(b"Info") + 8
    n_frames = int.from_bytes(content[place : place + 4], "big")
    for said in (n_frames // 3, 3 * n_frames, 1):
        changed = content[:place] + said.to_bytes(4, "big") + content[place + 4 :]
        with pytest.raises(UnfinishedRecordingError, match=f"says {said} frames, it holds {n_frames}"):
            read(tmp_path, changed)
        y, is_salvaged, _ = read(tmp_path, changed, salvage=True)
        assert is_salvaged
        assert N_SAMPLES <= len(y) < N_SAMPLES + 2 * 1152


@pytest.mark.parametrize("salvage", [False, True])
@pytest.mark.parametrize("how", ["hole", "lost", "noise", "two"])
def test_damaged(how: str, salvage: bool, tmp_path: Path) -> None:
    """What lies between two frames and is none makes the file unreadable: it is not read up to there as if whole."""
    content, middle = mp3(), len(mp3()) // 2
    changed = {
        "hole": content[:middle] + bytes(2000) + content[middle + 2000 :],
        "lost": content[:middle] + content[middle + 2048 :],
        "noise": content[:middle] + np.random.default_rng(0).bytes(4000),
        "two": content + TAG + content,
    }[how]
    with pytest.raises(UnreadableRecordingError, match="several recordings" if how == "two" else "damaged"):
        read(tmp_path, changed, salvage=salvage)


def test_what_is_none(tmp_path: Path) -> None:
    """A frame of another layer, bytes that look like one frame, and a tag without sound are refused in words."""
    for content in (
        b"\xff\xfd\x84\x00" + bytes(3000),
        b"\xff\xfb\x90\x64" + bytes(3000),
        b"\xff\xf1\x50\x80" + bytes(99),
    ):
        with pytest.raises(UnreadableRecordingError, match=r"not read|not a sound file"):
            read(tmp_path, content)
    with pytest.raises(EmptyRecordingError, match="no sound"):
        read(tmp_path, mp3()[: len(mp3()) - len(without_tag(mp3()))] + without_tag(mp3())[:20])


def test_mutated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever is changed in a file, it is read or refused, and the decoder says nothing of its own."""
    chance, content = np.random.default_rng(1), mp3()
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(int(chance.integers(1, 6))):
            changed[int(chance.integers(len(changed)))] = int(chance.integers(256))
        with suppress(RecordingError):
            read(tmp_path, bytes(changed[: int(chance.integers(1, len(changed)))]), salvage=bool(chance.integers(2)))
    assert capfd.readouterr() == ("", "")
