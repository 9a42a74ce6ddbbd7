"""``[listen]``: live sound, and the sources that it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonyc_ml.base.lock import STATE_FOLDER
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.base.strict import build
from sonyc_ml.sound.levels.table import LevelsTable
from sonyc_ml.sound.live.formats import raw_layout

SPOOL = "spool"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")
NO_NAME = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """``[[listen.source]]``: one source of live sound; see :mod:`sonyc_ml.node.intake.sources`.

    Just one of ``command``, ``socket``, ``port`` and ``stdin`` says where the sound comes from. With ``sample_rate`` it
    is raw PCM; else a WAV header or Wyoming's events say what it is.
    """

    name: str
    command: tuple[str, ...] = ()
    socket: Path | None = None
    port: int | None = None
    stdin: bool = False
    sample_rate: int | None = None
    sample_format: str = "S16_LE"
    channels: int = 1
    calibration: Path | None = None
    sensitivity_db: float | None = None
    calibrated: str = ""
    calibrator: str = ""
    microphone: str = ""
    response: Path | None = None
    noise_floor_db: float | None = None

    def __post_init__(self) -> None:
        try:
            microphone_table(self).check()
        except ValueError as error:
            raise ValueError(str(error).removeprefix("levels.")) from error
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name must be of letters, digits, dots and hyphens, at most 64, not {self.name!r}")
        given = [key for key in ("command", "socket", "port", "stdin") if getattr(self, key) not in ((), None, False)]
        if len(given) != 1:
            said = " and ".join(given) or "nothing"
            raise ValueError(f"{self.name} needs just one of command, socket, port and stdin, and has {said}")
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError(f"port must be from 1 to 65535, not {self.port}")
        if self.sample_rate is not None:
            raw_layout(self.sample_rate, self.sample_format, self.channels)
        elif (self.sample_format, self.channels) != ("S16_LE", 1):
            raise ValueError(f"{self.name}: sample_format and channels are those of raw PCM; give its sample_rate too")


def microphone_table(source: SourceConfig) -> LevelsTable:
    """What is said of a source's microphone, by the keys of ``[levels]``."""
    names = ("calibration", "sensitivity_db", "calibrated", "calibrator", "microphone", "response", "noise_floor_db")
    return LevelsTable(**{name: getattr(source, name) for name in names})


@dataclass(frozen=True, slots=True)
class ClipsConfig:
    """``[listen.clips]``: which clips of what is detected are kept, where ``listen.keep`` is ``"detections"``."""

    folder: Path | None = None
    classes: tuple[str, ...] = ()
    never_keep: tuple[str, ...] = ()
    never_score: float = 0.1
    before_s: float = 1.0
    after_s: float = 1.0
    max_mb: float = 1000.0
    max_age_days: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.never_score <= 1:
            raise ValueError(f"never_score must be above 0 and at most 1, not {self.never_score:g}")
        for name in ("before_s", "after_s"):
            if not 0 <= getattr(self, name) <= 60:
                raise ValueError(f"{name} must be from 0 to 60 s, not {getattr(self, name):g}")
        for name in ("max_mb", "max_age_days"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name):g}")
        if both := sorted(set(self.classes) & set(self.never_keep)):
            raise ValueError(f"classes and never_keep both have {', '.join(both)}")


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """``[listen]``: how streams are cut into recordings, and how much of them is held."""

    source: tuple[SourceConfig, ...] = ()
    segment_s: float = 10.0
    gapless: bool = False
    max_buffer_s: float = 60.0
    stall_s: float = 5.0
    detect_every_s: float = 0.0
    spool: str = "never"
    keep: str = "nothing"
    clips: ClipsConfig = field(default_factory=ClipsConfig)

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError(
                "source is missing: write [[listen.source]] for each, with its name and where it comes from"
            )
        names = [source.name for source in self.source]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"source: two are called {name}; their recordings would have the same names")
        if not 0.1 <= self.segment_s <= 3600:  # nan is neither
            raise ValueError(f"segment_s must be from 0.1 to 3600 s, not {self.segment_s:g}")
        if not 2 * self.segment_s <= self.max_buffer_s <= 86400:
            raise ValueError(
                f"max_buffer_s must be at least two segments, {2 * self.segment_s:g} s, not {self.max_buffer_s:g}"
            )
        if not self.stall_s > 0:
            raise ValueError(f"stall_s must be above 0, not {self.stall_s:g}")
        if self.detect_every_s and not 0.1 <= self.detect_every_s <= self.segment_s:
            raise ValueError(
                f"detect_every_s must be 0, or from 0.1 to segment_s, {self.segment_s:g} s, not {self.detect_every_s:g}"
            )
        if self.spool not in ("never", "on-lag", "always"):
            raise ValueError(f"spool must be never or on-lag or always, not {self.spool!r}")
        if self.keep not in ("nothing", "detections"):
            raise ValueError(f"keep must be nothing or detections, not {self.keep!r}")
        if self.keep == "detections" and self.clips.folder is None:
            raise ValueError("clips.folder is missing: it says where clips of detections are kept")
        if self.spool == "always" and self.gapless:
            raise ValueError("gapless: files are embedded one by one; windows cannot run on from one to the next")


def use_listen(tables: dict[str, Any], folder: Path | None) -> None:
    """Make the configuration of the table ``listen`` among some tables, in its place.

    A node that only listens need not have a folder of recordings: it gets one of its own beside the journal, for sound
    that is to be spooled.

    Parameters
    ----------
    tables : dict
    folder : Path or None
        What paths are relative to.

    Raises
    ------
    ValueError
        Names the key.
    """
    table = tables["listen"]
    if not isinstance(table, Mapping):
        raise ValueError(f"listen must be a table, not {table!r}")
    config = build(ListenConfig, table, "listen.")
    if folder is not None:
        config = replace(config, source=tuple(_beside(one, folder) for one in config.source))
        if config.clips.folder is not None:
            config = replace(config, clips=replace(config.clips, folder=folder / config.clips.folder))
    tables["listen"] = config
    spool, output, state = (tables.setdefault(name, {}) for name in ("spool", "output", "state"))
    if all(isinstance(one, dict) for one in (spool, output, state)) and "folder" in output:
        spool.setdefault("folder", str(Path(state.get("folder") or Path(output["folder"], STATE_FOLDER), SPOOL)))


def _beside(source: SourceConfig, folder: Path) -> SourceConfig:
    """A source whose paths are relative to a folder."""
    names = ("socket", "calibration", "response")
    return replace(source, **{name: folder / path for name in names if (path := getattr(source, name)) is not None})


def plain_name(name: str) -> str:
    """A name that another side gives itself, as one that files can have; empty where nothing is left of it."""
    return NO_NAME.sub("-", name).strip("-.")[:64]
