"""The frequency weightings A and C of IEC 61672-1:2013, as filters in numpy.

A bilinear filter bends the curve towards half the sample rate, so that at 32 kHz it leaves class 1. Here a filter's
response is the curve itself, with the phase of the analogue network, so that peaks are those that an analogue meter
shows. What of its impulse response is short is a matrix product; what rings on is a sum of four decaying exponentials,
the poles of the network at 20.6 (double), 108 and 738 Hz, which go on from row to row of the product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.sound.levels.settings import REFERENCE_HZ

Floats: TypeAlias = npt.NDArray[np.float64]
Samples: TypeAlias = npt.NDArray[np.float32]

# Poles of the networks (in Hz), Annex E of IEC 61672-1:2013; the first and the last are double.
POLES_HZ = (20.598997, 107.65265, 737.86223, 12194.217)
N_GROUPED = 32  # rows, whose sums are made in one go
LEAD_LENGTH = 16  # samples before a response's beginning: what of it is not causal, for the rate is finite
UNIT_LENGTH = 3 << 14  # samples of one product, which are always as many: its bits depend on its shape
ROW_LENGTH, ROW_SAMPLE_RATE = 32, 100_000  # a row is long enough, up to this rate, for the pole at 12 kHz to die away


def response(weighting: str, frequencies_hz: Floats) -> npt.NDArray[np.complex128]:
    """The response of a weighting, 1 in magnitude at 1 kHz.

    Parameters
    ----------
    weighting : {"A", "C"}
    frequencies_hz : np.ndarray
        Any shape.
    """
    return NETWORKS[weighting](frequencies_hz) / _gain_at_reference(weighting)


def _a_network(f: Floats) -> npt.NDArray[np.complex128]:
    s = 1j * f
    low, second, third, high = POLES_HZ
    network: npt.NDArray[np.complex128] = s**4 / ((s + low) ** 2 * (s + second) * (s + third) * (s + high) ** 2)
    return network * high**2


def _c_network(f: Floats) -> npt.NDArray[np.complex128]:
    s = 1j * f
    low, _, _, high = POLES_HZ
    network: npt.NDArray[np.complex128] = s**2 / ((s + low) ** 2 * (s + high) ** 2)
    return network * high**2


NETWORKS: dict[str, Callable[[Floats], npt.NDArray[np.complex128]]] = {"A": _a_network, "C": _c_network}


def _gain_at_reference(weighting: str) -> float:
    return float(abs(NETWORKS[weighting](np.array(REFERENCE_HZ))))


def impulse_response(weighting: str, sample_rate: int) -> tuple[Floats, float]:
    """A second or more of a weighting's impulse response, and how late it is (in samples)."""
    length = 1 << max(14, math.ceil(math.log2(sample_rate)))
    frequencies_hz = np.fft.rfftfreq(length, 1 / sample_rate).astype(np.float64)
    wanted = response(weighting, frequencies_hz)
    # Late by a part of a sample more, so that the phase does not jump at half the sample rate: a jump rings on.
    turns = np.angle(wanted[-1]) / np.pi
    delay_length = LEAD_LENGTH + float(turns - np.floor(turns))
    late = wanted * np.exp(-2j * np.pi * frequencies_hz * delay_length / sample_rate)
    return np.fft.irfft(late).astype(np.float64), delay_length


def heights(weighting: str) -> Floats:
    """How a weighting's impulse response ends.

    Returns
    -------
    np.ndarray [shape=(4,)]
        Of the exponentials of the poles at 738 and 108 Hz, of that at 21 Hz, and of that times the time: factors for a
        time in turns of 1 Hz, ``exp(-2 pi pole_hz t)`` and ``2 pi t exp(-2 pi pole_hz t)``.
    """
    low, second, third, high = POLES_HZ
    scale = high**2 / _gain_at_reference(weighting)

    single, n_zeros = ((second, third), 4) if weighting == "A" else ((), 2)

    def rest(s: float, *poles: float) -> float:
        """What the network is at a pole without that pole's own factor."""
        return scale * s**n_zeros / math.prod((s + pole) for pole in poles)

    double = rest(-low, *single, high, high)
    slope = n_zeros / -low - sum(1 / (pole - low) for pole in (*single, high, high))
    of_third = rest(-third, low, low, second, high, high) if single else 0.0
    of_second = rest(-second, low, low, third, high, high) if single else 0.0
    return 2 * np.pi * np.array([of_third, of_second, double * slope, double])


