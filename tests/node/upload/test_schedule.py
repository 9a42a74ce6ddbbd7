"""When and how fast: spans of a day in a time zone, a limit of bytes, pauses that grow."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from sonyc_ml.node.upload.config import UploadConfig
from sonyc_ml.node.upload.pacing import FIRST_PAUSE_S, LONGEST_PAUSE_S, Pauses, RateLimit, Stopped
from sonyc_ml.node.upload.schedule import parse_between

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("between", "moment", "holds"),
    [
        ("01:00-05:00", "2026-11-21T01:00:00+01:00", True),
        ("01:00-05:00", "2026-11-21T05:00:00+01:00", False),
        ("22:30-04:00", "2026-11-21T23:59:59+01:00", True),
        ("22:30-04:00", "2026-11-21T03:59:59+01:00", True),
        ("22:30-04:00", "2026-11-21T12:00:00+01:00", False),
        ("22:00-24:00", "2026-11-21T23:59:59+01:00", True),
        # In Berlin, 02:30 is shown twice on 25 October 2026, and never on 29 March 2026.
        ("02:00-03:00", "2026-10-25T02:30:00+02:00", True),
        ("02:00-03:00", "2026-10-25T02:30:00+01:00", True),
        ("02:00-03:00", "2026-03-29T01:59:59+01:00", False),
        ("02:00-03:00", "2026-03-29T03:00:00+02:00", False),
    ],
)
def test_a_span_goes_by_the_clock_on_the_wall(between: str, moment: str, holds: bool) -> None:
    """Its beginning is in it, its end is not; over midnight, and in the nights in which clocks change."""
    span = parse_between(between)
    assert span is not None
    assert span.holds(at(moment), BERLIN) is holds


def test_the_next_span_is_found() -> None:
    """Also where its beginning is skipped."""
    span = parse_between("01:00-05:00")
    assert span is not None
    assert span.opens_s(at("2026-11-21T12:00:30+01:00"), BERLIN) == at("2026-11-22T01:00:00+01:00")
    assert span.opens_s(at("2026-11-21T02:00:30+01:00"), BERLIN) == at("2026-11-21T02:00:30+01:00")
    skipped = parse_between("02:15-04:00")
    assert skipped is not None
    assert skipped.opens_s(at("2026-03-29T00:00:00+01:00"), BERLIN) == at("2026-03-29T03:00:00+02:00")
    assert span.opens_s(at("2026-11-21T12:00:00+00:00"), UTC) == at("2026-11-22T01:00:00+00:00")


@pytest.mark.parametrize("text", ["1-5", "01:00", "25:00-26:00", "01:00-01:00", "01:60-02:00", "soon"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="between must be"):
        UploadConfig(between=text)


def test_no_more_bytes_leave_than_may() -> None:
    """Over any stretch of time, but for half a second's worth at its beginning."""
    now = 0.0

    def wait(seconds: float) -> bool:
        nonlocal now
        now += seconds
        return False

    limit = RateLimit(10_000, wait, lambda: now)
    for _ in range(100):
        limit.spend(1000)
    assert 9.0 <= now <= 10.0
    assert limit.block_size <= 5000
    stopped = RateLimit(10_000, lambda _s: True, lambda: now)
    with pytest.raises(Stopped):
        stopped.spend(1)


def test_pauses_grow_and_differ() -> None:
    """Each is up to twice the one before, to a quarter of an hour; after a success they begin again."""
    pauses = Pauses(random.Random(1).uniform)
    found = [pauses.next_s() for _ in range(30)]
    for number, pause_s in enumerate(found):
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**number)
        assert longest / 2 <= pause_s <= longest
    assert len(set(found)) == 30
    pauses.reset()
    assert pauses.next_s() <= FIRST_PAUSE_S


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"to": "ftp://host/x"}, "must begin with"),
        ({"to": "file://mnt/x"}, "three slashes"),
        ({"to": "s3:///x"}, "no bucket"),
        ({"pack": "week"}, "day or hour or none"),
        ({"also": ("spool",)}, "also may have"),
        ({"max_bytes_per_s": 0.0}, "above 0"),
        ({"free_low": 0.5, "free_high": 0.2}, "free_low"),
    ],
)
def test_a_mistake_is_said(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        UploadConfig(**values)  # type: ignore[arg-type]
