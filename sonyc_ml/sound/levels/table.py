"""``[levels]``: what a configuration says of sound levels; without anything that measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonyc_ml.base.records import dataclass

FILES = ("calibration", "response")


@dataclass(frozen=True, slots=True)
class LevelsTable:
    """``[levels]``: the sound levels of each recording; see :class:`sonyc_ml.sound.levels.settings.LevelSettings`."""

    enabled: bool | None = None
    period_s: float = 1.0
    bands: str = "third-octave"
    channel: int | None = None
    calibration: Path | None = None
    sensitivity_db: float | None = None
    calibrated: str = ""
    calibrator: str = ""
    microphone: str = ""
    response: Path | None = None
    noise_floor_db: float | None = None

    @property
    def is_asked_for(self) -> bool:
        """Whether levels are measured: where nothing says so, whether anything else is said of them."""
        return self != LevelsTable() if self.enabled is None else self.enabled

    def check(self) -> None:
        """See that every value can be, with a ValueError; files are not looked at."""
        from sonyc_ml.sound.levels.settings import LevelSettings  # noqa: PLC0415  most daemons measure nothing

        values = {name: value for name, value in self.given().items() if name not in FILES}
        try:
            LevelSettings(**values)
        except ValueError as error:
            raise ValueError(f"levels.{error}") from error

    def given(self) -> dict[str, Any]:
        """What is said, by the keys, but for what is as it comes."""
        usual = LevelsTable()
        names = [name for name in self.__slots__ if name != "enabled"]
        return {name: value for name in names if (value := getattr(self, name)) != getattr(usual, name)}