@dataclass(frozen=True, slots=True)
class Accumulation:
    """How decaying values are summed up: within groups of rows, then from group to group.

    Attributes
    ----------
    within : np.ndarray [shape=(n_sums, N_GROUPED, N_GROUPED)]
    between : np.ndarray [shape=(n_sums, n_groups + 1, n_groups + 1)]
    powers : np.ndarray [shape=(n_sums, N_GROUPED)]
        What is left of a sum before each row of the next group.
    """

    within: Floats
    between: Floats
    powers: Floats


@dataclass(frozen=True, slots=True)
class Matrices:
    """What samples are multiplied by, for one sample rate.

    Attributes
    ----------
    products : tuple of np.ndarray [shape=(2 * row_length + 4, row_length), dtype=float32]
        From the row before, the row and the exponentials, to the row A-weighted, and C-weighted.
    weights : np.ndarray [shape=(row_length, 4), dtype=float32]
        From a row to what it adds to the exponentials; the last column is the double pole's other sum.
    simple, double : Accumulation
        Of the exponentials of the three poles, and of the double pole's other sum.
    decay : float
        What is left of the double pole's exponential after a row.
    """

    products: tuple[Samples, Samples]
    weights: Samples
    simple: Accumulation
    double: Accumulation
    decay: float

    @property
    def row_length(self) -> int:
        """Samples of a row."""
        return len(self.weights)


