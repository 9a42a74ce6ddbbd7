"""What a model asks of whatever turns samples into features, and where the windows lie."""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.blas import one_blas_thread
from sonyc_ml.bundles.bounds import MAX_CHANNELS
from sonyc_ml.errors import BundleMismatchError, RecordingError
from sonyc_ml.features import Framing, checked_samples
from sonyc_ml.outputs.rows import RowsByName
from sonyc_ml.sound.files import FileRecording

if TYPE_CHECKING:
    from pathlib import Path

    from sonyc_ml.model.network import Network
    from sonyc_ml.sound.recording import Recording
    from sonyc_ml.sound.triggered import Segment

Floats = npt.NDArray[np.float32]

STARTS_AT_ONCE = 1 << 16


class Extractor(Protocol):
    """What a model asks of its extractor. Pickles of years ago have just this, so it does not change."""

    sample_rate: int
    window_size_s: float
    hop_size_s: float
    feature_shape: tuple[int, ...]
    res_type: str

    def stream(
        self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float | None = None
    ) -> Iterator[Floats]:
        """Yield the features of blocks of samples."""
        ...

    def framing(self, n_samples: int, sr: int, hop_size: float | None = None) -> Framing:
        """Where the windows lie, in samples at `sample_rate`."""
        ...


class ChannelExtractor:
    """The features of each channel, side by side, for a network that reads several.

    Parameters
    ----------
    extractor : Extractor
        Of one channel; what else it has, this has too.
    n_channels : int > 1
    is_last : bool
        Whether the channels are the last axis of a window's features; else they are its first.
    """

    def __init__(self, extractor: Extractor, n_channels: int, *, is_last: bool) -> None:
        self.n_channels, self._axis = n_channels, -1 if is_last else 1
        self._extractors = [extractor, *(copy.deepcopy(extractor) for _ in range(n_channels - 1))]
        shape = extractor.feature_shape
        self.feature_shape = (*shape, n_channels) if is_last else (n_channels, *shape)
        self.hop_size_s = extractor.hop_size_s

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not there yet, as in a copy
            raise AttributeError(name)
        return getattr(self._extractors[0], name)

    def stream(
        self, blocks: Iterable[Floats], sr: int, n_samples: int, hop_size: float | None = None
    ) -> Iterator[Floats]:
        """Yield the features of blocks of `(n_channels, n)` samples."""
        hop_size = self.hop_size_s if hop_size is None else hop_size
        channels = apart(blocks, self.n_channels)
        streams = [
            one.stream(samples, sr, n_samples, hop_size)
            for one, samples in zip(self._extractors, channels, strict=True)
        ]
        for features in zip(*streams, strict=True):
            yield np.stack(features, axis=self._axis)

    def framing(self, n_samples: int, sr: int, hop_size: float | None = None) -> Framing:
        """Where the windows lie, in samples at `sample_rate`."""
        return self._extractors[0].framing(n_samples, sr, self.hop_size_s if hop_size is None else hop_size)


def with_channels(extractor: Extractor, n_channels: int | None, *, is_last: bool | None) -> Extractor:
    """The extractor for as many channels; a function of the user's own reads them itself.

    Raises
    ------
    BundleMismatchError
        No axis of the network's input has so many.
    """
    if n_channels is None or hasattr(extractor, "n_channels"):
        return extractor
    if is_last is None:
        raise BundleMismatchError(f"no axis of what the network reads has {n_channels} channels (n_channels)")
    return ChannelExtractor(extractor, n_channels, is_last=is_last)


def apart(blocks: Iterable[Floats], n_channels: int) -> list[Iterator[Floats]]:
    """Blocks of `(n_channels, n)` samples as a stream of `(n,)` for each channel; they are read in turn."""
    source, waiting = iter(blocks), [deque[Floats]() for _ in range(n_channels)]

    def channel(held: deque[Floats]) -> Iterator[Floats]:
        while True:
            if not held:
                block = next(source, None)
                if block is None:
                    return
                for other, samples in zip(waiting, block, strict=True):
                    other.append(np.ascontiguousarray(samples))
            yield held.popleft()

    return [channel(held) for held in waiting]


