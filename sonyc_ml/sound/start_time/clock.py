"""What a clock shows, in whatever zone it is: dates out of their parts, and zones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ClockTime(NamedTuple):
    """What a clock showed.

    Attributes
    ----------
    wall : datetime
        Its date and time of day, as if it were in UTC.
    zone : tzinfo or None
        Its time zone; None where nobody says.
    """

    wall: datetime
    zone: tzinfo | None

    @property
    def offset(self) -> timedelta:
        """From UTC; 0 where nobody says."""
        return (self.zone.utcoffset(self.wall.replace(tzinfo=None)) if self.zone else None) or timedelta(0)


def clock_time(values: Mapping[str, str | None]) -> ClockTime | None:
    """What the parts of a match make, named by strptime's letters; None where there is no such date or zone.

    A zone is ``Z``, ``UTC``, or hours and minutes with a sign, as in ``+10``, ``+1000``, ``+10:00`` or ``+10-00``;
    ``s`` are seconds since 1970.
    """
    microsecond = int((values.get("f") or "0")[:6].ljust(6, "0"))
    try:
        if seconds := values.get("s"):
            return ClockTime(EPOCH + timedelta(seconds=int(seconds), microseconds=microsecond), UTC)
        hour, minute, second = (int(values.get(part) or 0) for part in "HMS")
        wall = _day(values).replace(hour=hour, minute=minute, second=second, microsecond=microsecond)
        return ClockTime(wall, _zone(values.get("z")))
    except (ValueError, OverflowError):
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


def _zone(text: str | None) -> tzinfo | None:
    if not text:
        return None
    text = text.upper()
    if text in ("Z", "UTC"):
        return UTC
    hours, _, minutes = text[1:].replace("-", ":").partition(":")
    if not minutes and len(hours) > 2:
        hours, minutes = hours[:2], hours[2:]
    if int(minutes or 0) > 59:
        raise ValueError("an hour has no such minute")
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return timezone(-offset if text[0] == "-" else offset)


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


def seconds_since_1970(time: datetime) -> float:
    """Of a time with its zone, the first and the last there are too, whose instant may have no date in UTC."""
    return (time.replace(tzinfo=UTC) - EPOCH - (time.utcoffset() or timedelta(0))).total_seconds()
