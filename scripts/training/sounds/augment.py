"""Clips to training windows: random crops, speeds, mixtures, equalisers, rooms, noise and levels.

A window is made of clips of one fold only, so that a fold can be left out without a trace; some hold no clip at all
(``negatives``). Everything is drawn from one seeded generator and costs two to three milliseconds a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from scripts.training.clips import Clip
from scripts.training.sounds.negatives import negative, negatives
from sonyc_ml.features import LogMel, make_resampler

Floats = npt.NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000  # the teacher's; our features are computed from what is left of it at 8 kHz
WINDOW_LENGTH = 19_200  # 1.2 s: a margin of 0.1 s on either side takes up the filters' edges
MARGIN_S = 0.1
MAX_SPEED = 1.35  # also the largest change of pitch: five semitones
QUIET = 1e-4  # root mean square below which a window counts as silence (-80 dB of full scale)
NEGATIVES_SHARE = 0.25  # of the windows: sounds of no class
BACKGROUND_SHARE = 0.25  # of the windows of clips: one of these sounds below
# A class is there where its sound is nearly as loud as its clip gets, and not where it is far below.
CERTAIN_DB, ABSENT_DB = -15.0, -35.0


@dataclass(frozen=True, slots=True)
class Windows:
    """Training windows of one fold.

    Attributes
    ----------
    samples : np.ndarray [shape=(n_windows, 19200), dtype=float32]
        16 kHz, 1.2 s each.
    labels : np.ndarray [shape=(n_windows, n_classes), dtype=float32]
        How surely each class is heard in a window, 0 to 1; all 0 for a sound of no class.
    """

    samples: Floats
    labels: Floats


def make_windows(clips: Sequence[Clip], n_windows: int, n_classes: int, rng: np.random.Generator) -> Windows:
    """Make `n_windows` training windows of clips."""
    samples = np.zeros((n_windows, WINDOW_LENGTH), np.float32)
    labels = np.zeros((n_windows, n_classes), np.float32)
    n_negatives = round(NEGATIVES_SHARE * n_windows)
    samples[:n_negatives] = negatives(n_negatives, WINDOW_LENGTH, rng)
    for row, label in zip(samples[n_negatives:], labels[n_negatives:], strict=True):
        _mix(clips, rng, row, label)
    for start in range(0, n_windows, 256):
        rows = samples[start : start + 256]
        rows[:] = _with_noise(_through_rooms(_equalised(rows, rng), rng), rng)
        rows[:] = _at_random_level(rows, rng)
    return Windows(samples, labels)


def features_of(samples: Floats, extractor: LogMel) -> Floats:
    """Return the features `(n_windows, 64, 51)` of the middle second of every window."""
    seconds = seconds_of(samples, extractor)
    return extractor(seconds.reshape(-1), extractor.sample_rate, extractor.window_size_s)


def seconds_of(samples: Floats, extractor: LogMel) -> Floats:
    """Return the middle second of every window, `(n_windows, 8000)`, as the extractor resamples it."""
    resampled = np.concatenate(list(_at_8_khz(samples, extractor))).reshape(len(samples), -1)
    margin = round(MARGIN_S * extractor.sample_rate)
    return np.ascontiguousarray(resampled[:, margin : margin + extractor.window_length])


def middle_of(samples: Floats, length: int) -> Floats:
    """Return the middle `length` samples of every window."""
    start = (samples.shape[1] - length) // 2
    return np.ascontiguousarray(samples[:, start : start + length])


def _at_8_khz(samples: Floats, extractor: LogMel) -> list[Floats]:
    # All windows in one go: a filter reaches 8 ms over a window's edge, well inside the margin.
    resampler = make_resampler(SAMPLE_RATE_HZ, extractor.sample_rate, extractor.res_type)
    return list(resampler.stream([samples.reshape(-1)], samples.size))


def presence(level_db: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How surely a class is heard at a level relative to its clip's loudest second: 1 to -15 dB, 0 from -35 dB."""
    return np.asarray(np.clip((np.asarray(level_db) - ABSENT_DB) / (CERTAIN_DB - ABSENT_DB), 0, 1))


def _mix(clips: Sequence[Clip], rng: np.random.Generator, row: Floats, label: Floats) -> None:
    """Write a mixture of one to three crops into `row`, perhaps over a background, and their classes into `label`."""
    n_crops = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    level = 0.0  # the first sound's; the others are at most as loud
    for _ in range(n_crops):
        clip = clips[int(rng.integers(len(clips)))]
        crop, sure = _crop(clip, rng)
        loudness = _loudness(crop)
        gain = 1.0
        if loudness > QUIET:
            gain = level / loudness * 10 ** (rng.uniform(-15, 0) / 20) if level else 1.0
            level = level or loudness
            label[clip.label] = max(label[clip.label], sure)
        row += np.float32(gain) * crop
    if rng.random() < BACKGROUND_SHARE:
        background = negative(len(row), rng)
        row += background * np.float32(max(level, QUIET) / 0.1 * 10 ** (-rng.uniform(3, 25) / 20))


