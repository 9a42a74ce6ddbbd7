"""What became of each recording is on the disk, adds up, and is never lost but with the disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import JournalDamagedError, StoreError
from sonyc_ml.node.facts import Facts, FolderFacts, InputFacts, TroubleFacts
from sonyc_ml.node.journal.file import FILE_NAME, MAX_LOG_BYTES, STEPS, VERSION, set_aside
from sonyc_ml.node.journal.journal import RESTED_S, Entry, Journal, OutputSummary, open_journal
from tests.conftest import examples
from tests.support.earlier import JOURNAL_1, make_file
from tests.support.journals import NOON_S, Clock, an_identity, fill, mounted

DAY_S = 86400.0
EMBEDDED = OutputSummary(start_s=NOON_S, duration_s=10.0, hop_size_s=0.1)
NEVER_S = 1e12


A, B, C = (an_identity(f"{letter}.wav", NOON_S + number) for number, letter in enumerate("abc"))
A_AGAIN = an_identity("a.wav", NOON_S + 60)


def entry_of(journal: Journal, identity: Identity) -> Entry:
    (entry,) = [entry for entry in journal.find(identity.name) if entry.identity == identity]
    return entry


def state_of(journal: Journal, identity: Identity) -> tuple[str, str]:
    entry = entry_of(journal, identity)
    return entry.state, entry.reason


def take(journal: Journal, *, newest_first: bool = False) -> Entry:
    entry = journal.take(newest_first=newest_first)
    assert entry is not None
    return entry


def log_size(journal: Journal) -> int:
    """What was written: every page of every transaction is appended to the log beside the journal."""
    return journal.path.with_name(f"{FILE_NAME}-wal").stat().st_size


# --- what a recording goes through ------------------------------------------------------------------------------------


def test_a_recording_that_is_found_is_pending(journal: Journal, clock: Clock) -> None:
    """It is taken up once, with the time at which it was found."""
    assert journal.add([A, B]) == 2
    clock.now_s += 5
    assert journal.add([A, B, C]) == 1
    assert journal.n_added == 3
    assert entry_of(journal, A) == Entry(A, "pending", NOON_S, NOON_S)
    assert entry_of(journal, C).found_s == NOON_S + 5
    assert journal.counts() == {"pending": 3, "done": 0, "quarantined": 0, "shed": 0}


def test_known_recordings_cost_no_write(journal: Journal) -> None:
    """A scan that finds nothing new leaves the disk alone."""
    journal.add([A, B])
    before = log_size(journal)
    assert journal.add([A, B]) == 0
    assert log_size(journal) == before


def test_an_attempt_is_counted_before_the_work(journal: Journal, clock: Clock) -> None:
    """A recording that is taken has one attempt more, and the time at which it was begun."""
    journal.add([A])
    clock.now_s += 1
    assert take(journal) == Entry(A, "pending", NOON_S, NOON_S + 1, n_attempts=1)
    assert [entry.identity for entry in journal.begun()] == [A]


def test_attempts_outlive_the_process(tmp_path: Path) -> None:
    """What a process that was killed had begun is still counted, and on the disk."""
    program = (
        "import os, signal, sys; from pathlib import Path; from sonyc_ml.base.identity import Identity; "
        "from sonyc_ml.node.journal.journal import Journal; journal = Journal(Path(sys.argv[1])); "
        "journal.add([Identity('a.wav', 1, 1)]); journal.take(); journal.take(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], check=False).returncode == -9
    journal = Journal(tmp_path)
    assert [entry.n_attempts for entry in journal.begun()] == [2]
    assert take(journal).n_attempts == 3
    journal.close()


def test_a_published_output_ends_the_attempt(journal: Journal, clock: Clock) -> None:
    """Done, with what the output says of the recording."""
    journal.add([A])
    take(journal)
    clock.now_s += 3
    journal.finish(A, OutputSummary(12.5, 10.0, 0.2, salvaged=True))
    assert entry_of(journal, A) == Entry(
        A, "done", NOON_S, NOON_S + 3, start_s=12.5, duration_s=10.0, hop_size_s=0.2, salvaged=True
    )
    assert journal.begun() == []
    assert journal.take() is None


def test_a_quarantined_recording_says_why(journal: Journal) -> None:
    """It is not begun again, and its attempts are taken back."""
    journal.add([A])
    take(journal)
    journal.quarantine(A, "unreadable", "it is no sound")
    entry = entry_of(journal, A)
    assert (entry.state, entry.reason, entry.detail) == ("quarantined", "unreadable", "it is no sound")
    assert entry.n_attempts == 0
    assert journal.take() is None


def test_a_shed_recording_says_what_was_lost(journal: Journal) -> None:
    """Given up, with the time that it covered where that is known."""
    journal.add([A, B])
    journal.shed(A, "too old", "it had waited", start_s=5.0, duration_s=10.0)
    journal.shed(B, "vanished", "it is gone")
    entry = entry_of(journal, A)
    assert (entry.state, entry.reason, entry.detail, entry.start_s, entry.duration_s) == (
        "shed",
        "too old",
        "it had waited",
        5.0,
        10.0,
    )
    assert entry_of(journal, B).start_s is None
    assert journal.counts()["shed"] == 2


def test_a_postponed_recording_is_not_begun_before_its_time(journal: Journal, clock: Clock) -> None:
    """It stays pending; the failure is counted and the attempt taken back."""
    journal.add([A])
    take(journal)
    journal.postpone(A, NOON_S + 10, "unavailable", "no permission")
    assert journal.take() is None
    assert journal.next_due_s() == NOON_S + 10
    clock.now_s += 10
    entry = take(journal)
    assert (entry.n_attempts, entry.n_failures, entry.reason) == (1, 1, "unavailable")


def test_what_did_not_survive_stays_counted(journal: Journal) -> None:
    """An attempt that failed as if it had killed the process adds up."""
    journal.add([A])
    for n_attempts in (1, 2, 3):
        assert take(journal).n_attempts == n_attempts
        journal.postpone(A, 0.0, "failed", "a mistake", survived=False)
    assert entry_of(journal, A).n_failures == 3


def test_whatever_became_of_it_can_be_tried_again(journal: Journal, clock: Clock) -> None:
    """A retried recording is as if it had just been found."""
    journal.add([A, B])
    journal.quarantine(A, "unreadable", "no sound")
    journal.shed(B, "too old", "it had waited")
    clock.now_s += 7
    assert journal.retry([*journal.entries("quarantined"), *journal.entries("shed")]) == 2
    for identity in (A, B):
        assert entry_of(journal, identity) == Entry(identity, "pending", NOON_S + 7, NOON_S + 7)


def test_what_vanished_and_is_found_again_is_pending(journal: Journal, clock: Clock) -> None:
    """A disk that was away comes back with its recordings; what was given up otherwise stays so."""
    journal.add([A, B])
    take(journal)
    journal.shed(A, "vanished", "it is gone")
    journal.shed(B, "too old", "it had waited")
    clock.now_s += 5
    assert journal.add([A, B]) == 1
    assert entry_of(journal, A) == Entry(A, "pending", NOON_S + 5, NOON_S + 5)
    assert state_of(journal, B) == ("shed", "too old")


def test_outputs_that_were_found_are_done(journal: Journal) -> None:
    """What a new journal learns of outputs does not change what it knows already."""
    journal.add([A])
    journal.quarantine(A, "unreadable", "no sound")
    assert journal.adopt([(A, EMBEDDED), (B, EMBEDDED)]) == 1
    assert state_of(journal, A) == ("quarantined", "unreadable")
    assert entry_of(journal, B).duration_s == 10.0
    assert entry_of(journal, B).state == "done"


def test_retentions_deed_is_kept(journal: Journal) -> None:
    """What became of the file is told beside what became of the recording."""
    journal.add([A])
    journal.finish(A, EMBEDDED)
    journal.settle(A, "moved")
    assert (entry_of(journal, A).state, entry_of(journal, A).fate) == ("done", "moved")


# --- names that are used again ----------------------------------------------------------------------------------------


def test_a_name_used_again_is_a_new_recording(journal: Journal) -> None:
    """What was embedded stays done; what is written over it later is another."""
    journal.add([A])
    journal.finish(A, EMBEDDED)
    assert journal.add([A_AGAIN]) == 1
    assert [entry.identity for entry in journal.find("a.wav")] == [A_AGAIN, A]
    assert [entry.state for entry in journal.find("a.wav")] == ["pending", "done"]


@pytest.mark.parametrize("other", [A_AGAIN, A._replace(n_bytes=101)], ids=["time", "size"])
def test_what_is_written_over_while_it_waits_is_shed(journal: Journal, other: Identity) -> None:
    """It is lost, and that is told; time and size each tell one from another."""
    journal.add([A, B])
    journal.add([other])
    entry = entry_of(journal, A)
    assert (entry.state, entry.reason) == ("shed", "overwritten")
    assert "written over it before its turn came" in entry.detail
    assert state_of(journal, other) == ("pending", "")
    assert state_of(journal, B) == ("pending", "")


@pytest.mark.parametrize("reason", ["unfinished", "growing"])
def test_what_was_still_written_is_forgotten(journal: Journal, reason: str) -> None:
    """A recording seen while it grew was never one of its own."""
    journal.add([A])
    take(journal)
    journal.postpone(A, NOON_S + 1, reason, "it grows")
    journal.add([A_AGAIN])
    assert [entry.identity for entry in journal.find("a.wav")] == [A_AGAIN]


# --- whose turn it is -------------------------------------------------------------------------------------------------


def test_the_order(journal: Journal, clock: Clock) -> None:
    """What was found first comes first, by the file's time where that was at once; or the other way round."""
    for identities in ([B, A], [C]):
        journal.add(identities)
        clock.now_s += 1
    assert take(journal).identity == A
    assert take(journal, newest_first=True).identity == C
    for identity in (A, C):
        journal.finish(identity, EMBEDDED)
    assert take(journal).identity == B


