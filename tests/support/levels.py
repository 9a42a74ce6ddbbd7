"""Sound for a meter, and what it measures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.blas import one_blas_thread
from sonyc_ml.sound.levels.meter import Meter
from sonyc_ml.sound.levels.result import SoundLevels
from sonyc_ml.sound.levels.settings import LevelSettings

Samples = npt.NDArray[np.float32]


def tone(frequency_hz: float, sample_rate: int, duration_s: float, amplitude: float = 0.5) -> Samples:
    """A sine that begins at 0, `(n,)`."""
    times_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    return (amplitude * np.sin(2 * np.pi * frequency_hz * times_s)).astype(np.float32)


def measure(samples: Samples, sample_rate: int, *, block_length: int = 1 << 16, **settings: object) -> SoundLevels:
    """What a meter measures of samples that come in blocks of a length."""
    meter = Meter(sample_rate, LevelSettings(**settings))  # type: ignore[arg-type]
    with one_blas_thread():
        for start in range(0, len(samples), block_length):
            meter.add(samples[start : start + block_length])
        return meter.finish()
