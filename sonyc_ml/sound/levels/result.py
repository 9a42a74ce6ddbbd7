"""The sound levels of a recording, as they were measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.sound.levels.settings import FULL_SCALE

Levels32 = npt.NDArray[np.float32]

# In the field's own names: e of energy over the time, F and S of the time weighting, N of the share of time in percent.
QUANTITIES = ("LAeq", "LCeq", "LZeq", "LAFmax", "LAFmin", "LASmax", "LCpeak", "L10", "L50", "L90")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundLevels:
    """Levels over periods of equal length, and over the recording; NaN where there is none.

    Attributes
    ----------
    start_s : np.ndarray [shape=(n_periods,), dtype=float64]
        Where each period begins, in seconds from the recording's first sample.
    measured_s : np.ndarray [shape=(n_periods,), dtype=float32]
        How much sound of each was measured (in seconds): less than the period at a recording's end, or in a gap.
    values : np.ndarray [shape=(n_periods, 10), dtype=float32]
        The levels :data:`QUANTITIES` (in dB, of `reference`).
    total : np.ndarray [shape=(10,), dtype=float32]
        The same over the recording.
    band_hz : tuple of float
        The frequencies by which bands are called (in Hz).
    bands : np.ndarray [shape=(n_periods, n_bands), dtype=float32]
        Level of each band over each period, without weighting (in dB).
    band_total : np.ndarray [shape=(n_bands,), dtype=float32]
    n_clipped : np.ndarray [shape=(n_periods,), dtype=int32]
        Samples at either end of the scale.
    near_floor : np.ndarray [shape=(n_periods,), dtype=bool]
        Whether LAeq is within 3 dB of the microphone's own noise; nowhere where that is not known.
    made : str
        How it was measured, as a JSON object: reference, channel, calibration, notes.
    """

    start_s: npt.NDArray[np.float64]
    measured_s: Levels32
    values: Levels32
    total: Levels32
    band_hz: tuple[float, ...]
    bands: Levels32
    band_total: Levels32
    n_clipped: npt.NDArray[np.int32]
    near_floor: npt.NDArray[np.bool_]
    made: str

    def __len__(self) -> int:
        return len(self.start_s)

    def __repr__(self) -> str:
        bands = f", {len(self.band_hz)} bands" if self.band_hz else ""
        said = f"LAeq {self['LAeq_total']:.1f} {self.reference}" if len(self) else "none"
        return f"<SoundLevels of {len(self)} periods{bands}: {said}{f'; {self.note}' if self.note else ''}>"

    def __getitem__(self, name: str) -> Any:
        """A level by its name over the periods, `(n_periods,)`; with ``_total`` behind it, over the recording."""
        quantity, _, total = name.partition("_")
        if quantity not in QUANTITIES or total not in ("", "total"):
            raise KeyError(f"{name} is not a level; known are {', '.join(QUANTITIES)}")
        column = QUANTITIES.index(quantity)
        return float(self.total[column]) if total else self.values[:, column]

    def totals(self) -> dict[str, float]:
        """The levels of the recording by name (in dB), without those that there are not."""
        return {name: float(value) for name, value in zip(QUANTITIES, self.total, strict=True) if not np.isnan(value)}

    def period(self, row: int) -> dict[str, Any]:
        """Everything of one period as plain values by name: levels with two digits, None for what there is not."""
        named = zip(
            (*QUANTITIES, *(f"{hz:g}" for hz in self.band_hz)), (*self.values[row], *self.bands[row]), strict=True
        )
        levels = {name: None if np.isnan(value) else round(float(value), 2) for name, value in named}
        return {
            "reference": self.reference,
            "period_s": self.about.get("period_s"),
            "measured_s": round(float(self.measured_s[row]), 3),
            **{name: levels[name] for name in QUANTITIES},
            "bands": {name: value for name, value in levels.items() if name not in QUANTITIES},
            "n_clipped": int(self.n_clipped[row]),
            "near_floor": bool(self.near_floor[row]),
        }

    @property
    def about(self) -> Mapping[str, Any]:
        """How it was measured, by name."""
        said: dict[str, Any] = json.loads(self.made)
        return said

    @property
    def reference(self) -> str:
        """What 0 dB is: ``dBFS`` (full scale; a sine that just fits has -3), or ``dB re 20 µPa``."""
        return str(self.about.get("reference", FULL_SCALE))

    @property
    def note(self) -> str:
        """What could not be measured, or only in part, in words; empty for most."""
        return str(self.about.get("note", ""))


def no_levels(made: Mapping[str, Any], note: str) -> SoundLevels:
    """Levels that could not be had, with what is said of that."""
    empty = np.zeros(0, np.float32)
    return SoundLevels(
        start_s=np.zeros(0),
        measured_s=empty,
        values=np.zeros((0, len(QUANTITIES)), np.float32),
        total=np.full(len(QUANTITIES), np.nan, np.float32),
        band_hz=(),
        bands=np.zeros((0, 0), np.float32),
        band_total=empty,
        n_clipped=np.zeros(0, np.int32),
        near_floor=np.zeros(0, bool),
        made=json.dumps({**made, "note": note}, ensure_ascii=False),
    )