def test_who_waits_until_later_lets_others_pass(journal: Journal) -> None:
    """A recording that is not due holds up nobody."""
    journal.add([A, B])
    journal.postpone(A, NOON_S + 60, "unavailable", "no permission")
    assert take(journal).identity == B
    assert journal.next_due_s() == 0.0


def test_nothing_is_due_where_nothing_is_pending(journal: Journal) -> None:
    """An empty journal has nothing to say of any recording."""
    assert journal.next_due_s() is None
    assert journal.last("done") is None
    assert journal.last_found_s() is None
    assert journal.begins_s() is None
    assert list(journal.entries()) == journal.oldest_pending() == journal.latest(["done"]) == []


def test_what_another_changes_is_seen_at_the_next_question(tmp_path: Path) -> None:
    """However long nothing has changed; and as long as nothing does, the file is not asked again."""
    timer = Clock()
    with closing(Journal(tmp_path)) as other, closing(Journal(tmp_path, timer=timer)) as journal:
        statements: list[str] = []
        journal.connection.set_trace_callback(statements.append)
        for n_asked in (1, 2, 2, 2):
            assert journal.next_due_s() is None
            assert len(statements) == n_asked
            timer.now_s += RESTED_S
        other.add([A])
        assert journal.next_due_s() == 0.0
        other.finish(A, EMBEDDED)
        assert journal.next_due_s() is None


