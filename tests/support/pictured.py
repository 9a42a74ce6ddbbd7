"""A node whose recordings were made on a day of the past, with a gap, as the page shows it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sonyc_ml.base.identity import Identity
from sonyc_ml.node.journal.between import find_between
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.web.pictures.jobs import PAGE, Job
from sonyc_ml.web.pictures.maker import Pictures
from tests.support.watching import Watch

DAY = datetime(2026, 11, 21, tzinfo=UTC)
SAMPLE_RATE = 8000
QUIET, LOUD, HIGH = "quiet", "loud", "high"
TABLES = """
[spool]
folder = "recordings"
settle_s = 0.1
[output]
folder = "out"
[model]
path = "{}"
[detections]
threshold = 0.05
[levels]
enabled = true
[serve]
predict = false
"""
NO_SOUND = "street_20261121T101000Z.wav"


def sound_of(kind: str, seconds: float, seed: int) -> np.ndarray[Any, Any]:
    """Noise that is quiet or loud, or a high tone."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    if kind == HIGH:
        return np.asarray(0.3 * np.sin(2 * np.pi * 2500 * times_s) + rng.normal(0, 0.001, len(times_s)))
    return rng.normal(0, 0.1 if kind == LOUD else 0.001, len(times_s))


class PicturedNode:
    """A node that has embedded recordings of 2 s each: every 20 minutes from 0 to 5 h, and from 8 to 12 h.

    They are quiet at night, and from 8 h on loud noise and high tones by turns.
    """

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self.config = folder, folder / "sonyc-ml.toml"
        self.recordings, self.outputs = folder / "recordings", folder / "out"
        self.config.write_text(TABLES.format(bundle))
        self.recordings.mkdir()
        moments = [number / 3 for number in (*range(15), *range(24, 36))]
        self.names = [self._write(hours, number) for number, hours in enumerate(moments)]
        (self.recordings / NO_SOUND).write_bytes(b"no sound")
        watch = Watch(self.recordings, self.outputs, "--config", self.config)
        try:
            watch.wait_for_line("watching")
            watch.wait_for_state(NO_SOUND, "quarantined")
            for name in self.names:
                watch.wait_for_state(name, "done")
        finally:
            watch.stop()

    def _write(self, hours: float, number: int) -> str:
        name = f"street_{DAY + timedelta(hours=hours):%Y%m%dT%H%M%SZ}.wav"
        kind = QUIET if hours < 8 else (LOUD, HIGH)[number % 2]
        soundfile.write(self.recordings / name, sound_of(kind, 2, number), SAMPLE_RATE)
        return name

    @property
    def start_s(self) -> float:
        """When the day begins (in seconds since 1970)."""
        return DAY.timestamp()

    def identity(self, name: str) -> Identity:
        """Of a recording, as the journal has it."""
        journal = Journal(self.outputs / ".sonyc-ml", read_only=True)
        try:
            found = [one.identity for one in find_between(journal, -1e12, 1e12) if one.identity.name == name]
        finally:
            journal.close()
        return found[0]


def values_of(pictures: Pictures, job: Job) -> dict[str, Any]:
    """What a page gets."""
    values: dict[str, Any] = json.loads(pictures.made(job)[PAGE])
    return values
