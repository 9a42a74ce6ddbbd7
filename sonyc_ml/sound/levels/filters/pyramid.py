"""Bands of a stream, octave by octave: each stage has the upper bands, and hands the rest on at a quarter of the rate.

A band is the part of a block's spectrum where its filter is not 0, turned back into a signal of as many samples as that
has width. Blocks overlap, and of each only the middle counts, where filters have rung off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.sound.levels.filters.bands import REACH, bands_of, fade_angle, magnitude, middle_hz

Samples: TypeAlias = npt.NDArray[np.float32]
Spectra: TypeAlias = npt.NDArray[np.complex64]
Energies: TypeAlias = npt.NDArray[np.float32]
Listener: TypeAlias = Callable[[slice, Energies, float, float], None]

LENGTH = 1024  # of a block
STEP = 3 * LENGTH // 4  # from one to the next; as long as the middle that counts
MARGIN = LENGTH // 8  # before the middle, and behind it
RATIO = 4  # of a stage's rate to the next one's
# A filter that rings on for longer than the margin lets other sounds in. With eighty of a band's periods in a block,
# other bands are 4 dB further down than class 1 asks for.
N_PERIODS = 80
N_PASSED = math.ceil(N_PERIODS * REACH)  # bins that the next stage is to have whole
N_CUT = LENGTH // RATIO - N_PASSED  # what is passed beyond its half rate folds back between the two, where no band is
NOTHING = 1e-9  # a gain that is 0 but for rounding
N_GROUPED = 3  # bands are turned back together, as long as the widest of them asks for
N_PARTS = 24  # of a middle, over which energies are summed
SHORT_S = 0.03  # a middle that is no longer is one part
N_AT_ONCE, LEAST_AT_ONCE = (
    64,
    32,
)  # blocks of the first stage, and of every other: more fit in no small computer's cache


@dataclass(frozen=True, slots=True)
class Group:
    """Bands whose signals have equally many samples: the thirds of an octave.

    Attributes
    ----------
    bins : np.ndarray [shape=(n_bands, n), dtype=intp]
        Of the spectrum, in each row as many as the signals have samples.
    gains : np.ndarray [shape=(n_bands, n), dtype=float32]
        Factors for them, 0 behind the filter's end.
    n_parts : int
        Of the middle of a block.
    """

    bins: npt.NDArray[np.intp]
    gains: Samples
    n_parts: int

    def energies(self, spectra: Spectra) -> Energies:
        """The sum of squares of each band's signal over parts of the middles, `(n_blocks, n_bands, n_parts)`."""
        parts = np.take(spectra, self.bins, axis=1)
        parts *= self.gains
        signals = np.fft.ifft(parts).astype(np.complex64, copy=False)
        n_blocks, n_bands, n = signals.shape
        middle = signals.view(np.float32)[:, :, n // 4 : 2 * n - n // 4]
        middle = middle.reshape(n_blocks, n_bands, self.n_parts, -1)
        return np.asarray(np.einsum("tbpi,tbpi->tbp", middle, middle))


@dataclass(frozen=True, slots=True)
class Design:
    """The filters of a stage.

    Attributes
    ----------
    bands : slice
        Which of all bands it has.
    groups : tuple of Group
        In the order of the bands.
    """

    bands: slice
    groups: tuple[Group, ...]


@lru_cache(maxsize=4)
def make_designs(sample_rate: int) -> tuple[Design, ...]:
    """The filters of all stages for a sample rate (in Hz), the first stage first."""
    numbers = bands_of(sample_rate)
    designs, rate, end = [], float(sample_rate), len(numbers)
    while end:
        start = sum(middle_hz(number) * LENGTH / rate < N_PERIODS for number in numbers[:end])
        designs.append(Design(slice(start, end), _make_groups(numbers[start:end], rate)))
        end, rate = start, rate / RATIO
    return tuple(designs)


def _make_groups(numbers: tuple[int, ...], rate: float) -> tuple[Group, ...]:
    n_parts = 1 if STEP / rate < SHORT_S else N_PARTS
    some = [numbers[max(0, end - N_GROUPED) : end] for end in range(len(numbers), 0, -N_GROUPED)]
    return tuple(_make_group(grouped, rate, n_parts) for grouped in reversed(some))


def _make_group(numbers: tuple[int, ...], rate: float, n_parts: int) -> Group:
    frequencies_hz = np.fft.rfftfreq(LENGTH, 1 / rate)
    gains = np.stack([magnitude(frequencies_hz.astype(np.float64), middle_hz(number)) for number in numbers])
    spans = [np.flatnonzero(gain > NOTHING) for gain in gains]
    n = _size(max(span[-1] - span[0] + 1 for span in spans), n_parts)
    bins = np.array([span[0] for span in spans])[:, None] + np.arange(n)
    taken = np.take_along_axis(gains, np.minimum(bins, LENGTH // 2), axis=1) * (bins <= LENGTH // 2)
    # Half of a real signal's spectrum is left out. A sample of a band stands for several of the sound.
    return Group(np.minimum(bins, LENGTH // 2), (taken * math.sqrt(2 * n / LENGTH)).astype(np.float32), n_parts)


def _size(n_bins: int, n_parts: int) -> int:
    """The smallest number of samples, of small factors, that holds so many bins and whose middle has equal parts."""
    unit = math.lcm(8, 4 * n_parts // math.gcd(3, 4 * n_parts))
    return min(unit * factor << max(0, math.ceil(math.log2(n_bins / (unit * factor)))) for factor in (1, 3, 5))


@lru_cache(maxsize=1)
def _low_pass() -> Samples:
    """What of a spectrum's bins goes on to the next stage, up to where it is 0."""
    places = np.clip(2 * (np.arange(N_CUT + 1) - N_PASSED) / (N_CUT - N_PASSED) - 1, -1, 1)
    fade = np.cos(fade_angle(np.sin(np.pi / 2 * places)))  # so smooth that it rings off within the margin
    return np.asarray(fade / math.sqrt(RATIO), np.float32)  # a sample stands for four


class Pyramid:
    """Takes samples in pieces of any size, and tells the energies of bands.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    tell : callable
        Takes which bands, their sums of squares `(n_bands, n)` over parts that follow each other, where the first part
        begins, and how long each is (in samples of the stream).
    """

    def __init__(self, sample_rate: int, tell: Listener) -> None:
        self._first: _Stage | None = None
        for depth, design in reversed(list(enumerate(make_designs(sample_rate)))):
            self._first = _Stage(design, depth, tell, self._first)

    def add(self, samples: Samples) -> None:
        """Take in the next samples, `(n,)`."""
        if self._first is not None:
            self._first.add(samples)

    def end(self) -> None:
        """Take in what is left, as if silence followed."""
        if self._first is not None:
            self._first.end()


class _Stage:
    def __init__(self, design: Design, depth: int, tell: Listener, following: _Stage | None) -> None:
        self._design, self._tell, self._following = design, tell, following
        self._scale = RATIO**depth  # samples of the stream that one of this stage stands for
        # The middle of the first block begins before the stage's first sample, as that did in the stage before.
        self._place = -MARGIN * sum(RATIO**above for above in range(depth + 1))
        self._n_at_once = max(LEAST_AT_ONCE, N_AT_ONCE // self._scale)
        self._held = np.zeros(LENGTH - STEP, np.float32)
        self._n_left = 0  # samples whose middles are not told

    def add(self, samples: Samples) -> None:
        self._held = np.concatenate([self._held, samples])
        self._n_left += len(samples)
        n_blocks = (len(self._held) - (LENGTH - STEP)) // STEP
        for _ in range(0, n_blocks - n_blocks % self._n_at_once, self._n_at_once):
            self._take(self._n_at_once)

    def end(self) -> None:
        n_silent = STEP * math.ceil((self._n_left + MARGIN) / STEP) - self._n_left if self._n_left else 0
        if n_silent:
            self._held = np.concatenate([self._held, np.zeros(n_silent, np.float32)])
            self._take((len(self._held) - (LENGTH - STEP)) // STEP)
        if self._following is not None:
            self._following.end()

    def _take(self, n_blocks: int) -> None:
        size = self._held.itemsize
        blocks = np.lib.stride_tricks.as_strided(self._held, (n_blocks, LENGTH), (STEP * size, size), writeable=False)
        spectra = np.fft.rfft(blocks).astype(np.complex64, copy=False)
        self._held = self._held[n_blocks * STEP :]
        self._n_left -= n_blocks * STEP
        if self._design.groups:
            energies = np.concatenate([group.energies(spectra) for group in self._design.groups], axis=1)
            n_parts = energies.shape[2]
            told = energies.transpose(1, 0, 2).reshape(energies.shape[1], -1)
            self._tell(self._design.bands, told, self._place, STEP * self._scale / n_parts)
        self._place += n_blocks * STEP * self._scale
        if self._following is not None:
            self._following.add(_lowered(spectra))


def _lowered(spectra: Spectra) -> Samples:
    """The low part of blocks' middles at the next stage's rate, one after the other."""
    passed = spectra[:, : N_CUT + 1] * _low_pass()
    half = LENGTH // RATIO // 2
    low = passed[:, : half + 1].copy()
    low[:, LENGTH // RATIO - N_CUT :] += passed[:, N_CUT : half - 1 : -1].conj()
    middle = np.fft.irfft(low)[:, MARGIN // RATIO : -MARGIN // RATIO]
    return np.asarray(middle, np.float32).reshape(-1)
