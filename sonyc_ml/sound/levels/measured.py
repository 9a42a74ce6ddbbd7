"""What a meter has measured until now: sums for each period, from which levels are made at the end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sonyc_ml.sound.levels.periods import Percentiles, Sums, percentiles_db

Floats = npt.NDArray[np.float64]

EXCEEDED = (10.0, 50.0, 90.0)  # percent of the time
N_BETWEEN = 4  # steps from one F average to the next whose level is counted: F changes little in so short a time
SILENCE = 1e-22  # mean square of no sound: a logarithm has no lower end


def decibels(mean_squares: Floats) -> Floats:
    """Mean squares to levels (in dB of full scale)."""
    return np.asarray(10 * np.log10(np.maximum(mean_squares, SILENCE)))


class Measured:
    """Sums of squares, maxima and percentiles, by period.

    Parameters
    ----------
    n_bands : int

    Attributes
    ----------
    sums : Sums
        Columns: samples measured; of Z their sum and the sum of their squares; of C the sum of squares and the largest;
        of A the samples and the sum of squares; the largest F and S average; whether F and S had settled; the lowest F
        average, and the levels exceeded for shares of the time.
    bands : Sums
        Sums of squares of each band.
    n_clipped : Sums
    percentiles : Percentiles
        Over the whole recording.
    """

    N, Z_SUM, Z, C, C_PEAK, A_N, A, F_MAX, S_MAX, F_SETTLED, S_SETTLED, F_MIN = range(12)
    EXCEEDED = slice(12, 12 + len(EXCEEDED))

    def __init__(self, n_bands: int) -> None:
        self.sums = Sums(12 + len(EXCEEDED))
        self.bands, self.n_clipped = Sums(n_bands), Sums(1)
        self.percentiles = Percentiles(EXCEEDED)

    def note_z(self, number: int, samples: npt.NDArray[np.float32]) -> None:
        """Add samples of a period as they were recorded."""
        row = self.sums.row(number)
        row[self.N] += len(samples)
        row[self.Z_SUM] += samples.sum()
        row[self.Z] += np.einsum("i,i->", samples, samples)

    def note_c(self, number: int, samples: npt.NDArray[np.float32]) -> None:
        """Add C-weighted samples of a period."""
        row = self.sums.row(number)
        row[self.C] += np.einsum("i,i->", samples, samples)
        row[self.C_PEAK] = max(row[self.C_PEAK], float(samples.max()), -float(samples.min()))

    def note_steps(self, number: int, mean_squares: Floats, step_length: int, fast: Floats, slow: Floats) -> None:
        """Add A-weighted steps of a period, and their time-weighted averages."""
        row = self.sums.row(number)
        row[self.A_N] += len(mean_squares) * step_length
        row[self.A] += mean_squares.sum() * step_length
        row[self.F_MAX] = max(row[self.F_MAX], fast.max())
        row[self.S_MAX] = max(row[self.S_MAX], slow.max())

    def note_settled(self, number: int, *, fast: bool, slow: bool) -> None:
        """Note whether the time weightings had settled in a period."""
        row = self.sums.row(number)
        row[self.F_SETTLED] = max(row[self.F_SETTLED], fast)
        row[self.S_SETTLED] = max(row[self.S_SETTLED], slow)

    def note_fast(self, number: int, fast: Floats) -> None:
        """Take in all settled F averages of a period, which has ended; of one with several stretches the last ones."""
        if len(fast):
            row, levels_db = self.sums.row(number), decibels(fast[::N_BETWEEN])
            row[self.F_MIN] = fast.min()
            row[self.EXCEEDED] = percentiles_db(levels_db, EXCEEDED)
            self.percentiles.add(levels_db)
