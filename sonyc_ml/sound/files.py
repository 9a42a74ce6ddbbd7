"""A file on disk to mono samples: opened once, checked, read in blocks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from sonyc_ml.base.identity import state_of
from sonyc_ml.base.process import quiet_stderr
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import UnfinishedRecordingError, UnreadableRecordingError
from sonyc_ml.sound.failures import code_of, failure, reason_of, system_failure
from sonyc_ml.sound.header import read_origination
from sonyc_ml.sound.levels.microphone import Levels, largest_of
from sonyc_ml.sound.node import record_of_position
from sonyc_ml.sound.ogg import SEVERAL
from sonyc_ml.sound.opening import Opened, Sound, count_left, open_sound
from sonyc_ml.sound.recording import FrameListener, check_samples, to_mono
from sonyc_ml.sound.start_time import StartTime, StartTimes
from sonyc_ml.sound.start_time.metadata import read_position, read_timestamp
from sonyc_ml.sound.triggered import Segment
from sonyc_ml.sound.unfinished import RawSound

Floats = npt.NDArray[np.float32]

BLOCK_LENGTH, HASH_BLOCK_SIZE = 1 << 16, 1 << 18  # samples of all channels together, and bytes: as much memory


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
        Whether this is what there is of a recording that is truncated or was never finished, or whose header is wrong
        about its length.
    note : str
        What was taken to be other than the file says, in words; empty for most.
    segments : tuple of Segment
        The stretches without a gap, in order. A triggered recording has several; every other has one, from 0.
    n_elapsed : int
        Length in time (in samples of each channel): with what a triggered recorder left out.
    levels : Levels
        Of what was read until now.
    """

    path: Path
    sample_rate: int
    n_samples: int
    n_channels: int
    n_bytes: int
    mtime_ns: int
    channel: int | None
    salvaged: bool
    note: str
    segments: tuple[Segment, ...] = field(repr=False)
    n_elapsed: int
    levels: Levels = field(repr=False, compare=False)
    _n_spanned: int = field(repr=False)
    _n_unread: Callable[[], int] = field(repr=False)
    _sound: Sound = field(repr=False)
    _descriptor: int = field(repr=False)
    _listeners: list[FrameListener] = field(default_factory=list, repr=False, compare=False)

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
        """Length in time, in seconds; of a triggered recording with what was not recorded."""
        return self.n_elapsed / self.sample_rate

    @property
    def n_left(self) -> int:
        """Samples of each channel that the file holds, by its size or its frames alone, and this leaves out."""
        return count_left(self._descriptor, self.n_bytes, self._n_spanned)

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

    @property
    def timestamp(self) -> str:
        """When GUANO says that the sound begins."""
        return read_timestamp(self._descriptor, self.n_bytes)

    @property
    def description(self) -> dict[str, Any]:
        """What an output keeps of the sound and its gaps, by the names of its provenance; known once it is read."""
        has_gaps = self.n_elapsed != self.n_samples
        position = read_position(self._descriptor, self.n_bytes)
        return {
            "note": self.note,
            "segments": json.dumps(list(map(list, self.segments))) if has_gaps else "",
            "n_elapsed": self.n_elapsed if has_gaps else 0,
            "level_dbfs": self.levels.level_dbfs,
            "clipped_share": round(self.levels.clipped_share, 6),
            "identical_share": round(self.levels.identical_share, 6),
            "without_sound": self.levels.is_dead,
            "node": record_of_position(*position) if position else "",
        }

    def attach(self, listener: FrameListener) -> None:
        """Hand the samples of all channels to somebody else too, as blocks are read."""
        self._listeners.append(listener)

    def blocks(self) -> Iterator[Floats]:
        """Yield the mono samples in order, `(n,)` float32 in [-1, 1], a few megabytes at a time.

        What a triggered recorder left out is left out: see :meth:`segment_blocks`.

        Raises
        ------
        UnreadableRecordingError
            The file ends early, cannot be decoded, or holds NaN or infinity.
        UnfinishedRecordingError
            It changed while it was read.
        UnavailableRecordingError
            The disk fails.
        """
        for _, blocks in self.segment_blocks():
            yield from blocks

    def segment_blocks(self) -> Iterator[tuple[Segment, Iterator[Floats]]]:
        """Yield each stretch without a gap with its :meth:`blocks`, which are to be read before the next stretch."""
        return self._segments_as(self._mono)

    def segment_frames(self) -> Iterator[tuple[Segment, Iterator[Floats]]]:
        """Yield each stretch as :meth:`segment_blocks` does, with its channels apart: blocks of `(n_channels, n)`.

        Where one channel was chosen, there is that one alone.
        """
        return self._segments_as(self._channels)

    def _segments_as(self, form: Callable[[Floats], Floats]) -> Iterator[tuple[Segment, Iterator[Floats]]]:
        n_before = 0
        for segment in self.segments:
            for listener in self._listeners:
                listener.begin(segment.start)
            yield segment, self._blocks(segment.n_samples, n_before, form)
            n_before += segment.n_samples

    def _blocks(self, n_samples: int, n_before: int, form: Callable[[Floats], Floats]) -> Iterator[Floats]:
        length = max(1, BLOCK_LENGTH // self.n_channels)
        n_read = 0
        while n_read < n_samples:
            frames = self._read(min(length, n_samples - n_read))
            if len(frames) == 0:
                n_found = n_before + n_read
                reason = f"it ends after {n_found:,} of {self.n_samples:,} samples; it is truncated or damaged"
                raise failure(self.path, self._descriptor, (self.n_bytes, self.mtime_ns), reason)
            n_read += len(frames)
            formed = form(frames)  # first, for it refuses what is no sound
            for listener in self._listeners:
                listener.frames(frames)
            yield formed
        n_unread = self._n_unread() if n_before + n_read == self.n_samples else 0
        if n_unread > 0:
            raise UnreadableRecordingError(f"{self.path}: {SEVERAL.format(self.n_bytes - n_unread, self.n_bytes)}")

    def start_time(self, name: str, start_times: StartTimes) -> StartTime:
        """When it begins, as the name, the metadata or the file's time says."""
        return start_times(self, name)

    def sha256(self, progress: Callable[[], None] | None = None) -> str:
        """SHA-256 of the file's bytes, in hexadecimal; `progress` is called as the work goes on.

        An UnfinishedRecordingError says that the file has changed since it was opened, an UnavailableRecordingError
        that the disk fails.
        """
        digest, position = hashlib.sha256(), 0
        try:
            while content := os.pread(self._descriptor, HASH_BLOCK_SIZE, position):  # without seeking, for libsndfile
                digest.update(content)
                position += len(content)
                if progress is not None:
                    progress()
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise system_failure(self.path, error) from error
        if state_of(status) != (self.n_bytes, self.mtime_ns):
            raise UnfinishedRecordingError(f"{self.path}: it changed while it was read; something is still writing it")
        return digest.hexdigest()

    def _read(self, length: int) -> Floats:
        try:
            if self._sound.subtype == "PCM_16":  # the same numbers as libsndfile's own scaling, in a fifth of its time
                pcm = self._sound.read(length, dtype="int16", always_2d=True)
                frames: Floats = np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32)
            else:
                with quiet_stderr() if self._sound.format == "MP3" else nullcontext():
                    frames = self._sound.read(length, dtype="float32", always_2d=True)
        except OSError as error:
            raise system_failure(self.path, error) from error
        except (soundfile.LibsndfileError, RuntimeError) as error:
            state, reason = (self.n_bytes, self.mtime_ns), f"{reason_of(error)}; it is truncated or damaged"
            raise failure(self.path, self._descriptor, state, reason, code_of(error)) from error
        return frames

    def _mono(self, frames: Floats) -> Floats:
        samples = to_mono(frames, self.channel)
        check_samples(samples, self.source)
        self.levels.add(frames if self.channel is None else frames[:, self.channel], samples)
        return samples

    def _channels(self, frames: Floats) -> Floats:
        """The channels apart; levels are those of their mean, as of any recording."""
        channels = np.ascontiguousarray(frames.T if self.channel is None else frames[:, self.channel][None])
        check_samples(channels, self.source)
        self._mono(frames)
        return channels


