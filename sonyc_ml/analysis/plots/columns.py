"""Time cut into equal columns, the axis that all panels of a picture share, and what each column shows.

A moment lies in many overlapping windows. What is shown of it is the window whose middle is nearest: the one that sees
as far back as ahead. Where a column is longer than what it shows, it shows the mean. Numpy only; nothing is drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

NONE = -1  # the number of a window where there is none
FREQUENCIES_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000)
ROUNDING_S = 1e-9  # a moment on a window's edge is in it, however its time was rounded


@dataclass(frozen=True, slots=True)
class Timeline:
    """A span of time in equal columns.

    Attributes
    ----------
    start_s, end_s : float
        Where it begins and ends (in seconds).
    n_columns : int > 0
    """

    start_s: float
    end_s: float
    n_columns: int

    @property
    def column_s(self) -> float:
        """Length of a column (in seconds)."""
        return (self.end_s - self.start_s) / self.n_columns

    def moments(self, step_s: float) -> Numbers:
        """Moments in each column, evenly spread and no further apart than `step_s`: `(n_columns, n_moments)` seconds.

        A column shorter than `step_s` has one, in its middle.
        """
        n_moments = max(1, math.ceil(self.column_s / step_s - 1e-6))
        places = (np.arange(n_moments) + 0.5) / n_moments
        return self.start_s + (np.arange(self.n_columns)[:, None] + places) * self.column_s


def shown_windows(moments_s: Numbers, starts_s: Numbers, window_size_s: float) -> Indices:
    """Which window each moment shows: the one whose middle is nearest, -1 where no window holds the moment.

    Parameters
    ----------
    moments_s : np.ndarray [shape=(…), dtype=float64]
        In seconds.
    starts_s : np.ndarray [shape=(n_windows,), dtype=float64]
        Where the windows begin, increasing (in seconds).
    window_size_s : float > 0
        Length of a window (in seconds).

    Returns
    -------
    np.ndarray [shape=(…)]
        Number of a window.
    """
    middles_s = starts_s + window_size_s / 2
    windows = np.searchsorted((middles_s[1:] + middles_s[:-1]) / 2, moments_s, side="right")
    held = np.abs(moments_s - middles_s[windows]) <= window_size_s / 2 + ROUNDING_S
    return np.where(held, windows, NONE)


def shown_values(timeline: Timeline, starts_s: Numbers, window_size_s: float, values: Floats) -> Floats:
    """What each column shows of values that every window has: an embedding, scores.

    Parameters
    ----------
    timeline : Timeline
    starts_s, window_size_s
        As for :func:`shown_windows`.
    values : np.ndarray [shape=(n_windows, n), dtype=float32]

    Returns
    -------
    np.ndarray [shape=(n, n_columns), dtype=float32]
        The mean of the windows that a column shows; NaN where it shows none.
    """
    hop_s = float(starts_s[-1] - starts_s[0]) / (len(starts_s) - 1) if len(starts_s) > 1 else window_size_s
    windows = shown_windows(timeline.moments(hop_s), starts_s, window_size_s)
    means = _Means(timeline.n_columns, values.shape[1])
    for column_windows in windows.T:
        columns = np.flatnonzero(column_windows != NONE)
        means.add(columns, values[column_windows[columns]])
    return means.values()


class Spectrogram:
    """The features that the network read, window by window, laid out in time.

    Parameters
    ----------
    timeline : Timeline
    starts_s, window_size_s
        As for :func:`shown_windows`.
    n_bands, n_frames : int > 0
        Of a window's features.
    first_s, step_s : float
        Middle of a window's first frame, from the window's beginning, and distance between two frames (in seconds).
    """

    def __init__(
        self,
        timeline: Timeline,
        starts_s: Numbers,
        window_size_s: float,
        *,
        n_bands: int,
        n_frames: int,
        first_s: float,
        step_s: float,
    ) -> None:
        moments_s = timeline.moments(step_s)
        self._windows = shown_windows(moments_s, starts_s, window_size_s)
        since_start_s = moments_s - starts_s[np.maximum(self._windows, 0)]
        self._frames = np.clip(np.rint((since_start_s - first_s) / step_s), 0, n_frames - 1).astype(np.intp)
        self._means = _Means(timeline.n_columns, n_bands)
        self._n_added = 0

    def add(self, features: Floats) -> None:
        """Lay out the next windows' features, `(n_windows_in_block, n_bands, n_frames)`."""
        first, self._n_added = self._n_added, self._n_added + len(features)
        for windows, frames in zip(self._windows.T, self._frames.T, strict=True):
            columns = np.flatnonzero((windows >= first) & (windows < self._n_added))
            self._means.add(columns, features[windows[columns] - first, :, frames[columns]])

    def levels(self) -> Floats:
        """What each column shows, `(n_bands, n_columns)` float32; NaN where it shows nothing."""
        return self._means.values()


