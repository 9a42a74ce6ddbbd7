"""Ask for the start of recordings with random names and metadata: ``python fuzz_start_times.py SEED N``.

A program of its own, so that it can be run for long. Names and texts are made of pieces of real ones, put together at
random and damaged. It prints how many starts came from each source, and ends with a traceback at the first that is no
time with a zone, or is not the same when it is read again.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from datetime import datetime
from typing import Any

from sonyc_ml.base.human import seconds_of
from sonyc_ml.batch.partitions import Partition
from sonyc_ml.sound.start_time import StartTimes
from tests.support.said import Said

PIECES = (
    *("20240501", "063000", "2024-05-01", "06:30:00", "06-30-00", "_", "-", "T", "$", ".", " ", ":", "+", "Z", "UTC"),
    *("+1000", "-0500", "+10:00", "+9900", "_250", ".123456", "-birdnet-", "RTSP_1-", "Rec", "S4A01234", "_E", "SM3_"),
    *(
        "6631E168",
        "1714545000",
        "00010101",
        "99991231",
        "000000",
        "235959",
        "20241027",
        "023000",
        "20240331",
        "13",
        "99",
    ),
    *("Recorded at ", "01/05/2024", " (UTC+2)", " (UTC+99)", " (UTC-5:30)", " by AudioMoth", ".WAV", ".wav", ".flac"),
    *("/", "\0", "\n", "é", "٣", "\udcff", "0", "7", "%"),
)
WHOLE = (
    *(
        "20240501_063000.WAV",
        "2024-05-01-birdnet-RTSP_1-06:30:00.wav",
        "S20240501T063000.123456+1000_E20240501T064500.wav",
    ),
    *("SwiftOne_20240501_063000_-0500.wav", "6631E168.WAV", "node3_1714545000.61.wav", "20241027_023000_250.wav"),
    *("00010101_000000+1400.wav", "99991231_235959-1200.wav", "19700101_000554T.WAV", "20240501063000.wav"),
    *("Recorded at 06:30:00.250 01/05/2024 (UTC+5:30) by AudioMoth", "Recorded at 02:30:00 27/10/2024 by AudioMoth"),
    *("2024-05-01T06:30:00+02:00", "2024-05-01 06:30:00.25", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"),
    *("2024-05-01 06:30:00", "2024-10-27 02-30-00", "9999:12:31 23:59:59", "0001-01-01 00:00:00"),
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
PATTERNS = (*(4 * ("recorders",)), "%Y%m%dT%H%M%S%z", "%Y%m%d_%H%M%S", "%s", "%y%j", "%d.%m.%Y %f", "%Y-%m-%d%H%M%S%f")


def text(chance: random.Random, longest: int) -> str:
    """A real text or one of random pieces, some of them damaged."""
    if chance.random() < 0.6:
        pieces = list(chance.choice(WHOLE))
        for _ in range(chance.choice((0, 0, 1, 2))):
            pieces[chance.randrange(len(pieces))] = chance.choice((*"0129 +-_:T", "", chance.choice(PIECES)))
        return "".join(pieces)
    pieces = chance.choices(PIECES, k=chance.randrange(longest))
    if pieces and chance.random() < 0.3:
        place = chance.randrange(len(pieces))
        pieces[place] = pieces[place][: chance.randrange(len(pieces[place]) + 1)] + chr(chance.randrange(1, 0x300))
    return "".join(pieces)


def main(seed: int, n: int) -> None:
    """Ask `n` times."""
    chance, counts = random.Random(seed), Counter[str]()
    askers = [StartTimes((pattern,), zone) for pattern in PATTERNS for zone in ZONES]
    partition = Partition()
    for _ in range(n):
        comment, timestamp, origination = (text(chance, 8) if chance.random() < 0.5 else "" for _ in range(3))
        said: Any = Said(
            comment,
            timestamp,
            origination,
            mtime_ns=chance.choice((0, 1, -1, chance.randrange(2 * 10**18), 2**63 - 1, -(2**63), 1729993801 * 10**9)),
            duration_s=chance.choice((0.001, 1.0, 3600.0, 1e9, 1e13)),
        )
        start = chance.choice(askers)(said, text(chance, 10))
        again = datetime.fromisoformat(start.text)
        assert again.tzinfo is not None
        assert abs((again - start.time).total_seconds()) < 0.001
        assert partition("a.wav", start.text).startswith("day=")
        assert isinstance(seconds_of(start.text), float)
        counts[start.source] += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
