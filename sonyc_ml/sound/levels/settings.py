"""What is measured, and what is known of the microphone; without numpy, for whoever configures it."""

from __future__ import annotations

import math
from typing import Any

from sonyc_ml.base.records import dataclass

BANDS = ("third-octave", "octave", "none")
FULL_SCALE, PASCAL = "dBFS", "dB re 20 µPa"  # what 0 dB is
REFERENCE_HZ = 1000.0  # where weightings are 1, and microphones are calibrated
SINE_DB = 10 * math.log10(2)  # a sine that just reaches full scale has this much less than full scale

# What is of the microphone, and not of what is measured.
MICROPHONE = (
    *("sensitivity_db", "calibrated", "calibrator", "microphone"),
    *("response_hz", "response_db", "response_sha256", "noise_floor_db"),
)
RECORDED = ("period_s", "sensitivity_db", "calibrated", "calibrator", "microphone", "response_sha256", "noise_floor_db")


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelSettings:
    """What is measured of each recording, and how numbers become sound pressure.

    Attributes
    ----------
    period_s : float
        Over which levels are taken (in seconds).
    bands : {"third-octave", "octave", "none"}
    channel : int or None
        Which channel is measured, from 0; None for the one that is read, else the first.
    sensitivity_db : float or None
        Sound pressure level of a sine that just reaches full scale (in dB re 20 µPa); None where nobody knows: levels
        are then those of the numbers themselves, in dBFS.
    calibrated : str
        When that was found, ISO 8601.
    calibrator, microphone : str
        Serial numbers.
    response_hz, response_db : tuple of float
        The microphone's response (in dB) at rising frequencies (in Hz); empty for a flat one.
    response_sha256 : str
        Of the file that it is from.
    noise_floor_db : float or None
        A-weighted level of the microphone's own noise, in the unit of the levels.

    Raises
    ------
    ValueError
        A value is out of its range.
    """

    period_s: float = 1.0
    bands: str = "third-octave"
    channel: int | None = None
    sensitivity_db: float | None = None
    calibrated: str = ""
    calibrator: str = ""
    microphone: str = ""
    response_hz: tuple[float, ...] = ()
    response_db: tuple[float, ...] = ()
    response_sha256: str = ""
    noise_floor_db: float | None = None

    def __post_init__(self) -> None:
        if not 0.1 <= self.period_s <= 86400:
            raise ValueError(f"period_s must be from 0.1 to 86400 seconds, not {self.period_s:g}")
        if self.bands not in BANDS:
            raise ValueError(f"bands must be {', '.join(BANDS[:-1])} or {BANDS[-1]}, not {self.bands!r}")
        if self.channel is not None and self.channel < 0:
            raise ValueError(f"channel is counted from 0, and is {self.channel}")
        for name in ("sensitivity_db", "noise_floor_db"):
            value = getattr(self, name)
            if value is not None and not -250 <= value <= 250:
                raise ValueError(f"{name} must be a level in dB from -250 to 250, not {value:g}")

    @property
    def reference(self) -> str:
        """What 0 dB is: full scale, or 20 micropascal."""
        return FULL_SCALE if self.sensitivity_db is None else PASCAL

    @property
    def offset_db(self) -> float:
        """What is added to levels of the numbers themselves."""
        return 0.0 if self.sensitivity_db is None else self.sensitivity_db + SINE_DB

    def recorded(self) -> dict[str, Any]:
        """What levels keep of it: everything that is known, the response by its digest."""
        known = {name: getattr(self, name) for name in RECORDED}
        given = {name: value for name, value in known.items() if value not in (None, "")}
        return {"reference": self.reference, **given}

    def decides(self) -> dict[str, Any]:
        """What of it decides the numbers, as an output's parameters have it: the same settings, the same levels."""
        names = ("period_s", "bands", "channel", "sensitivity_db", "response_sha256", "noise_floor_db")
        return {name: value for name in names if (value := getattr(self, name)) not in (None, "")}
