"""When a recording begins, by its name, its metadata and its file's time."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.base.process import STA_UNSYNC, TIME_ERROR, is_clock_synchronised
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.start_time import PATTERNS, StartTime, StartTimes
from sonyc_ml.sound.start_time.names import NamePatterns
from tests.support import wavs
from tests.support.said import Said
from tests.support.wavs import bext, info

SOUND = bytes(range(200)) * 80  # half a second of 16 bits at 16 kHz
FORM = wavs.fmt(sample_rate=16000)
AUDIOMOTH = " by AudioMoth 24774D0560EC3D8B at medium gain while battery was 4.2V and temperature was 21.5C."

times = st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31))  # noqa: DTZ001
others = st.text(st.characters(codec="utf-8", exclude_characters="0123456789/", exclude_categories=["Nd"]))
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def start_of(
    content: bytes, folder: Path, name: str = "recording.wav", start_times: StartTimes | None = None
) -> StartTime:
    """When a recording of this content and name begins; its file is of 2020-01-01, 12 o'clock."""
    path = folder / "recording.wav"
    path.write_bytes(content)
    os.utime(path, (0, datetime(2020, 1, 1, 12, tzinfo=UTC).timestamp()))
    with open_recording(path) as recording:
        return (start_times or StartTimes())(recording, name)


def named(name: str, *patterns: str, time_zone: str = "UTC") -> str:
    """What a name says; empty where it says nothing."""
    silent: Any = Said()
    start = StartTimes(patterns or PATTERNS, time_zone)(silent, name)
    return start.text if start.source == "name" else ""


def commented(comment: str, folder: Path) -> StartTime:
    return start_of(wavs.wav(SOUND, FORM, before=[(b"LIST", info(comment))]), folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("20240501T120000Z.wav", "2024-05-01T12:00:00+00:00"),
        ("node7_20240501T120000+0200_3.wav", "2024-05-01T12:00:00+02:00"),
        ("20240501T120000-03:30.wav", "2024-05-01T12:00:00-03:30"),
        ("20191114_191730.WAV", "2019-11-14T19:17:30+00:00"),
        ("S4A01234_20191114_191730.wav", "2019-11-14T19:17:30+00:00"),
        ("20195614_191730_20191114_191731.wav", "2019-11-14T19:17:31+00:00"),
        ("20190229_120000.wav", ""),
        ("20191114_241730.wav", ""),
        ("20191114_191760.wav", ""),
        ("120191114_191730.wav", ""),
        ("20191114_1917305.wav", ""),
        ("99991231_235959.wav", "9999-12-31T23:59:59+00:00"),
        ("00000101_000000.wav", ""),
        ("20240501T120000+9900.wav", ""),
        ("20240501T120000+0060.wav", ""),
        ("٢٠١٩١١١٤_191730.wav", ""),
        ("street.wav", ""),
        ("", ""),
    ],
)
def test_names(name: str, text: str) -> None:
    """The two common forms are found anywhere in a name; what is no date, or goes on in digits, is passed over."""
    assert named(name) == text


@pytest.mark.parametrize(
    ("pattern", "name", "text"),
    [
        ("%s", "node3_1556712000.wav", "2019-05-01T12:00:00+00:00"),
        ("%s.%f", "1556712000.25.wav", "2019-05-01T12:00:00.250+00:00"),
        ("%Y%j", "2024060.wav", "2024-02-29T00:00:00+00:00"),
        ("%Y%j", "2023366.wav", ""),
        ("%Y%j", "2023000.wav", ""),
        ("%y%m%d-%H%M", "690501-1200.wav", "1969-05-01T12:00:00+00:00"),
        ("%y%m%d-%H%M", "680501-1200.wav", "2068-05-01T12:00:00+00:00"),
        ("rec%Y-%m-%d", "12rec2024-05-01.wav", "2024-05-01T00:00:00+00:00"),
        ("%Y-%m-%d_", "2024-05-01_7.wav", "2024-05-01T00:00:00+00:00"),
        ("%Y-%m-%d%%", "2024-05-01%.wav", "2024-05-01T00:00:00+00:00"),
        ("%Y%m%d", "2024050112.wav", ""),
        ("(%Y.%m.%d)", "(2024-05-01).wav", ""),
        ("%Y_%m_%d", "2024_13_05_01_02.wav", ""),
        ("%Y_%m_%d", "2024_2025_05_01.wav", "2025-05-01T00:00:00+00:00"),
        ("%y-%m-%d", "24-13-05-01.wav", "2013-05-01T00:00:00+00:00"),
        ("%d%m%Y", "01052024.wav", "2024-05-01T00:00:00+00:00"),
        ("%Y%m%d_%H%M%S_%f", "20240501_120000_5.wav", "2024-05-01T12:00:00.500+00:00"),
    ],
)
def test_patterns(pattern: str, name: str, text: str) -> None:
    """Each directive means what it means to strptime; digits that go on are another number."""
    assert named(name, pattern) == text


