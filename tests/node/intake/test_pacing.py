"""A source is read at the pace of its sound, and a mistake that comes again and again does not fill the log."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from sonyc_ml.node.intake.mistakes import EVERY_S, Mistakes
from sonyc_ml.node.intake.pacing import REST_S, SHARE, capacity_of, enlarge, read_size, rest_s


def test_a_rest_leaves_room_in_the_kernel() -> None:
    """However fast the sound comes, so that no recorder waits; and it ends when the sound that matters is there."""
    assert rest_s(1 << 20, 192_000, 9.0) == REST_S
    assert rest_s(1 << 16, 192_000, 9.0) * 192_000 == pytest.approx((1 << 16) / SHARE)
    assert rest_s(1 << 20, 192_000, 0.4) == 0.4
    assert rest_s(1 << 20, 192_000, 0.001) == rest_s(0, 192_000, 9.0) == 0


@pytest.mark.parametrize("bytes_per_s", [8000, 192_000, 4_000_000])
def test_one_read_takes_what_a_rest_lets_come(bytes_per_s: int) -> None:
    """Else a source would be read twice, or fall behind."""
    assert read_size(bytes_per_s) > rest_s(1 << 19, bytes_per_s, 9.0) * bytes_per_s


def test_pipes_and_sockets_hold_something() -> None:
    """Of a file nobody waits to write more: it is read on at once."""
    out, into = os.pipe()
    enlarge(out)
    here, there = socket.socketpair()
    with here, there, Path(os.devnull).open("rb") as file:
        assert capacity_of(out) >= 1 << 16
        assert capacity_of(here.fileno()) > 1 << 12
        assert capacity_of(file.fileno()) == 0
    os.close(out)
    os.close(into)


def test_a_mistake_that_comes_again_is_logged_within_bounds(caplog: pytest.LogCaptureFixture) -> None:
    """Once with its traceback; later, how often it came meanwhile."""
    times = [0.0]
    mistakes = Mistakes(lambda: times[0])
    for time_s in (0.0, 1.0, 2.0, EVERY_S + 1):
        times[0] = time_s
        mistakes.log("it goes on", ZeroDivisionError(f"at {time_s:g} s"))
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "it goes on",
        "it goes on (2 more since the last that was logged)",
    ]
    assert all(record.exc_info for record in caplog.records)
