"""A stretch of a stream as a recording: its bytes as they came, in memory alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.sound.header import Layout
from sonyc_ml.sound.levels.microphone import Levels, largest_of
from sonyc_ml.sound.live.formats import is_same_sound
from sonyc_ml.sound.recording import FrameListener, check_samples, to_mono
from sonyc_ml.sound.start_time import StartTime, StartTimes
from sonyc_ml.sound.triggered import Segment as Stretch
from sonyc_ml.sound.unfinished import decode, placed

Floats = npt.NDArray[np.float32]

BLOCK_LENGTH = 1 << 16  # samples of all channels together, as of files
LIVE = "live"  # what an output names as the source of its start time


@dataclass(slots=True)
class LiveSegment:
    """A stretch of a stream.

    Attributes
    ----------
    source : str
        Name of the stream.
    layout : Layout
    content : bytearray
        Whole frames.
    start_s : float
        When the first of them was taken (in seconds since 1970).
    n_own : int
        Samples of each channel up to where the next stretch begins: fewer than there are where windows run on across
        the cut.
    n_planned : int
        Samples that it should have.
    is_open : bool
        Whether samples still come; until then, everything but those is what it should become.
    salvaged : bool
        Whether it ended before it was as long as it should be.
    reason, detail : str
        Why it does not begin where the stretch before it ended, where that is known.
    note : str
        What an output says of it.
    microphone : mapping
        What is known of the microphone, for its levels; see :mod:`sonyc_ml.sound.levels.microphone_files`.
    """

    source: str
    layout: Layout
    content: bytearray = field(repr=False)
    start_s: float
    n_own: int
    salvaged: bool = False
    reason: str = ""
    detail: str = ""
    note: str = ""
    n_planned: int = 0
    is_open: bool = False
    microphone: Mapping[str, Any] = field(default_factory=dict)

    __eq__, __hash__ = object.__eq__, object.__hash__  # each is one of its own

    @property
    def n_samples(self) -> int:
        """Of each channel."""
        return len(self.content) // self.layout.frame_size

    @property
    def duration_s(self) -> float:
        """How long it is to where the next stretch begins (in seconds)."""
        return self.n_own / self.layout.sample_rate

    @property
    def end_s(self) -> float:
        """When the next stretch begins (in seconds since 1970)."""
        return self.start_s + self.duration_s

    @property
    def mtime_ns(self) -> int:
        """What stands for the time of a file: when it begins (in nanoseconds since 1970)."""
        return round(self.start_s * 1e6) * 1000


class LiveRecording:
    """A stretch of a stream, as a :class:`~sonyc_ml.sound.recording.Recording`, to be read once.

    Parameters
    ----------
    segment : LiveSegment
    name : str
    channel : int or None
        The channel that is read; None for the mean of all.
    n_samples : int, optional
        How many of the samples are read; all where not given.
    """

    def __init__(
        self, segment: LiveSegment, name: str, channel: int | None = None, n_samples: int | None = None
    ) -> None:
        self._name, self.source, self.channel = name, f"{segment.source} (live)", channel
        self._segment, self._listeners = segment, list[FrameListener]()
        self.sample_rate = segment.layout.sample_rate
        self.n_samples = segment.n_samples if n_samples is None else n_samples
        self.n_channels = segment.layout.n_channels
        self._layout = placed(self._contents(), segment.layout)
        self.levels = Levels(largest_of("RAW", self._layout.valid_bits) if self._layout.tag == 1 else 1.0)

    @property
    def name(self) -> str:
        """What an output calls it."""
        return self._name

    @property
    def n_bytes(self) -> int:
        """Of its samples."""
        return len(self._segment.content)

    @property
    def microphone(self) -> Mapping[str, Any]:
        """What is known of the microphone of its source alone."""
        return self._segment.microphone

    @property
    def mtime_ns(self) -> int:
        """When it begins (in nanoseconds since 1970)."""
        return self._segment.mtime_ns

    @property
    def salvaged(self) -> bool:
        """Whether it ended early."""
        return self._segment.salvaged

    @property
    def duration_s(self) -> float:
        """Length in time (in seconds)."""
        return self.n_samples / self.sample_rate

    @property
    def description(self) -> dict[str, Any]:
        """What an output keeps of the sound, by the names of its provenance; known once it is read."""
        note = self._segment.note
        if not is_same_sound(self._layout, self._segment.layout):
            note = "; ".join(filter(None, (note, f"samples fill the upper bits of {self._layout.bits}")))
        return {
            "note": note,
            "level_dbfs": self.levels.level_dbfs,
            "clipped_share": round(self.levels.clipped_share, 6),
            "identical_share": round(self.levels.identical_share, 6),
            "without_sound": self.levels.is_dead,
        }

    def attach(self, listener: FrameListener) -> None:
        """Hand every block of samples, as it is read, to the listener too; before any is read."""
        self._listeners.append(listener)

    def segment_blocks(self) -> Iterator[tuple[Stretch, Iterator[Floats]]]:
        """Yield the one stretch with its mono samples, in blocks as those of a file."""
        yield Stretch(0, self.n_samples), self._blocks(self._mono)

    def segment_frames(self) -> Iterator[tuple[Stretch, Iterator[Floats]]]:
        """Yield the one stretch with its channels apart, blocks of `(n_channels, n)`."""
        yield Stretch(0, self.n_samples), self._blocks(self._channels)

    def sha256(self, progress: Callable[[], None] | None = None) -> str:  # noqa: ARG002  it takes milliseconds
        """SHA-256 of the samples' bytes as they came: of the content of a WAV file's ``data`` chunk."""
        return hashlib.sha256(self._content()).hexdigest()

    def start_time(self, name: str, start_times: StartTimes) -> StartTime:  # noqa: ARG002  it is known
        """When it begins."""
        return StartTime(datetime.fromtimestamp(self.mtime_ns // 1000 * 1e-6, UTC), LIVE)

    def _contents(self) -> Iterator[memoryview]:
        size = max(1, BLOCK_LENGTH // self.n_channels) * self._segment.layout.frame_size
        view = self._content()
        return (view[start : start + size] for start in range(0, len(view), size))

    def _content(self) -> memoryview:
        return memoryview(self._segment.content)[: self.n_samples * self._segment.layout.frame_size]

    def _blocks(self, form: Callable[[Floats], Floats]) -> Iterator[Floats]:
        self._begin()
        for content in self._contents():
            yield form(self._heard(content))

    def _begin(self) -> None:
        for listener in self._listeners:
            listener.begin(0)

    def _heard(self, content: bytes | bytearray | memoryview) -> Floats:
        """Samples of whole frames, `(n, n_channels)`, which whoever listens has heard."""
        frames = decode(content, self._layout).reshape(-1, self.n_channels)
        for listener in self._listeners:
            listener.frames(frames)
        return frames

    def _mono(self, frames: Floats) -> Floats:
        samples = to_mono(frames, self.channel)
        check_samples(samples, self.source)
        self.levels.add(frames if self.channel is None else frames[:, self.channel], samples)
        return samples

    def _channels(self, frames: Floats) -> Floats:
        channels = np.ascontiguousarray(frames.T if self.channel is None else frames[:, self.channel][None])
        check_samples(channels, self.source)
        self._mono(frames)
        return channels


class StreamCutError(Exception):
    """A stream ended before a stretch of it was as long as it should be."""


class OpenRecording(LiveRecording):
    """A stretch of a stream that still comes: who reads it waits.

    Its name is known when it is over.

    Parameters
    ----------
    segment : LiveSegment
        Whose samples fill their place.
    channel : int or None
        See :class:`LiveRecording`.
    n_samples : int
        How many samples are read.
    wait : callable
        Returns once there may be more samples; raises what is to end the reading.
    """

    def __init__(self, segment: LiveSegment, channel: int | None, n_samples: int, wait: Callable[[], None]) -> None:
        super().__init__(segment, "", channel, n_samples)
        self._wait = wait
        self._n_read, self._n_bytes = 0, n_samples * segment.layout.frame_size
        self._digest = hashlib.sha256()

    def segment_blocks(self) -> Iterator[tuple[Stretch, Iterator[Floats]]]:
        """Yield the one stretch with its mono samples, as they come.

        Raises
        ------
        StreamCutError
            Fewer came than should.
        """
        yield Stretch(0, self.n_samples), OpenBlocks(self._coming(), self._is_there)

    @property
    def name(self) -> str:
        """Its name; waits until it has one."""
        while not self._name:
            self._wait()
        return self._name

    def named(self, name: str) -> None:
        """Give it a name."""
        self._name = name

    def sha256(self, progress: Callable[[], None] | None = None) -> str:  # noqa: ARG002  it is known
        """SHA-256 of the bytes that were read."""
        return self._digest.hexdigest()

    def _is_there(self) -> bool:
        return min(len(self._segment.content), self._n_bytes) > self._n_read or not self._segment.is_open

    def _coming(self) -> Iterator[Floats]:
        size = max(1, BLOCK_LENGTH // self.n_channels) * self._segment.layout.frame_size
        self._begin()
        while self._n_read < self._n_bytes:
            is_open = self._segment.is_open
            content = self._segment.content[self._n_read : min(self._n_bytes, self._n_read + size)]
            if content:
                self._digest.update(content)
                self._n_read += len(content)
                yield self._mono(self._heard(content))
            elif is_open:
                self._wait()
            else:
                raise StreamCutError


class OpenBlocks:
    """Blocks of samples that still come; whoever makes features of them leaves little for the end.

    Parameters
    ----------
    blocks : iterator of np.ndarray
    is_there : callable
        Whether the next block can be had without waiting.
    """

    def __init__(self, blocks: Iterator[Floats], is_there: Callable[[], bool]) -> None:
        self._blocks, self.is_there = blocks, is_there

    def __iter__(self) -> Iterator[Floats]:
        return self

    def __next__(self) -> Floats:
        return next(self._blocks)
