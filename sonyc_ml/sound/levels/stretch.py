"""A stretch of sound without a gap: weighted, in bands, and averaged in time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sonyc_ml.sound.levels.filters.pyramid import Pyramid
from sonyc_ml.sound.levels.filters.time_weighting import FAST_S, SLOW_S, TimeWeighting
from sonyc_ml.sound.levels.filters.weighting import LEAD_LENGTH, UNIT_LENGTH, Weightings
from sonyc_ml.sound.levels.measured import Measured
from sonyc_ml.sound.levels.periods import Timeline

Floats = npt.NDArray[np.float32]


class Stretch:
    """Measures samples that follow each other; filters begin anew with it.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    timeline : Timeline
    measured : Measured
        Where what is found is added.
    start : int
        Where it begins (in samples of the recording); taken to the nearest step.
    """

    def __init__(self, sample_rate: int, timeline: Timeline, measured: Measured, start: int) -> None:
        self._timeline, self._measured = timeline, measured
        self._step = timeline.step_length
        self._start = round(start / self._step) * self._step
        self._unit = np.zeros(UNIT_LENGTH, np.float32)
        self._constant: np.float32 | None = None
        self._n_samples = self._n_taken = self._n_steps = 0
        self._weightings = Weightings(sample_rate)
        self._held = np.zeros(0, np.float32)  # A-weighted, less than a step
        self._fast, self._slow = (TimeWeighting(time_s, self._step / sample_rate) for time_s in (FAST_S, SLOW_S))
        self._settled: list[npt.NDArray[np.float64]] = []  # F averages of the period that goes on
        self._pyramid = Pyramid(sample_rate, self._note_bands) if measured.bands.n_columns else None

    def add(self, samples: Floats) -> None:
        """Take in the next samples, `(n,)`."""
        start = 0
        while start < len(samples):
            n_held = self._n_samples - self._n_taken
            n = min(len(samples) - start, UNIT_LENGTH - n_held)
            self._unit[n_held : n_held + n] = samples[start : start + n]
            self._n_samples += n
            start += n
            if n_held + n == UNIT_LENGTH:
                self._take(UNIT_LENGTH)

    def end(self) -> None:
        """Take in what is left, and silence until the last of it has come through the filters."""
        if not self._n_samples:
            return
        while self._n_taken < self._n_samples + LEAD_LENGTH:
            self._take(max(0, self._n_samples - self._n_taken))
        if self._pyramid is not None:
            self._pyramid.end()
        if self._n_steps:
            self._end_period(self._timeline.number_at(self._start + (self._n_steps - 1) * self._step))

    def _take(self, n_real: int) -> None:
        """Measure a unit, which holds so many samples and ends in silence."""
        if self._constant is None:  # of a converter; it is no sound, and would make a step at both ends
            self._constant = np.float32(self._unit[:n_real].mean(dtype=np.float64))
        unit = self._unit - self._constant
        unit[n_real:] = 0
        if n_real:
            self._note_waves(self._n_taken, z=unit[:n_real])
            if self._pyramid is not None:
                self._pyramid.add(unit[:n_real])
        first = self._n_taken - LEAD_LENGTH
        some = slice(max(0, -first), min(UNIT_LENGTH, self._n_samples - first))
        a, c = (weighted[some] for weighted in self._weightings(unit))
        self._note_waves(first + some.start, c=c)
        self._note_steps(a)
        self._n_taken += UNIT_LENGTH

    def _note_waves(self, begin: int, z: Floats | None = None, c: Floats | None = None) -> None:
        samples = z if c is None else c
        assert samples is not None
        begin += self._start
        note = self._measured.note_z if c is None else self._measured.note_c
        for number, first, end in self._timeline.pieces(begin, begin + len(samples)):
            note(number, samples[first - begin : end - begin])

    def _note_steps(self, a: Floats) -> None:
        """Average A-weighted samples over steps, then in time."""
        held = np.concatenate([self._held, a])
        n_steps = len(held) // self._step
        steps = held[: n_steps * self._step].reshape(n_steps, self._step)
        self._held = held[n_steps * self._step :].copy()
        if not n_steps:
            return
        mean_squares = np.einsum("ij,ij->i", steps, steps).astype(np.float64) / self._step
        fast, slow = self._fast.add(mean_squares), self._slow.add(mean_squares)
        begin = self._start // self._step + self._n_steps
        for number, first, end in self._timeline.pieces(begin * self._step, (begin + n_steps) * self._step):
            some = slice(first // self._step - begin, end // self._step - begin)
            self._measured.note_steps(number, mean_squares[some], self._step, fast[some], slow[some])
            n_before, n_after = self._n_steps + some.start, self._n_steps + some.stop
            is_settled = {"fast": n_after > self._fast.n_settling, "slow": n_after > self._slow.n_settling}
            self._measured.note_settled(number, **is_settled)
            self._settled.append(fast[some][max(0, self._fast.n_settling - n_before) :])
            if end == self._timeline.edge(number + 1):
                self._end_period(number)
        self._n_steps += n_steps

    def _end_period(self, number: int) -> None:
        if self._settled:
            self._measured.note_fast(number, np.concatenate(self._settled))
        self._settled.clear()

    def _note_bands(self, bands: slice, energies: Floats, first: float, length: float) -> None:
        """Add the energies of bands over parts of the stretch that follow each other."""
        begin, end = max(0, round(first)), min(self._n_samples, round(first + energies.shape[1] * length))
        for number, piece, piece_end in self._timeline.pieces(self._start + begin, self._start + end):
            from_part, to_part = ((place - self._start - first) / length for place in (piece, piece_end))
            parts = slice(int(from_part), min(energies.shape[1], int(np.ceil(to_part))))
            places = np.arange(parts.start, parts.stop)
            shares = np.clip(to_part - places, 0, 1) - np.clip(from_part - places, 0, 1)
            row = self._measured.bands.row(number)
            row[bands] += (energies[:, parts] * shares).sum(axis=1)
