"""The sound of a request: a file's bytes, or samples; in memory alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import RecordingError
from sonyc_ml.features import checked_sample_rate, checked_samples
from sonyc_ml.sound.files import FileRecording, open_recording
from sonyc_ml.sound.recording import Recording
from sonyc_ml.sound.start_time import StartTime, StartTimes
from sonyc_ml.sound.triggered import Segment

Floats = npt.NDArray[np.float32]

ARRIVAL = "arrival"  # what an output names as the source of its start time


class SamplesRecording:
    """Samples as a :class:`~sonyc_ml.sound.recording.Recording`.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,) or (n_channels, n)]
        Of one channel, or of several, whose mean is taken.
    sample_rate : int
        In Hz.
    name : str
        What messages call it.

    Raises
    ------
    ValueError, TypeError
        These are no samples, or that is no sample rate; says why.
    """

    salvaged, mtime_ns = False, 0

    def __init__(self, samples: npt.NDArray[Any], sample_rate: int, name: str) -> None:
        self.name = self.source = name
        self.sample_rate = checked_sample_rate(sample_rate)
        self._samples = checked_samples(np.asarray(samples, np.float32))
        self.n_samples, self.n_bytes = len(self._samples), self._samples.nbytes
        self.description: dict[str, Any] = {}

    def segment_blocks(self) -> Iterator[tuple[Segment, Iterable[Floats]]]:
        """Yield the one stretch with its samples in one block."""
        yield Segment(0, self.n_samples), [self._samples]

    def sha256(self, progress: Callable[[], None] | None = None) -> str:  # noqa: ARG002  it takes milliseconds
        """SHA-256 of the samples as float32, little-endian."""
        return hashlib.sha256(self._samples.astype("<f4", copy=False).tobytes()).hexdigest()

    def start_time(self, name: str, start_times: StartTimes) -> StartTime:  # noqa: ARG002
        """When they came: nobody says when they were taken."""
        return StartTime(datetime.now(UTC), ARRIVAL)


class RequestTimes(StartTimes):
    """Start times of files that came without a name or time of their own: by their metadata, else when they came."""

    def __call__(self, recording: FileRecording, name: str) -> StartTime:
        """When a recording begins."""
        found = super().__call__(recording, name)
        return StartTime(datetime.now(UTC), ARRIVAL) if found.source == "mtime" else found


@contextmanager
def opened(content: bytes, name: str) -> Iterator[FileRecording]:
    """Open the bytes of a file as a recording; no disk has them.

    Raises
    ------
    RecordingError
        It cannot be read; says why, and calls it by `name`.
    """
    descriptor = os.memfd_create("request")
    path = f"/proc/self/fd/{descriptor}"
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        with open_recording(path) as recording:
            yield recording
    except RecordingError as error:
        raise type(error)(str(error).replace(path, name)) from error
    finally:
        os.close(descriptor)


def duration_s(recording: Recording) -> float:
    """How long a recording is (in seconds)."""
    return recording.n_samples / recording.sample_rate
