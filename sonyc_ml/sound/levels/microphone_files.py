"""What is known of a microphone, from files: a calibration, and a response."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
from math import log
from pathlib import Path
from typing import Any

from sonyc_ml.base.records import dataclass
from sonyc_ml.base.strict import build
from sonyc_ml.errors import ConfigError
from sonyc_ml.sound.levels.settings import MICROPHONE, REFERENCE_HZ, LevelSettings
from sonyc_ml.sound.levels.table import LevelsTable

MAX_RESPONSE_BYTES = 1 << 20
SEPARATORS = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A calibration file, as ``sonyc-ml calibrate`` writes it; keys as those of :class:`LevelSettings`."""

    sensitivity_db: float
    channel: int = 0
    calibrated: str = ""
    calibrator: str = ""
    microphone: str = ""


def read_settings(said: LevelsTable) -> LevelSettings:
    """What is measured, by a table of a configuration, and by the files that it names.

    Parameters
    ----------
    said : LevelsTable
        What it says wins over the calibration file.

    Raises
    ------
    ConfigError
        Names the key, or the file and its line.
    """
    given = said.given()
    calibration, response = given.pop("calibration", None), given.pop("response", None)
    found = read_calibration(calibration) if calibration is not None else {}
    if response is not None:
        found |= read_response(response)
    if found.get("channel", 0) != given.get("channel", found.get("channel", 0)):
        raise ConfigError(
            f"levels.channel is {given['channel']}, and {calibration} is of channel {found['channel']}: measure the "
            "channel that was calibrated, or calibrate the other one"
        )
    try:
        return LevelSettings(**{**found, **given})
    except ValueError as error:
        raise ConfigError(f"levels.{error}") from error


def read_microphone(said: LevelsTable) -> dict[str, Any]:
    """What is known of one microphone, in place of what is known of others; empty where nothing is said of it.

    Parameters
    ----------
    said : LevelsTable
        The keys of the microphone alone.

    Returns
    -------
    dict of str to value
        By the names of :class:`LevelSettings`; with ``channel`` where the calibration is of one.

    Raises
    ------
    ConfigError
    """
    if said == LevelsTable():
        return {}
    found = read_settings(said)
    names = (*MICROPHONE, "channel") if said.calibration is not None else MICROPHONE
    return {name: getattr(found, name) for name in names}


def read_calibration(path: Path) -> dict[str, Any]:
    """What a calibration file says, by the names of :class:`LevelSettings`.

    Raises
    ------
    ConfigError
        It cannot be read, or is no calibration.
    """
    import tomllib  # noqa: PLC0415  few calibrations are read

    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        said = build(Calibration, table)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # of TOML too, and of UTF-8
        raise ConfigError(f"{path} is no calibration, as sonyc-ml calibrate writes it: {error}") from error
    values = {entry.name: getattr(said, entry.name) for entry in dataclasses.fields(said)}
    return {name: value for name, value in values.items() if value != ""}


def read_response(path: Path) -> dict[str, Any]:
    """A microphone's response by the names of :class:`LevelSettings`, relative to what it is at 1 kHz.

    Each line has a frequency (in Hz) and a level (in dB), parted by blanks, a comma, a semicolon or a tab; further
    columns are the phase, and are left out. Lines that do not begin with a number are comments.

    Raises
    ------
    ConfigError
        Names the line that is none, or says that there are too few.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(content) > MAX_RESPONSE_BYTES:
        raise ConfigError(f"{path} holds {len(content):,} bytes, which no microphone's response does")
    points: list[tuple[float, float]] = []
    for number, line in enumerate(content.decode("utf-8-sig", errors="replace").splitlines(), 1):
        cells = SEPARATORS.split(line.strip())
        if not re.match(r"[-+.\d]", cells[0]):
            continue
        try:
            frequency_hz, level_db = float(cells[0]), float(cells[1])
        except (ValueError, IndexError):
            raise ConfigError(f"{path}: line {number} has no frequency (Hz) and level (dB): {line.strip()!r}") from None
        if not (0 < frequency_hz < 1e6 and -100 < level_db < 100) or (points and frequency_hz <= points[-1][0]):
            raise ConfigError(f"{path}: line {number} is not above the one before in Hz, or no level: {line.strip()!r}")
        points.append((frequency_hz, level_db))
    if len(points) < 2 or not points[0][0] <= REFERENCE_HZ <= points[-1][0]:
        raise ConfigError(f"{path} has {len(points)} points; a response has more, from below 1000 Hz to above")
    return _relative(points) | {"response_sha256": hashlib.sha256(content).hexdigest()}


def _relative(points: list[tuple[float, float]]) -> dict[str, Any]:
    """The points relative to 1 kHz, where microphones are calibrated."""
    (below_hz, below_db), (above_hz, above_db) = next(
        pair for pair in itertools.pairwise(points) if pair[0][0] <= REFERENCE_HZ <= pair[1][0]
    )
    share = log(REFERENCE_HZ / below_hz) / log(above_hz / below_hz)
    reference_db = below_db + share * (above_db - below_db)
    frequencies_hz, levels_db = zip(*points, strict=True)
    return {"response_hz": frequencies_hz, "response_db": tuple(level_db - reference_db for level_db in levels_db)}