def without_channels(declared: tuple[int, ...], n_channels: int | None) -> tuple[tuple[int, ...], bool | None]:
    """What a network reads of one channel, with its batch, and whether the channels are the last axis of its input.

    They are its first where that alone has so many; None where neither has.
    """
    if n_channels is not None and len(declared) > 2:
        if declared[-1] == n_channels:
            return declared[:-1], True
        if declared[1] == n_channels:
            return (declared[0], *declared[2:]), False
    return declared, None


def checked_number(n_channels: int | None, channel: int | None) -> int | None:
    """How many channels are read as they are; None for the mean of all, or for one of them."""
    if n_channels is None or n_channels == 1:
        return None
    if not 1 < n_channels <= MAX_CHANNELS:
        raise ValueError(f"n_channels must be from 1 to {MAX_CHANNELS}, not {n_channels}")
    if channel is not None:
        raise ValueError("channel reads one channel and n_channels all of them: give one of the two")
    return n_channels


def checked_channels(y: Floats, n_channels: int | None) -> Floats:
    """Return samples as float32, `(n_samples,)` or `(n_channels, n_samples)`, or say what is wrong with them.

    Raises
    ------
    TypeError, ValueError
    """
    if n_channels is None:
        return checked_samples(y)
    if np.ndim(y) != 2 or len(y) != n_channels:
        raise ValueError(f"y must have the shape ({n_channels}, n_samples), as the bundle reads, not {np.shape(y)}")
    return np.stack([checked_samples(samples) for samples in y])


def frames_of(recording: Recording, n_channels: int | None) -> Iterator[tuple[Segment, Iterator[Floats]]]:
    """The stretches of a recording: mixed to one channel, or as it is where the bundle reads several.

    Raises
    ------
    RecordingError
        It has not so many.
    """
    if n_channels is None:
        return recording.segment_blocks()  # type: ignore[return-value]
    if isinstance(recording, FileRecording) and recording.n_channels == n_channels:
        return recording.segment_frames()
    found = getattr(recording, "n_channels", 1)
    raise RecordingError(f"it has {found} {'channel' if found == 1 else 'channels'}, and the bundle reads {n_channels}")


