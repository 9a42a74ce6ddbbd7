"""A recording, wherever its sound comes from: what embedding it needs to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import UnreadableRecordingError
from sonyc_ml.sound.triggered import Segment

if TYPE_CHECKING:
    from sonyc_ml.sound.start_time import StartTime, StartTimes

Floats = npt.NDArray[np.float32]

LOUDEST = 2.0**32  # full scale is 1; 32-bit numbers that nobody scaled reach half of this


class FrameListener(Protocol):
    """Who hears a recording's samples as they were recorded, before they are mixed."""

    def begin(self, start: int) -> None:
        """A stretch without a gap begins, at a sample counted from where the recording began."""
        ...

    def frames(self, frames: npt.NDArray[np.float32]) -> None:
        """Its next samples, `(n, n_channels)` float32, full scale being 1."""
        ...


@runtime_checkable
class Measurable(Protocol):
    """A :class:`Recording` whose samples somebody may hear as they were recorded, beside whoever reads it.

    Attributes
    ----------
    n_channels : int
    channel : int or None
        The channel that is read; None for the mean of all.
    """

    @property
    def n_channels(self) -> int: ...  # noqa: D102  see the class
    @property
    def channel(self) -> int | None: ...  # noqa: D102

    def attach(self, listener: FrameListener) -> None:
        """Hand every block of samples, as it is read, to the listener too; before any is read."""
        ...


class Recording(Protocol):
    """Sound with a beginning and an end: a file (:class:`~sonyc_ml.sound.files.FileRecording`), or what acts as one.

    Attributes
    ----------
    name : str
        What an output calls it, where nobody names it otherwise.
    source : str
        What messages call it: the whole path of a file.
    sample_rate : int
        In Hz.
    n_samples : int
        Of its one channel.
    n_bytes, mtime_ns : int
        Size and time of its file, or of what stands for one: with its name, its identity.
    salvaged : bool
        Whether this is what there is of a recording that is truncated or was never finished.
    description : dict
        What an output keeps of the sound and its gaps, by the names of its provenance; asked for after the blocks. May
        be empty.
    """

    @property
    def name(self) -> str: ...  # noqa: D102  see the class
    @property
    def source(self) -> str: ...  # noqa: D102
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
    def description(self) -> dict[str, Any]: ...  # noqa: D102

    def segment_blocks(self) -> Iterator[tuple[Segment, Iterable[npt.NDArray[np.float32]]]]:
        """Yield each stretch without a gap, most recordings being one, with its mono samples in order, once.

        They come in blocks of any size, `(n,)` float32 in [-1, 1], which are read before the next stretch.
        """
        ...

    def sha256(self, progress: Callable[[], None] | None = None) -> str:
        """SHA-256 of the bytes that hold the sound, in hexadecimal; `progress` is called as the work goes on."""
        ...

    def start_time(self, name: str, start_times: StartTimes) -> StartTime:
        """When it begins.

        Parameters
        ----------
        name : str
            What its output calls it.
        start_times : StartTimes
            How that is found in a name and in metadata; what knows its beginning does not need it.
        """
        ...


def to_mono(frames: Floats, channel: int | None) -> Floats:
    """What of the channels is embedded, `(n,)`: one of them, or the mean of all.

    Parameters
    ----------
    frames : np.ndarray [shape=(n, n_channels), dtype=float32]
    channel : int or None
        None for the mean.
    """
    if frames.shape[1] == 1:
        return frames[:, 0]
    if channel is not None:
        return np.ascontiguousarray(frames[:, channel])
    mean: Floats
    with np.errstate(invalid="ignore", over="ignore"):  # who checks the samples says it better
        if frames.shape[1] == 2:  # the same numbers in a tenth of the time
            mean = frames[:, 0] + frames[:, 1]
            mean *= np.float32(0.5)
        else:
            mean = frames.mean(axis=1, dtype=np.float32)
    return mean


def check_samples(samples: Floats, source: str) -> None:
    """Refuse samples that are no sound.

    Raises
    ------
    UnreadableRecordingError
        They are NaN, infinite, or larger than anything that a recorder writes.
    """
    if not (samples.min() >= -LOUDEST and samples.max() <= LOUDEST):  # NaN is neither
        kind = "samples as large as no sound is" if np.isfinite(samples).all() else "NaN or infinity"
        raise UnreadableRecordingError(f"{source}: it holds {kind} among its samples")
