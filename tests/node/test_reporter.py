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
from sonyc_ml.node.config import Config, ProcessConfig, SpoolConfig
from sonyc_ml.node.facts import DaemonFacts, Facts, FolderFacts, InputFacts, ReloadFacts, TroubleFacts
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.reporter import Bulletin, summary
from sonyc_ml.node.running_bundles import Bundles
from sonyc_ml.node.spool.spool import MISSING, POLLED, WATCHED, FolderState
from tests.support.bundles import configure
from tests.support.journals import NOON_S, Clock

NOON = "2023-11-14T22:13:20+00:00"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state", clock=clock)
    yield journal
    journal.close()


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Path) -> Config:
    config = configure(tmp_path, tiny_bundle)
    return replace(
        config,
        spool=SpoolConfig(tmp_path / "recordings", quiet_after_s=600.0),
        process=ProcessConfig(summary_s=3600.0),
    )


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
def bulletin(config: Config, counts: Counter[str], clock: Clock, journal: Journal) -> Bulletin:
    bulletin = Bulletin(config, counts, None, clock, clock)
    bulletin.publish_in(journal)
    return bulletin


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


def test_what_runs_is_told(bulletin: Bulletin, journal: Journal, config: Config, tmp_path: Path) -> None:
    """Who it is, since when, with what, from where to where."""
    bundles = Bundles(config)
    bulletin.started(bundles)
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
    )
    (model,) = [loaded.model for loaded in bundles]
    assert (bundle.name, bundle.sha256) == ("tiny", model.bundle.sha256)
    assert bundle.path == str(config.model[0].path)
    assert bundle.output == str(tmp_path / "out")
    assert journal.facts().input == InputFacts("ok", NOON)
    assert journal.facts().trouble is None


def test_a_start_keeps_what_was_of_the_daemon_before(bulletin: Bulletin, journal: Journal, config: Config) -> None:
    """When one ended last, and its last reload; not its trouble."""
    reload = ReloadFacts(NOON, ok=False, detail="it is no good")
    before = Facts(daemon=DaemonFacts(pid=1), trouble=TroubleFacts(NOON, "full"), reload=reload, stopped=NOON)
    journal.write_facts(before)
    bulletin.publish_in(journal)
    assert journal.facts() == before
    assert bulletin.facts == Facts()
    bulletin.started(Bundles(config))
    facts = journal.facts()
    assert facts == bulletin.facts
    assert (facts.is_of(os.getpid()), facts.trouble, facts.reload, facts.stopped) == (True, None, reload, NOON)


def test_quiet_is_told_once(bulletin: Bulletin, journal: Journal, clock: Clock, lines: list[tuple[str, str]]) -> None:
    """When no recording came for long, and when they come again; not at every turn."""
    bulletin.found(1)
    clock.now_s += 600
    bulletin.found(0)
    assert lines == []
    clock.now_s += 1
    bulletin.found(0)
    bulletin.found(0)
    assert lines == [("WARNING", "no recording for 10 minutes; is the recorder running?")]
    assert journal.facts().input == InputFacts("quiet", NOON)
    clock.now_s += 1
    bulletin.found(2)
    bulletin.found(2)
    assert lines[1:] == [("WARNING", "recordings come in again")]
    assert journal.facts().input == InputFacts("ok", iso(NOON_S + 602))


def test_a_start_is_not_quiet(bulletin: Bulletin, clock: Clock, lines: list[tuple[str, str]]) -> None:
    """Quiet is counted from the start where nothing has come yet."""
    clock.now_s += 599
    bulletin.found(0)
    assert lines == []
    clock.now_s += 2
    bulletin.found(0)
    assert len(lines) == 1


def test_quiet_can_be_left_unsaid(
    config: Config, counts: Counter[str], clock: Clock, lines: list[tuple[str, str]]
) -> None:
    """With 0 nobody is told."""
    bulletin = Bulletin(replace(config, spool=replace(config.spool, quiet_after_s=0.0)), counts, None, clock, clock)
    clock.now_s += 1e6
    bulletin.found(0)
    assert lines == []


def test_the_folders_state_is_told_once(
    bulletin: Bulletin, journal: Journal, tmp_path: Path, lines: list[tuple[str, str]]
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
        bulletin.folder_is(state)
        bulletin.folder_is(state)
        assert journal.facts().folder == FolderFacts(state.word, state.detail, NOON)
    assert lines == [
        ("WARNING", f"{folder}: it is not there; waiting for it"),
        ("WARNING", f"{folder} is there again"),
        ("INFO", f"{folder} is scanned every 10 s"),
    ]


def test_trouble_is_told_until_it_has_passed(
    bulletin: Bulletin, journal: Journal, lines: list[tuple[str, str]]
) -> None:
    """What it is, since when, and that it is over."""
    bulletin.in_trouble(StoreError("the disk is full"))
    assert journal.facts().trouble == TroubleFacts(NOON, "the disk is full")
    bulletin.out_of_trouble()
    assert journal.facts().trouble is None
    assert lines == [
        ("ERROR", "the disk is full; everything waits, and is tried again"),
        ("WARNING", "the trouble has passed; going on"),
    ]


def test_a_reload_is_told(bulletin: Bulletin, journal: Journal, config: Config, lines: list[tuple[str, str]]) -> None:
    """What runs now, or why the old one runs on."""
    bundles = Bundles(config)
    bulletin.started(bundles)
    started = journal.facts().daemon
    (bundle,) = [loaded.model.bundle for loaded in bundles]
    bulletin.reloaded(bundles, "; and a remark")
    detail = f"running tiny {bundle.sha256[:12]}; and a remark"
    assert journal.facts().reload == ReloadFacts(NOON, ok=True, detail=detail)
    bulletin.not_reloaded(BundleError("it is no good"))
    assert journal.facts().reload == ReloadFacts(NOON, ok=False, detail="it is no good")
    assert lines == [
        ("WARNING", f"reloaded: {detail}"),
        ("ERROR", "not reloaded, the old bundle runs on: it is no good"),
    ]
    assert journal.facts().daemon == started


def test_a_summary_now_and_then(
    bulletin: Bulletin, counts: Counter[str], clock: Clock, lines: list[tuple[str, str]]
) -> None:
    """One line an hour, of that hour alone."""
    counts.update(embedded=3, shed=1, seconds=30)
    bulletin.summarise()
    assert lines == []
    clock.now_s += 3600
    bulletin.summarise()
    bulletin.summarise()
    counts.update(embedded=2)
    clock.now_s += 3600
    bulletin.summarise()
    assert lines == [("INFO", "in 1 h: embedded 3, shed 1"), ("INFO", "in 1 h: embedded 2")]


def test_the_end_is_told(
    bulletin: Bulletin, journal: Journal, counts: Counter[str], lines: list[tuple[str, str]]
) -> None:
    """With everything that was done since the start."""
    counts.update(embedded=2, quarantined=1)
    bulletin.stopped()
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
    bulletin: Bulletin, journal: Journal, tmp_path: Path, lines: list[tuple[str, str]]
) -> None:
    """The log has what could not be kept, and a journal made anew is told everything."""
    bulletin.folder_is(FolderState(MISSING, "it is not there"))
    journal.close()
    bulletin.in_trouble(StoreError("the disk is full"))
    assert len(lines) == 2
    another = Journal(tmp_path / "another")
    bulletin.publish_in(another)
    assert another.facts().folder_word == MISSING
    assert another.facts().trouble == TroubleFacts(NOON, "the disk is full")
    another.close()
