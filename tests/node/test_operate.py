"""What an operator is told, of journals made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.base.human import iso, moment, seconds_of, shown, size, span
from sonyc_ml.base.identity import Identity
from sonyc_ml.base.lock import Lock
from sonyc_ml.cli.node_text import audit_text, explain_text, listing_text, status_text
from sonyc_ml.errors import ConfigError, StoreError
from sonyc_ml.node.facts import Facts, ReloadFacts
from sonyc_ml.node.journal.journal import Journal, OutputSummary
from sonyc_ml.node.journal.pauses import N_PAUSES, pauses_of
from sonyc_ml.node.journal.rebuild import summary_of
from sonyc_ml.node.operate import forget, reload, retry
from sonyc_ml.node.operate import status as answers
from sonyc_ml.node.operate.audit import audit, find_gaps
from sonyc_ml.node.operate.explain import explain
from sonyc_ml.node.operate.listing import listing
from sonyc_ml.node.operate.status import Answer, status
from tests.support.outputs import PROVENANCE

NOW_S = 1_700_000_000.0  # 2023-11-14T22:13:20+00:00
DAY_S = 86400.0


class Node:
    """A journal, and the folders around it, at a time that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.now_s = NOW_S
        self.spool, self.output = folder / "in", folder / "out"
        self.spool.mkdir()
        self.output.mkdir()
        self.journal = Journal(folder / "state", clock=lambda: self.now_s)
        self.lock: Lock | None = None
        self.bundle = {
            "name": "tiny",
            "version": "1.0.0",
            "sha256": "ab" * 32,
            "runtime": "none",
            "output": str(self.output),
            "xnnpack_operators": 2,
            "operators": 2,
        }

    def run(self, *, is_running: bool = True, **facts: Any) -> None:
        """Be a daemon, as far as anybody can see."""
        if is_running and self.lock is None:
            self.lock = Lock(self.journal.path.parent)
        daemon = {
            "pid": os.getpid(),
            "since": iso(self.now_s),
            "version": "1.2.3",
            "folder": str(self.spool),
            "extensions": [".wav"],
            "output": str(self.output),
            "format": "npz",
            "bundles": [self.bundle],
        }
        well = {"word": "watched", "detail": "", "since": iso(self.now_s)}
        fed = {"word": "ok", "since": iso(self.now_s)}
        self.journal.write_facts(Facts.from_plain({"daemon": daemon, "folder": well, "input": fed, **facts}))

    def change_facts(self, **changes: Any) -> None:
        """Say something else; of the daemon, the rest stays."""
        facts = self.journal.facts().to_plain()
        changes["daemon"] = facts["daemon"] | changes.get("daemon", {})
        self.journal.write_facts(Facts.from_plain(facts | changes))

    def add(
        self, name: str, state: str = "pending", start_s: float | None = None, length_s: float | None = 10.0
    ) -> Identity:
        """A recording of 3 bytes in some state."""
        path = self.spool / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"wav")
        end_s = (self.now_s if start_s is None else start_s) + (length_s or 0.0)
        os.utime(path, ns=(int(end_s) * 10**9,) * 2)
        identity = Identity(name, 3, int(end_s) * 10**9)
        self.journal.add([identity])
        if state == "done":
            assert length_s is not None
            self.journal.finish(identity, OutputSummary(start_s, length_s, 0.1))
        elif state == "quarantined":
            self.journal.quarantine(identity, "unreadable", "it is not sound")
        elif state == "shed":
            self.journal.shed(identity, "too old", "it waited", start_s=start_s, duration_s=length_s)
        return identity

    def publish(self, identity: Identity) -> Path:
        """As much of an output as tells whose it is."""
        path = self.output / f"{identity.name}.npz"
        np.savez(path, recording_bytes=identity.n_bytes, recording_mtime_ns=identity.mtime_ns)
        return path

    def status(self) -> Answer:
        return status(self.journal, self.now_s)

    def explain(self, file: str | Path) -> Answer:
        return explain(self.journal, Path(file), self.now_s)

    def why(self, file: str | Path) -> str:
        answer = self.explain(file)
        assert not answer["known"]
        return " | ".join(answer["why"])

    def told(self, file: str | Path) -> str:
        return " | ".join(self.explain(file)["recordings"][0]["sentences"])

    def audit(self, since_s: float = DAY_S, gap_s: float = 60.0) -> Answer:
        return audit(self.journal, self.now_s - since_s, gap_s=gap_s, clock=lambda: self.now_s)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.journal.close()
    if made.lock:
        made.lock.release()


# Status


