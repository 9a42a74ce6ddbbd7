"""The events of a journal: what is written with each change, what is kept, and how it is read and followed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sonyc_ml.base.identity import Identity
from sonyc_ml.base.records import replace
from sonyc_ml.node.facts import BundleFacts, DaemonFacts, Facts, FolderFacts, TroubleFacts
from sonyc_ml.node.journal.event_log import PLAIN, SETTLE_S, Follower, number_before, read_events
from sonyc_ml.node.journal.event_table import EVENTS, MOST
from sonyc_ml.node.journal.heard import Heard
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.journal.live import Heard as Stretch
from sonyc_ml.node.journal.live import write_heard_until
from sonyc_ml.node.journal.view import OutputSummary
from tests.conftest import ROOT, write_recording
from tests.support.earlier import JOURNAL_1, make_file
from tests.support.watching import Watch

A, B = Identity("a.wav", 10, 1_000_000_000), Identity("b.wav", 20, 2_000_000_000)
SUMMARY = OutputSummary(
    1e9, 10.0, 0.1, heard=(Heard("siren", 0.9, 1.0, 2.5),), levels={"LAeq": -40.0}, reference="dBFS"
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path, clock=lambda: 2e9)


def note_gap(journal: Journal) -> None:
    """A live source that was silent for two seconds."""
    with journal.transaction():
        write_heard_until(journal, Stretch("street", 1.0, 10.0))
        write_heard_until(journal, Stretch("street", 13.0, 10.0, "stalled", "it sent nothing"))


def kinds(journal: Journal, after: int = 0) -> list[str]:
    """The kinds of events behind a number."""
    return [event.kind for event in read_events(journal, after, 10**6)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda j: j.add([B]), ["found"]),
        (lambda j: j.take(), ["begun"]),
        (lambda j: (j.take(), j.release(A)), ["begun", "released"]),
        (lambda j: (j.take(), j.finish(A, SUMMARY)), ["begun", "published", "detection", "level"]),
        (lambda j: (j.take(), j.postpone(A, 3e9, "no room", "the disk is full")), ["begun", "postponed"]),
        (
            lambda j: (j.quarantine(A, "unreadable", "it is no sound"), j.retry(j.find("a.wav"))),
            ["quarantined", "retried"],
        ),
        (lambda j: j.shed(A, "too old", "x"), ["shed"]),
        (lambda j: j.add([Identity("a.wav", 11, 3_000_000_000)]), ["shed", "found"]),
        (lambda j: (j.finish(A, SUMMARY), j.settle(A, "deleted")), ["published", "detection", "level", "deleted"]),
        (note_gap, ["gap"]),
        (lambda j: j.adopt([(B, SUMMARY)]), []),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_every_change_is_told_once(journal: Journal, change: Callable[[Journal], object], told: list[str]) -> None:
    """Whoever makes it; what is taken up from outputs that are there has not happened now."""
    journal.add([A])
    before = number_before(journal)
    change(journal)
    assert sorted(kinds(journal, before)) == sorted(told)


def test_plain_values(journal: Journal) -> None:
    """Names and values are those of docs/events.md."""
    journal.add([A])
    journal.take()
    journal.finish(A, SUMMARY)
    plain = {event.kind: event.to_plain() for event in read_events(journal, 0)}
    published = plain["published"]
    assert published.pop("id") > 1e12
    assert published == {
        "time": "2033-05-18T03:33:20.000+00:00",
        "event": "published",
        "recording": "a.wav",
        "start_time": "2001-09-09T01:46:40.000+00:00",
        "duration_s": 10.0,
        "lag_s": 0.0,
        "salvaged": False,
    }
    heard = plain["detection"]
    assert (heard["label"], heard["score"], heard["duration_s"]) == ("siren", 0.9, 1.5)
    assert plain["level"]["levels"] == {"LAeq": -40.0}
    json.dumps(plain)


def test_facts_that_change(journal: Journal) -> None:
    """A start, another bundle, a folder that is away, a disk that is full; what is as before is none."""
    daemon = DaemonFacts(since="2026-11-28T00:00:00+00:00", version="1.0", bundles=(BundleFacts("a", "1", "x"),))
    facts = Facts(daemon=daemon, folder=FolderFacts("ok"))
    journal.write_facts(facts)
    other = replace(daemon, bundles=(BundleFacts("a", "2", "y"),))
    journal.write_facts(replace(facts, daemon=other, folder=FolderFacts("missing", "it is not there")))
    journal.write_facts(replace(facts, daemon=other, folder=FolderFacts("missing", "it is still not there")))
    journal.write_facts(replace(facts, daemon=other, trouble=TroubleFacts("now", "the disk is full")))
    facts = replace(facts, daemon=other, stopped="2026-11-28T00:01:00+00:00")
    journal.write_facts(facts)
    journal.write_facts(replace(facts, daemon=replace(daemon, pid=7)))  # at once: its second is the same
    told = [event.to_plain() for event in read_events(journal, 0)[1:]]
    assert [(one["event"], one.get("version") or one.get("state")) for one in told] == [
        ("started", "1.0"),
        ("bundle", "2"),
        ("folder", "missing"),
        ("folder", "ok"),
        ("trouble", "bad"),
        ("trouble", "ok"),
        ("stopped", "1.0"),
        ("started", "1.0"),
    ]


def test_a_change_that_is_undone_is_not_told(journal: Journal) -> None:
    """Event and change are one transaction."""

    def fail() -> None:
        with journal.transaction():
            journal.add([A])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert kinds(journal) == ["journal"]


def test_the_newest_are_kept(journal: Journal) -> None:
    """A hundred thousand recordings in a folder do not make a journal of events; a reader is told what it missed."""
    first = read_events(journal, 0)[0].number
    journal.add(Identity(f"{number}.wav", 1, number) for number in range(MOST + 5_000))
    events = read_events(journal, first, 10**6)
    assert MOST <= len(events) - 1 <= MOST + 512
    assert events[0].kind == "missed"
    assert events[0].value == events[1].number - first - 1
    assert [event.kind for event in read_events(journal, events[-1].number)] == []
    assert read_events(journal, events[-1].number + 7)[0].kind == "missed"  # of a journal that was there before


def test_numbers_grow_in_a_journal_that_is_made_again(tmp_path: Path) -> None:
    """A reader of the old one has had smaller numbers."""
    old = Journal(tmp_path / "old")
    old.add([A, B])
    last = read_events(old, 0)[-1].number
    time.sleep(1.1)
    assert read_events(Journal(tmp_path / "new"), 0)[0].number > last


def test_since(journal: Journal, tmp_path: Path) -> None:
    """A time gives the number behind which to begin; a count, at least the last so many."""
    journal.add([A, B])
    newest = number_before(journal)
    assert number_before(journal, 2e9 - 1) == newest - 2
    assert number_before(journal, 3e9) == newest
    assert number_before(journal, n_last=1) == newest - 1
    assert [event.kind for event in read_events(journal, number_before(journal, n_last=100))] == [
        "journal",
        "found",
        "found",
    ]


def test_an_earlier_journal_has_none(tmp_path: Path) -> None:
    """Opened to read it says nothing; the daemon's next start adds the table, and goes on."""
    path = make_file(tmp_path / "journal.sqlite", JOURNAL_1)
    reader = Journal(tmp_path, read_only=True)
    assert (read_events(reader, 0), number_before(reader)) == ([], 0)
    reader.close()
    journal = Journal(path.parent)
    journal.add([A])
    assert kinds(journal) == ["journal", "found"]


