"""What the daemon says of itself: what has changed, once, and facts for those who ask."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sonyc_ml import __version__
from sonyc_ml.base.human import iso
from sonyc_ml.errors import BundleError, StoreError
from sonyc_ml.node.config import Config
from sonyc_ml.node.events import RecordingEnded
from sonyc_ml.node.facts import DaemonFacts, Facts, FolderFacts, InputFacts, ReloadFacts, SoundFacts, TroubleFacts
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.reporter import Reporter, summary
from sonyc_ml.node.running_bundles import RunningBundles
from sonyc_ml.node.spool.spool import MISSING, POLLED, WATCHED, FolderState
from sonyc_ml.node.starting import facts_of
from tests.support.bundles import configure
from tests.support.journals import NOON_S, Clock

NOON = "2023-11-14T22:13:20+00:00"


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state", clock=clock)
    yield journal
    journal.close()


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Path) -> Config:
    return configure(tmp_path, tiny_bundle)


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


def make_reporter(config: Config, counts: Counter[str], clock: Clock, quiet_after_s: float = 600.0) -> Reporter:
    return Reporter(facts_of(config), counts, quiet_after_s=quiet_after_s, summary_s=3600.0, clock=clock, timer=clock)


@pytest.fixture
def reporter(config: Config, counts: Counter[str], clock: Clock, journal: Journal) -> Reporter:
    reporter = make_reporter(config, counts, clock)
    reporter.publish_in(journal)
    return reporter


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[tuple[str, str]]]:
    """The log lines of this room: level and text."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append((record.levelname, record.getMessage()))

    found: list[tuple[str, str]] = []
    logger, handler = logging.getLogger("sonyc_ml.node.reporter"), Lines()
    logger.addHandler(handler)
    with caplog.at_level(logging.INFO, "sonyc_ml.node.reporter"):
        yield found
    logger.removeHandler(handler)


def test_what_runs_is_told(reporter: Reporter, journal: Journal, config: Config, tmp_path: Path) -> None:
    """Who it is, since when, with what, from where to where."""
    bundles = RunningBundles(config.model, config.output)
    reporter.started(bundles, FolderState(WATCHED))
    daemon = journal.facts().daemon
    assert daemon is not None
    (bundle,) = daemon.bundles
    assert replace(daemon, bundles=()) == DaemonFacts(
        pid=os.getpid(),
        since=NOON,
        version=__version__,
        folder=str(tmp_path / "recordings"),
        extensions=(".wav",),
        recursive=True,
        output=str(tmp_path / "out"),
        format="npz",
        overload="oldest-first",
        retention="keep",
        node=config.node.record(),
    )
    (model,) = [loaded.model for loaded in bundles]
    assert (bundle.name, bundle.sha256) == ("tiny", model.bundle.sha256)
    assert bundle.path == str(config.model[0].path)
    assert bundle.output == str(tmp_path / "out")
    assert journal.facts().input == InputFacts("ok", NOON)
    assert journal.facts().trouble is None


def test_a_start_keeps_what_was_of_the_daemon_before(reporter: Reporter, journal: Journal, config: Config) -> None:
    """When one ended last, and its last reload; not its trouble."""
    reload = ReloadFacts(NOON, ok=False, detail="it is no good")
    before = Facts(daemon=DaemonFacts(pid=1), trouble=TroubleFacts(NOON, "full"), reload=reload, stopped=NOON)
    journal.write_facts(before)
    reporter.publish_in(journal)
    assert journal.facts() == before
    assert reporter.facts == Facts()
    reporter.started(RunningBundles(config.model, config.output), FolderState(WATCHED))
    facts = journal.facts()
    assert facts == reporter.facts
    assert (facts.is_of(os.getpid()), facts.trouble, facts.reload, facts.stopped) == (True, None, reload, NOON)


def test_another_format_is_reported(
    reporter: Reporter, journal: Journal, config: Config, lines: list[tuple[str, str]]
) -> None:
    """A folder whose outputs had another ending until now holds both, and the log says so."""
    for before, warnings in (("npz", 0), ("csv", 1)):
        journal.write_facts(Facts(daemon=DaemonFacts(pid=1, since=NOON, format=before)))
        lines.clear()
        reporter.started(RunningBundles(config.model, config.output), FolderState(WATCHED))
        found = [text for level, text in lines if level == "WARNING"]
        assert len(found) == warnings
        assert all(".npz now, and were as .csv" in text for text in found)