def test_a_node_that_is_well(node: Node) -> None:
    """A daemon that waits for recordings wants no attention."""
    node.run()
    node.add("a.wav", "done", NOW_S)
    node.now_s += 90
    answer = node.status()
    assert (answer["word"], answer["attention"], answer["running"], answer["pid"]) == ("waiting", [], True, os.getpid())
    assert answer["last_output"] == {"recording": "a.wav", "at": iso(NOW_S), "age_s": 90.0}
    assert answer["counts"]["done"] == {"recordings": 1, "reasons": {}}
    assert answer["disk"]["output"]["free_bytes"] > 0
    assert answer["journal"]["bytes"] > 4096
    text = status_text(answer)
    assert "state           waiting for recordings" in text
    assert "last output     of a.wav, 2023-11-14T22:13:20+00:00, 1 min 30 s ago" in text
    assert "attention       nothing" in text


def test_a_daemon_that_does_not_run(node: Node) -> None:
    """Never started, stopped, and killed are told apart; what the last one said of its folder is not repeated."""
    assert node.status()["text"] == "not running; no daemon has run here yet"
    node.run(is_running=False, trouble={"since": iso(NOW_S), "detail": "disk full"})
    answer = node.status()
    assert (answer["word"], answer["trouble"], answer["input"], answer["since"]) == ("died", None, None, None)
    assert answer["attention"] == [answer["text"]]
    node.now_s += 60
    node.change_facts(stopped=iso(node.now_s))
    assert node.status()["text"] == "not running; stopped 2023-11-14T22:14:20+00:00"
    node.now_s += 60
    node.run(is_running=False)
    assert node.status()["word"] == "died"  # the one that stopped was another
    assert "running" not in status_text(node.status()).splitlines()[1]


def test_a_daemon_that_starts(node: Node) -> None:
    """Until it has loaded its bundles, the facts are another daemon's."""
    node.run()
    node.change_facts(daemon={"pid": 1}, trouble={"since": "", "detail": "old"})
    answer = node.status()
    assert (answer["word"], answer["attention"], answer["recording"]) == ("starting", [], None)


def test_the_recording_at_hand(node: Node) -> None:
    """It is the one that was begun last, by this daemon, and has not failed since."""
    node.add("killed.wav")
    node.journal.take()
    node.now_s += 100
    node.run()
    assert node.status()["word"] == "waiting"
    node.now_s += 5
    node.add("b.wav")
    assert node.journal.take(newest_first=True) is not None
    node.now_s += 3
    answer = node.status()
    assert (answer["word"], answer["recording"]["name"]) == ("embedding", "b.wav")
    assert answer["text"] == "embedding b.wav, for 3 s"
    node.journal.postpone(node.journal.find("b.wav")[0].identity, node.now_s + 60, "failed", "it broke", survived=False)
    assert node.status()["recording"] is None


@pytest.mark.parametrize(
    ("facts", "word", "text"),
    [
        ({"trouble": {"since": "T", "detail": "disk full"}}, "trouble", "in trouble since T: disk full"),
        ({"folder": {"word": "missing", "detail": "gone", "since": "T"}}, "missing", "since T: gone"),
        ({"folder": {"word": "unreadable", "detail": "no", "since": "T"}}, "unreadable", "since T: no"),
        ({"input": {"word": "quiet", "since": iso(NOW_S - 1200)}}, "quiet", "no recording for 20 min, since"),
    ],
)
def test_what_is_not_well_is_a_state_of_its_own(node: Node, facts: dict[str, Any], word: str, text: str) -> None:
    """Trouble, a missing folder, and no recordings each have a word, a sentence, and want attention."""
    node.run(**facts)
    answer = node.status()
    assert answer["word"] == word
    assert text in answer["text"]
    assert answer["attention"] == [answer["text"]]


def test_trouble_hides_nothing(node: Node) -> None:
    """While it embeds what it has, a missing folder and missing recordings want attention all the same."""
    node.run(folder={"word": "missing", "detail": "it is not there", "since": iso(NOW_S)})
    node.add("a.wav")
    node.journal.take()
    assert node.status()["word"] == "embedding"
    assert node.status()["attention"] == [f"{node.spool}: it is not there"]
    node.run(input={"word": "quiet", "since": iso(NOW_S)})
    assert node.status()["attention"] == [f"no recording since {iso(NOW_S)}; is the recorder running?"]


