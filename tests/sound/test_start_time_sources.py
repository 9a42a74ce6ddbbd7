"""Which source of a recording's start wins, which of two hours is meant, and what is doubted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.start_time import PATTERNS, StartTimes
from tests.conftest import SHARED_DATA
from tests.support import wavs
from tests.support.said import AUDIOMOTH, Said
from tests.support.wavs import chunk, guano, info

ROOT = Path(__file__).parents[2]
FAULTS = SHARED_DATA / "faults"
SOUND = bytes(range(200)) * 80  # a second at 8 kHz


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def guano_of(content: bytes, folder: Path) -> str:
    path = folder / "a.wav"
    path.write_bytes(content)
    with open_recording(path, salvage=True) as recording:
        return recording.timestamp


# GUANO


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        ("2024-05-01T06:30:00+02:00", "2024-05-01T06:30:00+02:00"),
        ("2024-05-01 06:30:00+0200", "2024-05-01T06:30:00+02:00"),
        ("2024-05-01T06:30:00.250-05:30", "2024-05-01T06:30:00.250-05:30"),
        ("2024-05-01T04:30:00Z", "2024-05-01T04:30:00+00:00"),
        ("2024-05-01 06:30:00 +02:00", "2024-05-01T06:30:00+02:00"),
        ("2024-05-01T06:30:00+2", "2024-05-01T06:30:00+02:00"),
        ("2024-05-01T06:30:00", "2024-05-01T06:30:00+09:00"),
        ("2024-05-01 06:30", "2024-05-01T06:30:00+09:00"),
    ],
)
def test_guano(timestamp: str, text: str) -> None:
    """GUANO's Timestamp says when, in its own zone, or where it has none in the one that is given."""
    start = Said(timestamp=timestamp).start("night1.wav", "Asia/Tokyo")
    assert (start.text, start.source) == (text, "guano")


@pytest.mark.parametrize("timestamp", ["", "yesterday", "2024-13-01T06:30:00Z", "2024-05-01T06:30:00+99:00", "2024"])
def test_guano_that_says_nothing(timestamp: str) -> None:
    """What is no date, or has an impossible zone, is no time."""
    assert Said(timestamp=timestamp).start("night1.wav").source == "mtime"


@pytest.mark.parametrize("n_bytes", [16000, 15999])
def test_guano_anywhere(n_bytes: int, tmp_path: Path) -> None:
    """The chunk is found before and behind the sound, behind sound of odd length too, padded or not."""
    sound, form = SOUND[:n_bytes], wavs.fmt(bits=8)
    text = guano("2024-05-01T06:30:00Z")
    before = wavs.wav(sound, form, before=[(b"guan", text)])
    behind = wavs.wav(sound, form) + chunk(b"LIST", info("x")) + chunk(b"guan", text)
    end = len(wavs.wav(sound, form)) - n_bytes % 2
    unpadded = wavs.wav(sound, form)[:end] + chunk(b"guan", text)
    for content in (before, behind, unpadded):
        assert guano_of(content, tmp_path) == "2024-05-01T06:30:00Z"


def test_guano_where_the_header_is_wrong(tmp_path: Path) -> None:
    """It is found behind sound whose length is too short, too long or open, and in RF64 and big-endian files."""
    text = guano("2024-05-01T06:30:00Z")
    for promised in (0, 1000, len(SOUND) + 5000, 0xFFFFFFFF):
        content = wavs.wav(SOUND, promised=promised) + chunk(b"guan", text)
        assert guano_of(content, tmp_path) == "2024-05-01T06:30:00Z", promised
    assert guano_of(wavs.rf64(SOUND) + chunk(b"guan", text), tmp_path) == "2024-05-01T06:30:00Z"
    big = wavs.wav(SOUND, magic=b"RIFX") + chunk(b"guan", text, order=">")
    assert guano_of(big, tmp_path) == "2024-05-01T06:30:00Z"


@given(st.binary(max_size=200), st.integers(0, 1 << 32 - 1))
def test_damaged_guano(content: bytes, length: int) -> None:
    """Whatever the chunk holds or says of its length, there is a text, or none."""
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    path = folder / f"sonyc-ml-guano-{os.getpid()}.wav"
    path.write_bytes(wavs.wav(SOUND, before=[]) + chunk(b"guan", content, length % (1 << 32)))
    try:
        with open_recording(path, salvage=True) as recording:
            start = StartTimes()(recording, "a.wav")
    finally:
        path.unlink()
    assert start.source in ("guano", "mtime")


# Who knows best


