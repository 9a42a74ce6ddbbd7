"""A file on disk to mono samples: opened once, checked, read in blocks."""

from __future__ import annotations

import errno
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

from sonyc_ml.base.identity import state_of
from sonyc_ml.errors import (
    EmptyRecordingError,
    SonycMLError,
    UnavailableRecordingError,
    UnfinishedRecordingError,
    UnreadableRecordingError,
    VanishedRecordingError,
)
from sonyc_ml.sound.header import check_header, find_layout, read_origination
from sonyc_ml.sound.start_time import StartTime, StartTimes
from sonyc_ml.sound.unfinished import RawSound

Floats = npt.NDArray[np.float32]

# The kinds of files that are read, by their first bytes: libsndfile tries MP3 on anything else, noisily.
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"fLaC", b"OggS", b"FORM")
FORMATS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "AIFF")
EXTENSIONS = (".wav", ".flac", ".ogg", ".w64", ".rf64", ".aif", ".aiff")
SAMPLE_RATES_HZ = range(1000, 1_000_001)  # beyond them it is a damaged header, not a recorder
BLOCK_LENGTH = 1 << 16  # samples of all channels together: a quarter of a megabyte
HASH_BLOCK_SIZE = 1 << 18  # bytes
SMALLEST_SIZE = 16  # bytes: no kind of file can be told, or be whole, with less
LOUDEST = 2.0**32  # full scale is 1; 32-bit numbers that nobody scaled reach half of this
UNKNOWN_LENGTH = 1 << 62  # what libsndfile says, at least, where a header leaves the length open

GONE = (errno.ENOENT, errno.ENOTDIR)
# What opening or reading something says that is no recording and will be none; anything else may pass.
PERMANENT = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ)
SYSTEM_ERROR = 2  # SF_ERR_SYSTEM of libsndfile's sndfile.h: read or lseek failed