def test_changes_of_the_same_moment_are_seen(tmp_path: Path) -> None:
    """Two changes may leave the log with the same size and time; the second is seen all the same."""
    with closing(Journal(tmp_path)) as other, closing(Journal(tmp_path, timer=Clock())) as journal:
        log = tmp_path / f"{FILE_NAME}-wal"

        def change(identity: Identity) -> None:
            other.connection.execute("PRAGMA wal_checkpoint(RESTART)")  # the log is written from its beginning again
            other.postpone(identity, NOON_S, "unavailable", "no permission")
            os.utime(log, ns=(0, 0))

        other.add([A, B])
        change(A)
        stamp = log.stat().st_size, log.stat().st_mtime_ns
        assert journal.next_due_s() == 0.0
        change(B)
        assert (log.stat().st_size, log.stat().st_mtime_ns) == stamp
        assert journal.next_due_s() == NOON_S


def test_who_is_beyond_the_newest(journal: Journal, clock: Clock) -> None:
    """The backlog is asked for its oldest, and for what is beyond so many newer ones."""
    for identity in (A, B, C):
        journal.add([identity])
        clock.now_s += 1
    assert [entry.identity for entry in journal.oldest_pending(2)] == [A, B]
    assert [entry.identity for entry in journal.oldest_pending(9, offset_from_newest=2)] == [A]
    assert journal.oldest_pending(9, offset_from_newest=3) == []


def test_how_many_come_before(journal: Journal, clock: Clock) -> None:
    """A recording's place in the queue, from either end, does not count what is not due."""
    for identity in (A, B, C):
        journal.add([identity])
        clock.now_s += 1
    assert [journal.n_before(entry_of(journal, identity)) for identity in (A, B, C)] == [0, 1, 2]
    assert journal.n_before(entry_of(journal, A), newest_first=True) == 2
    journal.postpone(A, NEVER_S, "unavailable", "no permission")
    assert journal.n_before(entry_of(journal, C)) == 1


# --- what there is to know --------------------------------------------------------------------------------------------


def test_reasons_are_counted(journal: Journal) -> None:
    """Each state, and each reason in it, has its number; what is done needs no reason."""
    journal.add([A, B, C, A_AGAIN])
    journal.finish(B, EMBEDDED)
    journal.quarantine(C, "empty", "no sample")
    assert journal.reasons() == {
        "pending": {"": 1},
        "done": {"": 1},
        "quarantined": {"empty": 1},
        "shed": {"overwritten": 1},
    }


def test_the_backlog_by_reason(journal: Journal, clock: Clock) -> None:
    """What waits, for what, since when and until when."""
    journal.add([A, B])
    clock.now_s += 1
    journal.add([C])
    journal.postpone(C, NOON_S + 60, "unavailable", "no permission")
    assert journal.backlog() == [
        (True, "", 2, NOON_S, 0.0),
        (False, "unavailable", 1, NOON_S + 1, NOON_S + 60),
    ]


def test_what_happened_since(journal: Journal, clock: Clock) -> None:
    """Entries are asked for by state and by when they came into it; the latest can come first."""
    journal.add([A, B, C])
    for identity in (B, A):
        clock.now_s += 1
        journal.finish(identity, EMBEDDED)
    assert [entry.identity for entry in journal.entries()] == [A, B, C]
    assert [entry.identity for entry in journal.entries("done", since_s=NOON_S + 2)] == [A]
    assert [entry.identity for entry in journal.latest(["done", "pending"], 2)] == [A, B]
    assert [entry.identity for entry in journal.latest(["done"], since_s=NOON_S + 2)] == [A]
    last = journal.last("done")
    assert last is not None
    assert last.identity == A
    assert journal.last_found_s() == NOON_S


def test_what_was_recorded_in_a_span(journal: Journal) -> None:
    """A recording counts by its own start, or by the file's time where that is not known, and may reach into a span."""
    journal.add([A, B, C])
    journal.finish(A, OutputSummary(NOON_S - 100, 10.0, 0.1))
    journal.finish(B, OutputSummary(None, 10.0, 0.1, salvaged=True))
    assert [found.start_s for found in journal.recorded(NOON_S - 95, NOON_S - 94)] == [NOON_S - 100]
    assert list(journal.recorded(NOON_S - 89, NOON_S)) == []
    by_file_time = list(journal.recorded(NOON_S + 0.5, NOON_S + 1.5))
    assert [(found.state, found.salvaged, found.mtime_s) for found in by_file_time] == [("done", True, NOON_S + 1)]
    assert journal.begins_s() == NOON_S - 100


def test_names_that_are_not_utf8(journal: Journal) -> None:
    """A name of any bytes comes back as it was, and may stand in the sentence that says why."""
    odd = Identity(os.fsdecode(b"stra\xdfe/\xff.wav"), 1, 1)
    journal.add([odd])
    assert take(journal).identity == odd
    journal.postpone(odd, 0.0, "unavailable", f"{odd.name}: no permission")
    journal.quarantine(odd, "unreadable", f"{odd.name}: it is no sound")
    (entry,) = journal.find(odd.name)
    assert os.fsencode(entry.identity.name) == b"stra\xdfe/\xff.wav"
    assert entry.detail == r"stra\udcdfe/\udcff.wav: it is no sound"
    journal.write_facts(Facts(folder=FolderFacts("missing", odd.name)))
    assert journal.facts().folder == FolderFacts("missing", odd.name)


