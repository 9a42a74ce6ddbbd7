"""Third-octave bands of IEC 61260-1:2014: their middles, and the filters that make them.

A filter's edges are the square of a cosine and of a sine: with its neighbour's it adds up to 1, so the powers of all
bands add up to that of the sound, and three thirds are an octave.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

OCTAVE = 10**0.3  # the standard's ratio of an octave
EDGE = OCTAVE ** (1 / 6)  # of a third octave's edges to its middle
FADE = 0.15  # from an edge to where a filter is 1, or 0, as a power of the octave: far inside class 1
REACH = EDGE * OCTAVE**FADE  # a filter is 0 beyond the middle by this factor, up and down
NUMBERS = range(-16, 14)  # of the bands from 25 Hz to 20 kHz, counted from that of 1 kHz
NOMINAL = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)


def middle_hz(number: int) -> float:
    """The exact middle of a third octave (in Hz)."""
    return float(1000 * OCTAVE ** (number / 3))


def nominal_hz(number: int) -> float:
    """The frequency by which a third octave is called (in Hz)."""
    return round(NOMINAL[number % 10] * 10.0 ** (3 + number // 10), 2)


def bands_of(sample_rate: float) -> tuple[int, ...]:
    """The numbers of those third octaves that lie below half the sample rate with all of their width."""
    return tuple(number for number in NUMBERS if middle_hz(number) * EDGE <= sample_rate / 2)


def magnitude(frequencies_hz: Floats, middle: float) -> Floats:
    """The magnitude of a third octave's filter, from 0 to 1; 0 beyond :data:`REACH`."""
    with np.errstate(divide="ignore"):
        octaves = np.log(frequencies_hz / middle) / math.log(OCTAVE)
    return np.asarray(np.sin(_angle(octaves + 1 / 6)) * np.cos(_angle(octaves - 1 / 6)))


def _angle(octaves_from_edge: Floats) -> Floats:
    """From 0 to a quarter of a turn on the way over an edge, smoothly."""
    return fade_angle(octaves_from_edge / FADE)


def fade_angle(places: Floats) -> Floats:
    """From 0 at -1 to a quarter of a turn at 1, smoothly."""
    return np.asarray(np.pi / 4 * (1 + np.sin(np.pi / 2 * np.clip(places, -1, 1))))
