"""Files of every kind to mono samples, and the reasons why some are refused."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.errors import (
    EmptyRecordingError,
    RecordingError,
    SonycMLError,
    UnavailableRecordingError,
    UnfinishedRecordingError,
    UnreadableRecordingError,
    VanishedRecordingError,
)
from sonyc_ml.sound.files import BLOCK_LENGTH, open_recording, read_recording
from tests.support import wavs
from tests.support.wavs import bext, info

Floats = npt.NDArray[np.floating[Any]]

RAMP = np.arange(-120, 120, dtype=np.float32) / 128  # exact in 8 bits and more
ALTERNATING = np.tile([0.5, -0.25], 1000)


def pcm(y: Floats, bits: int, order: str = "<") -> bytes:
    """Whole numbers of so many bits: 8 are unsigned in a WAV file, 24 have no type of numpy's."""
    whole: npt.NDArray[np.int64] = np.round(y.astype(np.float64) * 2 ** (bits - 1)).astype(np.int64)
    if bits == 8:
        return (whole + 128).astype(np.uint8).tobytes()
    size = bits // 8
    eights = np.frombuffer(whole.astype(f"{order}i8").tobytes(), np.uint8).reshape(-1, 8)
    return (eights[:, :size] if order == "<" else eights[:, -size:]).tobytes()


def floats(values: list[float]) -> bytes:
    return np.array(values, dtype=np.float32).tobytes()


def encoded(y: Floats, kind: str, subtype: str | None = None, sample_rate: int = 8000) -> bytes:
    """What libsndfile writes."""
    content = io.BytesIO()
    soundfile.write(content, y, sample_rate, format=kind, subtype=subtype)
    return content.getvalue()


def interleaved(n_samples: int, n_channels: int) -> Floats:
    """Noise of 8 bits, `(n_samples, n_channels)`."""
    noise = np.random.default_rng(n_channels).integers(-128, 128, (n_samples, n_channels))
    return (noise / 128).astype(np.float32)


def write(folder: Path, content: bytes, name: str = "recording.wav") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def refused(path: Path, kind: type[SonycMLError] = UnreadableRecordingError, **options: Any) -> str:
    """Why a file is refused; the text names the file first."""
    with pytest.raises(SonycMLError) as caught, open_recording(path, **options) as recording:
        list(recording.blocks())
    assert type(caught.value) is kind
    place, reason = str(caught.value).split(": ", 1)
    assert place == str(path)
    return reason


def n_descriptors() -> int:
    """How many this process has now; what earlier tests left may be closed at any time."""
    return len(os.listdir("/proc/self/fd"))


EXACT: dict[str, bytes] = {
    "pcm8": wavs.wav(pcm(RAMP, 8), wavs.fmt(bits=8)),
    "pcm16": wavs.wav(pcm(RAMP, 16), wavs.fmt(bits=16)),
    "pcm24": wavs.wav(pcm(RAMP, 24), wavs.fmt(bits=24)),
    "pcm32": wavs.wav(pcm(RAMP, 32), wavs.fmt(bits=32)),
    "float32": wavs.wav(RAMP.tobytes(), wavs.fmt(wavs.FLOAT, bits=32)),
    "float64": wavs.wav(RAMP.astype(np.float64).tobytes(), wavs.fmt(wavs.FLOAT, bits=64)),
    "extensible pcm16": wavs.wav(pcm(RAMP, 16), wavs.fmt(bits=-16)),
    "extensible pcm24": wavs.wav(pcm(RAMP, 24), wavs.fmt(bits=-24)),
    "extensible float32": wavs.wav(RAMP.tobytes(), wavs.fmt(wavs.FLOAT, bits=-32)),
    "big-endian pcm16": wavs.wav(pcm(RAMP, 16, ">"), wavs.fmt(order=">"), magic=b"RIFX"),
    "LIST and bext before": wavs.wav(pcm(RAMP, 16), before=[(b"LIST", b"INFOodd"), (b"bext", bytes(603))]),
    "rf64": wavs.rf64(pcm(RAMP, 16)),
    "w64": wavs.w64(pcm(RAMP, 16)),
    "aiff": wavs.aiff(pcm(RAMP, 16, ">")),
    "flac": encoded(RAMP, "FLAC"),
    "flac 24": encoded(RAMP, "FLAC", "PCM_24"),
    "rf64 by libsndfile": encoded(RAMP, "RF64", "PCM_24"),
    "w64 by libsndfile": encoded(RAMP, "W64", "FLOAT"),
    "aiff by libsndfile": encoded(RAMP, "AIFF", "PCM_24"),
}