@pytest.mark.parametrize("year", [1902, 1969, 1970, 2261])
def test_times_of_broken_clocks(journal: Journal, year: int) -> None:
    """The time of a file comes back as it was, to the nanosecond."""
    odd = Identity("a.wav", 1, round((year - 1970) * 365.2425 * DAY_S) * 10**9 + 1)
    journal.add([odd])
    assert take(journal).identity == odd
    journal.finish(odd, EMBEDDED)
    assert state_of(journal, odd) == ("done", "")


def test_facts_are_written_when_they_change(journal: Journal) -> None:
    """What is told again is not written again."""
    facts = Facts(input=InputFacts("ok"), trouble=None)
    journal.write_facts(facts)
    before = log_size(journal)
    journal.write_facts(facts)
    journal.write_facts(Facts(input=InputFacts("ok")))
    assert log_size(journal) == before
    journal.write_facts(Facts(input=InputFacts("ok"), trouble=TroubleFacts(detail="full")))
    assert log_size(journal) > before
    assert journal.facts() == Facts(input=InputFacts("ok"), trouble=TroubleFacts(detail="full"))


# --- compaction -------------------------------------------------------------------------------------------------------


def test_what_is_compacted_adds_up(journal: Journal, clock: Clock) -> None:
    """By the day of the recording, by state and reason: how many and how many seconds."""
    late = an_identity("late.wav", NOON_S + DAY_S)
    journal.add([A, B, C, late])
    journal.finish(A, EMBEDDED)
    journal.finish(B, OutputSummary(None, 2.5, 0.1))  # by its file's time
    journal.quarantine(C, "empty", "no sample")
    journal.finish(late, OutputSummary(None, 1.0, 0.1, salvaged=True))
    clock.now_s += 1
    for _ in range(2):
        journal.compact(clock.now_s, lambda _name: True)
    assert journal.days("") == [
        ("2023-11-14", "done", "", False, 2, 12.5),
        ("2023-11-14", "quarantined", "empty", False, 1, 0.0),
        ("2023-11-15", "done", "", True, 1, 1.0),
    ]
    assert [row[0] for row in journal.days("2023-11-15")] == ["2023-11-15"]
    assert list(journal.entries()) == []


def test_only_what_is_old_and_gone_is_compacted(journal: Journal, clock: Clock) -> None:
    """What still lies in the folder would be found again, and what waits is not over."""
    fresh = an_identity("fresh.wav")
    journal.add([A, B, C])
    journal.finish(A, EMBEDDED)
    journal.finish(B, EMBEDDED)
    journal.settle(B, "deleted")  # nobody needs to look whether it is gone
    clock.now_s += 10
    journal.add([fresh])
    journal.finish(fresh, EMBEDDED)
    assert journal.compact(clock.now_s, lambda name: name == "c.wav") == 1
    assert [entry.identity for entry in journal.entries()] == [A, C, fresh]


def test_compaction_goes_through_many(journal: Journal, clock: Clock) -> None:
    """Thousands of rows are gone through in several transactions, each once."""
    many = [an_identity(f"{number:04}.wav") for number in range(2500)]
    journal.add(many)
    with journal.transaction():
        for identity in many:
            journal.finish(identity, EMBEDDED)
    clock.now_s += 1
    assert journal.compact(clock.now_s, lambda name: name >= "1200.wav") == 1300
    assert journal.counts()["done"] == 1200
    assert journal.days("") == [("2023-11-14", "done", "", False, 1300, 13000.0)]


# --- transactions -----------------------------------------------------------------------------------------------------


def test_a_transaction_is_all_or_nothing(journal: Journal) -> None:
    """Several changes are one; an exception takes all of them back, of inner ones too."""

    def change_and_fail() -> None:
        with journal.transaction():
            journal.add([A])
            with journal.transaction():
                journal.write_facts(Facts(stopped="then"))
                raise KeyError

    with pytest.raises(KeyError):
        change_and_fail()
    assert journal.counts()["pending"] == 0
    assert journal.facts() == Facts()
    with journal.transaction():
        journal.add([A])
        assert take(journal).identity == A
    assert journal.counts()["pending"] == 1


def test_a_change_is_on_the_disk_when_it_returns(journal: Journal) -> None:
    """Every commit is flushed: a write-ahead log, synchronous."""
    assert journal.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal.connection.execute("PRAGMA journal_size_limit").fetchone() == (MAX_LOG_BYTES,)


def test_a_reader_sees_what_was_committed(journal: Journal, tmp_path: Path) -> None:
    """Who asks while the daemon works reads the last commit, and holds up nobody."""
    reader = Journal(tmp_path, read_only=True)
    with journal.transaction():
        journal.add([A])
        assert reader.counts()["pending"] == 0
    assert reader.counts()["pending"] == 1
    reader.close()


