"""What was measured, period by period: sums that grow while a recording is read."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STEP_S = 1e-3  # the time weightings go on by about so much
LEAST_STEP_S = 0.7e-3


class Timeline:
    """Periods of equal length, counted from a recording's first sample, whose edges are edges of steps.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    period_s : float
        In seconds.

    Attributes
    ----------
    step_length : int
        Samples of a step, over which squares are averaged before they are weighted in time: one that divides a period
        where there is one near a millisecond.
    """

    def __init__(self, sample_rate: int, period_s: float) -> None:
        self._period_length = period_s * sample_rate
        wanted = max(1, round(STEP_S * sample_rate))
        whole = round(self._period_length)
        fitting = [n for n in range(wanted, math.ceil(LEAST_STEP_S * sample_rate) - 1, -1) if n and whole % n == 0]
        self.step_length = fitting[0] if fitting and math.isclose(whole, self._period_length) else wanted

    def edge(self, number: int) -> int:
        """Where a period begins (in samples)."""
        return round(number * self._period_length / self.step_length) * self.step_length

    def number_at(self, sample: int) -> int:
        """Which period a sample is of."""
        number = max(0, int(sample / self._period_length))
        while number > 0 and self.edge(number) > sample:
            number -= 1
        while self.edge(number + 1) <= sample:
            number += 1
        return number

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield, of a stretch of samples, each period's number with where its piece begins and ends."""
        if start >= end:
            return
        number = self.number_at(start)
        while start < end:
            next_edge = min(end, self.edge(number + 1))
            yield number, start, next_edge
            start, number = next_edge, number + 1


class Sums:
    """One row of sums for each period, as many as are asked for.

    Parameters
    ----------
    n_columns : int
    """

    def __init__(self, n_columns: int) -> None:
        self.n_columns, self.n_periods = n_columns, 0
        self._rows = np.zeros((16, n_columns))

    def row(self, number: int) -> Floats:
        """The sums of a period, to be added to."""
        self.n_periods = max(self.n_periods, number + 1)
        if number >= len(self._rows):
            more = np.zeros((max(number + 1, 2 * len(self._rows)) - len(self._rows), self._rows.shape[1]))
            self._rows = np.concatenate([self._rows, more])
        row: Floats = self._rows[number]
        return row

    def rows(self, n_periods: int) -> Floats:
        """All sums, `(n_periods, n_columns)`; 0 where nothing was added."""
        if n_periods:
            self.row(n_periods - 1)
        return self._rows[:n_periods]


class Percentiles:
    """Levels that are exceeded for a share of the time, of any number of levels: counted in narrow classes.

    Parameters
    ----------
    exceeded : tuple of float
        Shares of the time (in percent), as in ``(10, 50, 90)``.
    """

    LOWEST_DB, HIGHEST_DB, CLASS_DB = -220.0, 220.0, 0.02

    def __init__(self, exceeded: tuple[float, ...]) -> None:
        self._exceeded = exceeded
        self._counts = np.zeros(round((self.HIGHEST_DB - self.LOWEST_DB) / self.CLASS_DB), np.int64)

    def add(self, levels_db: Floats) -> None:
        """Count some levels (in dB)."""
        if not len(levels_db):
            return
        places = ((levels_db - self.LOWEST_DB) / self.CLASS_DB).astype(np.intp)
        places = np.minimum(np.maximum(places, 0), len(self._counts) - 1)
        first = int(places.min())
        found = np.bincount(places - first)
        self._counts[first : first + len(found)] += found

    def levels_db(self) -> Floats:
        """The level for each share, `(n,)` (in dB), the middle of its class; NaN where nothing was counted."""
        total = int(self._counts.sum())
        if not total:
            return np.full(len(self._exceeded), np.nan)
        ranks = [(1 - share / 100) * (total - 1) for share in self._exceeded]
        places = np.searchsorted(np.cumsum(self._counts), np.round(ranks), side="right")
        return np.asarray(self.LOWEST_DB + self.CLASS_DB * (places + 0.5))


def percentiles_db(levels_db: Floats, exceeded: tuple[float, ...]) -> Floats:
    """The same of a few levels, exactly, `(n,)`."""
    if not len(levels_db):
        return np.full(len(exceeded), np.nan)
    ordered = np.sort(levels_db)
    places = np.array([(1 - share / 100) * (len(ordered) - 1) for share in exceeded])
    below = np.floor(places).astype(np.intp)
    above = np.minimum(below + 1, len(ordered) - 1)
    return np.asarray(ordered[below] + (places - below) * (ordered[above] - ordered[below]))
