"""A recording's levels, measured while somebody else reads it; what goes wrong with them is their own matter."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import replace
from sonyc_ml.sound.levels.meter import Meter
from sonyc_ml.sound.levels.result import SoundLevels, no_levels
from sonyc_ml.sound.levels.settings import LevelSettings
from sonyc_ml.sound.recording import Measurable, Recording

logger = logging.getLogger(__name__)


class Measuring:
    """Measures the levels of a recording as its blocks are read.

    Levels that cannot be had never fail a recording: they are none then, and say why.

    Parameters
    ----------
    recording : Recording
        Before any of it is read.
    settings : LevelSettings
    """

    def __init__(self, recording: Recording, settings: LevelSettings) -> None:
        known = dict(getattr(recording, "microphone", ()))  # its own, of which the settings know nothing
        calibrated = known.pop("channel", settings.channel)
        asked, settings = settings.channel, replace(settings, **known, channel=calibrated)
        self._source, self._settings = recording.source, settings
        self._meter: Meter | None = None
        self._trouble, self._channel = "", settings.channel or 0
        if asked not in (None, calibrated):
            self._give_up(f"channel {asked} is to be measured, and the calibration of its source is of {calibrated}")
            return
        if not isinstance(recording, Measurable):
            self._give_up("its source does not hand on samples as they were recorded")
            return
        if settings.channel is None and recording.channel is not None:
            self._channel = recording.channel
        if self._channel >= recording.n_channels:
            self._give_up(f"there is no channel {self._channel}; it has {recording.n_channels}, counted from 0")
            return
        largest = getattr(getattr(recording, "levels", None), "largest", 1.0)
        try:
            self._meter = Meter(recording.sample_rate, settings, float(largest))
            recording.attach(self)
        except Exception as error:  # noqa: BLE001  whatever it is, the recording is embedded
            self._give_up(f"{type(error).__name__}: {error}")

    def begin(self, start: int) -> None:
        """A stretch of sound begins; see :class:`~sonyc_ml.sound.recording.FrameListener`."""
        self._carefully("begin", start)

    def frames(self, frames: npt.NDArray[np.float32]) -> None:
        """Take in samples of all channels, `(n, n_channels)`."""
        self._carefully("add", np.ascontiguousarray(frames[:, self._channel]))

    def levels(self) -> SoundLevels:
        """What was measured."""
        found = self._carefully("finish", self._channel)
        made = {**self._settings.recorded(), "channel": self._channel}
        return found if isinstance(found, SoundLevels) else no_levels(made, self._trouble)

    def _carefully(self, method: str, *given: Any) -> Any:
        if self._meter is None:
            return None
        try:
            return getattr(self._meter, method)(*given)
        except Exception as error:  # noqa: BLE001  whatever it is, the recording is embedded
            self._give_up(f"{type(error).__name__}: {error}")
            return None

    def _give_up(self, trouble: str) -> None:
        self._meter, self._trouble = None, trouble
        logger.warning("%s: its sound levels could not be measured: %s", self._source, trouble)
