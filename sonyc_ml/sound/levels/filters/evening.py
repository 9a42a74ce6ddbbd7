"""A microphone's response, evened out before anything is measured."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

SPAN_S = 0.1  # of the filter: a response to 20 Hz is resolved


class Evening:
    """Filters a stream by the inverse of a response, without delay.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    response_hz, response_db : tuple of float
        The response (in dB) at rising frequencies (in Hz); in between straight over the logarithm of the frequency, and
        beyond as at the ends.
    """

    def __init__(self, sample_rate: int, response_hz: tuple[float, ...], response_db: tuple[float, ...]) -> None:
        self._margin = 1 << math.ceil(math.log2(SPAN_S * sample_rate / 2))
        self._length, self._step = 8 * self._margin, 6 * self._margin
        frequencies_hz = np.fft.rfftfreq(2 * self._margin, 1 / sample_rate)
        places = np.log(np.maximum(frequencies_hz, response_hz[0]))
        gains = 10 ** (-np.interp(places, np.log(response_hz), response_db) / 20)
        taps = np.roll(np.fft.irfft(gains), self._margin) * np.hanning(2 * self._margin + 1)[:-1]
        # Its middle comes first: what is filtered is late by nothing.
        taps = np.roll(np.concatenate([taps, np.zeros(self._length - len(taps))]), -self._margin)
        self._gains = np.fft.rfft(taps).astype(np.complex64)
        self._held = np.zeros(self._margin, np.float32)
        self._n_left = 0

    def add(self, samples: Samples) -> Samples:
        """The next samples, evened out; fewer or more than were given, at positions that depend on nothing else."""
        self._held = np.concatenate([self._held, samples])
        self._n_left += len(samples)
        done = []
        while len(self._held) >= self._length:
            done.append(self._filtered(self._held[: self._length]))
            self._held = self._held[self._step :]
            self._n_left -= self._step
        return np.concatenate(done) if done else np.zeros(0, np.float32)

    def end(self) -> Samples:
        """What is left."""
        n_left = self._n_left
        silence = np.zeros(self._step + self._length, np.float32)
        return self.add(silence)[:n_left]

    def _filtered(self, block: Samples) -> Samples:
        even = np.fft.irfft(np.fft.rfft(block).astype(np.complex64, copy=False) * self._gains)
        return even[self._margin : self._margin + self._step].astype(np.float32, copy=False)