@pytest.mark.parametrize("kind", EXACT)
def test_exact_samples(kind: str, tmp_path: Path) -> None:
    """A kind that loses nothing gives just the samples that were written, as float32."""
    y, sample_rate = read_recording(write(tmp_path, EXACT[kind]))
    assert sample_rate == 8000
    assert y.dtype == np.float32
    assert y.shape == RAMP.shape
    np.testing.assert_array_equal(y, RAMP)


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("OGG", "VORBIS"), ("OGG", "OPUS")]
)
def test_lossy_samples(kind: str, subtype: str, tmp_path: Path) -> None:
    """A kind that loses something gives the samples that were written, within its error."""
    tone = np.sin(np.arange(8000) * 0.2).astype(np.float32) / 2
    y, _ = read_recording(write(tmp_path, encoded(tone, kind, subtype)))
    assert 0 <= len(y) - len(tone) < 1024  # coded in blocks, of which the last is filled up
    assert np.std(y[: len(tone)] - tone) < 0.05 * np.std(tone)


@pytest.mark.parametrize("sample_rate", [1000, 8000, 11025, 22050, 44100, 48000, 96000, 192000, 384000, 1_000_000])
def test_sample_rates(sample_rate: int, tmp_path: Path) -> None:
    """The sample rate is the header's, and the duration follows from it."""
    path = write(tmp_path, wavs.wav(pcm(RAMP, 16), wavs.fmt(sample_rate=sample_rate)))
    with open_recording(path) as recording:
        assert recording.sample_rate == sample_rate
        assert recording.n_samples == len(RAMP)
        assert recording.duration_s == len(RAMP) / sample_rate


@pytest.mark.parametrize("sample_rate", [1, 999, 1_000_001, 0x7FFFFFFF])
def test_sample_rates_that_no_recorder_uses(sample_rate: int, tmp_path: Path) -> None:
    """A sample rate out of range is a damaged header."""
    path = write(tmp_path, wavs.wav(pcm(RAMP, 16), wavs.fmt(sample_rate=sample_rate)))
    assert f"{sample_rate:,} Hz" in refused(path)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 16])
def test_the_mean_of_the_channels(n_channels: int, tmp_path: Path) -> None:
    """Mono is the mean of all channels."""
    frames = interleaved(500, n_channels)
    y, _ = read_recording(write(tmp_path, wavs.wav(pcm(frames, 16), wavs.fmt(n_channels=n_channels))))
    np.testing.assert_allclose(y, frames.mean(axis=1, dtype=np.float64), atol=1e-6)
    assert y.dtype == np.float32


@pytest.mark.parametrize(("n_channels", "channel"), [(1, 0), (2, 0), (2, 1), (16, 15)])
def test_one_channel(n_channels: int, channel: int, tmp_path: Path) -> None:
    """`channel` picks one, exactly."""
    frames = interleaved(500, n_channels)
    path = write(tmp_path, wavs.wav(pcm(frames, 16), wavs.fmt(n_channels=n_channels)))
    y, _ = read_recording(path, channel=channel)
    np.testing.assert_array_equal(y, frames[:, channel])


@pytest.mark.parametrize("channel", [2, 16, -1])
def test_a_channel_that_is_not_there(channel: int, tmp_path: Path) -> None:
    """A channel that a recording lacks is refused, and told how many there are."""
    path = write(tmp_path, wavs.wav(pcm(RAMP, 16), wavs.fmt(n_channels=2)))
    reason = refused(path, channel=channel)
    assert f"no channel {channel};" in reason
    assert "it has 2" in reason


