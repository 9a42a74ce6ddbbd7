"""A recording, wherever it comes from: a file, a stretch of a stream, the body of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sonyc_ml.sound.triggered import Segment


class Recording(Protocol):
    """What is asked of sound that is to be embedded.

    Attributes
    ----------
    path : Path
        Its file; where there is none, what messages call it.
    sample_rate : int
        In Hz.
    n_samples : int
        Of each channel.
    n_bytes, mtime_ns : int
        With its name, its identity: the size and time of the file that holds the same samples.
    salvaged : bool
        Whether this is what there is of a recording that is truncated or was never finished.
    duration_s : float
    description : dict
        What an output keeps of the sound and its gaps, by the names of its provenance; known once it is read.
    comment, timestamp, origination : str
        What its metadata says of when it begins: its comment, GUANO, Broadcast Wave; empty where they say nothing.
    """

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def sample_rate(self) -> int: ...  # noqa: D102
    @property
    def n_samples(self) -> int: ...  # noqa: D102
    @property
    def n_bytes(self) -> int: ...  # noqa: D102
    @property
    def mtime_ns(self) -> int: ...  # noqa: D102
    @property
    def salvaged(self) -> bool: ...  # noqa: D102
    @property
    def duration_s(self) -> float: ...  # noqa: D102
    @property
    def description(self) -> dict[str, Any]: ...  # noqa: D102
    @property
    def comment(self) -> str: ...  # noqa: D102
    @property
    def timestamp(self) -> str: ...  # noqa: D102
    @property
    def origination(self) -> str: ...  # noqa: D102

    def blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the mono samples in order, `(n,)` float32 in [-1, 1]."""
        ...

    def segment_blocks(self) -> Iterator[tuple[Segment, Iterator[npt.NDArray[np.float32]]]]:
        """Yield each stretch without a gap with its blocks, which are to be read before the next stretch."""
        ...

    def sha256(self, progress: Callable[[], None] | None = None) -> str:
        """SHA-256 of the bytes that hold the sound, in hexadecimal; `progress` is called as the work goes on."""
        ...
