"""The names that common recorders give, and what stands behind the time in them."""

from __future__ import annotations

import pytest

from tests.support.said import Said

SAME_TIME = "2024-05-01T06:30:00+00:00"  # 1714545000 s since 1970, 6631E168 in hexadecimal


@pytest.mark.parametrize(
    "name",
    [
        "20240501_063000.WAV",  # AudioMoth
        "20240501_063000T.WAV",
        "24E144085F256BF4_20240501_063000.WAV",
        "6631E168.WAV",
        "6631E168.wav",
        "SM3_20240501$063000.wav",  # Song Meter
        "SM304221_0+1_20240501$063000.wav",
        "SMU00123_20240501_063000.wav",
        "S4A01234_20240501_063000.wav",
        "S4A01234_20240501_063000_000.wav",
        "SwiftOne_20240501_063000.wav",
        "20240501T063000_Rec.wav",  # Frontier Labs
        "20240501T063000_REC [-27.3888+152.8808].flac",
        "20240501T063000_+12.34567+123.45678.wav",
        "20240501-063000_Rec.wav",
        "2024-05-01-birdnet-06:30:00.wav",  # BirdNET-Pi
        "2024-05-01-birdnet-RTSP_1-06:30:00.wav",
        "2024-05-01-birdnet-RTSP_12-06-30-00.wav",
        "Cyanistes_caeruleus-85-2024-05-01-birdnet-06:30:00.flac",
        "2024-05-01T06:30:00.wav",  # ISO 8601, and what a file system makes of it
        "REC_2024-05-01_06-30-00.wav",
        "2024-05-01 06.30.00.wav",
        "2024_05_01_06_30_00.wav",
        "2024-05-01T063000.wav",
        "20240501-063000.wav",
        "rec20240501063000.wav",
        "1714545000.wav",
        "node3_1714545000.wav",
        "REC1714545000_2.wav",
    ],
)
def test_recorders(name: str) -> None:
    """The names of common recorders say when, without a pattern."""
    start = Said().start(name)
    assert (start.text, start.source) == (SAME_TIME, "name")


@pytest.mark.parametrize(
    ("behind", "text"),
    [
        ("+1000", "2024-05-01T06:30:00+10:00"),
        ("_-0500", "2024-05-01T06:30:00-05:00"),
        (" +0530", "2024-05-01T06:30:00+05:30"),
        ("-03:30", "2024-05-01T06:30:00-03:30"),
        ("+10", "2024-05-01T06:30:00+10:00"),
        ("+05-30", "2024-05-01T06:30:00+05:30"),
        ("Z_7", "2024-05-01T06:30:00+00:00"),
        ("_250", "2024-05-01T06:30:00.250+02:00"),
        ("_250T", "2024-05-01T06:30:00.250+02:00"),
        (".5", "2024-05-01T06:30:00.500+02:00"),
        (".123456+1000_E20240501T064500.000000+1000_-27.38+152.87", "2024-05-01T06:30:00.123+10:00"),
        ("_250-0500", "2024-05-01T06:30:00.250-05:00"),
        ("_064500", "2024-05-01T06:30:00+02:00"),
        ("_2501", "2024-05-01T06:30:00+02:00"),
        ("-0002", "2024-05-01T06:30:00+02:00"),
        ("_+12.5+123.4", "2024-05-01T06:30:00+02:00"),
        ("Zoo", "2024-05-01T06:30:00+02:00"),
    ],
)
@pytest.mark.parametrize("time", ["20240501T063000", "20240501_063000", "2024-05-01_06-30-00"])
def test_behind_the_time(time: str, behind: str, text: str) -> None:
    """A fraction and a zone right behind the time are read; a counter, a second time and a place are neither."""
    assert Said().start(f"NODE_{time}{behind}.wav", "Europe/Berlin").text == text


@pytest.mark.parametrize(
    "name",
    [
        "6631e168.wav",  # of a hash
        "66310168.wav",
        "00000001.WAV",
        "20240501.WAV",
        "E6631E168.WAV",
        "0714545000.wav",
        "4714545000.wav",
        "17145450001.wav",
        "a1714545000b.wav",
        "2024-13-01_06-30-00.wav",
        "2024-05-01_06:30-00.wav",
        "99240501063000.wav",
        "STE-000.wav",
    ],
)
def test_other_names(name: str) -> None:
    """Counters, hashes and what is no date are no time."""
    assert Said().start(name).source == "mtime"