def test_two_writers_take_turns(journal: Journal, tmp_path: Path) -> None:
    """A second writer waits for the first, and neither loses anything."""
    many = [[an_identity(f"{name}{number}.wav") for number in range(50)] for name in "xy"]

    def write(identities: list[Identity]) -> None:
        other = Journal(tmp_path)
        for identity in identities:
            other.add([identity])
        other.close()

    threads = [threading.Thread(target=write, args=[identities]) for identities in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.counts()["pending"] == 100


def test_a_writer_that_never_ends_is_trouble_that_passes(journal: Journal, tmp_path: Path) -> None:
    """Who holds the journal for too long is waited for only so long; then everything is tried again."""
    other = Journal(tmp_path)
    other.connection.execute("PRAGMA busy_timeout = 50")
    with journal.transaction():
        with pytest.raises(StoreError, match="cannot be used: database is locked") as caught:
            other.add([A])
        assert not isinstance(caught.value, JournalDamagedError)
    assert other.add([A]) == 1
    other.close()


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_journal_is_made_once(tmp_path: Path) -> None:
    """The first who opens it makes it, with its folder; the next finds what was left."""
    folder = tmp_path / "out" / ".sonyc-ml"
    for known in ([], [A]):
        with closing(open_journal(folder)) as journal:
            assert [entry.identity for entry in journal.entries()] == known
            journal.add([A])


def test_a_journal_that_was_removed_is_noticed(tmp_path: Path) -> None:
    """It is in place only while the file at its path is the one that is open, and not once it is closed."""
    journal = Journal(tmp_path)
    assert journal.is_in_place()
    journal.path.rename(tmp_path / "elsewhere")
    assert not journal.is_in_place()
    journal.path.write_bytes(b"")
    assert not journal.is_in_place()
    (tmp_path / "elsewhere").rename(journal.path)
    assert journal.is_in_place()
    journal.close()
    assert not journal.is_in_place()


def test_asking_makes_no_journal(tmp_path: Path) -> None:
    """Where the daemon never ran, who asks is told so, and nothing is made."""
    with pytest.raises(StoreError, match="the daemon has not run here"):
        Journal(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_who_asks_changes_nothing(journal: Journal, tmp_path: Path) -> None:
    """A journal that is opened to read refuses every change."""
    journal.add([A])
    reader = Journal(tmp_path, read_only=True)
    assert reader.counts()["pending"] == 1
    for change in (lambda: reader.add([B]), lambda: reader.write_facts(Facts(stopped="then")), reader.take):
        with pytest.raises(StoreError, match="readonly"):
            change()
    reader.close()
    assert journal.counts()["pending"] == 1


def test_who_asks_leaves_nothing_behind(tmp_path: Path) -> None:
    """Beside a journal that nobody has open there are no files of SQLite's afterwards, and it is as it was."""
    path = filled(tmp_path)
    content = path.read_bytes()
    with closing(Journal(tmp_path, read_only=True)) as reader:
        assert reader.counts()["pending"] == 500
        with pytest.raises(StoreError, match="readonly"):
            reader.take()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == content


def test_who_asks_does_not_clear_up_behind_a_killed_process(tmp_path: Path) -> None:
    """The log that it left is read with the rest, and stays for the next start."""
    killed = tmp_path / "killed"
    with closing(Journal(tmp_path)) as journal:
        journal.add([A])
        killed.mkdir()
        for path in tmp_path.glob(f"{FILE_NAME}*"):
            (killed / path.name).write_bytes(path.read_bytes())
    content = {path.name: path.read_bytes() for path in killed.iterdir() if path.suffix != ".sqlite-shm"}
    with closing(Journal(killed, read_only=True)) as reader:
        assert reader.counts()["pending"] == 1
    assert {name: (killed / name).read_bytes() for name in content} == content


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_any_user_may_ask(tmp_path: Path) -> None:
    """Who may read the folder but not write it is answered; who may not even read is told what to do."""
    with ExitStack() as house:
        folder = house.enter_context(mounted())
        journal = Journal(folder)
        journal.add([A])
        journal.close()
        program = (
            "import os, sys; from pathlib import Path; from sonyc_ml.errors import StoreError; "
            "from sonyc_ml.node.journal.journal import Journal\n"
            "folder = Path(sys.argv[1]); os.setgid(65534); os.setuid(65534)\n"
            "try: print(Journal(folder, read_only=True).counts()['pending'])\n"
            "except StoreError as error: print(error)"
        )
        answers = []
        for mode, folder_mode in ((0o644, 0o755), (0o600, 0o755), (0o644, 0o700)):
            journal.path.chmod(mode)
            folder.chmod(folder_mode)
            result = subprocess.run(
                [sys.executable, "-c", program, folder], capture_output=True, text=True, check=False, cwd="/"
            )
            answers.append(result.stdout.strip() or result.stderr)
    assert answers[0] == "1"
    assert answers[1].endswith("cannot be read; run this as root, or as the daemon's user")
    assert answers[2].endswith("cannot be read; run this as root, or as the daemon's user")


def filled(folder: Path) -> Path:
    """A closed journal of some pages; returns its path."""
    journal = Journal(folder)
    journal.add(an_identity(f"{number:04}.wav") for number in range(500))
    journal.close()
    return journal.path


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path, offset: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] = value
    path.write_bytes(content)


def _set_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def _drop_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE facts")
    connection.close()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "not SQLite": lambda path: path.write_text("a letter to my aunt, longer than the header of a database " * 9),
    "truncated": _truncate,
    "half a page": lambda path: os.truncate(path, 700),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "page type": lambda path: _flip(path, 100, 0xEE),
    "a page inside": lambda path: _flip(path, 3 * 4096, 0xEE),
    "a table missing": _drop_table,
    "schema format": lambda path: _flip(path, 47, 77),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_journal_is_set_aside(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    """A journal that cannot be used is kept for whoever wants to look, and a new one takes its place."""
    path = filled(tmp_path)
    damage(path)
    content = path.read_bytes()
    with pytest.raises(JournalDamagedError, match=r"journal\.sqlite is damaged"):
        Journal(tmp_path)
    journal = open_journal(tmp_path)
    assert list(journal.entries()) == []
    assert journal.add([A]) == 1
    journal.close()
    assert path.with_name(f"{FILE_NAME}.damaged").read_bytes() == content


def test_a_journal_of_the_last_version_is_gone_on_with(tmp_path: Path) -> None:
    """What it holds is there, what waits is embedded next, and nothing is set aside."""
    recordings = "INSERT INTO recordings (name, mtime_ns, n_bytes, state, found_s, changed_s) VALUES (?, ?, ?, ?, 1, 1)"
    rows = [
        (recordings, (os.fsencode(A.name), A.mtime_ns, A.n_bytes, "done")),
        (recordings, (os.fsencode(B.name), B.mtime_ns, B.n_bytes, "pending")),
        ("INSERT INTO days VALUES (?, ?, ?, ?, ?, ?)", ("2023-11-14", "done", "", 0, 7, 70.0)),
        ("INSERT INTO facts VALUES (?, ?)", ("complete", "true")),
    ]
    path = make_file(tmp_path / FILE_NAME, JOURNAL_1, rows)
    reader = Journal(tmp_path, read_only=True)
    assert reader.counts() == {"pending": 1, "done": 1, "quarantined": 0, "shed": 0}
    reader.close()
    journal = open_journal(tmp_path)
    assert (journal.is_complete(), journal.facts()) == (True, Facts())
    assert journal.days("") == [("2023-11-14", "done", "", False, 7, 70.0)]
    assert take(journal).identity == B
    journal.finish(B, EMBEDDED)
    assert journal.add([A, C]) == 1
    assert journal.counts() == {"pending": 1, "done": 2, "quarantined": 0, "shed": 0}
    journal.close()
    assert not path.with_name(f"{FILE_NAME}.damaged").exists()


def test_a_journal_without_a_version_is_the_first(tmp_path: Path) -> None:
    """Its tables are those of the first version: it is gone on with, and has a number then."""
    path = tmp_path / FILE_NAME
    row = ("INSERT INTO recordings (name, mtime_ns, n_bytes, state, found_s, changed_s) VALUES (?, ?, ?, ?, ?, ?)",)
    make_file(path, JOURNAL_1, [(*row, (b"a.wav", 1, 2, "done", 3.0, 4.0))])
    _set_version(path, 0)
    with closing(Journal(tmp_path)) as journal:
        assert list(journal.entries()) != []
        assert journal.connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_journal_of_a_later_version_is_left_alone(tmp_path: Path, *, read_only: bool) -> None:
    """It is no damage: a sentence says what to do, and not a byte is changed, nor another journal made."""
    path = filled(tmp_path)
    _set_version(path, VERSION + 1)
    content = path.read_bytes()
    with pytest.raises(StoreError, match="from a newer sonyc-ml") as raised:
        Journal(tmp_path, read_only=True) if read_only else open_journal(tmp_path)
    assert not isinstance(raised.value, JournalDamagedError)
    assert "install that version, or move the file away" in str(raised.value)
    assert path.read_bytes() == content
    assert {file.name for file in tmp_path.iterdir()} <= {FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"}


def test_an_empty_file_is_a_new_journal(tmp_path: Path) -> None:
    """What a power cut left empty holds nothing that could be lost."""
    (tmp_path / FILE_NAME).touch()
    journal = open_journal(tmp_path)
    assert list(journal.entries()) == []
    assert journal.add([A]) == 1
    journal.close()


def test_damage_found_while_it_runs_is_told_apart(tmp_path: Path) -> None:
    """A page that went bad after the start is damage, not trouble that passes."""
    path = filled(tmp_path)
    journal = Journal(tmp_path)
    journal.connection.execute("PRAGMA shrink_memory")  # what it has read is not asked of the disk again
    with path.open("r+b") as file:
        for number in range(1, path.stat().st_size // 4096):
            file.seek(4096 * number)
            file.write(b"\xee" * 4096)
    with pytest.raises(JournalDamagedError):
        list(journal.entries())
    journal.close()


def test_a_start_waits_for_nothing(tmp_path: Path) -> None:
    """Whenever it was to be tried again, by a clock that was wrong or a byte that went bad, it is tried now."""
    journal = Journal(tmp_path)
    journal.add([A])
    journal.take()
    journal.postpone(A, 1e18, "unavailable", "")
    assert journal.take() is None
    journal.begin_anew()
    assert journal.take() is not None
    journal.close()


def test_a_state_that_is_none_is_damage(tmp_path: Path) -> None:
    """A recording in a state that nobody knows would never be begun again."""
    path = filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE recordings SET state = 'pendinf' WHERE state = 'pending'")
        connection.commit()
    with pytest.raises(JournalDamagedError):
        Journal(tmp_path)


def test_text_that_is_none_is_damage(tmp_path: Path) -> None:
    """A byte that went bad inside a word is damage too: it does not pass."""
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"pending", b"pend\xffng"))
    with pytest.raises(JournalDamagedError), closing(Journal(tmp_path)) as journal:
        list(journal.entries())


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("name", name) for name in (b"../../etc/a.wav", b"/a.wav", b"", b"a/./b", b"./a", b"a/", b"a//b", b"a/.", 7)),
        ("mtime_ns", "noon"),
    ],
)
def test_a_row_that_leads_elsewhere_is_damage(column: str, value: object, tmp_path: Path) -> None:
    """A name outside the folder, which retention would delete, or no name or number at all: damage."""
    with closing(Journal(tmp_path)) as journal:
        journal.add([A])
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as raw, raw:
        raw.execute(f"UPDATE recordings SET {column} = ?", (value,))
    with closing(Journal(tmp_path, read_only=True)) as journal:
        with pytest.raises(JournalDamagedError, match="is damaged: "):
            journal.oldest_pending()
        with pytest.raises(JournalDamagedError, match="is damaged: "):
            list(journal.entries())
    with pytest.raises(JournalDamagedError):
        Journal(tmp_path)  # at once: what is found at the start is made again, and nobody waits for it