@pytest.mark.parametrize("channel", [None, 3])
@pytest.mark.parametrize("excess", [-1, 0, 1, BLOCK_LENGTH // 16 + 5])
def test_blocks_are_the_whole(excess: int, channel: int | None, tmp_path: Path) -> None:
    """The blocks of a long recording, put together, are the recording."""
    length = BLOCK_LENGTH // 16
    frames = interleaved(length + excess, 16)
    path = write(tmp_path, wavs.wav(pcm(frames, 8), wavs.fmt(n_channels=16, bits=8)))
    with open_recording(path, channel) as recording:
        blocks = list(recording.blocks())
    assert [len(block) for block in blocks[:-1]] == [length] * (len(blocks) - 1)
    assert len(blocks) == 1 + (excess > 0) + (excess > length)
    expected = frames.mean(axis=1, dtype=np.float32) if channel is None else frames[:, channel]
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("WAV", "IMA_ADPCM")]
)
def test_blocks_of_coded_sound_are_the_whole(kind: str, subtype: str, tmp_path: Path) -> None:
    """A decoder that is asked for one block after the other gives what it gives at once."""
    noise = np.random.default_rng(0).normal(0, 0.1, BLOCK_LENGTH + 1000).astype(np.float32)
    path = write(tmp_path, encoded(noise, kind, subtype, 48000))
    expected, _ = soundfile.read(path, dtype="float32")
    with open_recording(path) as recording:
        blocks = list(recording.blocks())
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFFDB, 0x80000000, 0x7FFFFFFF, 0x7FFFFFDA, 0x7FFFFF00, 0x7FFFF000])
def test_streaming_recorders(size: int, tmp_path: Path) -> None:
    """A file that a recorder wrote to a pipe, its length left open, is read to its end."""
    y, _ = read_recording(write(tmp_path, wavs.wav(pcm(RAMP, 16), promised=size)))
    np.testing.assert_array_equal(y, RAMP)


def test_a_streaming_recorder_that_was_stopped_at_once(tmp_path: Path) -> None:
    """A length left open and no sound behind it is an empty recording."""
    assert "no sound" in refused(write(tmp_path, wavs.wav(b"", promised=0xFFFFFFFF)), EmptyRecordingError)


UNFINISHED: dict[str, tuple[bytes, str]] = {
    "truncated": (wavs.wav(pcm(RAMP, 16))[:-2], "truncated"),
    "truncated rf64": (wavs.rf64(pcm(RAMP, 16))[:-2], "truncated"),
    "truncated w64": (wavs.w64(pcm(RAMP, 16))[:-2], "truncated"),
    "truncated aiff": (wavs.aiff(pcm(RAMP, 16, ">"))[:-2], "truncated"),
    "truncated ogg": (encoded(ALTERNATING, "OGG")[:-20], "truncated"),
    "truncated opus": (encoded(ALTERNATING, "OGG", "OPUS")[:-20], "truncated"),
    "truncated in its header": (wavs.wav(b"")[:30], "holds no sound"),
    "unfinished": (wavs.wav(pcm(RAMP, 16), promised=0), "unfinished"),
    "unfinished w64": (wavs.w64(pcm(RAMP, 16), promised=0), "unfinished"),
    "one byte": (b"R", "truncated"),
    "four bytes": (b"RIFF", "truncated"),
    "half a header": (encoded(RAMP, "FLAC")[:15], "truncated"),
    "truncated flac": (encoded(ALTERNATING, "FLAC")[:-20], "truncated"),
    "more than its header says": (wavs.wav(pcm(RAMP, 16)) + bytes(100), "more than its header says"),
}

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "NaN": (wavs.wav(floats([0, np.nan]), wavs.fmt(wavs.FLOAT, bits=32)), "NaN or infinity"),
    "louder than any sound": (wavs.wav(floats([0, 3e38]), wavs.fmt(wavs.FLOAT, bits=32)), "as large as no sound is"),
    "infinity": (wavs.wav(floats([0, np.inf]), wavs.fmt(wavs.FLOAT, bits=32)), "NaN or infinity"),
    "both infinities": (
        wavs.wav(floats([np.inf, -np.inf]), wavs.fmt(wavs.FLOAT, 2, bits=32)),
        "NaN or infinity",
    ),
    "text": (b"time,level\n0,60\n", "not a sound file"),
    "one byte": (b"x", "not a sound file"),
    "zeros": (bytes(4096), "not a sound file"),
    "MP3": (b"\xff\xfb\x90\x64" + bytes(413), "MP3"),
    "MP3 with tags": (b"ID3\4\0\0\0\0\0\0\xff\xfb\x90\x64" + bytes(413), "MP3"),
    "MP3 in a WAV header": (wavs.wav(b"\xff\xfb\x90\x64" + bytes(413), wavs.fmt(0x55)), "MP3"),
    "MP3 in an AVI header": (b"RIFF\0\0\0\0AVI \xff\xfb\x90\x64" + bytes(413), "cannot be decoded"),
    "a kind that is not read": (encoded(RAMP, "SVX", "PCM_16"), "SVX files are not read"),
    "36 bits": (wavs.wav(bytes(50), wavs.fmt(bits=40)), "cannot be decoded"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is refused with its reason, and no library says anything of its own."""
    content, reason = UNREADABLE[kind]
    for salvage in (False, True):
        assert reason in refused(write(tmp_path, content), salvage=salvage)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", UNFINISHED)
def test_unfinished(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What its writer has not finished is refused as that: it may be whole a little later."""
    content, reason = UNFINISHED[kind]
    assert reason in refused(write(tmp_path, content), UnfinishedRecordingError)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (wavs.wav(b""), "a header and no sound"),
        (wavs.w64(b""), "a header and no sound"),
        (wavs.wav(b"\0", promised=0xFFFFFFFF)[:-1], "a header and no sound"),
        (encoded(RAMP[:0], "AIFF"), "a header and no sound"),
    ],
    ids=["empty file", "no sound", "no sound w64", "half a sample", "no sound aiff"],
)
def test_empty(content: bytes, reason: str, tmp_path: Path) -> None:
    """A recording without a single sample is empty, which is not the same as unreadable."""
    assert reason in refused(write(tmp_path, content), EmptyRecordingError)


