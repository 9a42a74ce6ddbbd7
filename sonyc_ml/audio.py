"""A file on disk to mono samples: opened once, checked, read in blocks."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from sonyc_ml.errors import EmptyRecordingError, UnreadableRecordingError
from sonyc_ml.header import check_header

Floats = npt.NDArray[np.float32]

# The kinds of files that are read, by their first bytes: libsndfile tries MP3 on anything else, noisily.
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"fLaC", b"OggS", b"FORM")
FORMATS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "AIFF")
EXTENSIONS = (".wav", ".flac", ".ogg", ".w64", ".rf64", ".aif", ".aiff")
SAMPLE_RATES_HZ = range(1000, 1_000_001)  # beyond them it is a damaged header, not a recorder
BLOCK_LENGTH = 1 << 16  # samples of all channels together: a quarter of a megabyte
HASH_BLOCK_SIZE = 1 << 18  # bytes
UNKNOWN_LENGTH = 1 << 62  # what libsndfile says, at least, where a header leaves the length open


@dataclass(frozen=True, slots=True)
class Recording:
    """An open recording.

    Attributes
    ----------
    path : Path
    sample_rate : int
        In Hz.
    n_samples : int
        Of each channel.
    n_channels : int
    n_bytes, mtime_ns : int
        Size and time of the file when it was opened.
    channel : int or None
        The channel that is read; None for the mean of all.
    """

    path: Path
    sample_rate: int
    n_samples: int
    n_channels: int
    n_bytes: int
    mtime_ns: int
    channel: int | None
    _sound: Any = field(repr=False)
    _descriptor: int = field(repr=False)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate

    def blocks(self) -> Iterator[Floats]:
        """Yield the mono samples in order, `(n,)` float32 in [-1, 1], a few megabytes at a time.

        Raises
        ------
        UnreadableRecordingError
            The file ends early, cannot be decoded, or holds NaN or infinity.
        """
        length = max(1, BLOCK_LENGTH // self.n_channels)
        n_read = 0
        while n_read < self.n_samples:
            frames = self._read(min(length, self.n_samples - n_read))
            if len(frames) == 0:
                raise UnreadableRecordingError(
                    f"{self.path}: it ends after {n_read:,} of {self.n_samples:,} samples; it is truncated or damaged"
                )
            n_read += len(frames)
            yield self._mono(frames)

    def sha256(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal.

        Raises
        ------
        UnreadableRecordingError
            The file has changed since it was opened, or the disk fails.
        """
        digest, position = hashlib.sha256(), 0
        try:
            # Without seeking: libsndfile reads on from where the descriptor stands.
            while content := os.pread(self._descriptor, HASH_BLOCK_SIZE, position):
                digest.update(content)
                position += len(content)
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise UnreadableRecordingError(f"{self.path}: {error.strerror}") from error
        if (status.st_size, status.st_mtime_ns) != (self.n_bytes, self.mtime_ns):
            raise UnreadableRecordingError(f"{self.path}: it changed while it was read; something is still writing it")
        return digest.hexdigest()

    def _read(self, length: int) -> Floats:
        try:
            if self._sound.subtype == "PCM_16":  # the same numbers as libsndfile's own scaling, in a fifth of its time
                pcm = self._sound.read(length, dtype="int16", always_2d=True)
                frames: Floats = np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32)
            else:
                frames = self._sound.read(length, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise UnreadableRecordingError(f"{self.path}: {_reason(error)}; it is truncated or damaged") from error
        return frames

    def _mono(self, frames: Floats) -> Floats:
        if self.n_channels == 1:
            samples = frames[:, 0]
        elif self.channel is None:
            with np.errstate(invalid="ignore", over="ignore"):  # the check below says it better
                samples = frames.mean(axis=1, dtype=np.float32)
        else:
            samples = np.ascontiguousarray(frames[:, self.channel])
        if not np.isfinite(samples).all():
            raise UnreadableRecordingError(f"{self.path}: it holds NaN or infinity among its samples")
        return samples


@contextmanager
def open_recording(path: str | Path, channel: int | None = None) -> Iterator[Recording]:
    """Open a recording for reading; the file is opened once and closed at the end.

    Parameters
    ----------
    path : str or Path
        WAV of every common kind, RF64, Wave64, FLAC, Ogg or AIFF, at any sample rate.
    channel : int >= 0, optional
        Which channel to read; the mean of all where not given.

    Raises
    ------
    UnreadableRecordingError, EmptyRecordingError
        With the reason in words.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hold us up
    except OSError as error:
        raise UnreadableRecordingError(f"{path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)  # before anything is read, so that no change goes unseen
        with _open_sound(path, descriptor, status) as sound:
            if channel is not None and not 0 <= channel < sound.channels:
                raise UnreadableRecordingError(
                    f"{path}: there is no channel {channel}; it has {sound.channels}, counted from 0"
                )
            yield Recording(
                path,
                sound.samplerate,
                sound.frames,
                sound.channels,
                status.st_size,
                status.st_mtime_ns,
                channel,
                sound,
                descriptor,
            )
    finally:
        os.close(descriptor)


def read_recording(path: str | Path, channel: int | None = None) -> tuple[Floats, int]:
    """Read a whole recording.

    Returns
    -------
    y : np.ndarray [shape=(n_samples,), dtype=float32]
    sr : int
        In Hz.
    """
    with open_recording(path, channel) as recording:
        blocks = list(recording.blocks())
        return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks)), recording.sample_rate


def _open_sound(path: Path, descriptor: int, status: os.stat_result) -> soundfile.SoundFile:
    """Check a file and hand it to libsndfile."""
    try:
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableRecordingError("it is not a file but a folder, a pipe or a device")
        if status.st_size == 0:
            raise EmptyRecordingError("it is an empty file")
        if os.pread(descriptor, 4, 0) not in MAGIC:
            raise UnreadableRecordingError("it is not a sound file of a kind that is read (WAV, FLAC, Ogg, AIFF)")
        check_header(descriptor, status.st_size)
        sound = soundfile.SoundFile(descriptor, closefd=False)
    except (UnreadableRecordingError, EmptyRecordingError) as error:
        raise type(error)(f"{path}: {error}") from None
    except OSError as error:
        raise UnreadableRecordingError(f"{path}: {error.strerror}") from error
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UnreadableRecordingError(f"{path}: {_reason(error)}") from error
    try:
        if sound.format not in FORMATS:
            raise UnreadableRecordingError(f"{path}: {sound.format} files are not read; convert it to WAV or FLAC")
        if sound.samplerate not in SAMPLE_RATES_HZ:
            raise UnreadableRecordingError(f"{path}: its header says {sound.samplerate:,} Hz, which no recorder uses")
        if sound.frames < 1:
            raise EmptyRecordingError(f"{path}: it has a header and no sound")
        if sound.frames >= UNKNOWN_LENGTH:
            raise UnreadableRecordingError(
                f"{path}: its header does not say how long it is, as of a {sound.format} file written to a pipe; "
                "encode it again from a file to a file"
            )
    except (UnreadableRecordingError, EmptyRecordingError):
        sound.close()
        raise
    return sound


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", str(error)).strip().rstrip(".").removeprefix("Error : ")
    return f"it cannot be decoded: {text[:1].lower()}{text[1:]}"
