"""When a recording begins: as its name says, or its metadata, or else its file's time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sonyc_ml.sound.files import FileRecording

PATTERNS = ("%Y%m%dT%H%M%S%z", "%Y%m%d_%H%M%S")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# strptime's directives, each as the text of a fixed width that recorders write, so that they can stand side by side.
DIRECTIVES = {
    "Y": r"(?P<Y>[0-9]{4})",
    "y": r"(?P<y>[0-9]{2})",
    "m": r"(?P<m>[0-9]{2})",
    "d": r"(?P<d>[0-9]{2})",
    "j": r"(?P<j>[0-9]{3})",
    "H": r"(?P<H>[0-9]{2})",
    "M": r"(?P<M>[0-9]{2})",
    "S": r"(?P<S>[0-9]{2})",
    "f": r"(?P<f>[0-9]{1,6})",
    "z": r"(?P<z>Z|[+-][0-9]{2}:?[0-9]{2})",
    "s": r"(?P<s>[0-9]{9,10})",  # from 1973 to 2286, so that a counter is none
    "%": "%",
}

# What AudioMoth's firmware writes in ICMT (setHeaderComment in AudioMoth-Firmware-Basic, 1.0 to 1.11). Its first
# version names no zone and means UTC; offsets have one or two digits of hours, and minutes only where they are not 0.
AUDIOMOTH = re.compile(
    r"Recorded at (?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)(?:\.(?P<f>\d{1,6}))? (?P<d>\d\d)/(?P<m>\d\d)/(?P<Y>\d{4})"
    r"(?: \(UTC(?:(?P<sign>[+-])(?P<hours>\d{1,2})(?::(?P<minutes>[ \d]\d))?)?\)| by AudioMoth)",
    re.ASCII,
)
# EBU Tech 3285, section 2.3: yyyy-mm-dd and hh-mm-ss, where the separators may be any of several characters.
BEXT = re.compile(
    r"(?P<Y>\d{4})[-:./ _](?P<m>\d\d)[-:./ _](?P<d>\d\d) +(?P<H>\d\d)[-:./ _](?P<M>\d\d)[-:./ _](?P<S>\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class StartTime:
    """When a recording begins.

    Attributes
    ----------
    time : datetime
        With its zone.
    source : {"name", "audiomoth", "bext", "mtime"}
        What tells it: the file's name, AudioMoth's comment, the ``bext`` chunk of a Broadcast Wave file, or the time
        at which the file was last written less the recording's length.
    """

    time: datetime
    source: str

    @property
    def text(self) -> str:
        """ISO 8601 with its zone; with milliseconds where it is not a whole second."""
        return self.time.isoformat(timespec="milliseconds" if self.time.microsecond else "seconds")


class StartTimes:
    """Tells when recordings begin: by the name, AudioMoth's comment, the ``bext`` chunk, or the file's time, in turn.

    Parameters
    ----------
    patterns : tuple of str
        How a file's name holds the time, tried in this order: strptime's directives ``%Y %y %m %d %j %H %M %S %f %z``,
        ``%s`` (seconds since 1970) and ``%%``, at their full width (``%m`` is two digits), anywhere in the name. What
        a pattern leaves out of the time of day is 0.
    time_zone : str
        Of times that do not name theirs, as in ``Europe/Berlin``. Of an hour that comes twice when summer ends, the
        first is meant.

    Attributes
    ----------
    settings : dict of str to Any
        What is not as it comes: the patterns, the zone.

    Raises
    ------
    ValueError
        A pattern holds an unknown directive, or no date; there is no such time zone.
    """

    def __init__(self, patterns: tuple[str, ...] = PATTERNS, time_zone: str = "UTC") -> None:
        self._patterns = tuple(_compile(pattern) for pattern in patterns)
        self._zone = named_zone(time_zone)
        given = {"start_patterns": list(patterns), "time_zone": time_zone}
        usual = {"start_patterns": list(PATTERNS), "time_zone": "UTC"}
        self.settings = {name: value for name, value in given.items() if value != usual[name]}

    def __call__(self, recording: FileRecording, name: str) -> StartTime:
        """When a recording begins.

        Parameters
        ----------
        recording : FileRecording
            Open, for its metadata.
        name : str
            Of its file; folders before it are not looked at.
        """
        sources: dict[str, Callable[[], datetime | None]] = {
            "name": lambda: self._in_name(name.rpartition("/")[2]),
            "audiomoth": lambda: _in_comment(recording.comment),
            "bext": lambda: self._in_bext(recording.origination),
        }
        for source, find in sources.items():
            if time := find():
                return StartTime(time, source)
        return StartTime(_before_mtime(recording.mtime_ns, recording.duration_s), "mtime")

    def _in_name(self, name: str) -> datetime | None:
        for pattern in self._patterns:
            position = 0
            # From one character further on each time: a number that is no date may overlap one that is.
            while match := pattern.search(name, position):
                if time := _date(match.groupdict(), self._zone):
                    return time
                position = match.start() + 1
        return None

    def _in_bext(self, origination: str) -> datetime | None:
        match = BEXT.search(origination)
        return _date(match.groupdict(), self._zone) if match else None


def _compile(pattern: str) -> re.Pattern[str]:
    """The regular expression of a strptime pattern."""
    parts: list[str] = []
    names: list[str] = []
    for directive, literal in re.findall(r"%(.?)|([^%]+)", pattern, re.DOTALL):
        if not literal and directive not in DIRECTIVES:
            raise ValueError(f"the pattern {pattern!r} has %{directive}, which is not one of %{' %'.join(DIRECTIVES)}")
        if directive not in ("", "%") and directive in names:
            raise ValueError(f"the pattern {pattern!r} has %{directive} twice: once is enough")
        parts.append(re.escape(literal) if literal else DIRECTIVES[directive])
        names.append(directive)
    if "s" not in names and not ({"Y", "y"}.intersection(names) and ({"m", "d"} <= set(names) or "j" in names)):
        raise ValueError(
            f"the pattern {pattern!r} holds no date: it needs %s, or a year (%Y) with %m and %d, or with %j"
        )
    # A longer number is not a date with something behind it.
    before = r"(?<![0-9])" if re.match(r"%[^z%]|[0-9]", pattern) else ""
    after = "" if names[-1] in ("", "%") and not pattern[-1].isdecimal() else r"(?![0-9])"
    return re.compile(before + "".join(parts) + after)


def named_zone(name: str) -> tzinfo:
    """A time zone by its name; UTC needs no database.

    Raises
    ------
    ValueError
        There is none of this name on this machine.
    """
    if name == "UTC":
        return UTC
    import zoneinfo  # noqa: PLC0415  3 ms and a database, which most nodes need not have

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"there is no time zone {name!r} on this machine: give one of /usr/share/zoneinfo, as in 'Europe/Berlin'"
        ) from error


def _in_comment(comment: str) -> datetime | None:
    match = AUDIOMOTH.search(comment)
    if match is None:
        return None
    values = match.groupdict()
    if values["sign"]:
        values["z"] = f"{values['sign']}{int(values['hours']):02}{int(values['minutes'] or 0):02}"
    return _date(values, UTC)


def _date(values: Mapping[str, str | None], zone: tzinfo) -> datetime | None:
    """The time that the parts of a match make; None where there is no such date."""
    microsecond = int((values.get("f") or "0").ljust(6, "0"))
    try:
        if seconds := values.get("s"):
            return EPOCH + timedelta(seconds=int(seconds), microseconds=microsecond)
        hour, minute, second = (int(values.get(part) or 0) for part in "HMS")
        day = _day(values)
        zone = _offset(values.get("z")) or zone
        return day.replace(hour=hour, minute=minute, second=second, microsecond=microsecond, tzinfo=zone)
    except ValueError:
        return None


def _day(values: Mapping[str, str | None]) -> datetime:
    if text := values.get("Y"):
        year = int(text)
    else:
        year = int(values.get("y") or 0)
        year += 1900 if year >= 69 else 2000  # as POSIX has it
    if values.get("m") and values.get("d"):
        return datetime(year, int(values["m"] or 0), int(values["d"] or 0), tzinfo=UTC)
    day = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=int(values.get("j") or 0) - 1)
    if day.year != year:
        raise ValueError("the year has no such day")
    return day


def _offset(text: str | None) -> tzinfo | None:
    """The zone of ``Z``, ``+hh:mm`` or ``+hhmm``."""
    if not text:
        return None
    if text == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    if minutes > 59:
        raise ValueError("an hour has no such minute")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _before_mtime(mtime_ns: int, duration_s: float) -> datetime:
    """The file's time less the length; the nearest time that there is, for a file system's may be any number."""
    microseconds = mtime_ns // 1000 - round(duration_s * 1e6)
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if microseconds > 0 else datetime.min.replace(tzinfo=UTC)