@given(times, offsets, st.sampled_from(["%Y%m%dT%H%M%S%z", "%y-%j %H.%M.%S%z", "%d%m%Y%H%M%S%f%z"]), others, others)
def test_patterns_round_trip(time: datetime, zone: timezone, pattern: str, before: str, behind: str) -> None:
    """A time that strftime writes into a name is the time that is read from it, whatever stands round it."""
    time = time.replace(microsecond=time.microsecond if "%f" in pattern else 0, tzinfo=zone)
    shown = NamePatterns((pattern,))(before + time.strftime(pattern) + behind)
    assert shown is not None
    assert shown.wall.replace(tzinfo=shown.zone) == time


@given(st.integers(10**8, 10**10 - 1), others, others)
def test_seconds_round_trip(seconds: int, before: str, behind: str) -> None:
    """Seconds since 1970 in a name are the time that they count to."""
    shown = NamePatterns(("%s",))(f"{before}{seconds}{behind}")
    assert shown is not None
    assert shown.wall.timestamp() == seconds


@given(st.text(), st.sampled_from([*PATTERNS, "%s", "%y%j", "%d.%m.%Y %f"]), st.sampled_from(["UTC", "Asia/Kathmandu"]))
def test_no_name_upsets(name: str, pattern: str, time_zone: str) -> None:
    """Whatever a name holds, it says a time or nothing."""
    text = named(name, pattern, time_zone=time_zone)
    assert not text or datetime.fromisoformat(text).tzinfo


@pytest.mark.parametrize("name", ["00010101_000000.wav", "99991231_235959.wav"])
@pytest.mark.parametrize("time_zone", ["Asia/Kathmandu", "America/New_York"])
def test_the_ends_of_time(name: str, time_zone: str) -> None:
    """The first and the last date there are have a zone like any other."""
    assert named(name, time_zone=time_zone)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("%Y%m%d_%I%M%S", "has %I, which is not one of %Y"),
        ("%Y%b%d", "has %b, which is not one of %Y"),
        ("%Y%m%d%", "has %, which is not one of %Y"),
        ("%Y%m%d%Y", "has %Y twice"),
        ("%H%M%S", "holds no date"),
        ("%Y%m", "holds no date"),
        ("%m%d", "holds no date"),
        ("%j", "holds no date"),
        ("%%s", "holds no date"),
        ("", "holds no date"),
    ],
)
def test_patterns_that_cannot_be_meant(pattern: str, reason: str) -> None:
    """An unknown directive and a pattern without a date are refused by name."""
    with pytest.raises(ValueError, match=f"^the pattern {re.escape(repr(pattern))} {re.escape(reason)}"):
        StartTimes((pattern,))


@pytest.mark.parametrize("time_zone", ["Europe/Atlantis", "../etc/passwd", "", "/etc/localtime", "Europe", "a\0b"])
def test_time_zones_that_are_not_there(time_zone: str) -> None:
    """A time zone that the machine does not know is refused by name."""
    with pytest.raises(ValueError, match=f"^there is no time zone {re.escape(repr(time_zone))} on this machine"):
        StartTimes(time_zone=time_zone)


def test_the_time_zone() -> None:
    """Times that name no zone are in the one that is given; the first of an hour that comes twice."""
    assert named("20240501_120000.wav", time_zone="Europe/Berlin") == "2024-05-01T12:00:00+02:00"
    assert named("20241027_023000.wav", time_zone="Europe/Berlin") == "2024-10-27T02:30:00+02:00"
    assert named("20240501T120000Z.wav", time_zone="Europe/Berlin") == "2024-05-01T12:00:00+00:00"
    assert named("1556712000", "%s", time_zone="Europe/Berlin") == "2019-05-01T12:00:00+00:00"


def test_utc_needs_no_database() -> None:
    """Nothing is loaded for UTC that a small system may lack, and nothing is done at import."""
    program = (
        "import sys, sonyc_ml.sound.start_time; assert not {'_strptime', 'zoneinfo', 'numpy'} & set(sys.modules);"
        "sonyc_ml.sound.start_time.StartTimes(); assert not {'_strptime', 'zoneinfo', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        ("Recorded at 19:17:30 14/11/2019 (UTC)" + AUDIOMOTH, "2019-11-14T19:17:30+00:00"),
        ("Recorded at 19:17:30.500 14/11/2019 (UTC)" + AUDIOMOTH, "2019-11-14T19:17:30.500+00:00"),
        ("Recorded at 19:17:30 14/11/2019 (UTC-5)" + AUDIOMOTH, "2019-11-14T19:17:30-05:00"),
        ("Recorded at 19:17:30 14/11/2019 (UTC+5:30)" + AUDIOMOTH, "2019-11-14T19:17:30+05:30"),
        ("Recorded at 19:17:30 14/11/2019 (UTC+10)" + AUDIOMOTH, "2019-11-14T19:17:30+10:00"),
        ("Recorded at 19:17:30 14/11/2019 (UTC-0:30)" + AUDIOMOTH, "2019-11-14T19:17:30-00:30"),
        ("Recorded at 19:17:30 14/11/2019 (UTC) during deployment 0123456789ABCDEF", "2019-11-14T19:17:30+00:00"),
        ("Recorded at 19:17:30 14/11/2019" + AUDIOMOTH, "2019-11-14T19:17:30+00:00"),
    ],
)
def test_audiomoth(comment: str, text: str, tmp_path: Path) -> None:
    """AudioMoth's comment says when and in which zone, in the forms of all its firmware."""
    start = commented(comment, tmp_path)
    assert (start.text, start.source) == (text, "audiomoth")


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "Recorded at 19:17:30 14/11/2019 at home",
        "Recorded at 19:17:30 14/56/2019 (UTC)" + AUDIOMOTH,
        "Recorded at 19:17:30 14/11/2019 (UTC+99)" + AUDIOMOTH,
        "Recorded at 19:17:30 14/11/2019 (CET)" + AUDIOMOTH,
    ],
)
def test_other_comments(comment: str, tmp_path: Path) -> None:
    """A comment that is not AudioMoth's, or holds no date, says nothing."""
    assert commented(comment, tmp_path).source == "mtime"


