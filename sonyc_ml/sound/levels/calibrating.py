"""A microphone's sensitivity, from a recording of a calibrator's tone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError
from sonyc_ml.sound.files import FileRecording, open_recording
from sonyc_ml.sound.levels.settings import SINE_DB
from sonyc_ml.sound.start_time import StartTimes

Floats = npt.NDArray[np.float64]

PART_S = 0.5  # the tone is looked at in parts
LEAST_S = 3.0
MAX_DRIFT_DB = 0.2
MAX_FREQUENCY_SHARE = 0.02
LEAST_ABOVE_DB = 20.0
N_BINS = 4  # of a Hann window's main lobe, and a little more, to either side of a tone
LOWEST_HZ = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToneCalibration:
    """What a calibrator's tone says of a microphone.

    Attributes
    ----------
    sensitivity_db : float
        Sound pressure level of a sine that just reaches full scale (in dB re 20 µPa).
    channel : int
    frequency_hz, tone_dbfs : float
        Of the tone as it was recorded.
    drift_db, above_db : float
        Between its loudest and softest part, and above everything else in the recording.
    duration_s : float
        Of what was used.
    calibrated : str
        When the recording begins, ISO 8601.
    calibrator, microphone : str
        Serial numbers, as they were given.
    """

    sensitivity_db: float
    channel: int
    frequency_hz: float
    tone_dbfs: float
    drift_db: float
    above_db: float
    duration_s: float
    calibrated: str
    calibrator: str = ""
    microphone: str = ""

    def to_toml(self) -> str:
        """The text of a calibration file, which ``[levels]`` and ``--calibration`` read."""
        given = {name: getattr(self, name) for name in ("calibrated", "calibrator", "microphone")}
        lines = [
            "# Written by sonyc-ml calibrate: dB SPL of a sine that just reaches full scale.",
            f"sensitivity_db = {self.sensitivity_db:.2f}",
            f"channel = {self.channel}",
            *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in given.items() if value),
        ]
        return "\n".join(lines) + "\n"


def calibrate(
    path: str | Path,
    level_db: float,
    frequency_hz: float,
    *,
    channel: int = 0,
    start_s: float = 0.0,
    duration_s: float | None = None,
    **serials: str,
) -> ToneCalibration:
    """Find a microphone's sensitivity from a recording of a calibrator's tone.

    Parameters
    ----------
    path : str or Path
    level_db, frequency_hz : float
        Of the tone (in dB re 20 µPa, and in Hz), as 94 and 1000.
    channel, start_s, duration_s
        Which channel, from 0, and which part of it (in seconds) is used.
    **serials
        Serial numbers: ``calibrator`` and ``microphone``.

    Raises
    ------
    ConfigError
        The tone drifts, is of another frequency, clips, stands out too little, or is too short: says how much.
    RecordingError, UnavailableRecordingError
    """
    parts, calibrated = _read(path, channel, frequency_hz, start_s, duration_s)
    found_hz, tones, rests = (np.array(column) for column in zip(*parts, strict=True))
    tone_db = _decibels(tones.mean())
    found = ToneCalibration(
        sensitivity_db=level_db - tone_db - SINE_DB,
        channel=channel,
        frequency_hz=float(found_hz.mean()),
        tone_dbfs=tone_db,
        drift_db=_decibels(tones.max()) - _decibels(tones.min()),
        above_db=tone_db - _decibels(rests.mean()),
        duration_s=len(parts) * PART_S,
        calibrated=calibrated,
        **serials,
    )
    _refuse(path, found.frequency_hz, frequency_hz, found.drift_db, found.above_db)
    return found


def _read(
    path: str | Path, channel: int, frequency_hz: float, start_s: float, duration_s: float | None
) -> tuple[list[tuple[float, float, float]], str]:
    """The parts of a recording's tone, and when it begins; refused where it is too short, or clips."""
    with open_recording(path, channel) as recording:
        if not frequency_hz * (1 + MAX_FREQUENCY_SHARE) < recording.sample_rate / 2:
            raise ConfigError(f"{path}: {recording.sample_rate} Hz cannot hold a tone of {frequency_hz:g} Hz")
        parts = list(_parts(recording, start_s, duration_s))
        if recording.levels.clipped_share:
            raise ConfigError(f"{path}: it clips; record it with less gain, which is then the gain to measure with")
        calibrated = recording.start_time(recording.name, StartTimes()).text
    if len(parts) * PART_S < LEAST_S:
        raise ConfigError(f"{path}: {len(parts) * PART_S:g} s of tone are too short; {LEAST_S:g} s are needed")
    return parts, calibrated


def _refuse(path: str | Path, found_hz: float, frequency_hz: float, drift_db: float, above_db: float) -> None:
    """Refuse what is no steady tone of a calibrator."""
    if above_db < LEAST_ABOVE_DB:
        raise ConfigError(
            f"{path}: the tone stands only {above_db:.1f} dB out of the rest, and {LEAST_ABOVE_DB:g} dB are needed; is "
            "the calibrator on, and does it close around the microphone?"
        )
    if abs(found_hz / frequency_hz - 1) > MAX_FREQUENCY_SHARE:
        raise ConfigError(
            f"{path}: its tone has {found_hz:.1f} Hz, and --frequency is {frequency_hz:g} Hz; they may differ by "
            f"{MAX_FREQUENCY_SHARE:.0%}"
        )
    if drift_db > MAX_DRIFT_DB:
        raise ConfigError(
            f"{path}: the tone drifts by {drift_db:.2f} dB, and {MAX_DRIFT_DB:g} dB are allowed; wait until it is "
            "steady, and name the steady part with --start and --duration"
        )


def _parts(recording: FileRecording, start_s: float, duration_s: float | None) -> Iterator[tuple[float, float, float]]:
    """Yield of each part the tone's frequency (in Hz), its mean square, and that of the rest."""
    length = round(PART_S * recording.sample_rate)
    n_skipped = round(start_s * recording.sample_rate)
    n_left = math.inf if duration_s is None else round(duration_s * recording.sample_rate)
    held = np.zeros(0, np.float32)
    for block in recording.blocks():
        samples = block[n_skipped:]
        n_skipped -= len(block) - len(samples)
        held = np.concatenate([held, samples])
        while len(held) >= length <= n_left:
            yield _tone(held[:length], recording.sample_rate)
            held, n_left = held[length:], n_left - length


def _tone(samples: npt.NDArray[np.float32], sample_rate: int) -> tuple[float, float, float]:
    window = np.hanning(len(samples) + 1)[:-1]
    power = np.abs(np.fft.rfft((samples - samples.mean(dtype=np.float64)) * window)) ** 2
    power *= 2 / (len(samples) * (window**2).sum())
    lowest = math.ceil(LOWEST_HZ * len(samples) / sample_rate)
    peak = lowest + int(power[lowest:-1].argmax())
    near = slice(max(lowest, peak - N_BINS), peak + N_BINS + 1)
    before, at, after = np.log(np.maximum(power[peak - 1 : peak + 2], 1e-30))
    curve = before - 2 * at + after
    place = peak + (0.5 * (before - after) / curve if curve else 0.0)
    tone = float(power[near].sum())
    return place * sample_rate / len(samples), tone, max(float(power[lowest:].sum()) - tone, 1e-30)


def _decibels(mean_square: float) -> float:
    return 10 * math.log10(max(mean_square, 1e-30))