def test_nan_in_another_channel(tmp_path: Path) -> None:
    """NaN in a channel that is not read does no harm."""
    path = write(tmp_path, wavs.wav(floats([0.5, np.nan, 0.25, np.nan]), wavs.fmt(wavs.FLOAT, 2, bits=32)))
    y, _ = read_recording(path, channel=0)
    assert y.tolist() == [0.5, 0.25]
    assert "NaN" in refused(path)


@pytest.mark.parametrize("damage", ["flip", "blank", "cut"])
@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_damage_to_coded_sound(kind: str, subtype: str | None, damage: str, tmp_path: Path) -> None:
    """Coded sound that is damaged in its middle is refused, not read with a gap."""
    noise = np.random.default_rng(0).normal(0, 0.1, 40000).astype(np.float32)
    content = bytearray(encoded(noise, kind, subtype))
    middle = len(content) // 2
    if damage == "flip":
        content[middle] ^= 0xFF
    elif damage == "blank":
        content[middle : middle + 3000] = bytes(3000)
    else:
        del content[middle : middle + 3000]
    assert re.search("damaged|truncated", refused(write(tmp_path, bytes(content))))


def test_a_folder(tmp_path: Path) -> None:
    """A folder is refused as such."""
    assert "folder" in refused(tmp_path)


def test_a_pipe(tmp_path: Path) -> None:
    """A pipe is refused, and nobody waits for its writer."""
    os.mkfifo(path := tmp_path / "recording.wav")
    assert "pipe" in refused(path)


def test_a_device() -> None:
    """A device, which never ends, is refused."""
    assert "device" in refused(Path("/dev/zero"))


def test_a_missing_file(tmp_path: Path) -> None:
    """A recording that is gone has vanished, with the system's reason."""
    assert "No such file" in refused(tmp_path / "gone.wav", VanishedRecordingError)
    (tmp_path / "file").touch()
    assert "Not a directory" in refused(tmp_path / "file" / "gone.wav", VanishedRecordingError)


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    """A symbolic link without a target leads to nothing; one to itself never will lead anywhere."""
    (path := tmp_path / "link.wav").symlink_to("gone.wav")
    assert "No such file" in refused(path, VanishedRecordingError)
    (path := tmp_path / "loop.wav").symlink_to("loop.wav")
    assert "symbolic links" in refused(path)


def test_too_many_open_files(tmp_path: Path) -> None:
    """A process out of descriptors cannot read a recording for now; the recording is as good as before."""
    path = write(tmp_path, wavs.wav(pcm(RAMP, 16)))
    program = (
        "import resource, sys, os; from sonyc_ml.sound.files import open_recording;"
        "n = os.open('/', os.O_RDONLY); resource.setrlimit(resource.RLIMIT_NOFILE, (n + 1, n + 1));"
        "open_recording(sys.argv[1]).__enter__()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60, check=False
    )
    assert f"UnavailableRecordingError: {path}: Too many open files; it cannot be read for now" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    """A recording that may not be read is not to be had for now, with the system's reason."""
    path = write(tmp_path, wavs.wav(pcm(RAMP, 16)))
    path.chmod(0)
    assert "Permission denied" in refused(path, UnavailableRecordingError)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    """A file's name may hold any bytes."""
    path = write(tmp_path, wavs.wav(pcm(RAMP, 16)), os.fsdecode(b"stra\xdfe.wav"))
    assert len(read_recording(path)[0]) == len(RAMP)