def ask_everything(folder: Path, *, read_only: bool) -> None:
    """Ask a journal as `status` does."""
    with closing(Journal(folder, read_only=read_only)) as journal:
        journal.facts()
        journal.days("")


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
HOSTILE = {
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON recordings BEGIN DELETE FROM recordings; END",
    "an endless view for a table": f"DROP TABLE facts; CREATE VIEW facts AS {ENDLESS} SELECT x AS key, x value FROM n",
    "an endless view beside them": f"CREATE VIEW more AS {ENDLESS} SELECT x FROM n",
    "another trigger of our name": "DROP TRIGGER replaced; CREATE TRIGGER replaced AFTER INSERT ON recordings BEGIN "
    "UPDATE recordings SET name = '../x'; END",
    "a column that is computed": "ALTER TABLE facts ADD COLUMN c AS (zeroblob(900000000))",
    "an index over an expression": "CREATE INDEX i ON facts (length(zeroblob(100000000)))",
    "a fact that is no JSON": "INSERT INTO facts VALUES ('daemon', '{')",
    "a fact without a bottom": f"INSERT INTO facts VALUES ('daemon', '{'[' * 200_000}')",
    "a number that is text": "INSERT INTO days VALUES ('2026-11-21', 'done', '', 0, 'many', 1.0)",
}