@pytest.mark.parametrize(
    ("comment", "timestamp", "name", "text", "source"),
    [
        # The zone of the metadata, where they show the name's time of day.
        ("(UTC+2)", "", "20240501_063000.WAV", "2024-05-01T06:30:00+02:00", "audiomoth"),
        ("(UTC+5:30)", "", "20240501_063000.WAV", "2024-05-01T06:30:00+05:30", "audiomoth"),
        ("(UTC+2)", "", "20240501_063000_250.WAV", "2024-05-01T06:30:00.250+02:00", "audiomoth"),
        ("(UTC+2)", "", "20240501_063001.WAV", "2024-05-01T06:30:01+02:00", "audiomoth"),
        ("", "2024-05-01T06:30:00-07:00", "SMU_20240501_063000.wav", "2024-05-01T06:30:00-07:00", "guano"),
        ("", "2024-05-01T06:30:00.125-07:00", "SMU_20240501_063000.wav", "2024-05-01T06:30:00.125-07:00", "guano"),
        ("", "2024-05-01T06:30:00", "SMU_20240501_063000.wav", "2024-05-01T06:30:00+09:00", "name"),
        # The name is in UTC.
        ("(UTC+2)", "", "20240501_043000.WAV", "2024-05-01T04:30:00+00:00", "audiomoth"),
        # The name's own zone, and a name that means another time, win.
        ("(UTC+2)", "", "20240501_063000+1000.WAV", "2024-05-01T06:30:00+10:00", "name"),
        ("(UTC+2)", "", "20240501_064000.WAV", "2024-05-01T06:40:00+09:00", "name"),
        # No time in the name.
        ("(UTC+2)", "2024-05-01T06:30:00", "a.WAV", "2024-05-01T06:30:00+02:00", "audiomoth"),
    ],
)
def test_who_knows_best(comment: str, timestamp: str, name: str, text: str, source: str) -> None:
    """A name without a zone takes that of metadata that agree with it; a name with one needs none."""
    comment = f"Recorded at 06:30:00 01/05/2024 {comment}{AUDIOMOTH}" if comment else ""
    start = Said(comment, timestamp, mtime_ns=int(seconds(text)) * 10**9).start(name, "Asia/Tokyo")
    assert (start.text, start.source, start.doubt) == (text, source, "")


@pytest.mark.parametrize("name", ["00010101_000000.wav", "99991231_235959.wav"])
@pytest.mark.parametrize("zone", ["+14:00", "-12:00"])
def test_the_ends_of_time(name: str, zone: str) -> None:
    """The first and the last date there are agree with metadata like any other."""
    year, month, day = name[:4], name[4:6], name[6:8]
    timestamp = f"{year}-{month}-{day}T{name[9:11]}:{name[11:13]}:{name[13:15]}{zone}"
    start = Said(timestamp=timestamp).start(name)
    assert (start.text, start.source) == (timestamp, "guano")


# The hour that comes twice


@pytest.mark.parametrize("duration_s", [1.0, 600.0, 3600.0])
@pytest.mark.parametrize("late_s", [0.0, 1.5, 90.0])
@pytest.mark.parametrize(
    ("name", "time_zone", "offset"),
    [
        ("20241027_025000.wav", "Europe/Berlin", "+01:00"),
        ("20241027_025000.wav", "Europe/Berlin", "+02:00"),
        ("20241103_013000.wav", "America/New_York", "-05:00"),
        ("20240407_014500.wav", "Australia/Lord_Howe", "+10:30"),
    ],
)
def test_the_hour_that_comes_twice(name: str, time_zone: str, offset: str, duration_s: float, late_s: float) -> None:
    """The file's time says which of two hours is meant, whether that is its end or, nearly, its beginning."""
    wall = f"{name[:4]}-{name[4:6]}-{name[6:8]}T{name[9:11]}:{name[11:13]}:{name[13:15]}{offset}"
    end_s = seconds(wall) + duration_s + late_s
    start = Said(mtime_ns=round(end_s * 1e9), duration_s=duration_s).start(name, time_zone)
    assert (start.text, start.doubt) == (wall, "")


def test_metadata_tell_which_hour() -> None:
    """Metadata with a zone decide, whatever the file's time is."""
    said = Said("Recorded at 02:50:00 27/10/2024 (UTC+1)" + AUDIOMOTH)
    assert said.start("20241027_025000.WAV", "Europe/Berlin").text == "2024-10-27T02:50:00+01:00"


def test_nobody_tells_which_hour() -> None:
    """Without them it is the first, and doubted; so is an hour that was left out."""
    mtime_ns = round(seconds("2024-10-27T12:00:00+01:00")) * 10**9
    start = Said(mtime_ns=mtime_ns).start("20241027_025000.wav", "Europe/Berlin")
    assert (start.text, start.doubt) == ("2024-10-27T02:50:00+02:00", "in an hour that comes twice")
    mtime_ns = round(seconds("2024-03-31T03:30:01+02:00")) * 10**9
    assert Said(mtime_ns=mtime_ns).start("20240331_023000.wav", "Europe/Berlin").doubt == "in an hour that was left out"


def test_a_start_compares_as_any_time(tmp_path: Path) -> None:
    """A start in such an hour equals the same instant in UTC."""
    start = Said(mtime_ns=1729993801 * 10**9).start("20241027_025000.wav", "Europe/Berlin")
    assert start.time == datetime.fromisoformat("2024-10-27T01:50:00Z")