def test_quiet_is_told_once(reporter: Reporter, journal: Journal, clock: Clock, lines: list[tuple[str, str]]) -> None:
    """When no recording came for long, and when they come again; not at every turn."""
    reporter.found(1)
    clock.now_s += 600
    reporter.found(0)
    assert lines == []
    clock.now_s += 1
    reporter.found(0)
    reporter.found(0)
    assert lines == [("WARNING", "no recording for 10 minutes; is the recorder running?")]
    assert journal.facts().input == InputFacts("quiet", NOON)
    clock.now_s += 1
    reporter.found(2)
    reporter.found(2)
    assert lines[1:] == [("WARNING", "recordings come in again")]
    assert journal.facts().input == InputFacts("ok", iso(NOON_S + 602))


def test_a_start_is_not_quiet(reporter: Reporter, clock: Clock, lines: list[tuple[str, str]]) -> None:
    """Quiet is counted from the start where nothing has come yet."""
    clock.now_s += 599
    reporter.found(0)
    assert lines == []
    clock.now_s += 2
    reporter.found(0)
    assert len(lines) == 1


def test_quiet_can_be_left_unsaid(
    config: Config, counts: Counter[str], clock: Clock, lines: list[tuple[str, str]]
) -> None:
    """With 0 nobody is told."""
    reporter = make_reporter(config, counts, clock, quiet_after_s=0.0)
    clock.now_s += 1e6
    reporter.found(0)
    assert lines == []


def test_the_folders_state_is_told_once(
    reporter: Reporter, journal: Journal, tmp_path: Path, lines: list[tuple[str, str]]
) -> None:
    """Missing, back, polled: a line for each change."""
    folder = tmp_path / "recordings"
    states = (
        FolderState(WATCHED),
        FolderState(MISSING, "it is not there"),
        FolderState(WATCHED),
        FolderState(POLLED, "scanned every 10 s"),
    )
    for state in states:
        reporter.folder_is(state)
        reporter.folder_is(state)
        assert journal.facts().folder == FolderFacts(state.word, state.detail, NOON)
    assert lines == [
        ("WARNING", f"{folder}: it is not there; waiting for it"),
        ("WARNING", f"{folder} is there again"),
        ("INFO", f"{folder} is scanned every 10 s"),
    ]


def test_trouble_is_told_until_it_has_passed(
    reporter: Reporter, journal: Journal, lines: list[tuple[str, str]]
) -> None:
    """What it is, since when, and that it is over."""
    reporter.in_trouble(StoreError("the disk is full"))
    assert journal.facts().trouble == TroubleFacts(NOON, "the disk is full")
    reporter.out_of_trouble()
    assert journal.facts().trouble is None
    assert lines == [
        ("ERROR", "the disk is full; everything waits, and is tried again"),
        ("WARNING", "the trouble has passed; going on"),
    ]


def test_a_reload_is_told(reporter: Reporter, journal: Journal, config: Config, lines: list[tuple[str, str]]) -> None:
    """What runs now, or why the old one runs on."""
    bundles = RunningBundles(config.model, config.output)
    reporter.started(bundles, FolderState(WATCHED))
    started = journal.facts().daemon
    (bundle,) = [loaded.model.bundle for loaded in bundles]
    reporter.reloaded(bundles, "; and a remark")
    detail = f"running tiny {bundle.sha256[:12]}; and a remark"
    assert journal.facts().reload == ReloadFacts(NOON, ok=True, detail=detail)
    reporter.not_reloaded(BundleError("it is no good"))
    assert journal.facts().reload == ReloadFacts(NOON, ok=False, detail="it is no good")
    assert lines == [
        ("WARNING", f"reloaded: {detail}"),
        ("ERROR", "not reloaded, the old bundle runs on: it is no good"),
    ]
    assert journal.facts().daemon == started


def test_a_summary_now_and_then(
    reporter: Reporter, counts: Counter[str], clock: Clock, lines: list[tuple[str, str]]
) -> None:
    """One line an hour, of that hour alone."""
    counts.update(embedded=3, shed=1, seconds=30)
    reporter.summarise()
    assert lines == []
    clock.now_s += 3600
    reporter.summarise()
    reporter.summarise()
    counts.update(embedded=2)
    clock.now_s += 3600
    reporter.summarise()
    assert lines == [("INFO", "in 1 h: embedded 3, shed 1"), ("INFO", "in 1 h: embedded 2")]