@contextmanager
def open_recording(path: str | Path, channel: int | None = None, *, salvage: bool = False) -> Iterator[FileRecording]:
    """Open a recording for reading; the file is opened once and closed at the end.

    Parameters
    ----------
    path : str or Path
        WAV of every common kind, RF64, Wave64, FLAC, Ogg, AIFF or MP3, at any sample rate.
    channel : int >= 0, optional
        Which channel to read; the mean of all where not given.
    salvage : bool
        Whether to read what there is of a file that is truncated, was never finished, or holds more than its header
        says: the whole samples of a WAV, RF64, Wave64 or AIFF file of PCM, float, mu-law or A-law, the whole frames of
        FLAC and MP3, the whole pages of Ogg. Only for a file that nobody writes any more.

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
    with _open_file(path) as (descriptor, status), open_sound(path, descriptor, status, salvage=salvage) as opened:
        n_channels = opened.sound.channels
        if channel is not None and not 0 <= channel < n_channels:
            raise UnreadableRecordingError(
                f"{path}: there is no channel {channel}; it has {n_channels}, counted from 0"
            )
        yield _recording_of(path, opened, channel, descriptor, state_of(status))


@contextmanager
def _open_file(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    """Open a file, and look at its state before anything is read, so that no change goes unseen."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hold us up
    except OSError as error:
        raise system_failure(path, error) from error
    try:
        try:
            status = os.fstat(descriptor)
        except OSError as error:
            raise system_failure(path, error) from error
        yield descriptor, status
    finally:
        os.close(descriptor)


def _recording_of(
    path: Path, opened: Opened, channel: int | None, descriptor: int, state: tuple[int, int]
) -> FileRecording:
    sound = opened.sound
    return FileRecording(
        path=path,
        sample_rate=sound.samplerate,
        n_samples=sum(segment.n_samples for segment in opened.segments),
        n_channels=sound.channels,
        n_bytes=state[0],
        mtime_ns=state[1],
        channel=channel,
        salvaged=opened.salvaged,
        note=opened.note,
        segments=opened.segments,
        n_elapsed=opened.n_elapsed,
        levels=Levels(largest_of(sound.subtype, sound.bits if isinstance(sound, RawSound) else 0)),
        _n_spanned=opened.n_spanned,
        _n_unread=opened.n_unread,
        _sound=sound,
        _descriptor=descriptor,
    )


def read_recording(path: str | Path, channel: int | None = None) -> tuple[Floats, int]:
    """Read a whole recording: `(n_samples,)`, with silence in a triggered one's gaps, and its sample rate (in Hz)."""
    with open_recording(path, channel) as recording:
        if recording.n_elapsed == recording.n_samples:
            blocks = list(recording.blocks())
            return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks)), recording.sample_rate
        y = np.zeros(recording.n_elapsed, np.float32)
        for segment, segment_blocks in recording.segment_blocks():
            start = segment.start
            for block in segment_blocks:
                y[start : start + len(block)] = block
                start += len(block)
        return y, recording.sample_rate