@pytest.mark.parametrize("attack", HOSTILE.values(), ids=HOSTILE)
def test_a_schema_that_is_not_ours_is_damage(attack: str, tmp_path: Path) -> None:
    """A journal with tables, views or triggers of somebody else's is damage before any of them runs: it never hangs."""
    with closing(Journal(tmp_path)) as journal:
        journal.add([A])
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as raw:
        raw.executescript(f"{attack};")
    for read_only in (True, False):
        with pytest.raises(JournalDamagedError, match="is damaged: "):
            ask_everything(tmp_path, read_only=read_only)


@pytest.mark.parametrize("kind", ["a dangling link", "a link", "a pipe", "a folder"])
def test_a_journal_that_is_no_file_is_damage(kind: str, tmp_path: Path) -> None:
    """A link elsewhere is not followed, a pipe is not waited for: it is set aside as damage, and a new journal made."""
    path, elsewhere = tmp_path / "state" / FILE_NAME, tmp_path / "elsewhere"
    path.parent.mkdir()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to(elsewhere)
    if kind == "a link":
        elsewhere.touch()
    for read_only in (True, False):
        with pytest.raises(JournalDamagedError, match="is damaged: it is "):
            Journal(path.parent, read_only=read_only)
    with closing(open_journal(path.parent)) as journal:
        assert journal.add([A]) == 1
    assert not elsewhere.exists() or elsewhere.stat().st_size == 0


def test_spaces_and_comments_do_not_make_another_schema(tmp_path: Path) -> None:
    """A journal whose tables were written down with other comments, by an older version, is read."""
    script = "\n".join(line.split("--")[0].replace("    ", "  ") for line in "".join(STEPS).splitlines())
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as raw:
        raw.executescript(f"{script} PRAGMA user_version = {VERSION}")
    with closing(Journal(tmp_path)) as journal:
        assert journal.add([A]) == 1


def test_a_damaged_journal_is_set_aside_once(tmp_path: Path) -> None:
    """Only the last one is kept, and its log is not left to the new one."""
    path = filled(tmp_path)
    path.with_name(f"{FILE_NAME}-wal").write_bytes(b"log")
    path.with_name(f"{FILE_NAME}.damaged").write_bytes(b"the one before")
    content = path.read_bytes()
    set_aside(tmp_path)
    assert path.with_name(f"{FILE_NAME}.damaged").read_bytes() == content
    set_aside(tmp_path)  # there is none: nothing to do
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{FILE_NAME}.damaged"]


def test_what_cannot_be_set_aside_is_told(tmp_path: Path) -> None:
    """A folder in the journal's way is not damage of ours to repair, and is told."""
    (tmp_path / FILE_NAME).write_text("no journal at all " * 99)
    (tmp_path / f"{FILE_NAME}.damaged").mkdir()
    with pytest.raises(StoreError, match="cannot be set aside: Is a directory"):
        open_journal(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file where the folder should be leaves no journal, and says so."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made: "):
        open_journal(tmp_path / "file" / "state")


def test_a_full_disk_is_trouble_that_passes(tmp_path: Path) -> None:
    """What does not fit is not written, what was there stays, and it goes on when there is room."""
    with mounted() as disk:
        journal = Journal(disk)
        journal.add([A])
        ballast = fill(disk)
        many = [an_identity(f"{number:05}.wav") for number in range(5000)]
        with pytest.raises(StoreError, match="disk is full") as caught:
            journal.add(many)
        assert not isinstance(caught.value, JournalDamagedError)
        assert journal.counts()["pending"] == 1
        ballast.unlink()
        assert take(journal).identity == A
        journal.finish(A, EMBEDDED)
        journal.close()
        reopened = Journal(disk)
        assert reopened.counts()["done"] == 1
        reopened.close()