@pytest.mark.parametrize("n_bytes", [0, 1, 1 << 18, (1 << 18) + 1])
def test_sha256(n_bytes: int, tmp_path: Path) -> None:
    """The digest is the one of the file's bytes."""
    content = wavs.wav(pcm(RAMP, 16) + bytes(n_bytes))
    with open_recording(write(tmp_path, content)) as recording:
        assert recording.sha256() == hashlib.sha256(content).hexdigest()
        assert (recording.n_bytes, recording.mtime_ns) == (len(content), recording.path.stat().st_mtime_ns)


def test_sha256_between_blocks(tmp_path: Path) -> None:
    """Taking the digest in the middle does not disturb the reading."""
    frames = interleaved(BLOCK_LENGTH // 16 + 100, 16)
    path = write(tmp_path, wavs.wav(pcm(frames, 8), wavs.fmt(n_channels=16, bits=8)))
    with open_recording(path, channel=0) as recording:
        blocks = recording.blocks()
        first, digest, rest = next(blocks), recording.sha256(), list(blocks)
    np.testing.assert_array_equal(np.concatenate([first, *rest]), frames[:, 0])
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0\0")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def overwrite(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))  # however coarse the clock of the file system


@pytest.mark.parametrize("change", [append, touch, overwrite])
def test_a_change_while_it_is_read(change: Callable[[Path], None], tmp_path: Path) -> None:
    """A recording that changes between its blocks and its digest is refused."""
    path = write(tmp_path, wavs.wav(pcm(RAMP, 16)))
    with open_recording(path) as recording:
        list(recording.blocks())
        change(path)
        with pytest.raises(UnfinishedRecordingError, match=f"^{re.escape(str(path))}: it changed while it was read"):
            recording.sha256()


def test_a_recording_that_becomes_shorter(tmp_path: Path) -> None:
    """A recording that loses its end while it is read is refused."""
    frames = interleaved(BLOCK_LENGTH // 16 * 3, 16)
    path = write(tmp_path, wavs.wav(pcm(frames, 8), wavs.fmt(n_channels=16, bits=8)))
    with open_recording(path) as recording:
        blocks = recording.blocks()
        next(blocks)
        os.truncate(path, BLOCK_LENGTH)
        with pytest.raises(UnfinishedRecordingError, match=r"it changed while it was read"):
            list(blocks)


def test_a_disk_that_fails(tmp_path: Path) -> None:
    """An error of the disk under the digest is the recording's, with the system's reason."""
    path = write(tmp_path, wavs.wav(pcm(RAMP, 16)))
    folder = os.open(tmp_path, os.O_RDONLY)
    with open_recording(path) as recording:
        for descriptor in [fd for fd in Path("/proc/self/fd").iterdir() if fd.exists() and fd.resolve() == path]:
            os.dup2(folder, int(descriptor.name), inheritable=False)  # reading a folder fails as a disk does
        os.close(folder)
        with pytest.raises(UnreadableRecordingError, match=f"^{re.escape(str(path))}: Is a directory"):
            recording.sha256()


@pytest.mark.parametrize("kind", ["pcm16", "flac", "aiff"])
def test_no_descriptor_is_left_open_by_reading(kind: str, tmp_path: Path) -> None:
    """Reading, and stopping to read in the middle, closes the file."""
    path = write(tmp_path, EXACT[kind])
    before = n_descriptors()
    for _ in range(10):
        read_recording(path)
        with open_recording(path) as recording:
            next(recording.blocks())
    assert n_descriptors() <= before


@pytest.mark.parametrize("kind", UNREADABLE | UNFINISHED)
def test_no_descriptor_is_left_open_by_refusing(kind: str, tmp_path: Path) -> None:
    """Refusing a file closes it, and no other file of the process."""
    path = write(tmp_path, (UNREADABLE | UNFINISHED)[kind][0])
    before = n_descriptors()
    for _ in range(10):
        with pytest.raises(RecordingError):
            read_recording(path)
    assert n_descriptors() <= before


def test_an_error_of_the_caller_closes_too(tmp_path: Path) -> None:
    """What goes wrong inside the with block is the caller's, and the file is closed."""
    path = write(tmp_path, EXACT["pcm16"])
    before = n_descriptors()
    with pytest.raises(KeyError), open_recording(path):
        raise KeyError
    assert n_descriptors() <= before


# --- what is salvaged ------------------------------------------------------------------------------------------------


def salvaged(path: Path, channel: int | None = None) -> tuple[Floats, bool]:
    """The samples, and whether anything was missing."""
    with open_recording(path, channel, salvage=True) as recording:
        blocks = list(recording.blocks())
        assert sum(map(len, blocks)) == recording.n_samples
        return np.concatenate(blocks), recording.salvaged


PLAIN: dict[str, tuple[str, str, str | None]] = {
    "pcm8": ("WAV", "PCM_U8", None),
    "pcm16": ("WAV", "PCM_16", None),
    "pcm24": ("WAV", "PCM_24", None),
    "pcm32": ("WAV", "PCM_32", None),
    "float32": ("WAV", "FLOAT", None),
    "float64": ("WAV", "DOUBLE", None),
    "mulaw": ("WAV", "ULAW", None),
    "alaw": ("WAV", "ALAW", None),
    "extensible pcm16": ("WAVEX", "PCM_16", None),
    "extensible pcm24": ("WAVEX", "PCM_24", None),
    "extensible pcm32": ("WAVEX", "PCM_32", None),
    "extensible float32": ("WAVEX", "FLOAT", None),
    "extensible mulaw": ("WAVEX", "ULAW", None),
    "rf64 pcm16": ("RF64", "PCM_16", None),
    "rf64 pcm24": ("RF64", "PCM_24", None),
    "rf64 float32": ("RF64", "FLOAT", None),
    "big-endian pcm16": ("WAV", "PCM_16", "BIG"),
    "big-endian pcm24": ("WAV", "PCM_24", "BIG"),
    "big-endian pcm32": ("WAV", "PCM_32", "BIG"),
    "big-endian float32": ("WAV", "FLOAT", "BIG"),
    "big-endian float64": ("WAV", "DOUBLE", "BIG"),
}


def plain(kind: str, n_channels: int, n_samples: int = 501) -> tuple[bytes, Floats, int]:
    """A finished file of noise that uses every bit, its samples as libsndfile reads them, and where they begin."""
    container, subtype, endian = PLAIN[kind]
    noise = np.random.default_rng(5).uniform(-1, 1, (n_samples, n_channels))
    content = io.BytesIO()
    soundfile.write(content, noise, 8000, format=container, subtype=subtype, endian=endian)
    samples, _ = soundfile.read(io.BytesIO(content.getvalue()), dtype="float32", always_2d=True)
    return content.getvalue(), samples, content.getvalue().index(b"data") + 8


def unfinished(content: bytes, start: int) -> bytes:
    """The same file with its length not filled in, as a recorder leaves it that was stopped."""
    order = "big" if content[:4] == b"RIFX" else "little"
    if content[:4] == b"RF64" and content[start - 4 : start] == b"\xff" * 4:
        place = content.index(b"ds64") + 16
        return content[:place] + bytes(8) + content[place + 8 :]
    assert int.from_bytes(content[start - 4 : start], order) > 0  # type: ignore[arg-type]
    return content[: start - 4] + bytes(4) + content[start:]


@pytest.mark.parametrize("n_channels", [1, 2, 3])
@pytest.mark.parametrize("n_cut", [0, 1, 2, 3, 5, 8, 13, 100])
@pytest.mark.parametrize("kind", PLAIN)
def test_salvaged_samples_are_those_of_the_finished_file(
    kind: str, n_cut: int, n_channels: int, tmp_path: Path
) -> None:
    """A length of 0, or a file that is cut off anywhere, gives every whole sample bit for bit, and no other."""
    content, samples, start = plain(kind, n_channels)
    frame_size = len(content[start:]) // len(samples)
    content = content[: start + frame_size * len(samples)]  # without what stands behind the sound
    content = content[: len(content) - n_cut]
    n_whole = (len(content) - start) // frame_size
    for damaged in [unfinished(content, start), content] if n_cut else [unfinished(content, start)]:
        path = write(tmp_path, damaged)
        assert refused(path, UnfinishedRecordingError)
        for channel in range(n_channels):
            y, is_salvaged = salvaged(path, channel)
            assert is_salvaged
            assert y.dtype == np.float32
            np.testing.assert_array_equal(y.view(np.int32), samples[:n_whole, channel].copy().view(np.int32))


@given(kind=st.sampled_from(sorted(PLAIN)), data=st.data())
def test_a_recording_cut_at_every_byte(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever a recording ends too early, it is unfinished; salvaged, it is what there is, or unfinished still."""
    content, samples, start = plain(kind, 2, 9)
    frame_size = len(content[start:]) // len(samples)
    end = data.draw(st.integers(1, start + 9 * frame_size - 1))
    path = write(tmp_path_factory.getbasetemp(), content[:end], "cut.wav")
    assert refused(path, UnfinishedRecordingError)
    if end < start + frame_size:
        assert refused(path, UnfinishedRecordingError, salvage=True)
    else:
        y, is_salvaged = salvaged(path, 1)
        assert is_salvaged
        np.testing.assert_array_equal(y, samples[: (end - start) // frame_size, 1])


@pytest.mark.parametrize("tag", [wavs.PCM, 6, 7])
def test_every_value_of_eight_bits(tag: int, tmp_path: Path) -> None:
    """Each byte of 8 bits, mu-law and A-law means what it means to libsndfile."""
    content = wavs.wav(bytes(range(256)), wavs.fmt(tag, bits=8))
    expected, _ = read_recording(write(tmp_path, content))
    y, _ = salvaged(write(tmp_path, unfinished(content, 44)))
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("kind", EXACT)
def test_a_whole_recording_is_not_salvaged(kind: str, tmp_path: Path) -> None:
    """What is whole is read as ever, whoever asks to salvage it."""
    y, is_salvaged = salvaged(write(tmp_path, EXACT[kind]))
    np.testing.assert_array_equal(y, RAMP)
    assert not is_salvaged


@pytest.mark.parametrize(
    "kind", ["truncated in its header", "one byte", "four bytes", "half a header", "truncated flac", "truncated ogg"]
)
def test_what_cannot_be_salvaged(kind: str, tmp_path: Path) -> None:
    """Files without a whole sample, frame or page of sound are refused as they are without salvage."""
    content, reason = UNFINISHED[kind]
    assert reason in refused(write(tmp_path, content), UnfinishedRecordingError, salvage=True)


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (wavs.wav(bytes(10), wavs.fmt(0x11, bits=4), promised=0), UnfinishedRecordingError, "unfinished"),
        (wavs.wav(bytes(3), wavs.fmt(n_channels=2), promised=0)[:-1], UnfinishedRecordingError, "unfinished"),
        (wavs.wav(bytes(10), wavs.fmt(sample_rate=10), promised=0), UnreadableRecordingError, "10 Hz"),
        (wavs.wav(floats([0, np.nan]), wavs.fmt(wavs.FLOAT, bits=32), promised=0), UnreadableRecordingError, "NaN"),
        (wavs.wav(b"") + wavs.chunk(b"LIST", bytes(20)), EmptyRecordingError, "no sound"),
        (wavs.wav(b""), EmptyRecordingError, "no sound"),
    ],
    ids=["ADPCM", "half a frame", "rate", "NaN", "chunk", "nothing"],
)
def test_salvage_is_as_strict(content: bytes, kind: type[RecordingError], reason: str, tmp_path: Path) -> None:
    """What is salvaged is checked as everything is."""
    assert reason in refused(write(tmp_path, content), kind, salvage=True)


def test_a_long_recording_is_salvaged_in_blocks(tmp_path: Path) -> None:
    """Salvaged sound comes in blocks like any other, the mean of its channels, with its digest and its metadata."""
    frames = interleaved(BLOCK_LENGTH // 16 * 2 + 5, 16)
    before = [(b"LIST", info("by hand")), (b"bext", bext("2019-11-14", "19:17:30"))]
    content = wavs.wav(pcm(frames, 16), wavs.fmt(n_channels=16), promised=0, before=before)
    with open_recording(path := write(tmp_path, content), salvage=True) as recording:
        blocks = recording.blocks()
        first, digest, metadata = next(blocks), recording.sha256(), (recording.comment, recording.origination)
        y = np.concatenate([first, *blocks])
    np.testing.assert_array_equal(y, frames.mean(axis=1, dtype=np.float32))
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert metadata == ("by hand", "2019-11-14 19:17:30")


def test_a_recorder_that_goes_on_after_all(tmp_path: Path) -> None:
    """A file that grows, or shrinks, while it is salvaged is not given out for what there is of it."""
    path = write(tmp_path, unfinished(wavs.wav(pcm(RAMP, 16)), 44))
    with open_recording(path, salvage=True) as recording:
        list(recording.blocks())
        append(path)
        with pytest.raises(UnfinishedRecordingError, match="it changed while it was read"):
            recording.sha256()
    with open_recording(path, salvage=True) as recording:
        os.truncate(path, 44)
        with pytest.raises(UnfinishedRecordingError, match="it changed while it was read"):
            list(recording.blocks())


# --- metadata --------------------------------------------------------------------------------------------------------


def test_metadata_do_not_disturb_the_reading(tmp_path: Path) -> None:
    """Comment and origination are read in the middle of a recording, and the next block is the next."""
    frames = interleaved(BLOCK_LENGTH // 16 + 100, 16)
    before = [(b"LIST", info("by hand")), (b"bext", bext("2019-11-14", "19:17:30"))]
    path = write(tmp_path, wavs.wav(pcm(frames, 8), wavs.fmt(n_channels=16, bits=8), before=before))
    with open_recording(path, channel=0) as recording:
        blocks = recording.blocks()
        first, metadata = next(blocks), (recording.comment, recording.origination)
        rest = list(blocks)
    np.testing.assert_array_equal(np.concatenate([first, *rest]), frames[:, 0])
    assert metadata == ("by hand", "2019-11-14 19:17:30")
    assert (recording.comment, recording.origination) == ("", "")


@pytest.mark.parametrize("kind", EXACT)
def test_a_recording_without_metadata(kind: str, tmp_path: Path) -> None:
    """A recording of any kind without a comment and a date has none."""
    with open_recording(write(tmp_path, EXACT[kind])) as recording:
        assert (recording.comment, recording.origination) == ("", "")


# --- disks that fail -------------------------------------------------------------------------------------------------

READ = """
import sys
from sonyc_ml.sound.files import open_recording
try:
    with open_recording(sys.argv[1], salvage=True) as recording:
        n = sum(map(len, recording.blocks()))
        recording.sha256()
    print("read", n, recording.comment, recording.origination)
except Exception as error:
    print(type(error).__name__, error)
"""


def read_from_a_failing_disk(path: Path, **failures: str) -> str:
    """What becomes of a recording when calls fail on it: ``"3"`` is the third of its kind, ``"3+"`` all from it on."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    command = [strace, "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", f"trace={','.join(failures)}"]
    for call, when in failures.items():
        command += ["-e", f"inject={call}:error=EIO:when={when}"]
    command += [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "ptrace" in done.stderr:
        pytest.skip("nobody may be traced here")
    return done.stdout


@pytest.mark.parametrize(
    ("kind", "failures"),
    [
        ("wav", {"openat": "1"}),
        ("wav", {"pread64": "1+"}),
        ("wav", {"pread64": "5"}),
        ("wav", {"pread64": "14"}),
        ("wav", {"read": "14"}),
        ("wav", {"read": "1+", "pread64": "12+"}),  # libsndfile says that the format is not recognised
        ("flac", {"read": "3+", "pread64": "3+"}),
        ("flac", {"read": "9"}),
        ("ogg", {"read": "20+", "pread64": "20+"}),
        ("unfinished", {"pread64": "12+"}),
        ("unfinished", {"pread64": "14"}),
    ],
)
def test_a_disk_that_fails_anywhere(kind: str, failures: dict[str, str], tmp_path: Path) -> None:
    """A recording under which the disk fails is kept for later, not refused as damaged."""
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * BLOCK_LENGTH)
    content = unfinished(encoded(noise, "WAV"), 44) if kind == "unfinished" else encoded(noise, kind.upper())
    path = write(tmp_path, content)
    assert read_from_a_failing_disk(path, **failures).startswith(f"UnavailableRecordingError {path}: ")