class _Means:
    """Means of rows that come a few at a time."""

    def __init__(self, n_columns: int, n_values: int) -> None:
        self._sums = np.zeros((n_columns, n_values))
        self._counts = np.zeros(n_columns, np.int64)

    def add(self, columns: Indices, rows: npt.NDArray[Any]) -> None:
        """Add a row to each of some columns, none of them twice."""
        self._sums[columns] += rows
        self._counts[columns] += 1

    def values(self) -> Floats:
        """The means, `(n_values, n_columns)`; NaN where nothing was added."""
        counts = np.where(self._counts == 0, np.nan, self._counts)
        return (self._sums / counts[:, None]).T.astype(np.float32)


def envelope(blocks: Iterable[Floats], n_samples: int, n_columns: int) -> Floats:
    """Lowest and highest sample of each of `n_columns` equal spans of a recording read in blocks.

    Parameters
    ----------
    blocks : iterable of np.ndarray [shape=(any,), dtype=float32]
        The recording's samples in order.
    n_samples : int > 0
        How many there are in all.
    n_columns : int > 0
        How many spans; one a sample where there are fewer samples.

    Returns
    -------
    np.ndarray [shape=(2, n_columns), dtype=float32]
        Lowest, highest.
    """
    n_columns = min(n_columns, n_samples)
    bounds = np.arange(n_columns + 1) * n_samples // n_columns
    extremes = np.stack([np.full(n_columns, np.inf, np.float32), np.full(n_columns, -np.inf, np.float32)])
    position = 0
    for block in blocks:
        end = position + len(block)
        first, last = np.searchsorted(bounds, position, side="right") - 1, np.searchsorted(bounds, end)
        offsets = np.maximum(bounds[first:last] - position, 0)
        for row, reduce in enumerate((np.minimum, np.maximum)):
            reduce(extremes[row, first:last], reduce.reduceat(block, offsets), out=extremes[row, first:last])
        position = end
    return extremes


@dataclass(frozen=True, slots=True)
class MelScale:
    """Where frequencies lie among mel bands (HTK's scale, as :func:`sonyc_ml.features.mel_filterbank` has it).

    Attributes
    ----------
    n_mels : int > 0
    fmin, fmax : float
        Lowest and highest frequency of the bands (in Hz).
    """

    n_mels: int
    fmin: float
    fmax: float

    def position(self, frequency_hz: float) -> float:
        """The band, from 0, whose middle lies at a frequency; between two bands a number between theirs."""
        low, here, high = (math.log1p(hz / 700) for hz in (self.fmin, frequency_hz, self.fmax))
        return (here - low) / (high - low) * (self.n_mels + 1) - 1

    def ticks(self) -> dict[int, float]:
        """Where on the axis of bands round frequencies are, for its labels."""
        places = {hz: self.position(hz) for hz in FREQUENCIES_HZ}
        return {hz: min(place, self.n_mels - 0.5) for hz, place in places.items() if -0.5 <= place <= self.n_mels}