def test_a_journal_on_a_full_disk_is_not_damaged(tmp_path: Path) -> None:
    """A disk that is full when the journal is first made is trouble that passes too."""
    with mounted() as disk:
        ballast = fill(disk)
        with pytest.raises(StoreError) as caught:
            open_journal(disk)
        assert not isinstance(caught.value, JournalDamagedError)
        ballast.unlink()
        journal = open_journal(disk)
        assert journal.add([A]) == 1
        journal.close()


# --- whatever happens -------------------------------------------------------------------------------------------------

names = st.sampled_from(["a.wav", "b.wav", "sub/c.wav", os.fsdecode(b"\xff.wav")])
identities = st.builds(Identity, names, st.integers(1, 2), st.integers(1, 2))
Key = tuple[str, str, bool]


class JournalMachine(RuleBasedStateMachine):
    """Any sequence of operations, against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.house = ExitStack()
        self.folder = Path(self.house.enter_context(_temporary_folder()))
        self.clock = Clock()
        self.journal = Journal(self.folder, clock=self.clock)
        self.states: dict[Identity, tuple[str, str]] = {}
        self.attempts: Counter[Identity] = Counter()
        self.compacted = 0
        self.forgotten = 0

    def teardown(self) -> None:
        self.journal.close()
        self.house.close()

    @rule(found=st.lists(identities, max_size=3))
    def add(self, found: list[Identity]) -> None:
        self.clock.now_s += 1
        self.journal.add(found)
        for identity in found:
            if self.states.get(identity) == ("shed", "vanished"):
                self._is_now(identity, "pending")
            if identity in self.states:
                continue
            self._is_now(identity, "pending")
            for other in [other for other in self.states if other.name == identity.name and other != identity]:
                state, reason = self.states[other]
                if reason in ("unfinished", "growing"):
                    del self.states[other]
                    self.forgotten += 1
                elif state == "pending":
                    self.states[other] = ("shed", "overwritten")

    @rule(newest_first=st.booleans())
    def take(self, newest_first: bool) -> None:
        entry = self.journal.take(newest_first=newest_first)
        pending = [identity for identity, (state, _) in self.states.items() if state == "pending"]
        assert (entry is None) == (not pending)
        if entry is not None:
            assert entry.identity in pending
            self.attempts[entry.identity] += 1
            assert entry.n_attempts == self.attempts[entry.identity]

    def _any(self, data: st.DataObject, *states: str) -> Identity | None:
        these = [identity for identity, (state, _) in self.states.items() if state in states]
        return data.draw(st.sampled_from(these)) if these else None

    def _is_now(self, identity: Identity, state: str, reason: str = "") -> None:
        self.states[identity] = (state, reason)
        self.attempts[identity] = 0

    @rule(data=st.data(), end=st.sampled_from(["finish", "quarantine", "shed", "vanish"]))
    def end(self, data: st.DataObject, end: str) -> None:
        identity = self._any(data, "pending")
        if identity is None:
            return
        if end == "finish":
            self.journal.finish(identity, EMBEDDED)
            self._is_now(identity, "done")
        elif end == "quarantine":
            self.journal.quarantine(identity, "empty", "no sample")
            self._is_now(identity, "quarantined", "empty")
        else:
            reason = "vanished" if end == "vanish" else "too old"
            self.journal.shed(identity, reason, "a sentence")
            self._is_now(identity, "shed", reason)

    @rule(data=st.data(), reason=st.sampled_from(["unfinished", "growing", "unavailable"]), survived=st.booleans())
    def postpone(self, data: st.DataObject, reason: str, survived: bool) -> None:
        identity = self._any(data, "pending")
        if identity is not None:
            self.journal.postpone(identity, self.clock.now_s, reason, "a sentence", survived=survived)
            self.states[identity] = ("pending", reason)
            self.attempts[identity] = 0 if survived else self.attempts[identity]

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        identity = self._any(data, "pending", "done", "quarantined", "shed")
        if identity is not None:
            self.journal.retry([entry_of(self.journal, identity)])
            self._is_now(identity, "pending")

    @rule(gone=names)
    def compact(self, gone: str) -> None:
        self.clock.now_s += 1
        self.compacted += self.journal.compact(self.clock.now_s, lambda name: name == gone)
        dropped = [i for i, (state, _) in self.states.items() if i.name == gone and state != "pending"]
        for identity in dropped:
            del self.states[identity]
            self.attempts[identity] = 0

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self.journal = Journal(self.folder, clock=self.clock)

    @invariant()
    def agrees(self) -> None:
        entries = {entry.identity: (entry.state, entry.reason) for entry in self.journal.entries()}
        assert entries == self.states
        assert sum(self.journal.counts().values()) == len(self.states)
        assert sum(row[4] for row in self.journal.days("")) == self.compacted
        assert {e.identity: e.n_attempts for e in self.journal.begun()} == {
            identity: self.attempts[identity]
            for identity, (state, _) in self.states.items()
            if state == "pending" and self.attempts[identity]
        }


@contextmanager
def _temporary_folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield folder


def test_any_sequence() -> None:
    """Nothing that was added is ever missing, whatever is done in whatever order."""
    run_state_machine_as_test(JournalMachine, settings=settings(examples(60), stateful_step_count=30))
