"""When a recording begins: which of those who say so knows best, and whether that can be."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from sonyc_ml.base.records import dataclass
from sonyc_ml.sound.start_time.clock import EPOCH, ClockTime, named_zone, seconds_since_1970
from sonyc_ml.sound.start_time.metadata import in_comment, in_origination, in_timestamp
from sonyc_ml.sound.start_time.names import PATTERNS, NamePatterns

if TYPE_CHECKING:
    from sonyc_ml.sound.files import FileRecording

YEAR_2000_S = 946684800.0
AHEAD_S = 3600.0  # of this machine's clock: more is no drift
FAR_S = 86400.0  # more than a wrong time zone makes
COPIED_S = 366 * FAR_S  # a file that is copied is often as new as the copy
SAME = timedelta(seconds=2)  # two clocks of one recorder, read one after the other
BEFORE_2000 = "before 2000"
IN_THE_FUTURE = "in the future"
FAR_FROM_FILE = "far from the file's time"
FAR_FROM_METADATA = "far from what its metadata say"
TWICE = "in an hour that comes twice"
NEVER = "in an hour that was left out"


@dataclass(frozen=True, slots=True)
class StartTime:
    """When a recording begins.

    Attributes
    ----------
    time : datetime
        With its zone.
    source : {"name", "audiomoth", "guano", "bext", "mtime", "live"}
        What tells it: the file's name, AudioMoth's comment, GUANO metadata, the ``bext`` chunk of a Broadcast Wave
        file, the time at which the file was last written less the recording's length; of a stream, its samples, counted
        since the first one came.
    doubt : str
        Why it may be wrong, as in ``before 2000``; empty where nothing speaks against it.
    """

    time: datetime
    source: str
    doubt: str = ""

    @property
    def text(self) -> str:
        """ISO 8601 with its zone; with milliseconds where it is not a whole second, of a stream with microseconds."""
        if self.source == "live" and self.time.microsecond % 1000:
            return self.time.isoformat(timespec="microseconds")  # to the sample
        return self.time.isoformat(timespec="milliseconds" if self.time.microsecond else "seconds")


class StartTimes:
    """Tells when recordings begin: by the name, AudioMoth's comment, GUANO, the ``bext`` chunk, or the file's time.

    Whoever knows the time zone knows better: where a name without one and AudioMoth's comment or GUANO show the same
    time of day, theirs is the zone.

    Parameters
    ----------
    patterns : tuple of str
        How a file's name holds the time, tried in this order: ``recorders``, for the names that common recorders give;
        or strptime's directives ``%Y %y %m %d %j %H %M %S %f %z``, ``%s`` (seconds since 1970) and ``%%``, at their
        full width (``%m`` is two digits), anywhere in the name. What a pattern leaves out of the time of day is 0; a
        zone or a fraction right behind the seconds is read.
    time_zone : str
        Of times that do not name theirs, as in ``Europe/Berlin``. Of an hour that comes twice when summer ends, the
        file's time tells which is meant; where it does not, it is the first.
    clock : callable
        Returns seconds since 1970: what lies in the future is doubted.

    Attributes
    ----------
    settings : dict of str to Any
        What is not as it comes: the patterns, the zone.

    Raises
    ------
    ValueError
        A pattern holds an unknown directive, or no date; there is no such time zone.
    """

    def __init__(
        self,
        patterns: tuple[str, ...] = PATTERNS,
        time_zone: str = "UTC",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._in_name = NamePatterns(patterns)
        self._zone = named_zone(time_zone)
        self._clock = clock
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
        in_name = self._in_name(name.rpartition("/")[2])
        if in_name and in_name.zone:  # it knows everything
            return self._dated("name", in_name, recording)
        in_metadata = _in_metadata(recording)
        if in_name:
            for source, shown in in_metadata.items():
                if both := _agreed(in_name, shown):
                    return self._dated(source, both, recording)
            is_far = any(abs(shown.wall - in_name.wall).total_seconds() > FAR_S for shown in in_metadata.values())
            return self._dated("name", in_name, recording, FAR_FROM_METADATA if is_far else "")
        for source, shown in in_metadata.items():
            return self._dated(source, shown, recording)
        start = _before_mtime(recording.mtime_ns, recording.duration_s)
        return StartTime(start, "mtime", self._doubt(start, None))

    def _dated(self, source: str, shown: ClockTime, recording: FileRecording, doubt: str = "") -> StartTime:
        """What a clock showed as a time, in its own zone or in the usual one."""
        wall = shown.wall.replace(tzinfo=shown.zone or self._zone)
        end_s = recording.mtime_ns * 1e-9
        if not shown.zone:
            wall, fold_doubt = _unfolded(wall, end_s, recording.duration_s)
            doubt = doubt or fold_doubt
        # With an offset instead of a named zone: in an hour that comes twice, Python calls no two times equal.
        start = wall.replace(tzinfo=timezone(wall.utcoffset() or timedelta(0)), fold=0)
        return StartTime(start, source, self._doubt(start, end_s - recording.duration_s) or doubt)

    def _doubt(self, start: datetime, by_file_s: float | None) -> str:
        """Why a start may be wrong; `by_file_s` is what the file's time makes of it, where that is another source."""
        start_s, now_s = seconds_since_1970(start), self._clock()
        if start_s < YEAR_2000_S:
            return BEFORE_2000
        if start_s > now_s + AHEAD_S and now_s >= YEAR_2000_S:
            return IN_THE_FUTURE
        if by_file_s is None or by_file_s < YEAR_2000_S or -FAR_S <= by_file_s - start_s <= COPIED_S:
            return ""
        return FAR_FROM_FILE


def _in_metadata(recording: FileRecording) -> dict[str, ClockTime]:
    found = {
        "audiomoth": in_comment(recording.comment),
        "guano": in_timestamp(recording.timestamp),
        "bext": in_origination(recording.origination),
    }
    return {source: shown for source, shown in found.items() if shown}


def _agreed(in_name: ClockTime, shown: ClockTime) -> ClockTime | None:
    """The name's time in the zone of the metadata, where those show the same time, there or in UTC; else None."""
    if not shown.zone:
        return None
    difference = in_name.wall - shown.wall
    is_finer = not in_name.wall.microsecond and timedelta(0) <= -difference < timedelta(seconds=1)
    if abs(difference) <= SAME:
        return ClockTime(shown.wall if is_finer else in_name.wall, shown.zone)
    return ClockTime(in_name.wall, UTC) if abs(difference + shown.offset) <= SAME else None


def _unfolded(wall: datetime, end_s: float, duration_s: float) -> tuple[datetime, str]:
    """Which of two hours of the same name is meant, as the file's time tells, and what speaks against that."""
    first, second = wall.replace(fold=0), wall.replace(fold=1)
    gap_s = seconds_since_1970(second) - seconds_since_1970(first)
    if gap_s == 0:
        return wall, ""
    if gap_s < 0:
        return first, NEVER
    for file_s in (end_s - duration_s, end_s):  # written last when it ended, or when it began
        for time_ in (first, second):
            if abs(seconds_since_1970(time_) - file_s) <= gap_s / 4:
                return time_, ""
    return first, TWICE


def _before_mtime(mtime_ns: int, duration_s: float) -> datetime:
    """The file's time less the length; the nearest time that there is, for a file system's may be any number."""
    microseconds = mtime_ns // 1000 - round(duration_s * 1e6)
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if microseconds > 0 else datetime.min.replace(tzinfo=UTC)
