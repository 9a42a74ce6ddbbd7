"""Numbers, times, names and ways to install as people read them."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, tzinfo
from pathlib import Path

DEBIAN_HOME = "/usr/lib/sonyc-ml"  # of the Debian package
OF_DEBIAN_UPLOAD = ("parquet", "remote", "upload")  # what the package sonyc-ml-upload has

SPANS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


FIRST_S, LAST_S = -62135596800.0, 253402300799.0  # the years 1 to 9999, in UTC: before and after there is no date


def date_of(time_s: float) -> datetime:
    """A time in seconds since 1970 as one in UTC; the nearest that there is, as a broken clock may say anything."""
    return datetime.fromtimestamp(min(max(time_s, FIRST_S), LAST_S), UTC)


def iso(time_s: float) -> str:
    """A time in ISO 8601, to the second, in UTC; see :func:`date_of`."""
    return date_of(time_s).isoformat(timespec="seconds")


def seconds_of(time: str, zone: tzinfo = UTC) -> float:
    """A time in ISO 8601 to seconds since 1970; of this zone where it names none."""
    parsed = datetime.fromisoformat(time)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).timestamp()


def span(seconds: float) -> str:
    """How long: ``3 min``, ``5 h 12 min``; its two largest units."""
    if abs(seconds) < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    rest, parts = round(abs(seconds)), []
    for unit, size in SPANS:
        n, rest = divmod(rest, size)
        if n:
            parts.append(f"{n} {unit}")
        elif parts:
            break
    return ("-" if seconds < 0 else "") + " ".join(parts[:2])


def size(n_bytes: float) -> str:
    """How many bytes: ``1.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" or n_bytes >= 99.95 else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def count(n: int, noun: str = "recording") -> str:
    """How many of something: ``1 recording``, ``1,234 recordings``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def shown(text: str) -> str:
    """A text that is safe on a terminal: a file's name may hold anything."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def shell_word(text: str) -> str:
    """A text as one word of a shell's command: one with characters that a terminal does not show has them spelt out."""
    import shlex  # noqa: PLC0415  the daemon never needs it

    if text.isprintable():
        return shlex.quote(text)
    escaped = (
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(text)
    )
    return f"$'{''.join(escaped)}'"


def moment(text: str, now_s: float, zone: tzinfo = UTC) -> float:
    """A point in time as a user types it, in seconds since 1970: ``24h`` ago, ``7d`` ago, ``2026-11-21T12:00+01:00``.

    Raises
    ------
    ValueError
        It is none.
    """
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip())
    if ago and ago[2] in SECONDS:
        return max(0.0, now_s - float(ago[1]) * SECONDS[ago[2]])
    try:
        time_s = seconds_of(text.strip(), zone)
        datetime.fromtimestamp(time_s, UTC)  # a zone may take it beyond the last year there is
        return time_s  # noqa: TRY300
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!r} is no time; give how long ago (30min, 24h, 7d, 2w) or a time as in 2026-11-21T12:00+01:00"
        ) from error


def names_in(text: str) -> tuple[str, ...]:
    """Names as a user lists them: ``A,B``, or a file that has one per line."""
    if not text:
        return ()
    is_file = os.path.isfile(text)  # noqa: PTH113  Path.is_file refuses what is too long for a name: a list can be
    separator = "\n" if is_file else ","
    content = Path(text).read_text() if is_file else text
    return tuple(name.strip() for name in content.split(separator) if name.strip())


def to_install(extra: str) -> str:
    """What to do where an extra is missing: ``install the extra plot: …/python -m pip install 'matplotlib>=3.8' …``.

    The packages of the extra are named, which pip finds wherever this package came from: a check-out, a file, a Debian
    package. That one has a second package for what reaches stores, and needs Debian's pip for anything else. Where
    nothing is known of the installation, the extra alone is named.
    """
    import shlex  # noqa: PLC0415  only where something is missing
    import sys  # noqa: PLC0415
    from importlib import metadata  # noqa: PLC0415

    try:
        lines = metadata.requires("sonyc-ml") or []
    except metadata.PackageNotFoundError:  # a folder of sources
        lines = []
    packages = [line.partition(";")[0].strip() for line in lines if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    if not packages:
        return f"install the extra {extra} of sonyc-ml"
    command = shlex.join([sys.executable, "-m", "pip", "install", *packages])
    if not sys.prefix.endswith(DEBIAN_HOME):
        return f"install the extra {extra}: {command}"
    if extra in OF_DEBIAN_UPLOAD:
        return "install the package sonyc-ml-upload of the same release: sudo apt-get install ./sonyc-ml-upload_*.deb"
    return f"install the extra {extra}: sudo apt-get install python3-pip && sudo {command}"