# Doubts

NOW_S = seconds("2024-06-01T00:00:00Z")


@pytest.mark.parametrize(
    ("name", "mtime", "doubt"),
    [
        ("20240501_063000.wav", "2024-05-01T06:30:01Z", ""),
        ("20240501_063000.wav", "2024-05-01T20:30:01Z", ""),  # the zone may be wrong
        ("20240501_063000.wav", "2024-05-31T06:30:01Z", ""),  # it may be copied
        ("20220501_063000.wav", "2024-05-31T06:30:01Z", "far from the file's time"),
        ("20240501_063000.wav", "2024-04-29T06:30:01Z", "far from the file's time"),
        ("20240501_063000.wav", "2024-04-01T06:30:01Z", "far from the file's time"),
        ("20240501_063000.wav", "1980-01-01T00:00:00Z", ""),  # a disk without a clock says nothing
        ("19700101_000554.WAV", "2024-05-01T06:30:01Z", "before 2000"),
        ("19991231_235959.wav", "1999-12-31T23:59:59Z", "before 2000"),
        ("20000101_000000.wav", "2000-01-01T00:00:01Z", ""),
        ("20240601_003000.wav", "2024-06-01T00:00:00Z", ""),
        ("20240601_020000.wav", "2024-06-01T00:00:00Z", "in the future"),
        ("20990101_000000.wav", "2099-01-01T00:00:01Z", "in the future"),
        ("99991231_235959.wav", "2024-05-01T06:30:01Z", "in the future"),
        ("00010101_000000.wav", "2024-05-01T06:30:01Z", "before 2000"),
        ("a.wav", "1970-01-01T00:05:54Z", "before 2000"),
        ("a.wav", "2030-01-01T00:05:54Z", "in the future"),
        ("a.wav", "2023-01-01T00:05:54Z", ""),
    ],
)
def test_doubts(name: str, mtime: str, doubt: str) -> None:
    """A start before 2000, in the future or far from the file's time is kept, and doubted."""
    assert Said(mtime_ns=round(seconds(mtime)) * 10**9).start(name, now_s=NOW_S).doubt == doubt


def test_a_clock_that_was_never_set_doubts_nothing() -> None:
    """A machine that believes to be in 1970 does not call every recording one of the future."""
    said = Said(mtime_ns=round(NOW_S) * 10**9)
    assert said.start("20240601_000000.wav", now_s=300.0).doubt == ""


def test_a_name_far_from_its_metadata() -> None:
    """A name that says another day than the metadata wins, and is doubted."""
    said = Said(timestamp="2023-05-01T06:30:00Z", mtime_ns=round(seconds("2024-05-01T06:30:01Z")) * 10**9)
    start = said.start("20240501_063000.wav")
    assert (start.source, start.doubt) == ("name", "far from what its metadata say")


# Whatever there is


def test_whatever_names_and_metadata_hold() -> None:
    """Random names and metadata give a time with a zone, which has a partition, or none: never an error."""
    program = [sys.executable, "-m", "tests.support.fuzz_start_times", "0", "5000"]
    result = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.stderr == ""
    assert json.loads(result.stdout).keys() == {"name", "audiomoth", "guano", "bext", "mtime"}


KINDS = ("k1_zone", "k2_guano", "k9_names", "k10_clock", "k15_dst")


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the recordings of known faults are not here")
def test_known_faults(tmp_path: Path) -> None:
    """Recordings as devices make them begin when they are known to."""
    subprocess.run([sys.executable, str(FAULTS / "make_cases.py"), str(tmp_path)], check=True, timeout=300)
    expected = json.loads((FAULTS / "expected.json").read_text())
    names = [name for name in expected if name.startswith(KINDS)]
    assert names
    for name in names:
        time_zone = "Europe/Berlin" if name.startswith("k15") else "UTC"
        with open_recording(tmp_path / name) as recording:
            start = StartTimes(time_zone=time_zone)(recording, name)
        if "start_time" in expected[name]:
            assert start.time == datetime.fromisoformat(expected[name]["start_time"]), name
        assert (start.doubt == "before 2000") == name.startswith("k10"), name


# Speed


def test_all_of_it_costs_little(tmp_path: Path) -> None:
    """Name, comment, GUANO and bext together are read in well under the time that opening the file takes."""
    path, start_times = tmp_path / "20240501_063000.wav", StartTimes(PATTERNS)
    text = guano("2024-05-01T06:30:00+02:00")
    path.write_bytes(wavs.wav(SOUND, before=[(b"LIST", info("x"))]) + chunk(b"guan", text))
    with open_recording(path) as recording:
        best_s = min(_timed(lambda: start_times(recording, path.name)) for _ in range(200))
    assert best_s < 1e-3  # 0.05 ms where it was written


def _timed(call: object) -> float:
    start_s = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - start_s
