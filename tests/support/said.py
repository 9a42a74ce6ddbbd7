"""Recordings of which nothing is known but what their metadata and their file say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sonyc_ml.sound.start_time import StartTime, StartTimes

AUDIOMOTH = " by AudioMoth 24774D0560EC3D8B at medium gain while battery was 4.2V and temperature was 21.5C."


@dataclass
class Said:
    """A recording of which nothing is known but what its metadata and its file say."""

    comment: str = ""
    timestamp: str = ""
    origination: str = ""
    mtime_ns: int = 1577880000 * 10**9  # 2020-01-01, 12 o'clock
    duration_s: float = 1.0

    def start(self, name: str, time_zone: str = "UTC", now_s: float = 1767225600.0) -> StartTime:
        """When it begins; now is 2026-01-01."""
        recording: Any = self
        return StartTimes(time_zone=time_zone, clock=lambda: now_s)(recording, name)
