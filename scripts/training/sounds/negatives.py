"""Sounds of no class: noise, hum, wind, rumble, rooms, beeps, knocks and silence, each drawn from a seeded generator.

A head that has heard classes only must take everything for one of them. These windows belong to none, and they also
lie below a quarter of the windows of clips.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SAMPLE_RATE_HZ = 16_000
SILENCE_SHARE = 0.04  # of the windows; half of these are exact zeros


def negatives(n_windows: int, length: int, rng: np.random.Generator) -> Floats:
    """Make `n_windows` windows of `length` samples at 16 kHz, each with a root mean square of 0.1 or of silence."""
    return np.stack([negative(length, rng) for _ in range(n_windows)])


def negative(length: int, rng: np.random.Generator) -> Floats:
    """Make one window: one kind of sound, or two at once."""
    if rng.random() < SILENCE_SHARE:
        return (rng.normal(0, 1e-5, length) * (rng.random() < 0.5)).astype(np.float32)
    y = np.zeros(length)
    for _ in range(int(rng.integers(1, 3))):
        y += _at_level(_kind(length, rng), 10 ** (-rng.uniform(0, 12) / 20))
    return np.asarray(_at_level(y, 0.1), np.float32)


def _kind(length: int, rng: np.random.Generator) -> Doubles:
    kinds = (_coloured, _coloured, _band, _hum, _wind, _rumble, _passing, _beeps, _knocks)
    return kinds[int(rng.integers(len(kinds)))](length, rng)


def _coloured(length: int, rng: np.random.Generator) -> Doubles:
    """Noise whose power falls by 0 to 9 dB an octave, or rises by up to 3."""
    return _shaped(length, rng, _frequencies(length) ** -rng.uniform(-0.5, 1.5))


def _band(length: int, rng: np.random.Generator) -> Doubles:
    """Noise of one to three octaves, as of a fan or a grille."""
    octaves = np.log2(_frequencies(length) / rng.uniform(100, 4000))
    return _shaped(length, rng, np.exp(-0.5 * (octaves / rng.uniform(0.5, 1.5)) ** 2) + 1e-3)


def _hum(length: int, rng: np.random.Generator) -> Doubles:
    """Harmonics of the mains with a little noise."""
    base_hz = rng.choice([50.0, 60.0, 100.0, 120.0]) * rng.uniform(0.999, 1.001)
    numbers = np.arange(1, int(rng.integers(3, 30)))
    levels = numbers ** -rng.uniform(0, 2) * rng.uniform(0, 1, len(numbers))
    return _harmonics(length, rng, numbers * base_hz, levels) + 0.1 * rng.uniform(0, 1) * _unit(_coloured(length, rng))


def _wind(length: int, rng: np.random.Generator) -> Doubles:
    """Low noise in gusts, as wind makes it at a microphone."""
    cutoff_hz = np.exp(rng.uniform(np.log(40), np.log(600)))
    y = _shaped(length, rng, 1 / (1 + (_frequencies(length) / cutoff_hz) ** rng.uniform(1, 3)))
    return y * 10 ** (_slow(length, rng, rng.uniform(0.5, 6)) * rng.uniform(2, 12) / 20)


def _rumble(length: int, rng: np.random.Generator) -> Doubles:
    """An engine that idles: many harmonics of an unsteady low tone, and noise."""
    turns_hz = rng.uniform(12, 90) * (1 + 0.02 * _slow(length, rng, 2.0))
    phase = 2 * np.pi * np.cumsum(turns_hz) / SAMPLE_RATE_HZ
    numbers = range(1, int(rng.integers(4, 25)))
    y = sum(rng.uniform(0, 1) / n ** rng.uniform(0.3, 1.2) * np.sin(n * phase + rng.uniform(0, 6.3)) for n in numbers)
    return _unit(np.asarray(y)) + rng.uniform(0, 1) * _unit(_coloured(length, rng))


def _passing(length: int, rng: np.random.Generator) -> Doubles:
    """Tyres on a road, coming nearer or going away."""
    swell = 10 ** (np.linspace(-1, 1, length) * rng.uniform(-12, 12) / 20)
    return _unit(_band(length, rng)) * swell + 0.5 * _unit(_rumble(length, rng))


def _beeps(length: int, rng: np.random.Generator) -> Doubles:
    """A horn, a siren or a beep: a few harmonics that are steady, glide or go on and off."""
    base_hz = np.exp(rng.uniform(np.log(200), np.log(3000)))
    glide = rng.choice([0.0, 0.0, 0.3]) * np.sin(2 * np.pi * rng.uniform(0.2, 4) * _times(length) + rng.uniform(0, 6.3))
    phase = 2 * np.pi * np.cumsum(base_hz * 2**glide) / SAMPLE_RATE_HZ
    numbers = range(1, int(rng.integers(2, 8)))
    tones = (rng.uniform(0, 1) * np.sin(n * phase) for n in numbers if n * base_hz < SAMPLE_RATE_HZ / 2)
    y = np.zeros(length) + sum(tones)
    if rng.random() < 0.5:
        y = y * (np.sin(2 * np.pi * rng.uniform(1, 8) * _times(length) + rng.uniform(0, 6.3)) > 0)
    return _unit(y) + 0.03 * _unit(_coloured(length, rng))


def _knocks(length: int, rng: np.random.Generator) -> Doubles:
    """One to six knocks at irregular times: damped tones with a burst of noise, over a quiet room."""
    y = 0.02 * rng.uniform(0.1, 1) * _unit(_coloured(length, rng))
    for start in rng.integers(0, length, int(rng.integers(1, 7))):
        t = _times(length - int(start))
        decay = np.exp(-t / np.exp(rng.uniform(np.log(0.01), np.log(0.15))))
        tone = np.sin(2 * np.pi * np.exp(rng.uniform(np.log(80), np.log(2500))) * t)
        y[start:] += rng.uniform(0.2, 1) * decay * (tone + rng.uniform(0, 1) * rng.normal(size=len(t)))
    return y


def _shaped(length: int, rng: np.random.Generator, gains: Doubles) -> Doubles:
    """White noise with gains for its frequencies."""
    return np.asarray(np.fft.irfft(np.fft.rfft(rng.normal(size=length)) * gains, length))


def _slow(length: int, rng: np.random.Generator, rate_hz: float) -> Doubles:
    """A random curve of deviation 1 that turns some `rate_hz` times a second."""
    n_points = max(3, int(length / SAMPLE_RATE_HZ * rate_hz) + 2)
    return np.asarray(np.interp(np.linspace(0, n_points - 1, length), np.arange(n_points), rng.normal(size=n_points)))


def _harmonics(length: int, rng: np.random.Generator, frequencies_hz: Doubles, levels: Doubles) -> Doubles:
    """The sum of steady tones, of random phases."""
    phases = rng.uniform(0, 2 * np.pi, len(levels))
    waves = np.sin(2 * np.pi * frequencies_hz[:, None] * _times(length) + phases[:, None])
    return _unit(np.asarray(levels @ waves))


def _frequencies(length: int) -> Doubles:
    return np.asarray(np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ), 20.0))


def _times(length: int) -> Doubles:
    return np.asarray(np.arange(length) / SAMPLE_RATE_HZ)


def _unit(y: Doubles) -> Doubles:
    return _at_level(y, 1.0)


def _at_level(y: Doubles, level: float) -> Doubles:
    """A sound with a root mean square of `level`; silence stays silent."""
    return np.asarray(y * (level / max(float(np.sqrt(np.mean(y**2))), 1e-12)))