def test_the_backlog(node: Node) -> None:
    """Its age is that of its oldest; what waits is told with its reason; what waits for its writer is not late."""
    node.run()
    growing, away = node.add("growing.wav"), node.add("away.wav", start_s=NOW_S + 1)
    node.journal.postpone(growing, NOW_S + 5000, "growing", "somebody writes it")
    node.now_s += 500
    node.add("new.wav")
    node.journal.postpone(away, node.now_s + 50, "unavailable", "no permission")
    backlog = node.status()["backlog"]
    assert (backlog["recordings"], backlog["lag_s"], backlog["late_s"]) == (3, 500.0, 500.0)
    assert {"reason": "unavailable", "recordings": 1, "next": iso(node.now_s + 50)} in backlog["waiting"]
    assert len(backlog["waiting"]) == 2
    assert node.status()["attention"] == []
    node.now_s += 101
    assert node.status()["attention"] == ["the oldest of the backlog has waited for 10 min 1 s"]
    node.journal.finish(away, OutputSummary(None, 1.0, 0.1))
    assert node.status()["attention"] == []
    assert "1 recording not due yet (growing)" in status_text(node.status())


def test_reasons_are_counted(node: Node) -> None:
    """What was given up is counted by its reason."""
    node.run()
    for number in range(3):
        node.add(f"{number}.wav", "quarantined")
    node.add("x.wav", "shed")
    answer = node.status()
    assert answer["counts"]["quarantined"] == {"recordings": 3, "reasons": {"unreadable": 3}}
    assert "shed            1 too old" in status_text(answer)


def test_bundles_and_reloads(node: Node) -> None:
    """A bundle that XNNPACK did not take has a warning; a failed reload of this daemon wants attention."""
    node.bundle["xnnpack_operators"] = 0
    node.run(reload={"at": iso(NOW_S - 1), "ok": False, "detail": "of the daemon before"})
    answer = node.status()
    assert answer["attention"] == []
    assert "WARNING: XNNPACK took none" in status_text(answer)
    node.run(reload={"at": iso(NOW_S + 1), "ok": False, "detail": "digest"})
    assert node.status()["attention"] == ["the last reload failed, the old bundle runs on: digest"]
    node.run(reload={"at": iso(NOW_S + 2), "ok": True, "detail": "running tiny"})
    assert node.status()["attention"] == []


