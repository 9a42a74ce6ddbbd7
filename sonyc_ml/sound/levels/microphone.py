"""How loud a recording is, and whether its microphone hears anything at all."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SOFTEST_DBFS = -200.0  # what no sound at all is given as: a logarithm has no lower end
# A microphone that is dead: stuck at one value, at the ends of the scale, or with nothing left but the converter's last
# bit. A quiet night in 16 bits has -85 dBFS and few equal neighbours, in 24 bits less and none.
DEAD_CLIPPED_SHARE = 0.9
DEAD_IDENTICAL_SHARE = 0.999
DEAD_DBFS = -110.0
LAST_BIT_DBFS, LAST_BIT_IDENTICAL_SHARE = -90.0, 0.3

# The largest sample that a kind of coding can hold; what is decoded from other kinds may go beyond 1.
LARGEST = {
    **{f"PCM_{bits}": 1 - 2.0 ** (1 - bits) for bits in (16, 24)},
    **dict.fromkeys(("PCM_S8", "PCM_U8"), 1 - 2.0**-7),
    "PCM_32": 1 - 2.0**-23,  # as a float32
    "ULAW": 32124 / 32768,
    "ALAW": 32256 / 32768,
}


class Levels:
    """The level of a recording's sound, and the shares of its samples that are clipped or like the one before.

    Parameters
    ----------
    largest : float > 0
        The largest sample that its file can hold; full scale is 1.
    """

    def __init__(self, largest: float = 1.0) -> None:
        self.largest = np.float32(largest)
        self._n_samples = self._n_values = self._n_clipped = self._n_identical = 0
        self._sum = self._sum_of_squares = 0.0
        self._first = self._last = np.float32(np.nan)

    def add(self, frames: Floats, samples: Floats) -> None:
        """Take in the next block.

        Parameters
        ----------
        frames : np.ndarray [shape=(n, n_channels), dtype=float32]
            The channels that are read, in which clipping shows.
        samples : np.ndarray [shape=(n,), dtype=float32]
            What they are mixed to.
        """
        if self._n_samples == 0:
            self._first = samples[0]
        self._n_samples += len(samples)
        self._n_values += frames.size
        if frames.max() >= self.largest or frames.min() <= -self.largest:
            self._n_clipped += int(np.count_nonzero(np.abs(frames) >= self.largest))
        self._n_identical += int(samples[0] == self._last) + int(np.count_nonzero(samples[1:] == samples[:-1]))
        self._last = samples[-1]
        changes = samples - self._first  # so that a large constant does not drown what is left
        self._sum += float(changes.sum(dtype=np.float64))
        self._sum_of_squares += float(np.dot(changes, changes))

    @property
    def level_dbfs(self) -> float:
        """Root mean square without its constant part, in dB of full scale: a sine that just fits has -3."""
        if self._n_samples == 0:
            return SOFTEST_DBFS
        mean = self._sum / self._n_samples
        power = self._sum_of_squares / self._n_samples - mean**2
        return round(max(SOFTEST_DBFS, 10 * math.log10(power)), 2) if power > 0 else SOFTEST_DBFS

    @property
    def clipped_share(self) -> float:
        """Share of the values at either end of the scale, in [0, 1]."""
        return self._n_clipped / max(1, self._n_values)

    @property
    def identical_share(self) -> float:
        """Share of the samples that are the same as the one before, in [0, 1]."""
        return self._n_identical / max(1, self._n_samples - 1)

    @property
    def is_dead(self) -> bool:
        """Whether there is no sound in it: the microphone, its cable or its converter is dead."""
        level_dbfs, identical_share = self.level_dbfs, self.identical_share
        return self._n_samples > 0 and (
            self.clipped_share >= DEAD_CLIPPED_SHARE
            or identical_share >= DEAD_IDENTICAL_SHARE
            or level_dbfs <= DEAD_DBFS
            or (level_dbfs <= LAST_BIT_DBFS and identical_share >= LAST_BIT_IDENTICAL_SHARE)
        )


def largest_of(subtype: str, bits: int = 0) -> float:
    """The largest sample that a file can hold, by libsndfile's name for its coding, or the bits of its samples."""
    return 1 - 2.0 ** (1 - min(bits, 24)) if subtype == "RAW" else LARGEST.get(subtype, 1.0)
