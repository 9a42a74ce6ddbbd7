"""What is seen of a batch or a separation: on a terminal, in a log, by programs."""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from sonyc_ml.batch.events import (
    BatchBegun,
    BatchEnded,
    BatchEvent,
    RecordingEmbedded,
    RecordingFailed,
    RecordingKept,
    RecordingProgress,
    RecordingSeparated,
    SeparationEnded,
    SeparationEvent,
)
from sonyc_ml.cli.progress import Progress, SeparationProgress
from tests.conftest import needs

Shown = Callable[..., tuple[str, str]]
BEGUN = BatchBegun(4, 1, "tiny")
EMBEDDED = RecordingEmbedded("a.wav", "out/a.wav.npz", 1, 1, 1, 1, 11, "", 10.0, 0.25)
FAILED = RecordingFailed("b.wav", "in/b.wav", "unreadable", "in/b.wav: it is\x1b[31m not sound")
SEPARATED = RecordingSeparated("a.wav", ("out/a.x.wav", "out/a.y.wav"), 10.0, 0.5, 5, 1e-4)


def made(kind: type[Progress] = Progress, **flags: bool) -> Progress:
    parsed = argparse.Namespace(quiet=False, verbose=False, json=False, output="out")
    vars(parsed).update(flags)
    return kind(parsed)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """What is printed of events: standard output, and standard error."""

    def show(*events: BatchEvent | SeparationEvent, **flags: Any) -> tuple[str, str]:
        with made(**flags) as progress:
            for event in events:
                progress.show(event)
        return tuple(capsys.readouterr())  # type: ignore[return-value]

    return show


def test_a_log_has_what_failed_and_the_end(shown: Shown) -> None:
    """What is in a name or a message cannot change the terminal; each recording has a line where that is asked for."""
    ended = BatchEnded(1, 1, 1, 10.0, 2.0)
    out, err = shown(BEGUN, EMBEDDED, FAILED, RecordingKept("c.wav", 10.0), ended)
    assert out == ""
    failed, end = err.splitlines()
    assert failed.startswith("failed (unreadable): in/b.wav: it is")
    assert "\x1b" not in failed
    assert end == (
        "embedded 1 of 4 recordings; 10 s of sound in 2 s, 5 x real time; 1 were embedded already; "
        "1 failed, see out/failures.csv"
    )
    assert shown(BEGUN, EMBEDDED, verbose=True)[1] == "out/a.wav.npz  11 windows, 10.0 s in 250 ms\n"
    assert shown(BEGUN, EMBEDDED, FAILED, ended, quiet=True)[1] == f"{failed}\n"


def test_the_end_names_all_that_a_person_should_know(shown: Shown) -> None:
    """What was replaced, renamed, marked, doubted or left out."""
    ended = BatchEnded(
        2,
        0,
        0,
        20.0,
        2.0,
        skipped={".mp3": 3},
        marks={"salvaged": 2},
        n_apart=1,
        n_replaced=2,
        start_time_sources={"mtime": 2},
    )
    _, err = shown(BEGUN, ended)
    for part in (
        "2 replaced earlier outputs",
        "1 have their time in their output's name",
        "2 salvaged (see note and level_dbfs in the outputs)",
        "--start-pattern",
        "left out, since they are not read: ",
    ):
        assert part in err


def test_the_end_of_a_separation(shown: Shown) -> None:
    """Samples that were too loud, tracks of before, and how well the tracks add up."""
    ended = SeparationEnded(
        1,
        2,
        1,
        10.0,
        2.0,
        n_saturated=5,
        n_with_saturated=1,
        largest_difference=1e-4,
        n_tracks_left_out=3,
        n_outdated=2,
        skipped={".mp3": 1},
        marks={"salvaged": 1},
    )
    _, err = shown(BEGUN, SEPARATED, ended, kind=SeparationProgress, verbose=True)
    line, end = err.splitlines()
    assert line == "out/a.x.wav, out/a.y.wav  10.0 s in 500 ms"
    assert end.startswith(
        "separated 1 of 4 recordings; 10 s of sound in 2 s, 5 x real time; 2 were separated already; 1 failed"
    )
    for part in (
        "5 samples in 1 recording were too loud for PCM",
        "add up to within 0.0001 of full scale",
        "1 salvaged (see provenance in the tracks' .json)",
        "made in another way than these: 2 tracks",
        "since they were made here before: 3 tracks",
        "left out, since they are not read: ",
    ):
        assert part in end
    assert "x real time" not in shown(BEGUN, SeparationEnded(0, 4, 0, 0.0, 0.0), kind=SeparationProgress)[1]


def test_programs_get_every_event(shown: Shown) -> None:
    """One in a line, with its name."""
    out, _ = shown(BEGUN, EMBEDDED, FAILED, json=True)
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["begun", "embedded", "failed"]
    assert (events[0]["n_recordings"], events[1]["n_windows"], events[2]["reason"]) == (4, 11, "unreadable")


def test_a_signal_says_how_far_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """And that nothing of it is lost."""
    progress = made()
    progress.stopped()
    progress.show(BEGUN)
    progress.show(EMBEDDED)
    progress.show(RecordingKept("c.wav", 10.0))
    progress.stopped()
    assert capsys.readouterr().err.splitlines() == [
        "stopped before it began",
        "stopped: 1 recording embedded, 2 left; the same command goes on from there",
    ]
    assert (progress.n_good, progress.n_failed) == (2, 0)


def read_all(descriptor: int) -> str:
    """What a terminal was given so far; it comes in pieces."""
    found = b""
    while select.select([descriptor], [], [], 0.1)[0]:
        found += os.read(descriptor, 1 << 16)
    return found.decode()


@needs("tqdm")
def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a long recording has come to is in it; it is gone at the end, and fits the terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("COLUMNS", "140")
        with made() as progress:
            progress.show(BEGUN)
            progress.show(RecordingProgress("a.wav", 60.0, 600.0))
            time.sleep(0.2)  # it is drawn ten times a second at most
            progress.show(FAILED)
        terminal.flush()
        drawn = read_all(ours)
    os.close(ours)
    bars = [line for line in drawn.replace("\n", "\r").split("\r") if "of 4 recordings" in line]
    assert any("1 of 4 recordings" in bar and "1 failed" in bar and "1 min of 10 min begun" in bar for bar in bars), (
        drawn
    )
    assert max(map(len, bars)) <= 139
    assert not drawn.rsplit("\r", 1)[-1].strip()