def test_disks(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is not there is said to be so; a disk that is nearly full wants attention."""
    node.run()
    node.output.rmdir()
    answer = node.status()
    assert answer["disk"]["output"]["problem"] == "it is not there"
    assert f"{node.output}: it is not there" in status_text(answer)
    monkeypatch.setattr(answers, "MIN_FREE", 1.1)
    assert f"the disk of {node.spool} (spool) is nearly full" in node.status()["attention"][0]


# Explain


def test_a_recording_is_found_by_any_of_its_names(node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Absolute, relative to the current folder, or to the spool folder; through a link; there or gone."""
    node.run()
    node.add("sub/a.wav", "quarantined")
    (tmp_path / "link").symlink_to(node.spool)
    monkeypatch.chdir(node.spool / "sub")
    for file in (
        node.spool / "sub" / "a.wav",
        "a.wav",
        "sub/a.wav",
        "../sub/a.wav",
        tmp_path / "link" / "sub" / "a.wav",
    ):
        assert node.explain(file)["name"] == "sub/a.wav"
        assert node.explain(file)["known"]
    (node.spool / "sub" / "a.wav").unlink()
    assert node.explain("a.wav")["known"]
    assert "the recording's file is not there any more" in node.told("a.wav")


def test_the_file_at_hand_wins_over_its_namesake(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sub-folder of the spool, a name means the file there."""
    node.run()
    node.add("a.wav", "shed")
    node.add("sub/a.wav", "quarantined")
    monkeypatch.chdir(node.spool / "sub")
    assert node.explain("a.wav")["name"] == "sub/a.wav"


def test_a_pending_recording(node: Node) -> None:
    """Found when, tried how often, why it waits, and what comes before it."""
    node.run()
    first, second = node.add("a.wav"), node.add("b.wav", start_s=NOW_S + 1)
    node.now_s += 60
    assert node.told("a.wav") == "pending: found 2023-11-14T22:13:20+00:00, 1 min ago | it is the next"
    assert node.told("b.wav").endswith("1 recording comes before it")
    node.journal.postpone(first, node.now_s + 30, "unavailable", "no permission")
    assert "1 attempt ended in trouble that may pass: unavailable: no permission" in node.told("a.wav")
    assert node.told("a.wav").endswith("the next attempt is not before 2023-11-14T22:14:50+00:00, in 30 s")
    assert node.told("b.wav").endswith("it is the next")
    node.journal.take()
    assert node.told("b.wav").endswith("it is being embedded, since 2023-11-14T22:14:20+00:00")
    assert second in [entry.identity for entry in node.journal.begun()]


def test_newest_first_is_known(node: Node) -> None:
    """Which comes first is the daemon's policy."""
    node.run()
    node.change_facts(daemon={"overload": "newest-first"})
    node.add("a.wav")
    node.add("b.wav", start_s=NOW_S + 1)
    assert node.told("a.wav").endswith("1 recording comes before it")
    assert node.told("b.wav").endswith("it is the next")


def test_a_pending_recording_without_a_daemon(node: Node) -> None:
    """Nobody embeds it; an attempt that did not end is told."""
    node.run(is_running=False)
    node.add("a.wav")
    node.journal.take()
    assert "1 attempt began and did not end" in node.told("a.wav")
    assert "the daemon is not running" in node.told("a.wav")


def test_a_done_recording(node: Node) -> None:
    """When, where its output is, when it begins and how long it is; the output may be gone."""
    node.run()
    identity = node.add("a.wav", "done", NOW_S - 100)
    told = node.told("a.wav")
    assert "done 2023-11-14T22:13:20+00:00" in told
    assert f"its output in {node.output} is not there any more" in told
    assert "begins 2023-11-14T22:11:40+00:00 and is 10 s long; it was embedded every 0.1 s" in told
    path = node.publish(identity)
    assert f"its output is {path}" in node.told("a.wav")
    assert node.explain("a.wav")["recordings"][0]["outputs"] == [str(path)]


def test_a_recording_that_was_given_up(node: Node) -> None:
    """Why, and how to try it again; not where its file is gone or another."""
    node.run()
    identity = node.add("a b.wav", "quarantined")
    assert "quarantined 2023-11-14T22:13:20+00:00: unreadable: it is not sound" in node.told("a b.wav")
    assert f"sonyc-ml retry '{node.spool}/a b.wav' --state {node.journal.path.parent}" in node.told("a b.wav")
    (node.spool / "a b.wav").write_bytes(b"another")
    assert "another recording now" in node.told("a b.wav")
    assert "retry" not in node.told("a b.wav")
    node.journal.settle(identity, "deleted")
    assert "the recording's file was deleted by retention" in node.told("a b.wav")


def test_every_recording_of_a_name(node: Node) -> None:
    """A name that was used again has several recordings, the newest first."""
    node.run()
    node.add("a.wav", "done", NOW_S - 100)
    node.add("a.wav", "shed", NOW_S)
    assert [recording["state"] for recording in node.explain("a.wav")["recordings"]] == ["shed", "done"]
    assert explain_text(node.explain("a.wav")).count("a.wav: 3 bytes") == 2


def test_why_a_file_is_not_known(node: Node, tmp_path: Path) -> None:
    """Each reason has its sentence."""
    assert node.why("a.wav") == "no daemon has run here yet"
    node.run()
    (node.spool / "folder.wav").mkdir()
    (node.spool / "real").mkdir()
    (node.spool / "linked").symlink_to(node.spool / "real")
    for name in ("a.txt", ".a.wav", "old.wav", "new.wav", "real/a.wav"):
        (node.spool / name).write_bytes(b"x")
        os.utime(node.spool / name, (NOW_S - 100, NOW_S - 100))
    os.utime(node.spool / "new.wav", (NOW_S - 1, NOW_S - 1))
    assert f"it is not in {node.spool}" in node.why(tmp_path / "a.wav")
    assert "it is hidden" in node.why(".a.wav")
    assert "it is a folder" in node.why("folder.wav")
    assert "does not end with .wav" in node.why("a.txt")
    assert "behind a symbolic link" in node.why("linked/a.wav")
    assert "there is no" in node.why("nothing.wav")
    assert "cannot be looked at: File name too long" in node.why("a" * 300 + ".wav")
    (node.spool / "loop").symlink_to("loop")
    assert "behind a symbolic link" in node.why(node.spool / "loop" / "a.wav")
    assert "it has just been written" in node.why("new.wav")
    assert "the next scan" in node.why("old.wav")
    node.run(trouble={"since": "T", "detail": "disk full"})
    assert node.why("old.wav") == "the daemon is in trouble: disk full"
    assert "old.wav: the journal does not know it" in explain_text(node.explain("old.wav"))
    with (node.spool / "new.wav").open("ab"):
        assert "somebody has it open for writing" in node.why("new.wav")


def test_why_a_file_is_not_known_without_a_daemon(node: Node) -> None:
    """A daemon that does not run, or a folder that is away, is the reason."""
    node.run(is_running=False)
    (node.spool / "a.wav").write_bytes(b"x")
    os.utime(node.spool / "a.wav", (NOW_S - 100, NOW_S - 100))
    assert node.why("a.wav") == "the daemon is not running; it will find it when it starts"
    (node.spool / "a.wav").unlink()
    node.spool.rmdir()
    assert node.why("a.wav") == f"the folder {node.spool} is not there, or may not be looked into"


# Audit


def test_seconds_add_up(node: Node) -> None:
    """Each state has its recordings and seconds, in the span and not before it; unknown lengths are counted."""
    node.run()
    node.add("old.wav", "done", NOW_S - 2 * DAY_S)
    node.add("a.wav", "done", NOW_S - 300)
    salvaged = node.add("b.wav", start_s=NOW_S - 200)
    node.journal.finish(salvaged, OutputSummary(NOW_S - 200, 5.0, 0.1, salvaged=True))
    node.add("c.wav", "shed", NOW_S - 100)
    node.add("d.wav", "quarantined", NOW_S - 50)
    node.add("e.wav", start_s=NOW_S - 20)
    answer = node.audit()
    assert answer["recorded"] == {"recordings": 5, "seconds": 25.0, "unmeasured": 2}
    assert answer["embedded"] == {"recordings": 2, "seconds": 15.0, "unmeasured": 0}
    assert answer["salvaged"] == {"recordings": 1, "seconds": 5.0, "unmeasured": 0}
    assert answer["shed"] == {"recordings": 1, "seconds": 10.0, "unmeasured": 0, "reasons": {"too old": 1}}
    assert answer["quarantined"] == {"recordings": 1, "seconds": 0.0, "unmeasured": 1, "reasons": {"unreadable": 1}}
    assert answer["pending"] == {"recordings": 1, "seconds": 0.0, "unmeasured": 1}
    assert (answer["embedded_share"], answer["embedded_share_of_seconds"]) == (0.4, 0.6)
    assert answer["whole"]
    text = audit_text(answer)
    assert "recorded        25 s in 5 recordings, 2 of unknown length" in text
    assert "40.0% of the recordings, 60.0% of the time known" in text
    assert "quarantined     1 recording of unknown length: 1 unreadable" in text


def test_gaps(node: Node) -> None:
    """Pauses longer than asked for, over whatever was recorded; overlapping recordings are one."""
    node.run()
    start_s = NOW_S - 1000
    node.add("a.wav", "done", start_s, 100.0)
    node.add("b.wav", "shed", start_s + 50, 100.0)
    node.add("c.wav", "done", start_s + 210, 90.0)  # 60 s after b: no gap
    node.add("within.wav", "done", start_s + 215, 5.0)
    node.add("d.wav", "done", start_s + 361, 600.0)
    (gap,) = node.audit()["gaps"]
    assert (gap["start"], gap["end"], gap["seconds"]) == (iso(start_s + 300), iso(start_s + 361), 61.0)
    assert (gap["open"], gap["unmeasured"]) == (False, 0)
    assert [gap["seconds"] for gap in node.audit(gap_s=59)["gaps"]] == [60.0, 61.0]


def test_what_a_triggered_recorder_left_out_is_a_gap(node: Node) -> None:
    """Within a recording as between two: it adds no seconds, also compacted, and goes with the row."""
    node.run()
    segments = json.dumps([[0, 441_000], [4_410_000, 441_000], [4_895_100, 441_000]])  # 10 s, at 0, 100 and 111 s
    provenance = replace(
        PROVENANCE, recording="t.wav", segments=segments, n_elapsed=8_820_000, start_time=iso(NOW_S - 1000)
    )
    identity = node.add("t.wav", "pending")
    node.journal.finish(identity, summary_of(provenance))
    node.add("b.wav", "done", NOW_S - 795, 795.0)
    answer = node.audit()
    assert [(gap["start"], gap["seconds"]) for gap in answer["gaps"]] == [
        (iso(NOW_S - 990), 90.0),
        (iso(NOW_S - 879), 84.0),
    ]
    assert answer["embedded"]["seconds"] == 30 + 795
    assert [gap["seconds"] for gap in node.audit(gap_s=0.5)["gaps"]] == [90.0, 1.0, 84.0]
    node.journal.compact(NOW_S + 1, lambda name: name == "t.wav")
    assert [row[-1] for row in node.journal.days("")] == [30.0]
    assert node.journal.connection.execute("SELECT count(*) FROM pauses").fetchone() == (0,)


def test_many_pauses_are_kept_to_a_bound() -> None:
    """Of a day of triggers the longest are kept, in their order."""
    starts = [n * (n + 99) * 44_100 for n in range(1100)]
    segments = json.dumps([[start, 44_100] for start in starts])
    provenance = replace(PROVENANCE, segments=segments, n_elapsed=starts[-1] + 44_100)
    pauses = pauses_of(provenance)
    assert len(pauses) == N_PAUSES
    assert pauses[-1][1] == starts[-1] / 44_100
    assert list(pauses) == sorted(pauses)


def test_gaps_at_the_edges(node: Node) -> None:
    """From the begin of the span if the history goes back so far; up to now."""
    node.run()
    node.add("a.wav", "done", NOW_S - 500)
    answer = node.audit()
    assert [gap["open"] for gap in answer["gaps"]] == [True]
    assert "8 min 10 s, up to now: a recording that is being made is not known yet" in audit_text(answer)
    assert (answer["whole"], answer["history_begins"]) == (False, iso(NOW_S - 500))
    assert "history         begins 2023-11-14T22:05:00+00:00, later than the span" in audit_text(answer)
    node.add("older.wav", "done", NOW_S - 2 * DAY_S)
    answer = node.audit()
    assert [gap["start"] for gap in answer["gaps"]] == [iso(NOW_S - DAY_S), iso(NOW_S - 490)]
    # One that began before the span and reaches into it leaves no gap there.
    node.add("across.wav", "done", NOW_S - DAY_S - 100, DAY_S - 430)
    answer = node.audit()
    assert [gap["start"] for gap in answer["gaps"]] == [iso(NOW_S - 490)]
    assert answer["embedded"]["recordings"] == 1


def test_recordings_of_unknown_length_may_lie_in_a_gap(node: Node) -> None:
    """A backlog is not silence."""
    node.run()
    node.add("a.wav", "done", NOW_S - 500)
    node.add("b.wav", "quarantined", NOW_S - 400)
    node.add("c.wav", start_s=NOW_S - 300)
    (gap,) = node.audit()["gaps"]
    assert gap["unmeasured"] == 2
    assert "2 recordings of unknown length may lie in it" in audit_text(node.audit())


def test_find_gaps_of_nothing() -> None:
    """Without a recording the whole span is a gap, or nothing is known."""
    assert find_gaps([], 0.0, 100.0, 60.0) == [(0.0, 100.0)]
    assert find_gaps([], None, 100.0, 60.0) == []


def test_an_empty_journal_knows_nothing(node: Node) -> None:
    """Neither gaps nor shares of nothing."""
    answer = node.audit()
    assert (answer["gaps"], answer["embedded_share"], answer["history_begins"]) == ([], None, None)
    assert "nothing is known: the journal is empty" in audit_text(answer)


def test_what_was_compacted_counts_by_whole_days(node: Node) -> None:
    """Days wholly in the span are added; those that it cuts are named; gaps say what is known of their days."""
    node.run()
    midnight_s = seconds_of("2023-11-14")
    for day, name in ((2, "a.wav"), (1, "b.wav"), (0, "c.wav")):
        node.add(name, "done", midnight_s - day * DAY_S + 3600)
    node.add("kept.wav", "done", NOW_S - 20)
    node.journal.compact(NOW_S + 1, lambda name: name != "kept.wav")
    answer = node.audit(since_s=NOW_S - midnight_s + 1.5 * DAY_S)
    assert answer["embedded"] == {"recordings": 2, "seconds": 20.0, "unmeasured": 0}
    assert answer["days"] == {"counted": ["2023-11-13"], "cut": {"2023-11-12": 1, "2023-11-14": 1}}
    assert (answer["whole"], answer["history_begins"]) == (True, "2023-11-12")
    assert answer["gaps"][0]["known_by_day"] == 3
    assert "1 recording of 2023-11-12 not counted" in audit_text(answer)


def test_an_audit_says_that_nobody_looks(node: Node) -> None:
    """Without a daemon, what was not found is not counted."""
    node.run(is_running=False)
    node.add("a.wav", "done", NOW_S - 500)
    assert "the daemon is not running" in audit_text(node.audit())


# List


def test_listing(node: Node) -> None:
    """The latest first, so many, since a time."""
    for number in range(3):
        node.now_s = NOW_S + number
        node.add(f"{number}.wav", "quarantined")
    node.add("done.wav", "done", NOW_S)
    answer = listing(node.journal, ("quarantined", "shed"), limit=2)
    assert ([entry["name"] for entry in answer["entries"]], answer["more"]) == (["2.wav", "1.wav"], True)
    assert "more; see --limit" in listing_text(answer)
    answer = listing(node.journal, ("quarantined",), since_s=NOW_S + 1)
    assert ([entry["name"] for entry in answer["entries"]], answer["more"]) == (["2.wav", "1.wav"], False)
    assert "quarantined  2.wav  unreadable: it is not sound" in listing_text(answer)
    assert listing_text(listing(node.journal, ("shed",))) == "nothing is shed"
    assert listing(node.journal, ("done",))["entries"][0]["duration_s"] == 10.0


# Retry and reload


def chosen(choice: retry.Choice) -> list[str]:
    return [entry.identity.name for entry in choice.entries]


def test_what_can_be_tried_again(node: Node) -> None:
    """What was given up and is there; the others are refused, each with its reason."""
    with pytest.raises(StoreError, match="no daemon has run here yet"):
        retry.choose_files(node.journal, [Path("a.wav")])
    node.run()
    for name, state in (("q.wav", "quarantined"), ("s.wav", "shed"), ("d.wav", "done"), ("p.wav", "pending")):
        node.add(name, state, NOW_S)
    node.add("gone.wav", "shed", NOW_S)
    (node.spool / "gone.wav").unlink()
    node.add("new.wav", "shed", NOW_S)
    (node.spool / "new.wav").write_bytes(b"another")
    names = ["q.wav", "s.wav", "d.wav", "p.wav", "gone.wav", "new.wav", "unknown.wav", "q.wav"]
    choice = retry.choose_files(node.journal, [Path(name) for name in names])
    assert chosen(choice) == ["q.wav", "s.wav", "d.wav"]  # nothing of d.wav is published
    refused = dict(choice.refused)
    assert "not there any more" in refused["gone.wav"]
    assert "another recording now" in refused["new.wav"]
    assert "does not know it" in refused["unknown.wav"]
    assert "pending already" in refused["p.wav"]
    published = node.publish(node.journal.find("d.wav")[0].identity)
    (refusal,) = retry.choose_files(node.journal, [Path("d.wav")]).refused
    assert refusal == ("d.wav", f"it is done; to embed it again, remove its output {published} first")


def test_what_can_be_forgotten(node: Node) -> None:
    """What is named, but for what is pending; of all in a state only what has no file any more."""
    node.run()
    for name, state in (("q.wav", "quarantined"), ("gone.wav", "quarantined"), ("s.wav", "shed"), ("p.wav", "pending")):
        node.add(name, state, NOW_S)
    (node.spool / "gone.wav").unlink()
    choice = forget.choose_gone(node.journal, ("quarantined", "shed"))
    assert chosen(choice) == ["gone.wav"]
    assert dict(choice.refused).keys() == {"q.wav", "s.wav"}
    assert forget.choose_gone(node.journal, ("quarantined",), "too old").entries == ()
    named = forget.choose_named(node.journal, [Path(name) for name in ("q.wav", "p.wav", "x.wav", "q.wav")])
    assert chosen(named) == ["q.wav"]
    assert dict(named.refused) == {"p.wav": forget.PENDING, "x.wav": "the journal does not know it"}
    assert forget.forget(node.journal, (*choice.entries, *named.entries, *node.journal.find("p.wav"))) == 2
    assert {entry.identity.name for entry in node.journal.entries()} == {"s.wav", "p.wav"}


def test_what_was_replaced_and_embedded_is_not_counted_as_quarantined(node: Node) -> None:
    """A good recording of the same name ends the matter; one that was good before does not."""
    node.run()
    node.add("b.wav", "done", NOW_S - 300)
    node.now_s += 60
    node.add("a.wav", "quarantined", NOW_S - 200)
    node.add("b.wav", "quarantined", NOW_S - 200)
    node.now_s += 60
    assert sum(node.journal.reasons()["quarantined"].values()) == 2
    node.add("a.wav", "done", NOW_S - 100)
    counts = node.journal.reasons()
    assert (sum(counts["quarantined"].values()), sum(counts["done"].values())) == (1, 2)
    assert [entry["name"] for entry in listing(node.journal)["entries"]] == ["b.wav"]
    assert [entry["name"] for entry in listing(node.journal, ("quarantined",))["entries"]] == ["a.wav", "b.wav"]


@pytest.mark.parametrize("name", ["a b.wav", "-rf.wav", "sub/$HOME `x`.wav", "it's.wav"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_command_that_is_printed_works_when_pasted(name: str, is_there: bool, node: Node, tmp_path: Path) -> None:
    """From any folder, with any name, without a configuration: exit status 0, and it does what it says."""
    node.run()
    node.add(name, "quarantined")
    if not is_there:
        (node.spool / name).unlink()
    (line,) = [line for line in explain_text(node.explain(name)).splitlines() if ": sonyc-ml " in line]
    command = line[line.index("sonyc-ml ") :].rstrip()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = f'sonyc-ml() {{ "{sys.executable}" -m sonyc_ml "$@"; }}; {command}'
    pasted = subprocess.run(["bash", "-c", program], cwd=elsewhere, capture_output=True, text=True, check=False)
    assert (pasted.returncode, pasted.stderr) == (0, "")
    assert [entry.state for entry in node.journal.find(name)] == (["pending"] if is_there else [])


def test_choosing_by_state_and_reason(node: Node) -> None:
    """All of a state, or those with a reason."""
    node.run()
    node.add("q.wav", "quarantined")
    node.add("s.wav", "shed")
    assert chosen(retry.choose_all(node.journal, ("quarantined", "shed"))) == ["q.wav", "s.wav"]
    assert chosen(retry.choose_all(node.journal, ("quarantined", "shed"), "too old")) == ["s.wav"]
    node.journal.settle(node.journal.find("s.wav")[0].identity, "moved")
    (node.spool / "s.wav").unlink()
    assert retry.choose_all(node.journal, ("shed",)).refused == (("s.wav", "its file was moved by retention"),)


def test_nothing_is_tried_again_in_a_folder_that_is_away(node: Node) -> None:
    """A disk that is away is said to be so, once."""
    node.run()
    node.spool.rmdir()
    with pytest.raises(StoreError, match="is not there, so nothing"):
        retry.choose_all(node.journal, ("shed",))


def answering(node: Node, after: int, **outcome: Any) -> Callable[[float], None]:
    """A sleep in which the daemon answers, after so many of them."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        node.now_s += seconds
        if len(slept) == after:
            node.change_facts(reload={"at": iso(node.now_s), **outcome})

    return sleep


def test_a_reload_waits_for_its_own_outcome(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outcome of this very second is not taken for the answer: the signal is sent in the next."""
    node.run(reload={"at": iso(NOW_S), "ok": True, "detail": "running tiny"})
    sent: list[float] = []
    monkeypatch.setattr(reload, "send_hangup", lambda _pid, _folder: sent.append(node.now_s))
    folder = node.journal.path.parent
    sleep = answering(node, 25, ok=True, detail="running tiny")
    outcome = reload.reload(folder, 30.0, lambda: node.now_s, sleep)
    assert outcome == ReloadFacts(iso(NOW_S + 1), ok=True, detail="running tiny")
    assert sent[0] >= NOW_S + 0.999


def test_a_reload_that_is_not_answered(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so in the end, or at once where the daemon has gone; None where there was none."""
    folder = node.journal.path.parent
    assert reload.reload(folder, 1.0) is None
    node.run()
    monkeypatch.setattr(reload, "send_hangup", lambda _pid, _folder: None)
    with pytest.raises(StoreError, match=r"has not answered in 0\.1 s"):
        reload.reload(folder, 0.1)
    lock = node.lock
    assert lock is not None
    monkeypatch.setattr(reload, "send_hangup", lambda _pid, _folder: lock.release())
    with pytest.raises(StoreError, match="ended before"):
        reload.reload(folder, 10.0)
    node.lock = None


def test_a_signal_goes_to_the_daemon_alone(node: Node) -> None:
    """A process that has the daemon's number and not its lock is left alone."""
    node.run()
    with subprocess.Popen(["sleep", "60"]) as bystander:  # of our own: a mistake here hits nobody else
        try:
            with pytest.raises(ConfigError, match="it runs in a container"):
                reload.send_hangup(bystander.pid, node.journal.path.parent)
            assert bystander.poll() is None
        finally:
            bystander.kill()
    with pytest.raises(ConfigError, match="cannot be signalled: No such file"):
        reload.send_hangup(2**22 + 1, node.journal.path.parent)


# Words


def test_units() -> None:
    """Durations and sizes as people read them."""
    spans = {
        0: "0 s",
        3.25: "3.2 s",
        45: "45 s",
        200: "3 min 20 s",
        180: "3 min",
        18720: "5 h 12 min",
        90000: "1 d 1 h",
    }
    assert {seconds: span(seconds) for seconds in spans} == spans
    assert (span(86400), span(86401), span(-60)) == ("1 d", "1 d", "-1 min")
    assert [size(n) for n in (5, 1200, 123456, 1.2e9, 5e12)] == ["5 bytes", "1.2 kB", "123 kB", "1.2 GB", "5.0 TB"]


def test_names_are_safe_on_a_terminal() -> None:
    """A file's name may hold what would move the cursor, or is no UTF-8."""
    assert shown("a\x1b[2J\n\udcff.wav é") == r"a\x1b[2J\n\udcff.wav é"


def test_moments() -> None:
    """How long ago, or a time; UTC where no zone is given."""
    assert moment("24h", NOW_S) == NOW_S - DAY_S
    assert moment("30min", NOW_S) == moment("30m", NOW_S) == NOW_S - 1800
    assert moment("2023-11-14T23:13:20+01:00", NOW_S) == moment("2023-11-14T22:13:20", NOW_S) == NOW_S
    assert moment("99999999999w", NOW_S) == 0.0
    for text in ("soon", "24", "5 parsecs", "", "9999-12-31T23:59-12:00"):
        with pytest.raises(ValueError, match="is no time; give how long ago"):
            moment(text, NOW_S)