@pytest.mark.parametrize(
    ("date", "time"),
    [("2019-11-14", "19:17:30"), ("2019:11:14", "19-17-30"), ("2019/11/14", "19.17.30"), ("2019_11 14", "19 17_30")],
)
def test_bext(date: str, time: str, tmp_path: Path) -> None:
    """A Broadcast Wave file says when, whatever separates the numbers, in the time zone that is given."""
    content = wavs.wav(SOUND, FORM, before=[(b"bext", bext(date, time))])
    start = start_of(content, tmp_path, start_times=StartTimes(time_zone="Europe/Berlin"))
    assert (start.text, start.source) == ("2019-11-14T19:17:30+01:00", "bext")


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ("", ""),
        ("0000-00-00", "00:00:00"),
        (" " * 10, " " * 8),
        ("2019-11-14", ""),
        ("2019-11-14", "25:00:00"),
        ("é", "é"),
    ],
)
def test_a_bext_that_says_nothing(date: str, time: str, tmp_path: Path) -> None:
    """Blanks, zeros and nonsense are no time."""
    content = wavs.wav(SOUND, FORM, before=[(b"bext", bext(date, time))])
    assert start_of(content, tmp_path).source == "mtime"


def test_the_files_time(tmp_path: Path) -> None:
    """Where nothing else tells, a recording ended when its file was last written."""
    start = start_of(wavs.wav(SOUND, FORM), tmp_path)
    assert (start.text, start.source) == ("2020-01-01T11:59:59.500+00:00", "mtime")


@pytest.mark.parametrize("year", [-300_000, 300_000])
def test_a_time_beyond_all_dates(year: int) -> None:
    """A file may have any time; the nearest date that there is stands for it."""
    distant: Any = Said(mtime_ns=year * 31_557_600 * 10**9)
    assert StartTimes()(distant, "a.wav").text[:4] == ("0001" if year < 0 else "9999")


def test_the_order(tmp_path: Path) -> None:
    """The name tells before AudioMoth's comment, and that before the bext chunk; folders' names tell nothing."""
    comment = (b"LIST", info("Recorded at 19:17:30 14/11/2019 (UTC)" + AUDIOMOTH))
    origination = (b"bext", bext("2018-11-14", "19:17:30"))
    content = wavs.wav(SOUND, FORM, before=[origination, comment])
    assert start_of(content, tmp_path, "x/20240501_120000.wav").source == "name"
    assert start_of(content, tmp_path, "20240501_120000/a.wav").source == "audiomoth"
    assert start_of(wavs.wav(SOUND, FORM, before=[origination]), tmp_path).source == "bext"
    assert start_of(content, tmp_path, "20240501_120000.wav", StartTimes(())).source == "audiomoth"


def kernel(state: int, status: int) -> Any:
    """An adjtimex(2) that reports so."""

    def adjtimex(timex: Any) -> int:
        ctypes.c_int.from_buffer(timex, 5 * ctypes.sizeof(ctypes.c_long)).value = status
        assert timex[0] == 0
        return state

    return adjtimex


@pytest.mark.parametrize(
    ("state", "status", "expected"),
    [
        (0, 0x2001, True),
        (1, 0x2001, True),
        (TIME_ERROR, 0x2001, False),
        (0, STA_UNSYNC, False),
        (TIME_ERROR, STA_UNSYNC | 1, False),
        (-1, 0, None),
    ],
)
def test_the_kernel_tells_of_its_clock(state: int, status: int, expected: bool | None, tmp_path: Path) -> None:
    """A clock is synchronised where the kernel does not say otherwise; a call that is refused tells nothing."""
    assert is_clock_synchronised(tmp_path / "absent", kernel(state, status)) is expected


def test_timesyncd_tells_first(tmp_path: Path) -> None:
    """What systemd-timesyncd leaves behind is enough."""
    assert is_clock_synchronised(tmp_path, kernel(-1, 0)) is True


def test_this_machines_clock(tmp_path: Path) -> None:
    """The C library can be asked."""
    assert is_clock_synchronised(tmp_path / "absent") in (True, False, None)
