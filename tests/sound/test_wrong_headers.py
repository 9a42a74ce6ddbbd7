"""Files that hold more, or less, or another kind of sound than their headers say."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml.errors import RecordingError, UnfinishedRecordingError, UnreadableRecordingError
from sonyc_ml.sound.files import open_recording, read_recording
from sonyc_ml.sound.opening import count_left
from tests.conftest import require_shared
from tests.support import odd_recordings as odd
from tests.support import wavs

Floats = npt.NDArray[np.float32]

Y = odd.noise(20_000)
EXPECTED: Floats = (Y / 32768).astype(np.float32)


def write(folder: Path, content: bytes, name: str = "recording.wav") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def salvaged(path: Path) -> tuple[Floats, bool, str]:
    """The samples, whether they are marked as salvaged, and the note."""
    with open_recording(path, salvage=True) as recording:
        y = np.concatenate(list(recording.blocks()))
        assert len(y) == recording.n_samples
        return y, recording.salvaged, recording.note


def big(y: npt.NDArray[np.int16]) -> bytes:
    return y.astype(">i2").tobytes()


def aifc(kind: bytes, sound: bytes, promised: int) -> bytes:
    """An AIFF-C file, which names its kind of samples."""
    common = (
        struct.pack(">hIh", 1, promised // 2, 16) + struct.pack(">HQ", 16383 + 12, 8000 << (63 - 12)) + kind + b"\0\0"
    )
    body = b"AIFC" + wavs.chunk(b"COMM", common, order=">") + wavs.chunk(b"SSND", bytes(8) + sound, promised + 8, ">")
    return b"FORM" + struct.pack(">I", len(body)) + body


# Each maker writes the sound under a header that promises fewer bytes.
STALE: dict[str, Callable[[int], bytes]] = {
    "RIFF": lambda promised: wavs.wav(Y.tobytes(), promised=promised),
    "RIFX": lambda promised: wavs.wav(big(Y), promised=promised, magic=b"RIFX"),
    "extensible": lambda promised: wavs.wav(Y.tobytes(), wavs.fmt(bits=-16), promised=promised),
    "RF64": lambda promised: wavs.rf64(Y.tobytes(), promised=promised),
    "W64": lambda promised: wavs.w64(Y.tobytes(), promised=promised),
    "AIFF": lambda promised: wavs.aiff(big(Y), promised=promised),
    "AIFF-C": lambda promised: aifc(b"NONE", big(Y), promised),
    "AIFF-C sowt": lambda promised: aifc(b"sowt", Y.tobytes(), promised),
    "FLAC": lambda promised: odd.flac_saying(promised // 2),
}


@pytest.mark.parametrize("promised", [2, 16_000, 39_950])
@pytest.mark.parametrize("kind", STALE)
def test_more_sound_than_the_header_says(kind: str, promised: int, tmp_path: Path) -> None:
    """A header that was last brought up to date a while before the end: not taken for whole, and salvaged whole."""
    path = write(tmp_path, STALE[kind](promised))
    with pytest.raises(UnfinishedRecordingError, match="more than its header says"):
        read_recording(path)
    y, is_salvaged, note = salvaged(path)
    np.testing.assert_array_equal(y, EXPECTED)
    assert is_salvaged
    assert "header says" in note


@pytest.mark.parametrize("n_gigabytes", [1, 2, 3])
def test_a_length_that_wrapped(n_gigabytes: int, tmp_path: Path) -> None:
    """A WAV over 4 GiB whose 32-bit length is what is left of the real one is not taken for whole."""
    head = wavs.wav(Y.tobytes(), promised=len(Y) * 2)
    path = write(tmp_path, head)
    with path.open("r+b") as file:  # sparse: 4 GiB more for each
        file.truncate(len(head) + (n_gigabytes << 32))
    with pytest.raises(UnfinishedRecordingError, match="more than its header says"), open_recording(path):
        pass
    with open_recording(path, salvage=True) as recording:
        assert recording.n_samples == len(Y) + (n_gigabytes << 31)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\0" * 3,
        wavs.chunk(b"LIST", b"INFOodd"),
        wavs.chunk(b"guan", b"GUANO|Version: 1.0") + wavs.chunk(b"bext", bytes(602)),
        wavs.chunk(b"XyZ1", bytes(100)),  # nobody knows it, but it ends with the file
        wavs.chunk(b"LIST", b"INFO cut off", 400),
        wavs.chunk(b"junk", b"x" * 21)[:-1],  # not padded
        b"TAG" + bytes(125),
    ],
)
@pytest.mark.parametrize("n_samples", [500, 501])
def test_chunks_behind_the_sound_are_no_sound(tail: bytes, n_samples: int, tmp_path: Path) -> None:
    """Metadata, padding or a tag behind the sound leave a file whole; odd lengths of it too, padded or not."""
    sound = Y[:n_samples].tobytes()
    form = wavs.fmt(bits=8)
    for content in (
        wavs.wav(sound) + tail,
        wavs.wav(sound + b"\1", form) + tail,
        wavs.wav(sound + b"\1", form)[:-1] + tail,
    ):
        with open_recording(write(tmp_path, content)) as recording:
            assert not recording.salvaged
            assert recording.n_left == 0


def test_chunks_at_the_end_of_a_stale_file_are_no_sound(tmp_path: Path) -> None:
    """What is salvaged ends where the metadata begin that a recorder wrote behind the sound."""
    tail = wavs.chunk(b"LIST", b"INFO" + bytes(40)) + wavs.chunk(b"guan", b"GUANO|Version: 1.0")
    y, is_salvaged, _ = salvaged(write(tmp_path, wavs.wav(Y.tobytes(), promised=1000) + tail))
    np.testing.assert_array_equal(y, EXPECTED)
    assert is_salvaged


# --- FLAC and Ogg ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("n_said", [0, 20_001, 40_000, 536_869_888, (1 << 36) - 1])
def test_flac_of_unknown_or_too_large_length(n_said: int, subtype: str, tmp_path: Path) -> None:
    """Where every sample is there, every sample is read, whatever the header says; salvage or not."""
    path = write(tmp_path, odd.flac_saying(n_said, odd.flac(subtype=subtype)), "recording.flac")
    y, _ = read_recording(path)
    assert y.shape == EXPECTED.shape
    np.testing.assert_allclose(y, EXPECTED, atol=0 if subtype == "PCM_16" else 2**-15)
    again, is_salvaged, note = salvaged(path)
    np.testing.assert_array_equal(again, y)
    assert is_salvaged == (n_said > 0)
    assert "20,000" in note


@pytest.mark.parametrize("n_said", [0, 20_000, 40_000])
@pytest.mark.parametrize("n_cut", [1, 2, 100, 9000, 25_000])
def test_truncated_flac(n_cut: int, n_said: int, tmp_path: Path) -> None:
    """A FLAC file that is cut off within a frame is unfinished; its whole frames are salvaged, and no other sample."""
    path = write(tmp_path, odd.flac_saying(n_said)[:-n_cut], "recording.flac")
    with pytest.raises(UnfinishedRecordingError, match="truncated"):
        read_recording(path)
    y, is_salvaged, _ = salvaged(path)
    assert is_salvaged
    assert 0 < len(y) < len(EXPECTED)
    assert len(y) % 4096 == 0
    np.testing.assert_array_equal(y, EXPECTED[: len(y)])


@pytest.mark.parametrize("n_zeros", [1, 100, 200_000])
def test_zeros_behind_flac(n_zeros: int, tmp_path: Path) -> None:
    """Zeros behind the frames, as a power cut leaves them, hide nothing."""
    for n_said in (20_000, 0):
        y, _, _ = salvaged(write(tmp_path, odd.flac_saying(n_said) + bytes(n_zeros), "recording.flac"))
        np.testing.assert_array_equal(y, EXPECTED)


def id3(n_bytes: int) -> bytes:
    return b"ID3\4\0\0" + bytes([0, 0, n_bytes >> 7, n_bytes & 127]) + bytes(n_bytes)


@pytest.mark.parametrize(
    "content", [id3(300) + odd.flac(), odd.flac() + b"TAG" + bytes(125), id3(0) + odd.flac_saying(0)]
)
def test_tags_round_flac(content: bytes, tmp_path: Path) -> None:
    """ID3 in front of FLAC, or behind it, is skipped."""
    y, _ = read_recording(write(tmp_path, content, "recording.flac"))
    np.testing.assert_array_equal(y, EXPECTED)


@pytest.mark.parametrize("page_size", [500, 3000, 9000])
@pytest.mark.parametrize("n_said", [0, 20_000])
def test_flac_in_ogg(n_said: int, page_size: int, tmp_path: Path) -> None:
    """FLAC in the pages of Ogg is read; cut off, its whole frames are salvaged."""
    content = odd.ogg_flac(odd.flac_saying(n_said), page_size)
    y, _ = read_recording(write(tmp_path, content, "recording.oga"))
    np.testing.assert_array_equal(y, EXPECTED)
    path = write(tmp_path, content[: len(content) * 2 // 3], "cut.oga")
    with pytest.raises(UnfinishedRecordingError, match="truncated"):
        read_recording(path)
    y, is_salvaged, _ = salvaged(path)
    assert is_salvaged
    assert 0 < len(y) < len(EXPECTED)
    np.testing.assert_array_equal(y, EXPECTED[: len(y)])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.999])
def test_truncated_ogg(subtype: str, share: float, tmp_path: Path) -> None:
    """The whole pages of an Ogg file that is cut off are salvaged: what they hold is what it was."""
    y = np.random.default_rng(0).normal(0, 0.1, 500_000).astype(np.float32)
    encoded = io.BytesIO()
    soundfile.write(encoded, y, 48000, format="OGG", subtype=subtype)
    content = encoded.getvalue()
    whole, _ = read_recording(write(tmp_path, content))
    path = write(tmp_path, content[: int(len(content) * share)])
    with pytest.raises(UnfinishedRecordingError, match="truncated"):
        read_recording(path)
    y, is_salvaged, _ = salvaged(path)
    assert is_salvaged
    assert len(whole) * (share - 0.45) < len(y) < len(whole)
    np.testing.assert_allclose(y[:-2000], whole[: len(y) - 2000], atol=1e-6)


@pytest.mark.timing
def test_the_check_of_flac_costs_next_to_nothing(tmp_path: Path) -> None:
    """Finding the end of a FLAC file costs a fifth of a millisecond, or little more on a busy machine."""
    path = write(tmp_path, odd.flac(400_000), "recording.flac")
    costs_s = []
    for _ in range(30):
        start_s = time.perf_counter()
        with open_recording(path):
            pass
        costs_s.append(time.perf_counter() - start_s)
    assert min(costs_s) < 0.002


# --- samples that do not fill their place ----------------------------------------------------------------------------


def placed(y: npt.NDArray[np.int64], size: int, order: str) -> bytes:
    if size == 3:
        four = y.astype(f"{order}i4").view(np.uint8).reshape(-1, 4)
        return (four[:, :3] if order == "<" else four[:, 1:]).tobytes()
    return y.astype(f"{order}i{size}").tobytes()


@pytest.mark.parametrize("magic", [b"RIFF", b"RIFX"])
@pytest.mark.parametrize("is_extensible", [False, True])
@pytest.mark.parametrize(("valid_bits", "size"), [(24, 4), (20, 4), (12, 2), (16, 4), (20, 3)])
@pytest.mark.parametrize("scale", [0.5, 0.001])
def test_samples_at_either_end_of_their_place(
    valid_bits: int, size: int, scale: float, is_extensible: bool, magic: bytes, tmp_path: Path
) -> None:
    """24 bits in four bytes have the same level in the lower three as in the upper three; so have others."""
    order = ">" if magic == b"RIFX" else "<"
    wave = np.sin(np.arange(16_000) * 0.345) * scale
    whole = np.round(wave * 2 ** (valid_bits - 1)).astype(np.int64)
    n_left = 8 * size - valid_bits
    if is_extensible:
        head = struct.pack(f"{order}HHIIHH", wavs.EXTENSIBLE, 1, 8000, 8000 * size, size, 8 * size)
        form = head + struct.pack(f"{order}HHIH", 22, valid_bits, 0, wavs.PCM) + wavs.GUID_TAIL
    else:
        form = struct.pack(f"{order}HHIIHH", wavs.PCM, 1, 8000, 8000 * size, size, valid_bits)
    expected = (whole / 2 ** (valid_bits - 1)).astype(np.float32)
    for values, is_low in ((whole, True), (whole << n_left, False)):
        path = write(tmp_path, wavs.wav(placed(values, size, order), form, magic=magic))
        y, is_salvaged, note = salvaged(path)
        np.testing.assert_allclose(y, expected, atol=1e-7)
        assert not is_salvaged
        assert bool(note) == is_low


def test_two_samples_in_the_place_of_one(tmp_path: Path) -> None:
    """Where both halves of a place are full, its header may mean two channels: refused, not read as either."""
    form = struct.pack("<HHIIHH", wavs.PCM, 1, 8000, 8000 * 4, 4, 16)
    with pytest.raises(UnreadableRecordingError, match="contradicts itself"):
        read_recording(write(tmp_path, wavs.wav(Y.tobytes(), form)))


# --- several recordings in one file ----------------------------------------------------------------------------------


def encoded(kind: str, subtype: str, n_samples: int) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, odd.noise(n_samples), 8000, format=kind, subtype=subtype)
    return content.getvalue()


SEVERAL: dict[str, Callable[[int], bytes]] = {
    "FLAC": lambda n: encoded("FLAC", "PCM_16", n),
    "FLAC of unknown length": lambda n: odd.flac_saying(0, encoded("FLAC", "PCM_16", n)),
    "Vorbis": lambda n: encoded("OGG", "VORBIS", n),
    "Opus": lambda n: encoded("OGG", "OPUS", n),
    "FLAC in Ogg": lambda n: odd.ogg_flac(encoded("FLAC", "PCM_16", n)),
}


@pytest.mark.parametrize("n_second", [20_000, 70_000, 6_000])
@pytest.mark.parametrize("kind", SEVERAL)
def test_several_recordings_in_one_file(kind: str, n_second: int, tmp_path: Path) -> None:
    """Of recordings one behind the other a decoder reads the first: that is not taken for all, salvaged or not."""
    one, other = SEVERAL[kind](20_000), SEVERAL[kind](n_second)
    assert len(read_recording(write(tmp_path, one))[0]) == 20_000
    path = write(tmp_path, one + other)
    with pytest.raises(RecordingError, match=r"several recordings|more than its header|damaged"):
        read_recording(path)
    with pytest.raises(UnreadableRecordingError, match=r"several recordings|damaged"):
        salvaged(path)


# --- all of the shared cases -----------------------------------------------------------------------------------------


def test_shared_cases(tmp_path: Path) -> None:
    """Each of the shared cases of wrong headers has the duration and level that it should, or is refused as wrong."""
    maker = require_shared("faults/make_cases.py")
    subprocess.run([sys.executable, str(maker), str(tmp_path)], check=True, timeout=60)
    cases = json.loads((maker.parent / "expected.json").read_text())
    n_tried = 0
    for name, right in cases.items():
        if "duration_s" not in right and "level" not in right:
            continue
        n_tried += 1
        try:
            y, sample_rate = read_recording(tmp_path / name)
        except RecordingError as error:
            assert "quarantined" in right["note"] or right["note"] == "as above", error  # noqa: PT017
            y, is_salvaged, _ = salvaged(tmp_path / name)
            sample_rate = 8000
            assert is_salvaged
        if "duration_s" in right:
            assert len(y) / sample_rate == pytest.approx(right["duration_s"], abs=0.1), name
        if "level" in right:
            assert np.abs(y).max() == pytest.approx(right["level"], abs=1e-3), name
    assert n_tried >= 7


@pytest.mark.parametrize("kind", STALE)
def test_what_is_left_is_counted_without_the_header(kind: str, tmp_path: Path) -> None:
    """How much a file holds beyond what was read of it is known by its size or frames, whatever its header says."""
    path = write(tmp_path, STALE[kind](2000))
    with path.open("rb") as file:
        size = path.stat().st_size
        assert count_left(file.fileno(), size, 1000) == len(Y) - 1000
        assert count_left(file.fileno(), size, len(Y)) == 0