def test_the_end_is_told(
    reporter: Reporter, journal: Journal, counts: Counter[str], lines: list[tuple[str, str]]
) -> None:
    """With everything that was done since the start."""
    counts.update(embedded=2, quarantined=1)
    reporter.stopped()
    assert lines == [("INFO", "stopped; embedded 2, quarantined 1")]
    assert journal.facts().stopped == NOON


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ({}, "embedded 0"),
        ({"embedded": 4, "salvaged": 1, "quarantined": 2, "shed": 3}, "embedded 4, salvaged 1, quarantined 2, shed 3"),
        ({"embedded": 1, "salvaged": 0}, "embedded 1"),
    ],
)
def test_a_summary_names_what_there_was(ends: dict[str, int], text: str) -> None:
    """Zeros are left out, but for what matters most."""
    assert summary(Counter(ends)) == text


def test_a_journal_that_cannot_be_written_stops_nothing(
    reporter: Reporter, journal: Journal, tmp_path: Path, lines: list[tuple[str, str]]
) -> None:
    """The log has what could not be kept, and a journal made anew is told everything."""
    reporter.folder_is(FolderState(MISSING, "it is not there"))
    journal.close()
    reporter.in_trouble(StoreError("the disk is full"))
    assert len(lines) == 2
    another = Journal(tmp_path / "another")
    reporter.publish_in(another)
    assert another.facts().folder_word == MISSING
    assert another.facts().trouble == TroubleFacts(NOON, "the disk is full")
    another.close()


def ended(name: str, *, without_sound: bool) -> RecordingEnded:
    """A recording that is embedded."""
    return RecordingEnded(name, "done", without_sound=without_sound)


def test_a_dead_microphone_is_reported_once(
    config: Config, counts: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    """After so many recordings without sound, not before, and taken back with the first that has some."""
    clock = Clock()
    reporter = Reporter(facts_of(config), counts, silent_after=3, clock=clock, timer=clock)
    for number in range(2):
        reporter.on_event(ended(f"{number}.wav", without_sound=True))
    reporter.on_event(ended("sound.wav", without_sound=False))
    assert not reporter.facts.is_silent
    since = iso(clock())
    for number in range(5):
        reporter.on_event(ended(f"{number}.wav", without_sound=True))
        clock.now_s += 10
    assert reporter.facts.sound == SoundFacts("silent", since, 5)
    assert caplog.text.count("is the microphone connected?") == 1
    reporter.on_event(ended("sound.wav", without_sound=False))
    assert not reporter.facts.is_silent
    assert "there is sound again, after 5 recordings without" in caplog.text


def test_files_that_are_left_alone_are_facts(config: Config, counts: Counter[str]) -> None:
    """How many of each kind, for as long as they are there."""
    reporter = Reporter(facts_of(config), counts)
    reporter.left_out({".mp3": 3, ".flac": 1200})
    assert reporter.facts.left_out == "1,200 .flac, 3 .mp3"
    reporter.left_out({})
    assert reporter.facts.left_out == ""


def test_start_times_that_may_be_wrong(reporter: Reporter, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The first of each kind is logged and kept at once; how many there are is brought up to date now and then."""
    ended = RecordingEnded("a.wav", "done", start_time_source="name")
    reporter.on_event(ended)
    assert (reporter.facts.start_times, caplog.text) == ("", "")
    for doubt in ("", "before 2000", "before 2000", "in the future"):
        reporter.on_event(replace(ended, recording="b.wav", start_time_source="mtime", start_time_doubt=doubt))
    assert caplog.text.count("b.wav: its name says no start time") == 1
    assert caplog.text.count("b.wav: its start time is in doubt: before 2000") == 1
    assert caplog.text.count("b.wav: its start time is in doubt: in the future") == 1
    reporter.on_event(replace(ended, start_time_source="mtime"))
    clock.now_s += 3600.0
    reporter.summarise()
    assert reporter.facts.start_times == (
        "start times: 1 by name, 5 by the file's time; see recordings.start_patterns; "
        "start times in doubt: 2 before 2000, 1 in the future (see start_time_doubt in the outputs)"
    )
