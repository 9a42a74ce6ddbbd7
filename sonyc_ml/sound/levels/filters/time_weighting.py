"""The time weightings F and S of IEC 61672-1:2013: exponential averages of the squared sound."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FAST_S, SLOW_S = 0.125, 1.0  # time constants, 5.8 of the standard
MAX_GROWTH = 16.0  # exponent by which values grow within a chunk: all are positive, so that no digit is lost
SETTLED = 3.1  # time constants after which a steady sound reads no more than 0.2 dB low


class TimeWeighting:
    """An exponential average that begins at silence, as that of a meter that is switched on.

    Parameters
    ----------
    time_constant_s : float
    step_s : float
        Distance of the mean squares that are averaged (in seconds).
    """

    def __init__(self, time_constant_s: float, step_s: float) -> None:
        self._log_decay = -step_s / time_constant_s
        self._share = -math.expm1(self._log_decay)
        self._state = 0.0
        self._powers = np.zeros(0)
        self._max_chunk = max(1, round(MAX_GROWTH * time_constant_s / step_s))
        self.n_settling = math.ceil(SETTLED * time_constant_s / step_s)  # steps after which it has settled

    def add(self, mean_squares: Floats) -> Floats:
        """The average after each of some mean squares, `(n_steps,)`."""
        parts = [
            self._chunk(mean_squares[start : start + self._max_chunk])
            for start in range(0, len(mean_squares), self._max_chunk)
        ]
        return np.concatenate(parts) if len(parts) > 1 else (parts[0] if parts else mean_squares)

    def _chunk(self, mean_squares: Floats) -> Floats:
        """A recursion as a sum: each value is put back to the chunk's beginning, summed, and brought forward again."""
        if len(self._powers) < len(mean_squares):
            self._powers = np.exp(self._log_decay * np.arange(1, len(mean_squares) + 1))
        powers = self._powers[: len(mean_squares)]
        averages = np.cumsum(mean_squares / powers)
        averages *= self._share
        averages += self._state
        averages *= powers
        self._state = float(averages[-1])
        return averages
