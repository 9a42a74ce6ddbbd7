"""How far a recording is while it is embedded: told by whoever embeds it, at most once a second."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sonyc_ml.sound.files import FileRecording

PROGRESS_S = 1.0  # between two reports of one recording, and before the first
MESSAGE = struct.Struct("<qdd")  # number of the task, seconds done, length in seconds; see Within
N_AT_ONCE = 1000  # messages that are read together

Tell: TypeAlias = Callable[[int, float, float], None]


class Position:
    """Listens to a recording while it is read, and says now and then how far that is.

    Parameters
    ----------
    recording : FileRecording
    number : int
        Of the task in the batch.
    tell : callable
        Gets the number, how much of the recording was read and how long it is (both in seconds).
    """

    def __init__(self, recording: FileRecording, number: int, tell: Tell) -> None:
        self._recording, self._number, self._tell = recording, number, tell
        self._n_read = 0
        self._next_s = time.monotonic() + PROGRESS_S
        recording.attach(self)

    def begin(self, start: int) -> None:
        """See :class:`sonyc_ml.sound.recording.FrameListener`."""
        self._n_read = start

    def frames(self, frames: npt.NDArray[np.float32]) -> None:
        """See :class:`sonyc_ml.sound.recording.FrameListener`."""
        self._n_read += len(frames)

    def __call__(self) -> None:
        """The work went on: say how far it is, if that was not said just now."""
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + PROGRESS_S
            self._tell(self._number, self._n_read / self._recording.sample_rate, self._recording.duration_s)


class Within:
    """A pipe from the processes of a batch to the one that shows how far they are.

    A message is smaller than what a pipe takes in one piece: processes need no lock, and one that is killed leaves no
    half of one. Where nobody reads, what does not fit is left out: no process ever waits.
    """

    def __init__(self) -> None:
        self._reader, self.writer = Pipe(duplex=False)
        os.set_blocking(self._reader.fileno(), False)
        os.set_blocking(self.writer.fileno(), False)

    def latest(self, numbers: Collection[int]) -> dict[int, tuple[float, float]]:
        """How far tasks are, by their numbers: what was told last of each of these, if anything was told."""
        found: dict[int, tuple[float, float]] = {}
        with suppress(BlockingIOError):
            while content := os.read(self._reader.fileno(), N_AT_ONCE * MESSAGE.size):
                for number, done_s, duration_s in MESSAGE.iter_unpack(content):
                    found[number] = done_s, duration_s
        return {number: found[number] for number in numbers if number in found}

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self.writer.close()


def tell_through(writer: Connection) -> Tell:
    """What tells through a pipe of :class:`Within`."""

    def tell(number: int, done_s: float, duration_s: float) -> None:
        with suppress(OSError):  # nobody reads, or not fast enough
            os.write(writer.fileno(), MESSAGE.pack(number, done_s, duration_s))

    return tell
