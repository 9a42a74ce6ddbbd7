"""What was measured, to levels: in dB, of full scale or of 20 micropascal."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.sound.levels.filters.bands import OCTAVE, middle_hz, nominal_hz
from sonyc_ml.sound.levels.measured import Measured, decibels
from sonyc_ml.sound.levels.periods import Timeline
from sonyc_ml.sound.levels.result import QUANTITIES, SoundLevels, no_levels
from sonyc_ml.sound.levels.settings import LevelSettings

Floats = npt.NDArray[np.float64]

NEAR_DB = 3.0  # of the microphone's own noise
WHOLE_BANDWIDTH_HZ = 1000 * OCTAVE**4  # 16 kHz, the highest frequency for which class 1 has a lower limit


def make_levels(
    measured: Measured,
    timeline: Timeline,
    numbers: tuple[int, ...],
    sample_rate: int,
    settings: LevelSettings,
    channel: int,
) -> SoundLevels:
    """The levels of a recording.

    Parameters
    ----------
    measured : Measured
    timeline : Timeline
    numbers : tuple of int
        Of the third octaves that were measured.
    sample_rate : int
        In Hz.
    settings : LevelSettings
    channel : int
        That was measured.
    """
    made: dict[str, Any] = {**settings.recorded(), "channel": channel}
    n_periods, offset_db = measured.sums.n_periods, settings.offset_db
    if not n_periods:
        return no_levels(made, "there was no sound to measure")
    if note := _note(sample_rate):
        made["note"] = note
    sums = measured.sums.rows(n_periods)
    values = _values(sums) + offset_db
    band_hz, energies = _chosen(numbers, measured.bands.rows(n_periods), settings.bands)
    n_samples = sums[:, Measured.N]
    floor_db = -np.inf if settings.noise_floor_db is None else settings.noise_floor_db
    return SoundLevels(
        start_s=np.array([timeline.edge(number) for number in range(n_periods)]) / sample_rate,
        measured_s=(n_samples / sample_rate).astype(np.float32),
        values=values.astype(np.float32),
        total=(_total(measured, sums) + offset_db).astype(np.float32),
        band_hz=band_hz,
        bands=(_levels(energies, n_samples[:, None]) + offset_db).astype(np.float32),
        band_total=(_levels(energies.sum(axis=0), n_samples.sum()) + offset_db).astype(np.float32),
        n_clipped=measured.n_clipped.rows(n_periods)[:, 0].astype(np.int32),
        near_floor=values[:, 0] <= floor_db + NEAR_DB,
        made=json.dumps(made, ensure_ascii=False),
    )


def _values(sums: Floats) -> Floats:
    """Of each row of sums the levels :data:`~sonyc_ml.sound.levels.result.QUANTITIES`, in dB of full scale."""
    n, n_a = sums[:, Measured.N], sums[:, Measured.A_N]
    with np.errstate(invalid="ignore", divide="ignore"):
        constant = sums[:, Measured.Z_SUM] ** 2 / n  # of a converter, no sound
    fast, slow = (sums[:, column] > 0 for column in (Measured.F_SETTLED, Measured.S_SETTLED))
    columns = {
        "LAeq": _levels(sums[:, Measured.A], n_a),
        "LCeq": _levels(sums[:, Measured.C], n),
        "LZeq": _levels(sums[:, Measured.Z] - constant, n),
        "LAFmax": np.where(fast, decibels(sums[:, Measured.F_MAX]), np.nan),
        "LAFmin": np.where(fast, decibels(sums[:, Measured.F_MIN]), np.nan),
        "LASmax": np.where(slow, decibels(sums[:, Measured.S_MAX]), np.nan),
        "LCpeak": np.where(n > 0, decibels(sums[:, Measured.C_PEAK] ** 2), np.nan),
        **{
            name: np.where(fast, exceeded, np.nan)
            for name, exceeded in zip(("L10", "L50", "L90"), sums[:, Measured.EXCEEDED].T, strict=True)
        },
    }
    return np.stack([columns[name] for name in QUANTITIES], axis=1)


def _total(measured: Measured, sums: Floats) -> Floats:
    """The same over the recording."""
    row = sums.sum(axis=0, keepdims=True)
    for column in (Measured.C_PEAK, Measured.F_MAX, Measured.S_MAX):
        row[0, column] = sums[:, column].max()
    settled = sums[:, Measured.F_SETTLED] > 0
    row[0, Measured.F_MIN] = sums[settled, Measured.F_MIN].min(initial=np.inf)
    row[0, Measured.EXCEEDED] = measured.percentiles.levels_db()
    # The mean of each period, not that of all: what wanders slowly is no sound either.
    constant = (sums[:, Measured.Z_SUM] ** 2 / np.maximum(sums[:, Measured.N], 1)).sum()
    row[0, Measured.Z_SUM] = np.sqrt(constant * row[0, Measured.N])
    return np.asarray(_values(row)[0])


def _levels(energies: Floats, n_samples: Any) -> Floats:
    """Sums of squares to levels; NaN where nothing was measured."""
    n_samples = np.asarray(n_samples)
    return np.where(n_samples > 0, decibels(energies / np.maximum(n_samples, 1)), np.nan)


def _chosen(numbers: tuple[int, ...], bands: Floats, kind: str) -> tuple[tuple[float, ...], Floats]:
    """The bands that were asked for, by the frequencies that they are called by, and their sums of squares."""
    if kind != "octave":
        return tuple(map(nominal_hz, numbers)), bands
    # An octave is three thirds whose powers add up; one that is not whole is none.
    middles = [number for number in numbers if number % 3 == 0 and {number - 1, number + 1} <= set(numbers)]
    first = numbers[0] if numbers else 0
    octaves = [bands[:, middle - first - 1 : middle - first + 2].sum(axis=1) for middle in middles]
    return tuple(map(nominal_hz, middles)), np.stack(octaves, axis=1) if octaves else bands[:, :0]


def _note(sample_rate: int) -> str:
    """What a recording's bandwidth does not hold of the weightings; empty where it holds them."""
    if sample_rate / 2 >= WHOLE_BANDWIDTH_HZ * (1 - 1e-9):
        return ""
    highest = max((number for number in range(-16, 14) if middle_hz(number) <= sample_rate / 2), default=None)
    reach = "nothing" if highest is None else f"sound up to {nominal_hz(highest):g} Hz"
    return f"at {sample_rate} Hz the weighted levels hold {reach}; class 1 of IEC 61672-1 goes to 16000 Hz"
