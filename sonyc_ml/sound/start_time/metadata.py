"""What a recording's metadata say of when its sound begins, and where: AudioMoth's comment, GUANO, Broadcast Wave's.

GUANO is text in a chunk of its own, ``guan``, before or behind the sound, a line per field, as in
``Timestamp: 2024-05-01T06:30:00+02:00``. Only a bounded part of a file is looked at, whatever it says of itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice

from sonyc_ml.errors import RecordingError
from sonyc_ml.sound.chunks import Chunk, Container, container_of, find_tail
from sonyc_ml.sound.start_time.clock import ClockTime, clock_time

MAX_CHUNKS = 200  # a recorder writes a handful
MAX_LENGTH = 1 << 16  # bytes: of GUANO text

TIMESTAMP = re.compile(rb"^[ \t]*Timestamp[ \t]*:[ \t]*([^\r\n\0]{1,64})", re.IGNORECASE | re.MULTILINE)
NUMBER = rb"[ \t,]*([-+.\d]{1,20})"
POSITION = rb"^[ \t]*Loc Position[ \t]*:" + NUMBER + rb"[ \t,]" + NUMBER  # compiled where they are looked for
ELEVATION = rb"^[ \t]*Loc Elevation[ \t]*:" + NUMBER
PRINTABLE = re.compile(rb"[ -~]{4}.*", re.DOTALL)


def read_timestamp(descriptor: int, size: int) -> str:
    """When a file's GUANO metadata say that its sound begins, as it stands there.

    Parameters
    ----------
    descriptor : int
        Of the open file; its position is not touched.
    size : int
        Of the file (in bytes).

    Returns
    -------
    str
        Empty where nothing is said, the metadata are damaged, or they cannot be read.
    """
    match = TIMESTAMP.search(_read_guano(descriptor, size))
    return match[1].decode("utf-8", "replace").strip() if match else ""


def read_position(descriptor: int, size: int) -> tuple[float, float, float | None] | None:
    """Where a file's GUANO metadata say that its sound was recorded (``Loc Position``, ``Loc Elevation``).

    Parameters
    ----------
    descriptor, size
        Those of :func:`read_timestamp`.

    Returns
    -------
    tuple of float or None
        Latitude and longitude in degrees (WGS 84), and metres above the sea, None where that is not said. None where
        nothing is said, or no place on the earth: 0 and 0 too, which receivers write that do not know.
    """
    text = _read_guano(descriptor, size)
    position, elevation = (re.search(field, text, re.IGNORECASE | re.MULTILINE) for field in (POSITION, ELEVATION))
    try:
        latitude, longitude = (float(part) for part in position.groups()) if position else (0.0, 0.0)
        elevation_m = float(elevation[1]) if elevation else None
    except ValueError:
        return None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180) or latitude == longitude == 0:
        return None
    return latitude, longitude, elevation_m


def _read_guano(descriptor: int, size: int) -> bytes:
    """The GUANO text of a file; empty where there is none, or it cannot be read."""
    try:
        container = container_of(descriptor)
        for chunk in _chunks(descriptor, size, container) if container else ():
            if chunk.name == b"guan":
                return os.pread(descriptor, min(chunk.length, MAX_LENGTH), chunk.position)
    except (RecordingError, OSError):
        pass
    return b""


def _chunks(descriptor: int, size: int, container: Container) -> Iterator[Chunk]:
    """The chunks of a file, those too that stand behind sound of a wrong length."""
    before, start = None, 0
    for chunk in islice(container.chunks(descriptor, size), MAX_CHUNKS):
        if not PRINTABLE.fullmatch(chunk.name):
            break
        yield chunk
        before = chunk
        if chunk.name in (b"data", b"SSND"):
            start = chunk.position
    else:
        if before is None or before.position + before.length <= size:
            return
    if before is not None and before.length & 1:  # not every writer pads a chunk of odd length
        yield from islice(container.chunks(descriptor, size, before.position + before.length), MAX_CHUNKS)
    if start:
        tail = find_tail(descriptor, size, container, start)
        yield from islice(container.chunks(descriptor, size, tail), MAX_CHUNKS)


# What AudioMoth's firmware writes in ICMT (setHeaderComment in AudioMoth-Firmware-Basic, 1.0 to 1.11). Its first
# version names no zone and means UTC; offsets have one or two digits of hours, and minutes only where they are not 0.
AUDIOMOTH = (
    r"Recorded at (?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)(?:\.(?P<f>\d{1,6}))? (?P<d>\d\d)/(?P<m>\d\d)/(?P<Y>\d{4})"
    r"(?: \(UTC(?:(?P<sign>[+-])(?P<hours>\d{1,2})(?::(?P<minutes>[ \d]\d))?)?\)| by AudioMoth)"
)
GUANO = (
    r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[T ]+(?P<H>\d\d):(?P<M>\d\d)(?::(?P<S>\d\d)(?:[.,](?P<f>\d{1,9}))?)?"
    r" *(?P<z>Z|UTC|[+-]\d{1,2}(?::?\d\d)?)?"
)
# EBU Tech 3285, section 2.3: yyyy-mm-dd and hh-mm-ss, where the separators may be any of several characters.
BEXT = re.compile(
    r"(?P<Y>\d{4})[-:./ _](?P<m>\d\d)[-:./ _](?P<d>\d\d) +(?P<H>\d\d)[-:./ _](?P<M>\d\d)[-:./ _](?P<S>\d\d)", re.ASCII
)


def in_comment(comment: str) -> ClockTime | None:
    """When AudioMoth's comment says that the sound begins; None where it is none of AudioMoth's, or holds no date."""
    match = re.search(AUDIOMOTH, comment, re.ASCII)
    if match is None:
        return None
    values = match.groupdict()
    values["z"] = "UTC"
    if values["sign"]:
        values["z"] = f"{values['sign']}{int(values['hours']):02}{int(values['minutes'] or 0):02}"
    return clock_time(values)


def in_timestamp(timestamp: str) -> ClockTime | None:
    """When GUANO's ``Timestamp`` says that the sound begins."""
    match = re.match(GUANO, timestamp, re.IGNORECASE | re.ASCII)
    return clock_time(match.groupdict()) if match else None


def in_origination(origination: str) -> ClockTime | None:
    """When the ``bext`` chunk of a Broadcast Wave file says that the sound begins; it never names a zone."""
    match = BEXT.search(origination)
    return clock_time(match.groupdict()) if match else None