@lru_cache(maxsize=4)
def make_matrices(sample_rate: int) -> Matrices:
    """The weightings' matrices for a sample rate (in Hz)."""
    low, second, third, _ = POLES_HZ
    rates = 2 * np.pi * np.array([third, second, low, low]) / sample_rate
    row_length = ROW_LENGTH << max(0, math.ceil(math.log2(sample_rate / ROW_SAMPLE_RATE)))
    places = np.arange(row_length)
    products = tuple(_make_product(weighting, rates, row_length, sample_rate) for weighting in "AC")
    weights = np.exp(rates * places[:, None])
    weights[:, 3] *= -places
    decays = np.exp(-rates * row_length)
    simple, double = (_make_accumulation(some, UNIT_LENGTH // row_length) for some in (decays[:3], decays[3:]))
    return Matrices((products[0], products[1]), weights.astype(np.float32), simple, double, float(decays[2]))


def _make_accumulation(decays: Floats, n_rows: int) -> Accumulation:
    between = _powers(decays**N_GROUPED, n_rows // N_GROUPED + 1)
    return Accumulation(_powers(decays, N_GROUPED), between, decays[:, None] ** np.arange(N_GROUPED))


def _make_product(weighting: str, rates: Floats, row_length: int, sample_rate: int) -> Samples:
    taps, delay_length = impulse_response(weighting, sample_rate)
    lags, places = np.arange(len(taps)), np.arange(row_length)
    # That the rate is finite rings on at half of it; it is faded out before the exponentials go on alone.
    alone = _exponentials(weighting, rates, np.asarray(lags - delay_length), sample_rate).sum(axis=0)
    fade = 0.5 - 0.5 * np.cos(np.pi * np.clip((lags / row_length - 0.75) * 4, 0, 1))
    taps = (1 - fade) * taps + fade * alone
    # What was cut off counts at the lowest frequencies, where a weighting is the small rest of a sum: it is put back.
    taps[LEAD_LENGTH : LEAD_LENGTH + 4] -= taps.sum() / 4
    product = np.zeros((2 * row_length + 4, row_length))
    back = places + np.arange(row_length, -row_length, -1)[:, None]
    product[:-4] = np.where(back >= 0, taps[np.maximum(back, 0)], 0)
    behind = np.asarray(2 * row_length + places - delay_length)
    factors = _exponentials(weighting, rates, behind, sample_rate)
    factors[2] += factors[3]  # of the double pole, by the time since the beginning of the row before the last
    factors[3] /= behind  # and by the time until then
    product[-4:] = factors
    return product.astype(np.float32)


def _exponentials(weighting: str, rates: Floats, lags: Floats, sample_rate: int) -> Floats:
    """The parts of an impulse response that ring on, after some lags (in samples), `(4, n_lags)`."""
    parts = heights(weighting)[:, None] * np.exp(-rates[:, None] * lags) / sample_rate
    parts[3] *= 2 * np.pi * lags / sample_rate
    return np.asarray(parts)


class Weightings:
    """Weights samples with A and C, a unit of :data:`UNIT_LENGTH` at a time.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._matrices = make_matrices(sample_rate)
        row_length = self._matrices.row_length
        self._exponentials = np.zeros(4)  # of all rows but the last two, which are multiplied themselves
        self._joined = np.zeros((UNIT_LENGTH // row_length, 2 * row_length + 4), np.float32)

    def __call__(self, samples: Samples) -> tuple[Samples, Samples]:
        """The samples A-weighted and C-weighted, `(UNIT_LENGTH,)` each, late by :data:`LEAD_LENGTH` samples."""
        joined, n = self._joined, self._matrices.row_length
        joined[0, :n] = joined[-1, n : 2 * n]
        joined[:, n : 2 * n] = samples.reshape(-1, n)
        joined[1:, :n] = joined[:-1, n : 2 * n]
        joined[:, 2 * n :] = self._go_on(joined[:, :n])
        a, c = (joined @ product for product in self._matrices.products)
        return a.reshape(-1), c.reshape(-1)

    def _go_on(self, rows: Samples) -> Floats:
        """The exponentials before each row, `(n_rows, 4)`; they take in the rows themselves."""
        matrices, n = self._matrices, self._matrices.row_length
        added = (rows @ matrices.weights).T.astype(np.float64, order="C")
        before, self._exponentials = self._exponentials, np.zeros(4)
        sums = np.empty((4, len(rows)))
        self._exponentials[:3] = _accumulate(added[:3], matrices.simple, before[:3], sums[:3])
        # Of the double pole, besides: times the time since then, which grows by a row with each row.
        added[3] += matrices.decay * n * sums[2]
        self._exponentials[3:] = _accumulate(added[3:], matrices.double, before[3:], sums[3:])
        return sums.T


def _accumulate(values: Floats, sums: Accumulation, before: Floats, out: Floats) -> Floats:
    """Sum up decaying values: each sum is that before, less by its factor, and the value before.

    Parameters
    ----------
    values : np.ndarray [shape=(n_sums, n), dtype=float64]
    sums : Accumulation
    before : np.ndarray [shape=(n_sums,)]
        The sums before the first value.
    out : np.ndarray [shape=(n_sums, n)]
        Is filled with the sums before each value.

    Returns
    -------
    np.ndarray [shape=(n_sums,)]
        The sums behind the last value.
    """
    grouped = np.matmul(values.reshape(len(values), -1, N_GROUPED), sums.within)
    ends = np.concatenate([before[:, None], grouped[:, :, -1]], axis=1)
    ends = np.matmul(ends[:, None], sums.between)[:, 0]
    carried = out.reshape(grouped.shape)
    np.multiply(ends[:, :-1, None], sums.powers[:, None], out=carried)
    carried[:, :, 1:] += grouped[:, :, :-1]
    return np.asarray(ends[:, -1])


def _powers(decays: Floats, n: int) -> Floats:
    """For each factor a matrix that sums up `n` values up to each, less by a power with each step between."""
    n_between = np.arange(n) - np.arange(n)[:, None]
    return np.asarray(np.where(n_between >= 0, decays[:, None, None] ** np.maximum(n_between, 0), 0))
