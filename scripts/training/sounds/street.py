"""An hour of a street on which none of the classes is heard: traffic, wind, hum, machines and nights of noise.

It is made apart from the training's sounds of no class (``negatives``): from another generator, in scenes of a minute
that change slowly, and from a seed of its own, so that it is the same hour for every bundle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import signal

Doubles = npt.NDArray[np.float64]

SEED, N_MINUTES, SAMPLE_RATE_HZ = 17, 60, 16_000
MINUTE = 60 * SAMPLE_RATE_HZ


def minutes() -> Iterator[npt.NDArray[np.float32]]:
    """Yield the hour minute by minute, at 16 kHz, between -50 and -10 dB of full scale."""
    for number in range(N_MINUTES):
        rng = np.random.default_rng([SEED, number])
        scene = SCENES[number % len(SCENES)](rng)
        level = 10 ** (rng.uniform(-50, -14) / 20)
        y = scene * (level / np.sqrt(np.mean(scene**2)))
        yield np.asarray(np.clip(y, -1, 1), np.float32)


def _noise(rng: np.random.Generator) -> Doubles:
    """Coloured noise: white, pink, brown, or the hiss of a cheap preamplifier."""
    pole = rng.choice([0.0, 0.5, 0.9, 0.98, 0.995, -0.4])
    return np.asarray(signal.lfilter([1.0], [1.0, -pole], rng.normal(size=MINUTE)))


def _hum(rng: np.random.Generator) -> Doubles:
    """A transformer: harmonics of 50 or 60 Hz whose levels drift, over noise."""
    t, base_hz = np.arange(MINUTE) / SAMPLE_RATE_HZ, rng.choice([50.0, 60.0])
    y = 0.02 * rng.uniform(0, 3) * rng.normal(size=MINUTE)
    for number in (1, 2, 3, 4, 6, 8, 10, 12, 18, 24):
        y += rng.uniform(0, 1) / number * np.sin(2 * np.pi * number * base_hz * t + rng.uniform(0, 6)) * _drift(rng, 4)
    return y


def _gusts(rng: np.random.Generator) -> Doubles:
    """Wind at the microphone and in the leaves, both rising with the gusts."""
    gust = _drift(rng, 60, spread_db=8)
    low = signal.sosfilt(
        signal.butter(2, rng.uniform(60, 400), fs=SAMPLE_RATE_HZ, output="sos"), rng.normal(size=MINUTE)
    )
    band = signal.butter(1, [1000, 5000], "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    leaves = signal.sosfilt(band, rng.normal(size=MINUTE))
    return np.asarray(low / low.std() * gust + rng.uniform(0, 0.3) * leaves / leaves.std() * gust**1.5)


def _rumble(rng: np.random.Generator) -> Doubles:
    """Far traffic: noise below some hundred hertz that hardly changes."""
    sos = signal.butter(1, rng.uniform(80, 500), fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(signal.sosfilt(sos, rng.normal(size=MINUTE)) * _drift(rng, 12, spread_db=3))


def _cars(rng: np.random.Generator) -> Doubles:
    """Three to twelve vehicles that pass: tyres, and an engine whose pitch falls as it goes by."""
    y, t = 0.05 * _rumble(rng), np.arange(MINUTE) / SAMPLE_RATE_HZ
    for _ in range(int(rng.integers(3, 13))):
        passed_s, nearest_s = rng.uniform(0, 60), rng.uniform(0.7, 4)
        near = 1 / (1 + ((t - passed_s) / nearest_s) ** 2)
        sos = signal.butter(
            1, [rng.uniform(80, 300), rng.uniform(800, 3000)], "bandpass", fs=SAMPLE_RATE_HZ, output="sos"
        )
        tyres = signal.sosfilt(sos, rng.normal(size=MINUTE))
        turns_hz = rng.uniform(25, 80) * (1 - 0.06 * np.tanh((t - passed_s) / nearest_s))
        phase = 2 * np.pi * np.cumsum(turns_hz) / SAMPLE_RATE_HZ
        engine = sum(np.sin(n * phase + n * n) / n for n in range(1, 12))
        y += near * rng.uniform(0.3, 1) * (tyres / tyres.std() + rng.uniform(0, 0.7) * engine)
    return np.asarray(y)


def _fan(rng: np.random.Generator) -> Doubles:
    """A ventilator on a roof: noise of a band, a blade tone and its harmonics."""
    t, blade_hz = np.arange(MINUTE) / SAMPLE_RATE_HZ, rng.uniform(60, 300)
    sos = signal.butter(1, [100, rng.uniform(1000, 4000)], "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    noise = signal.sosfilt(sos, rng.normal(size=MINUTE))
    tone = sum(np.sin(2 * np.pi * n * blade_hz * t + n) / n for n in range(1, 5))
    return np.asarray(noise / noise.std() + rng.uniform(0, 1) * tone)


def _drift(rng: np.random.Generator, n_points: int, spread_db: float = 2.0) -> Doubles:
    """A level that wanders: `n_points` random turns in the minute."""
    points = rng.normal(0, spread_db, n_points + 2)
    return np.asarray(10 ** (np.interp(np.linspace(0, n_points + 1, MINUTE), np.arange(n_points + 2), points) / 20))


SCENES = (_noise, _hum, _gusts, _rumble, _cars, _fan)
