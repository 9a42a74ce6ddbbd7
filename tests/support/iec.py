"""Tables of the standards for sound level meters and band filters, class 1.

IEC 61672-1:2013 is read from its tables 3 (frequency weightings), 4 (tone bursts) and 5 (peaks), and IEC 61260-1:2014
from its table 1 with formulas 9 to 11, as transcribed from the published texts, and checked against them, by the
packages PyOctaveBand (its module `compliance`) and phonometry (its modules of reference data), both MIT.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

INF = math.inf
OCTAVE = 10**0.3

# IEC 61672-1:2013, table 3: nominal frequency (in Hz), A and C (in dB), upper and lower limit of class 1 (in dB).
TABLE_3 = (
    (10, -70.4, -14.3, 3.0, -INF),
    (12.5, -63.4, -11.2, 2.5, -INF),
    (16, -56.7, -8.5, 2.0, -4.0),
    (20, -50.5, -6.2, 2.0, -2.0),
    (25, -44.7, -4.4, 2.0, -1.5),
    (31.5, -39.4, -3.0, 1.5, -1.5),
    (40, -34.6, -2.0, 1.0, -1.0),
    (50, -30.2, -1.3, 1.0, -1.0),
    (63, -26.2, -0.8, 1.0, -1.0),
    (80, -22.5, -0.5, 1.0, -1.0),
    (100, -19.1, -0.3, 1.0, -1.0),
    (125, -16.1, -0.2, 1.0, -1.0),
    (160, -13.4, -0.1, 1.0, -1.0),
    (200, -10.9, 0.0, 1.0, -1.0),
    (250, -8.6, 0.0, 1.0, -1.0),
    (315, -6.6, 0.0, 1.0, -1.0),
    (400, -4.8, 0.0, 1.0, -1.0),
    (500, -3.2, 0.0, 1.0, -1.0),
    (630, -1.9, 0.0, 1.0, -1.0),
    (800, -0.8, 0.0, 1.0, -1.0),
    (1000, 0.0, 0.0, 0.7, -0.7),
    (1250, 0.6, 0.0, 1.0, -1.0),
    (1600, 1.0, -0.1, 1.0, -1.0),
    (2000, 1.2, -0.2, 1.0, -1.0),
    (2500, 1.3, -0.3, 1.0, -1.0),
    (3150, 1.2, -0.5, 1.0, -1.0),
    (4000, 1.0, -0.8, 1.0, -1.0),
    (5000, 0.5, -1.3, 1.5, -1.5),
    (6300, -0.1, -2.0, 1.5, -2.0),
    (8000, -1.1, -3.0, 1.5, -2.5),
    (10000, -2.5, -4.4, 2.0, -3.0),
    (12500, -4.3, -6.2, 2.0, -5.0),
    (16000, -6.6, -8.5, 2.5, -16.0),
    (20000, -9.3, -11.2, 3.0, -INF),
)

# IEC 61672-1:2013, table 4: length of a burst of 4 kHz (in ms), the largest reading from that of the steady tone,
# upper and lower limit of class 1 (in dB); with F, and with S.
TABLE_4_F = (
    (1000, 0.0, 0.5, -0.5),
    (500, -0.1, 0.5, -0.5),
    (200, -1.0, 0.5, -0.5),
    (100, -2.6, 1.0, -1.0),
    (50, -4.8, 1.0, -1.0),
    (20, -8.3, 1.0, -1.0),
    (10, -11.1, 1.0, -1.0),
    (5, -14.1, 1.0, -1.0),
    (2, -18.0, 1.0, -1.5),
    (1, -21.0, 1.0, -2.0),
    (0.5, -24.0, 1.0, -2.5),
    (0.25, -27.0, 1.0, -3.0),
)
TABLE_4_S = (
    (1000, -2.0, 0.5, -0.5),
    (500, -4.1, 0.5, -0.5),
    (200, -7.4, 0.5, -0.5),
    (100, -10.2, 1.0, -1.0),
    (50, -13.1, 1.0, -1.0),
    (20, -17.0, 1.0, -1.5),
    (10, -20.0, 1.0, -2.0),
    (5, -23.0, 1.0, -2.5),
    (2, -27.0, 1.0, -3.0),
)
# IEC 61672-1:2013, table 5: cycles of a tone, its frequency (in Hz), LCpeak above LC of the steady tone, limit (in dB).
TABLE_5 = ((1, 31.5, 2.5, 2.0), (1, 500, 3.5, 1.0), (1, 8000, 3.4, 2.0), (0.5, 500, 2.4, 1.0), (-0.5, 500, 2.4, 1.0))

# IEC 61260-1:2014, table 1, class 1: points of the octave filter as powers of the octave's ratio, with the largest
# relative attenuation within the band, and the smallest beyond (in dB); within, it is never below -0.4.
PASSED = ((0, 0.4), (1 / 8, 0.5), (1 / 4, 0.7), (3 / 8, 1.4), (1 / 2, 5.3))
STOPPED = ((1 / 2, 1.2), (1, 16.6), (2, 40.5), (3, 60.0), (4, 70.0))
LOWEST_DB = -0.4


def exact_hz(nominal: float) -> float:
    """The exact frequency of base 10 that a nominal one stands for (in Hz), as the notes of both tables ask for."""
    return float(1000 * 10 ** (round(10 * math.log10(nominal / 1000)) / 10))


def limits_db(ratios: npt.NDArray[np.float64], bands_per_octave: int) -> tuple[npt.NDArray[np.float64], ...]:
    """The smallest and largest relative attenuation at frequencies relative to a band's middle, each `(n,)`."""
    above = np.log10(np.maximum(ratios, 1 / ratios))  # formula 10: down as up

    def points(powers: tuple[float, ...]) -> npt.NDArray[np.float64]:
        """Formula 9: an octave's points for a part of an octave, as logarithms."""
        scale = (OCTAVE ** (1 / (2 * bands_per_octave)) - 1) / (OCTAVE**0.5 - 1)
        return np.log10([1 + scale * (OCTAVE**power - 1) for power in powers])

    (passed, largest), (stopped, smallest) = (tuple(zip(*table, strict=True)) for table in (PASSED, STOPPED))
    is_inside = above <= points(passed)[-1]
    # Formula 11: straight over the logarithm in between.
    lower = np.where(is_inside, LOWEST_DB, np.interp(above, points(stopped), smallest))
    return lower, np.where(is_inside, np.interp(above, points(passed), largest), INF)
