"""A sound level meter in numpy: samples as they were recorded, in blocks of any size, to levels.

The same samples give the same levels, bit for bit, in whatever blocks they come: they are cut again at positions that
are counted from the first one. One spectrum of each block serves the weightings and all bands.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sonyc_ml.sound.levels.filters.bands import bands_of
from sonyc_ml.sound.levels.filters.evening import Evening
from sonyc_ml.sound.levels.measured import Measured
from sonyc_ml.sound.levels.periods import Timeline
from sonyc_ml.sound.levels.report import make_levels
from sonyc_ml.sound.levels.result import SoundLevels
from sonyc_ml.sound.levels.settings import LevelSettings
from sonyc_ml.sound.levels.stretch import Stretch

Floats = npt.NDArray[np.float32]


class Meter:
    """Measures one recording.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    settings : LevelSettings
    largest : float
        The largest sample that the recording can hold; full scale is 1.
    """

    def __init__(self, sample_rate: int, settings: LevelSettings, largest: float = 1.0) -> None:
        self._sample_rate, self._settings, self._largest = sample_rate, settings, np.float32(largest)
        self._numbers = bands_of(sample_rate) if settings.bands != "none" else ()
        self._timeline = Timeline(sample_rate, settings.period_s)
        self._measured = Measured(len(self._numbers))
        self._stretch: Stretch | None = None
        self._evening: Evening | None = None

    def begin(self, start: int) -> None:
        """Begin a stretch of sound without a gap, at a sample counted from where the recording began."""
        self._end()
        if self._settings.response_hz:
            self._evening = Evening(self._sample_rate, self._settings.response_hz, self._settings.response_db)
        self._n_added = 0
        self._start = start
        self._stretch = Stretch(self._sample_rate, self._timeline, self._measured, start)

    def add(self, samples: Floats) -> None:
        """Take in the next samples of a stretch, `(n,)`, as they were recorded."""
        if not len(samples):
            return
        if self._stretch is None:
            self.begin(0)
        assert self._stretch is not None
        if samples.max() >= self._largest or samples.min() <= -self._largest:
            self._count_clipped(np.flatnonzero(np.abs(samples) >= self._largest) + self._start + self._n_added)
        self._n_added += len(samples)
        self._stretch.add(samples if self._evening is None else self._evening.add(samples))

    def _count_clipped(self, places: npt.NDArray[np.intp]) -> None:
        for number, first, end in self._timeline.pieces(int(places[0]), int(places[-1]) + 1):
            n = np.searchsorted(places, end) - np.searchsorted(places, first)
            self._measured.n_clipped.row(number)[0] += n

    def finish(self, channel: int = 0) -> SoundLevels:
        """The levels of everything that was added; `channel` is recorded with them."""
        self._end()
        known = self._timeline, self._numbers, self._sample_rate, self._settings
        return make_levels(self._measured, *known, channel)

    def _end(self) -> None:
        if self._stretch is not None:
            if self._evening is not None:
                self._stretch.add(self._evening.end())
            self._stretch.end()
        self._stretch = None