def _crop(clip: Clip, rng: np.random.Generator) -> tuple[Floats, float]:
    """A random 1.2 s of a clip at 16 kHz, and how surely its class is heard in it.

    Three times in four it has another speed; three times in four it is one of the clip's louder places.
    """
    speed = float(np.exp(rng.uniform(-1, 1) * np.log(MAX_SPEED))) if rng.random() < 0.75 else 1.0
    length = int(WINDOW_LENGTH / SAMPLE_RATE_HZ * clip.sample_rate * speed) + 64
    starts = rng.integers(-length // 3, max(1, len(clip.y) - length + length // 3), size=3)
    segments = [_segment(clip.y, int(start), length) for start in starts]
    loudest = int(np.argmax([_loudness(segment) for segment in segments])) if rng.random() < 0.75 else 0
    below_db = 20 * np.log10(max(_loudness(segments[loudest]), 1e-9) / max(clip.loudest, 1e-9))
    crop = soxr.resample(segments[loudest], clip.sample_rate * speed, SAMPLE_RATE_HZ, quality="HQ")
    return _segment(crop, 0, WINDOW_LENGTH), float(presence(below_db))


def _segment(y: Floats, start: int, length: int) -> Floats:
    """Samples `[start, start + length)`, zero where there are none."""
    segment = np.zeros(length, np.float32)
    first, last = max(0, start), min(len(y), start + length)
    if first < last:
        segment[first - start : last - start] = y[first:last]
    return segment


def _equalised(rows: Floats, rng: np.random.Generator) -> Floats:
    """Half of the windows with a random smooth frequency response, as of another microphone; the others as they are."""
    n_points, frequencies_hz = 7, np.fft.rfftfreq(rows.shape[1], 1 / SAMPLE_RATE_HZ)
    octaves = np.log2(np.maximum(frequencies_hz, 50) / 50)  # 0 at 50 Hz, 7.3 at 8 kHz
    levels_db = rng.normal(0, 4, (len(rows), n_points)) * (rng.random((len(rows), 1)) < 0.5)
    positions = np.linspace(0, octaves[-1], n_points)
    gains = np.stack([10 ** (np.interp(octaves, positions, level) / 20) for level in levels_db])
    cutoff_hz = np.where(rng.random(len(rows)) < 0.2, np.exp(rng.uniform(np.log(1500), np.log(8000), len(rows))), 1e6)
    gains /= np.sqrt(1 + (frequencies_hz / cutoff_hz[:, None]) ** 8)  # a low-pass of fourth order
    return np.fft.irfft(np.fft.rfft(rows) * gains, rows.shape[1]).astype(np.float32)


def _through_rooms(rows: Floats, rng: np.random.Generator) -> Floats:
    """One window in six with an echo that decays like noise in a room."""
    chosen = np.flatnonzero(rng.random(len(rows)) < 1 / 6)
    n = rows.shape[1]
    t = np.arange(n // 2) / SAMPLE_RATE_HZ
    for i in chosen:
        decay_s, share = rng.uniform(0.05, 0.4), rng.uniform(0.1, 0.5)
        echo = rng.normal(size=len(t)) * np.exp(-6.9 * t / decay_s)
        echo *= share / np.sqrt(np.sum(echo**2))
        echo[0] += 1
        rows[i] = np.fft.irfft(np.fft.rfft(rows[i], 2 * n) * np.fft.rfft(echo, 2 * n))[:n]
    return rows


def _with_noise(rows: Floats, rng: np.random.Generator) -> Floats:
    """A third of the windows with coloured noise, 0 to 40 dB below the sound; a few with noise alone."""
    n = rows.shape[1]
    frequencies = np.maximum(np.arange(n // 2 + 1), 10)
    for i in np.flatnonzero(rng.random(len(rows)) < 1 / 3):
        spectrum = np.fft.rfft(rng.normal(size=n)) * frequencies ** -rng.uniform(0, 1)
        noise = np.fft.irfft(spectrum, n).astype(np.float32)
        level = max(_loudness(rows[i]), QUIET) * 10 ** (-rng.uniform(0, 40) / 20)
        rows[i] += noise * np.float32(level / _loudness(noise))
    return rows


def _at_random_level(rows: Floats, rng: np.random.Generator) -> Floats:
    """Windows between 30 dB quieter and 6 dB louder than they were, and never beyond full scale."""
    gains = 10 ** (rng.uniform(-30, 6, len(rows)) / 20)
    peaks = np.maximum(np.abs(rows).max(axis=1), 1e-9)
    return np.asarray(rows * np.minimum(gains, 1 / peaks)[:, None], np.float32)


def _loudness(y: Floats) -> float:
    """Root mean square of samples."""
    return float(np.sqrt(np.mean(np.square(y, dtype=np.float64))))