@dataclass(frozen=True, slots=True)
class FileRecording:
    """An open file, as a :class:`~sonyc_ml.sound.recording.Recording`.

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
    salvaged : bool
        Whether this is what there is of a recording that is truncated or was never finished.
    """

    path: Path
    sample_rate: int
    n_samples: int
    n_channels: int
    n_bytes: int
    mtime_ns: int
    channel: int | None
    salvaged: bool
    _sound: Any = field(repr=False)
    _descriptor: int = field(repr=False)

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.name

    @property
    def source(self) -> str:
        """The file's path."""
        return str(self.path)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate

    @property
    def comment(self) -> str:
        """The comment in the file's metadata; empty where it has none."""
        try:
            return str(self._sound.comment)
        except (soundfile.LibsndfileError, RuntimeError):  # the recording is closed
            return ""

    @property
    def origination(self) -> str:
        """When the header says that the sound begins; see :func:`sonyc_ml.sound.header.read_origination`."""
        return read_origination(self._descriptor, self.n_bytes)

    def blocks(self) -> Iterator[Floats]:
        """Yield the mono samples in order, `(n,)` float32 in [-1, 1], a few megabytes at a time.

        Raises
        ------
        UnreadableRecordingError
            The file ends early, cannot be decoded, or holds NaN or infinity.
        UnfinishedRecordingError
            It changed while it was read.
        UnavailableRecordingError
            The disk fails.
        """
        length = max(1, BLOCK_LENGTH // self.n_channels)
        n_read = 0
        while n_read < self.n_samples:
            frames = self._read(min(length, self.n_samples - n_read))
            if len(frames) == 0:
                reason = f"it ends after {n_read:,} of {self.n_samples:,} samples; it is truncated or damaged"
                raise _failure(self.path, self._descriptor, (self.n_bytes, self.mtime_ns), reason)
            n_read += len(frames)
            yield self._mono(frames)

    def start_time(self, name: str, start_times: StartTimes) -> StartTime:
        """When it begins, as the name, the metadata or the file's time says."""
        return start_times(self, name)

    def sha256(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal.

        Raises
        ------
        UnfinishedRecordingError
            The file has changed since it was opened.
        UnavailableRecordingError
            The disk fails.
        """
        digest, position = hashlib.sha256(), 0
        try:
            # Without seeking: libsndfile reads on from where the descriptor stands.
            while content := os.pread(self._descriptor, HASH_BLOCK_SIZE, position):
                digest.update(content)
                position += len(content)
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise _system_failure(self.path, error) from error
        if state_of(status) != (self.n_bytes, self.mtime_ns):
            raise UnfinishedRecordingError(f"{self.path}: it changed while it was read; something is still writing it")
        return digest.hexdigest()

    def _read(self, length: int) -> Floats:
        try:
            if self._sound.subtype == "PCM_16":  # the same numbers as libsndfile's own scaling, in a fifth of its time
                pcm = self._sound.read(length, dtype="int16", always_2d=True)
                frames: Floats = np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32)
            else:
                frames = self._sound.read(length, dtype="float32", always_2d=True)
        except OSError as error:
            raise _system_failure(self.path, error) from error
        except (soundfile.LibsndfileError, RuntimeError) as error:
            state, reason = (self.n_bytes, self.mtime_ns), f"{_reason(error)}; it is truncated or damaged"
            raise _failure(self.path, self._descriptor, state, reason, _code(error)) from error
        return frames

    def _mono(self, frames: Floats) -> Floats:
        if self.n_channels == 1:
            samples = frames[:, 0]
        elif self.channel is None:
            with np.errstate(invalid="ignore", over="ignore"):  # the check below says it better
                samples = frames.mean(axis=1, dtype=np.float32)
        else:
            samples = np.ascontiguousarray(frames[:, self.channel])
        if not (samples.min() >= -LOUDEST and samples.max() <= LOUDEST):  # NaN is neither
            kind = "samples as large as no sound is" if np.isfinite(samples).all() else "NaN or infinity"
            raise UnreadableRecordingError(f"{self.path}: it holds {kind} among its samples")
        return samples


@contextmanager
def open_recording(path: str | Path, channel: int | None = None, *, salvage: bool = False) -> Iterator[FileRecording]:
    """Open a recording for reading; the file is opened once and closed at the end.

    Parameters
    ----------
    path : str or Path
        WAV of every common kind, RF64, Wave64, FLAC, Ogg or AIFF, at any sample rate.
    channel : int >= 0, optional
        Which channel to read; the mean of all where not given.
    salvage : bool
        Whether to read the whole samples of a WAV or RF64 file that is truncated or was never finished, where they
        are PCM, float, mu-law or A-law. Only for a file that nobody writes any more.

    Raises
    ------
    UnfinishedRecordingError
        It is truncated, or its writer has not finished it, and it is not, or cannot be, salvaged.
    UnreadableRecordingError, EmptyRecordingError
        With the reason in words.
    UnavailableRecordingError
        The system does not let it be read, for now; VanishedRecordingError where it is gone.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hold us up
    except OSError as error:
        raise _system_failure(path, error) from error
    try:
        try:
            status = os.fstat(descriptor)  # before anything is read, so that no change goes unseen
        except OSError as error:
            raise _system_failure(path, error) from error
        with _open_sound(path, descriptor, status, salvage=salvage) as sound:
            if channel is not None and not 0 <= channel < sound.channels:
                raise UnreadableRecordingError(
                    f"{path}: there is no channel {channel}; it has {sound.channels}, counted from 0"
                )
            yield FileRecording(
                path,
                sound.samplerate,
                sound.frames,
                sound.channels,
                *state_of(status),
                channel,
                isinstance(sound, RawSound),
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


def _open_sound(
    path: Path, descriptor: int, status: os.stat_result, *, salvage: bool
) -> soundfile.SoundFile | RawSound:
    """Check a file and hand it to libsndfile."""
    try:
        _check_kind(descriptor, status)
        sound = _salvageable(descriptor, status.st_size) if salvage else None
        if sound is None:
            check_header(descriptor, status.st_size)
            # One of its own: where libsndfile 1.2.0 fails it closes the one that it was given, whatever it was told.
            sound = soundfile.SoundFile(os.dup(descriptor), closefd=True)
    except (UnreadableRecordingError, EmptyRecordingError) as error:
        raise type(error)(f"{path}: {error}") from None
    except OSError as error:
        raise _system_failure(path, error) from error
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise _failure(path, descriptor, state_of(status), _reason(error), _code(error)) from error
    try:
        _check_sound(path, sound)
    except (UnreadableRecordingError, EmptyRecordingError):
        sound.close()
        raise
    return sound


def _check_kind(descriptor: int, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableRecordingError("it is not a file but a folder, a pipe or a device")
    if status.st_size == 0:
        raise EmptyRecordingError("it is an empty file")
    magic = os.pread(descriptor, 4, 0)
    if not any(known.startswith(magic) for known in MAGIC):
        raise UnreadableRecordingError("it is not a sound file of a kind that is read (WAV, FLAC, Ogg, AIFF)")
    if status.st_size < SMALLEST_SIZE:
        raise UnfinishedRecordingError(f"it is truncated: it ends after {status.st_size} bytes, within its header")


def _check_sound(path: Path, sound: soundfile.SoundFile | RawSound) -> None:
    if sound.format not in FORMATS:
        raise UnreadableRecordingError(f"{path}: {sound.format} files are not read; convert it to WAV or FLAC")
    if sound.samplerate not in SAMPLE_RATES_HZ:
        raise UnreadableRecordingError(f"{path}: its header says {sound.samplerate:,} Hz, which no recorder uses")
    if sound.frames < 1:
        raise EmptyRecordingError(f"{path}: it has a header and no sound")
    if sound.frames >= UNKNOWN_LENGTH:
        raise UnfinishedRecordingError(
            f"{path}: its header does not say how long it is: its {sound.format} encoder is still at work, was "
            "stopped, or wrote to a pipe; encode it again from a file to a file"
        )


def _salvageable(descriptor: int, size: int) -> RawSound | None:
    """The sound of a file that `check_header` would call unfinished, if there are whole samples; else None."""
    try:
        check_header(descriptor, size)
    except UnfinishedRecordingError:
        layout = find_layout(descriptor, size)
        if layout is not None and layout.n_samples > 0:
            return RawSound(descriptor, layout, _comment(descriptor))
    return None


def _comment(descriptor: int) -> str:
    """The comment of an unfinished file, which libsndfile reads although it sees no sound."""
    try:
        with soundfile.SoundFile(descriptor, closefd=False) as sound:
            return str(sound.comment)
    except (soundfile.LibsndfileError, RuntimeError):
        return ""


def _system_failure(path: Path, error: OSError) -> SonycMLError:
    """What the system's refusal to open or read a recording means for it."""
    if error.errno in GONE:
        return VanishedRecordingError(f"{path}: {error.strerror}")
    if error.errno in PERMANENT:
        return UnreadableRecordingError(f"{path}: {error.strerror}")
    return UnavailableRecordingError(f"{path}: {error.strerror}; it cannot be read for now")


def _failure(path: Path, descriptor: int, state: tuple[int, int], reason: str, code: int = 0) -> SonycMLError:
    """What libsndfile's failure to read a recording means for it.

    libsndfile says of a disk that fails that the file is damaged, most of the time, so the file is read once more.
    """
    if code == SYSTEM_ERROR:
        return UnavailableRecordingError(f"{path}: the system could not read on; it cannot be read for now")
    try:
        position = 0
        while content := os.pread(descriptor, HASH_BLOCK_SIZE, position):
            position += len(content)
        is_changed = state_of(os.fstat(descriptor)) != state
    except OSError as error:
        return _system_failure(path, error)
    if is_changed:
        return UnfinishedRecordingError(f"{path}: it changed while it was read; something is still writing it")
    return UnreadableRecordingError(f"{path}: {reason}")


def _code(error: Exception) -> int:
    return int(getattr(error, "code", 0))


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", str(error)).strip().rstrip(".").removeprefix("Error : ")
    return f"it cannot be decoded: {text[:1].lower()}{text[1:]}"
