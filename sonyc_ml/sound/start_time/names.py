"""When a recording begins, as its name says."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sonyc_ml.sound.start_time.clock import ClockTime, clock_time

RECORDERS = "recorders"
PATTERNS = (RECORDERS,)

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

# Right behind the time: fractions of its second, where `_` is followed by three digits, and its zone. Zones are those
# that there are, so that most counters are none; a place on Earth, as in _+12.34+123.45, is none either.
END = r"(?![0-9A-Za-z]|\.[0-9])"
FRACTION = r"(?:[.,](?P<f>[0-9]{1,9})(?![0-9])|_(?P<f3>[0-9]{3})(?=T?(?![0-9A-Za-z])))?"
ZONE = rf"(?:[_ ]?(?P<z>Z|UTC|[+-](?:0[0-9]|1[0-4]):?(?:00|15|30|45)|\+(?:0[0-9]|1[0-4])(?:-(?:00|15|30|45))?){END})?"
# What is written as a zone and is none says that the time is not what it seems; behind a - it may be a counter.
NO_ZONE = r"(?!\+[0-9]{2}[:-]?[0-9]{2}(?![0-9]))"
UNIX_FRACTION = r"(?:\.(?P<f>[0-9]{1,9})(?![0-9A-Za-z]))?"

# Four digits, two, two, whatever separates them, then the same with the time of day: AudioMoth, Song Meter (3 with $),
# SwiftOne, Frontier Labs, BirdNET-Pi (with the name of a stream), and ISO 8601 as far as a file system lets it be.
CALENDAR = (
    r"(?<![0-9])(?:(?=19|20)|(?![0-9]{14}))"
    r"(?P<Y>[0-9]{4})(?P<date_mark>[-_.:]?)(?P<m>[0-9]{2})(?P=date_mark)(?P<d>[0-9]{2})"
    r"(?:[T_$ -]|-birdnet-(?:[^/]{1,64}?-)?)?"
    r"(?P<H>[0-9]{2})(?P<time_mark>[-_.:]?)(?P<M>[0-9]{2})(?P=time_mark)(?P<S>[0-9]{2})(?![0-9])"
    rf"{FRACTION}{ZONE}{NO_ZONE}"
)
# The first AudioMoths: seconds since 1970 in hexadecimal, alone.
HEXADECIMAL = re.compile(r"(?P<hex>[0-9A-F]{8})\.(?:WAV|wav)")
AUDIOMOTH_S = range(1451606400, 1 << 31)  # from 2016 to 2038: before there was none
# Seconds since 1970, from 2001 to 2033, alone or behind a word.
UNIX = rf"(?:^|[^0-9A-Za-z])[A-Za-z]*(?P<s>1[0-9]{{9}}){UNIX_FRACTION}(?![0-9A-Za-z])"


class NamePatterns:
    """How names hold the time.

    Parameters
    ----------
    patterns : tuple of str
        See :class:`sonyc_ml.sound.start_time.StartTimes`.

    Raises
    ------
    ValueError
        A pattern holds an unknown directive, or no date.
    """

    def __init__(self, patterns: tuple[str, ...] = PATTERNS) -> None:
        self._patterns = tuple(None if pattern == RECORDERS else _compile(pattern) for pattern in patterns)

    def __call__(self, name: str) -> ClockTime | None:
        """When a name says that its recording begins; None where it does not.

        Parameters
        ----------
        name : str
            Of the file, without folders.
        """
        for pattern in self._patterns:
            found = _find(pattern, name) if pattern else _find_recorder(name)
            if found:
                return found
        return None


def _find(pattern: re.Pattern[str], name: str) -> ClockTime | None:
    return next((time for match in _matches(pattern, name) if (time := clock_time(_values(match)))), None)


def _find_recorder(name: str) -> ClockTime | None:
    # These take a millisecond to compile: not at the start, and re remembers them.
    if found := _find(re.compile(CALENDAR, re.IGNORECASE | re.ASCII), name):
        return found
    match = HEXADECIMAL.fullmatch(name)
    # Digits alone may be a counter; AudioMoth writes .WAV.
    if match and not (match["hex"].isdecimal() and name.endswith("v")) and int(match["hex"], 16) in AUDIOMOTH_S:
        return clock_time({"s": str(int(match["hex"], 16))})
    return _find(re.compile(UNIX, re.ASCII), name)


def _matches(pattern: re.Pattern[str], name: str) -> Iterator[re.Match[str]]:
    position = 0
    # From one character further on each time: a number that is no date may overlap one that is.
    while match := pattern.search(name, position):
        yield match
        position = match.start() + 1


def _values(match: re.Match[str]) -> dict[str, str | None]:
    values = match.groupdict()
    values["f"] = values.get("f") or values.get("f3")
    return values


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
            f"the pattern {pattern!r} holds no date: it needs %s, or a year (%Y) with %m and %d, or with %j; "
            f"{RECORDERS!r} stands for the names that common recorders give"
        )
    # A longer number is not a date with something behind it.
    before = r"(?<![0-9])" if re.match(r"%[^z%]|[0-9]", pattern) else ""
    after = "" if names[-1] in ("", "%") and not pattern[-1].isdecimal() else r"(?![0-9])"
    return re.compile(before + "".join(parts) + after + _tail(names))


def _tail(names: list[str]) -> str:
    """What may stand right behind a pattern that ends with the seconds and leaves out what is finer."""
    if names[-1] == "s" and "f" not in names:
        return UNIX_FRACTION
    zone = "" if {"z", "s"}.intersection(names) else ZONE
    if names[-1] == "S":
        return ("" if "f" in names else FRACTION) + zone
    return zone if names[-1] == "f" else ""
