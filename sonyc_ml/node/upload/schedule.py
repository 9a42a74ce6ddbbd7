"""When sending is allowed: a span of each day, by the clocks of the node's time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo

from sonyc_ml.base.records import dataclass

SPAN = re.compile(r"(\d{2}):(\d{2})\s*-\s*(\d{2}):(\d{2})")
STEP = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Between:
    """A span of each day, as ``01:00-05:00``; over midnight where it ends before it begins.

    It goes by what a clock on the wall shows. In the night in which that is set back, a time that is shown twice is
    within the span both times; in the night in which it is set forward, a time that is never shown is skipped.
    """

    begin: time
    end: time

    def holds(self, now_s: float, zone: tzinfo) -> bool:
        """Whether a time (in seconds since 1970) is within the span."""
        shown = datetime.fromtimestamp(now_s, UTC).astimezone(zone).time()
        if self.begin <= self.end:
            return self.begin <= shown < self.end
        return shown >= self.begin or shown < self.end

    def opens_s(self, now_s: float, zone: tzinfo) -> float:
        """When the span begins next, or now where it has begun (in seconds since 1970); to the minute."""
        if self.holds(now_s, zone):
            return now_s
        moment = datetime.fromtimestamp(now_s, UTC).replace(second=0, microsecond=0)
        for _ in range(2 * 24 * 60):  # a zone may skip the beginning: minutes are asked one by one
            moment += STEP
            if self.holds(moment.timestamp(), zone):
                break
        return moment.timestamp()


def parse_between(text: str) -> Between | None:
    """``01:00-05:00`` to a span; None for an empty text, which is always.

    Raises
    ------
    ValueError
    """
    if not text:
        return None
    found = SPAN.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError(text)
        hours = [int(part) for part in found.groups()]
        begin, end = time(hours[0], hours[1]), time(hours[2] % 24, hours[3])
        if hours[2] > 24 or begin == end:
            raise ValueError(text)
    except ValueError as error:
        raise ValueError(
            f"between must be two different times of a day, as in 01:00-05:00 or 22:30-04:00, not {text!r}"
        ) from error
    return Between(begin, end)