def window_starts(framing: Framing, n_windows: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the first sample of each window, `(n,)`, so many at a time.

    Of an extractor that cuts other windows than it said they are counted from the first sample of the recording.
    """
    lead = framing.lead if framing.n_windows == n_windows else 0
    for first in range(0, n_windows, STARTS_AT_ONCE):
        numbers = np.arange(first, min(n_windows, first + STARTS_AT_ONCE), dtype=np.int64)
        yield numbers * framing.hop_length - lead


def exactly(blocks: Iterable[Floats], n_samples: int) -> Iterator[Floats]:
    """Yield blocks of samples; an extractor fills up with silence what is missing of the samples that it was promised.

    Raises
    ------
    RecordingError
        There are fewer than `n_samples` samples in them, or more.
    """
    n_seen = 0
    for block in blocks:
        n_seen += block.shape[-1]
        if n_seen > n_samples:
            raise RecordingError(f"it goes on after its {n_samples:,} samples")
        yield block
    if n_seen < n_samples:
        raise RecordingError(f"it ends after {n_seen:,} of {n_samples:,} samples")


def run_segments(
    segments: Iterable[tuple[Segment, Iterable[Floats]]],
    sr: int,
    hop_size: float | None,
    extractor: Extractor,
    network: Network,
    n_at_once: int,
) -> Iterator[tuple[bool, dict[str, npt.NDArray[Any]]]]:
    """Yield what a network makes of a recording's windows, so many at a time, and when they begin (in seconds).

    Each segment is taken as if it were a recording of its own, but for the times.

    Yields
    ------
    is_computed : bool
        Whether the rows are the network's outputs, by their kind; else they are ``timestamps``.
    rows : dict of str to np.ndarray [shape=(n_windows, …)]

    Raises
    ------
    RecordingError
        A segment has fewer samples than it says, or more.
    """
    for segment, blocks in segments:
        network.reset()
        framing, n_windows = extractor.framing(segment.n_samples, sr, hop_size), 0
        n_outside, counted = _edges(framing, segment.n_samples / sr), exactly(blocks, segment.n_samples)
        asked = (counted, sr, segment.n_samples, hop_size)
        for features in _features(extractor, asked, getattr(blocks, "is_there", None)):
            first, n_windows = n_windows, n_windows + len(features)
            if n_outside:
                features = features[max(0, 1 - first) : framing.n_windows - 1 - first]  # noqa: PLW2901
            for first in range(0, len(features), n_at_once):
                yield True, dict(network(features[first : first + n_at_once]))
        for starts in window_starts(framing, n_windows):
            if n_outside:
                starts = starts[(starts >= 0) & (starts < (n_windows - 1) * framing.hop_length - framing.lead)]  # noqa: PLW2901
            yield False, {"timestamps": starts / (extractor.sample_rate or sr) + segment.start / sr}


def _features(
    extractor: Extractor,
    asked: tuple[Iterable[Floats], int, int, float | None],
    is_there: Callable[[], bool] | None,
) -> Iterator[Floats]:
    """The features of blocks of samples; `is_there` says of sound that still comes whether the next block is there."""
    if is_there is None:
        return extractor.stream(*asked)
    from sonyc_ml.model.coming.features import stream_as_it_comes  # noqa: PLC0415  files need none of it

    return stream_as_it_comes(extractor, *asked, is_there)


def window_start_s(extractor: Extractor, n_samples: int, sr: int, hop_size: float | None, number: int) -> float:
    """Where one of the windows that :func:`run_segments` computes begins, from the first of a recording's samples."""
    framing = extractor.framing(n_samples, sr, hop_size)
    first = _edges(framing, n_samples / sr)
    return ((first + number) * framing.hop_length - framing.lead) / (extractor.sample_rate or sr)


def _edges(framing: Framing, duration_s: float) -> int:
    """How many windows at either end hold none of the sound: one, or none.

    Windows that are far apart, laid over the middle of the sound, may begin and end outside of it.

    Raises
    ------
    ValueError
        No window holds any of it.
    """
    if framing.lead < framing.window_length or framing.n_windows == 1:
        return 0
    if framing.n_windows == 2:
        raise ValueError(f"the hop is so long that no window would hold any of {duration_s:.1f} s of sound; shorten it")
    return 1


def gathered(
    computing: Iterable[tuple[bool, dict[str, npt.NDArray[Any]]]],
    progress: Callable[[], None] | None = None,
    scratch: Path | None = None,
    keep: Callable[[dict[str, Floats]], dict[str, npt.NDArray[Any]]] = dict,
) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[Any]]]:
    """All that :func:`run_segments` yields: when each window begins (in seconds), and what is kept of every output."""
    with RowsByName(scratch) as results, one_blas_thread():
        for computed, rows in computing:
            results.append(keep(rows) if computed else rows)
            if computed and progress is not None:
                progress()
        outputs = results.arrays()
    return outputs.pop("timestamps"), outputs


def describe_windows(extractor: Extractor) -> str:
    """What an extractor cuts, in words: the windows' length and distance, and the sample rate."""
    rate = f"{extractor.sample_rate} Hz" if extractor.sample_rate else "any sample rate"
    return f"windows of {extractor.window_size_s:g} s every {extractor.hop_size_s:g} s at {rate}"


def check_keywords(kind: str, function: Callable[..., Any], keywords: Mapping[str, Any]) -> None:
    """Refuse keywords that a function does not take, by their name.

    Raises
    ------
    TypeError
    """
    known = inspect.signature(function).parameters
    for name in keywords:
        if name not in known:
            raise TypeError(f"{kind} takes no {name}; it takes {', '.join(known)}")