def test_a_follower_waits_for_the_journal(tmp_path: Path) -> None:
    """It may be made later, and made again."""
    follower = Follower(tmp_path, 0)
    assert (follower.has_news(), follower.read(), follower.has_news()) == (True, [], False)
    journal = Journal(tmp_path)
    journal.add([A])
    assert follower.has_news()
    assert [event.kind for event in follower.read()] == ["journal", "found"]
    assert follower.read() == []
    assert follower.has_news(), "what was written just now may not all be readable yet"
    time.sleep(SETTLE_S)
    assert follower.read() == []
    assert not follower.has_news()


def test_a_follower_from_now_on(journal: Journal, tmp_path: Path) -> None:
    """What was before is not told."""
    journal.add([A])
    follower = Follower(tmp_path, None)
    assert follower.read() == []
    journal.add([B])
    assert [event.name for event in follower.read()] == ["b.wav"]


def test_the_page_names_every_event() -> None:
    """docs/events.md has what the tables write, what the program writes, and what readers are told."""
    page = (ROOT / "docs" / "events.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page.partition("## What there is")[2], re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"\w+", row)} - {"event"}
    written = set(re.findall(r"'(\w+)', (?:new|x|CAST)|THEN '(\w+)' ELSE new\.state", EVENTS))
    assert {name for pair in written for name in pair if name} | {"quarantined", "shed", *PLAIN} <= documented
    assert documented - {
        "moved",
        "deleted",
        "gone",
        "overwritten",
        "detection",
        "level",
        "started",
        "stopped",
        "bundle",
    } <= {
        *PLAIN,
        *(name for pair in written for name in pair),
        "quarantined",
        "retried",
    }


def test_the_command_follows_a_daemon(tmp_path: Path, tiny_bundle: Path) -> None:
    """Lines for people, objects for programs; killed at any time, the daemon leaves no event without its change."""
    recordings, state = tmp_path / "in", tmp_path / "out" / ".sonyc-ml"
    recordings.mkdir()
    watch = Watch(recordings, tmp_path / "out", recordings, "--model", tiny_bundle, "--output", tmp_path / "out")
    watch.wait_for_line("watching")
    command = [sys.executable, "-m", "sonyc_ml", "events", "--state", str(state)]
    follower = subprocess.Popen([*command, "--follow", "--json"], stdout=subprocess.PIPE, text=True)
    try:
        write_recording(recordings / "a.wav")
        (recordings / "bad.wav").write_bytes(b"no sound")
        wanted = {("published", "a.wav"), ("quarantined", "bad.wav")}
        assert follower.stdout is not None
        for line in follower.stdout:
            event = json.loads(line)
            wanted.discard((event["event"], event.get("recording")))
            if not wanted:
                break
        os.kill(watch.process.pid, signal.SIGKILL)
        watch.process.wait()
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130
        if follower.stdout:
            follower.stdout.close()
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert [line.split()[1:3] for line in lines if " published " in line] == [["published", "a.wav"]]
    head = subprocess.run(f"{' '.join(command)} | head -1", shell=True, capture_output=True, text=True, check=True)
    assert (head.stderr, head.stdout.count("\n")) == ("", 1)
