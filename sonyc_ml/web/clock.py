"""Times as the page shows them: in the time zone of the node's place, which each of them names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, tzinfo

from sonyc_ml.base.human import date_of
from sonyc_ml.sound.start_time.clock import named_zone

_zone: ContextVar[tzinfo] = ContextVar("zone", default=UTC)


@contextmanager
def shown_in(name: str) -> Iterator[None]:
    """Show times in a zone, by its name in the IANA's database; in UTC where it is empty.

    Raises
    ------
    ValueError
        There is none of this name on this machine.
    """
    token = _zone.set(named_zone(name or "UTC"))
    try:
        yield
    finally:
        _zone.reset(token)


def zone() -> tzinfo:
    """The zone that times are shown in."""
    return _zone.get()


def local(time_s: float) -> datetime:
    """A time in seconds since 1970 as the clocks of the node's place show it."""
    moment = date_of(time_s)
    try:
        return moment.astimezone(zone())
    except OverflowError:  # the first and the last hours that there are
        return moment


def spelt(time_s: float) -> str:
    """A time for people: ``2026-11-29 05:12:33 UTC``, ``2026-11-29 06:12:33 CET``, ``2026-11-29 08:12:33 +03``."""
    return f"{local(time_s):%Y-%m-%d %H:%M:%S %Z}"


def short(time_s: float) -> str:
    """A time in a table: ``2026-11-21 07:40:00`` in UTC, ``2026-11-21 08:40:00+01:00`` in another zone."""
    text = local(time_s).isoformat(" ", "seconds")
    return text.removesuffix("+00:00") if zone() is UTC else text


def midnight_s(day: date) -> float:
    """When a day of the node's place begins (in seconds since 1970)."""
    return datetime(day.year, day.month, day.day, tzinfo=zone()).timestamp()
