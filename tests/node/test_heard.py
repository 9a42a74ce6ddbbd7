"""What was heard is kept in the journal for as long as the recording is, and is found again."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import JournalDamagedError
from sonyc_ml.node.events import OutputPublished
from sonyc_ml.node.journal.file import FILE_NAME
from sonyc_ml.node.journal.heard import (
    N_HEARD,
    Heard,
    HeardIn,
    best_heard,
    check_index,
    find_heard,
    heard_labels,
    matching,
)
from sonyc_ml.node.journal.journal import Journal, OutputSummary
from sonyc_ml.node.operate.forget import forget
from sonyc_ml.node.operate.listing import heard_listing
from sonyc_ml.node.retention.proof import proof
from sonyc_ml.node.telemetry.messages import said_of_outputs
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.files import read_output
from tests.support.detections import make_echo, write_scores
from tests.support.earlier import JOURNAL_1, make_file
from tests.support.journals import NOON_S, Clock, an_identity
from tests.support.node import Node

LABELS = ("dog", "siren", "rain", "Turdus merula_Eurasian Blackbird")
A, B = an_identity("a.wav"), an_identity("b.wav", NOON_S + 100)
SIREN, DOG = Heard("siren", 0.9, 3.0, 4.5), Heard("dog", 0.75, 0.0, 1.0)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path, clock=Clock(NOON_S))) as journal:
        journal.add([A, B])
        yield journal


def done(journal: Journal, identity: Identity, *heard: Heard, start_s: float | None = NOON_S) -> None:
    journal.finish(identity, OutputSummary(start_s, 10.0, 0.1, heard=heard))


def heard_in(journal: Journal, *labels: str, since_s: float = 0.0) -> list[HeardIn]:
    return find_heard(journal, labels or heard_labels(journal), since_s=since_s)


def test_what_was_heard_is_found_by_its_class_and_time(journal: Journal) -> None:
    """The latest first, by the time of the sound; of a recording whose beginning nobody knows, by that of its file."""
    done(journal, A, SIREN, DOG)
    done(journal, B, SIREN, start_s=None)
    assert heard_labels(journal) == ["dog", "siren"]
    assert heard_in(journal, "siren") == [HeardIn(B, SIREN, B.mtime_s), HeardIn(A, SIREN, NOON_S + 3.0)]
    assert heard_in(journal, "siren", since_s=NOON_S + 4) == [HeardIn(B, SIREN, B.mtime_s)]
    assert [one.heard for one in heard_in(journal)] == [SIREN, SIREN, DOG]
    assert heard_in(journal, "cat") == []


def test_an_output_that_is_made_again_replaces_what_was_heard(journal: Journal) -> None:
    """Nothing of the one before stays; while it waits to be made, it is not listed."""
    done(journal, A, SIREN)
    journal.retry(journal.find("a.wav"))
    assert heard_in(journal) == []
    done(journal, A, DOG)
    assert heard_in(journal) == [HeardIn(A, DOG, NOON_S)]


def test_what_was_heard_goes_with_its_recording(journal: Journal) -> None:
    """When the journal is compacted, and when a recording is forgotten; that of others stays."""
    done(journal, A, SIREN)
    done(journal, B, DOG)
    assert forget(journal, journal.find("a.wav")) == 1
    assert [one.identity for one in heard_in(journal)] == [B]
    assert journal.compact(NOON_S + 1e6, lambda _name: True) == 1
    assert journal.connection.execute("SELECT count(*) FROM heard").fetchone() == (0,)


def test_a_journal_of_the_first_version_is_asked_and_goes_on(tmp_path: Path) -> None:
    """Whoever only reads finds nothing heard in it; the daemon brings it up to date and keeps what is heard then."""
    row = ("INSERT INTO recordings (name, mtime_ns, n_bytes, state, found_s, changed_s) VALUES (?, ?, ?, ?, 1, 1)",)
    make_file(tmp_path / FILE_NAME, JOURNAL_1, [(*row, (b"a.wav", A.mtime_ns, A.n_bytes, "pending"))])
    with closing(Journal(tmp_path, read_only=True)) as reader:
        assert heard_listing(reader, "siren")["entries"] == []
        assert reader.counts()["pending"] == 1
    with closing(Journal(tmp_path)) as journal:
        done(journal, A, SIREN)
        assert [one.identity for one in heard_in(journal)] == [A]


def test_of_each_class_the_best_is_kept() -> None:
    """Once, of all bundles, and of no more classes than a few."""
    detections = [
        Detection(start_s=float(i), end_s=i + 1.0, label=f"class {i % 30}", score_mean=0.1, score_max=i / 100)
        for i in range(100)
    ]
    best = best_heard([detections[:50], None, detections[50:]])
    assert best == tuple(Heard(f"class {i % 30}", i / 100, i, i + 1.0) for i in range(99, 99 - N_HEARD, -1))


@pytest.mark.parametrize("wanted", ["eurasian blackbird", "Turdus merula", "turdus merula_eurasian blackbird"])
def test_a_class_is_meant_by_any_of_its_names(wanted: str) -> None:
    """Scientific, common, or both as the label has them, in capitals or not; a part of a name is none."""
    assert matching(LABELS, wanted) == [LABELS[3]]
    assert matching(LABELS, "Turdus") == []


# --- through the worker -----------------------------------------------------------------------------------------------


def embed(node: Node, name: str, scores: list[list[float]]) -> Identity:
    """Embed a recording whose samples are its scores."""
    write_scores(node.recordings / name, np.array(scores, np.float32))
    identity = node.identity(name)
    assert node.worker.step([identity])
    return identity


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    model = make_echo(tmp_path / "models" / "echo.tflite", LABELS)
    node = Node(tmp_path, model, more='scores = "none"\n[detections]\nthreshold = 0.5\n')
    yield node
    node.journal.close()


LOUD = [[0.1, 0.9, 0.2, 0.6], [0.1, 0.7, 0.2, 0.1], [0.55, 0.1, 0.2, 0.3]]


def test_a_daemon_keeps_what_it_hears(node: Node) -> None:
    """In its outputs, in the journal and in the event of each recording; an output of detections alone is proved."""
    identity = embed(node, "20261128T120000Z.wav", LOUD)
    output = read_output(node.out / "20261128T120000Z.wav.npz")
    assert output.scores is None
    assert [one.label for one in output.detections or ()] == [LABELS[3], "siren", "dog"]
    found = heard_in(node.journal)
    assert {one.heard.label: round(one.heard.score_max, 2) for one in found} == {
        "siren": 0.9,
        LABELS[3]: 0.6,
        "dog": 0.55,
    }
    assert proof(identity, node.recordings, [node.out], "npz") == ""
    (published,) = [event for event in node.events if isinstance(event, OutputPublished)]
    _, said = next(said_of_outputs([published]))
    assert said["n_detections"] == 3
    assert said["detections"][0] == {"label": "siren", "start_s": 0.0, "end_s": 0.001, "score": 0.9}
    assert said["highest"][0] == {"label": "siren", "class": 1, "start_s": 0.0, "score": 0.9}
    assert said["scores"] == {"siren": 0.9, LABELS[3]: 0.6, "dog": 0.55}


def test_a_journal_that_is_lost_is_made_again_with_what_was_heard(node: Node) -> None:
    """From the outputs, without embedding anything."""
    embed(node, "a.wav", LOUD)
    before = heard_in(node.journal)
    node.journal.close()
    for path in node.config.state_folder.iterdir():
        path.unlink()
    node.start()
    assert heard_in(node.journal) == before
    assert not node.worker.step()


def test_a_touched_recording_keeps_what_was_heard(node: Node) -> None:
    """Its time is another, and it is embedded already: what was heard goes with it."""
    identity = embed(node, "a.wav", LOUD)
    os.utime(node.recordings / "a.wav", ns=(identity.mtime_ns + 10**9, identity.mtime_ns + 10**9))
    again = node.identity("a.wav")
    assert node.worker.step([again])
    assert {one.identity for one in heard_in(node.journal)} == {again}
    assert len(heard_in(node.journal)) == 3


# --- how quick it is --------------------------------------------------------------------------------------------------


@pytest.mark.timing
def test_a_large_journal_is_asked_quickly(tmp_path: Path, slowness: float) -> None:
    """A class of a day among 100,000 recordings of a year is found in a tenth of a second."""
    labels = [f"Genus{i} species{i}_Name {i}" for i in range(60)]
    with closing(Journal(tmp_path)) as journal:
        journal.adopt(
            (
                Identity(f"2026/20260101T{i:06}Z.wav", 1000, int((NOON_S + 300 * i) * 1e9)),
                OutputSummary(
                    NOON_S + 300 * i,
                    60.0,
                    3.0,
                    heard=tuple(Heard(labels[(7 * i + n) % 60], 0.5 + n / 10, 3.0 * n, 3.0 * n + 3) for n in range(4)),
                ),
            )
            for i in range(100_000)
        )
    with closing(Journal(tmp_path, read_only=True)) as journal:
        start_s = time.perf_counter()
        answer = heard_listing(journal, "Name 7", since_s=NOON_S + 300 * 99_000, limit=50)
        elapsed_s = time.perf_counter() - start_s
    assert len(answer["entries"]) == 50
    print(f"{1e3 * elapsed_s:.1f} ms, {(tmp_path / FILE_NAME).stat().st_size / 1e6:.0f} MB")
    assert elapsed_s < 0.1 * slowness


# --- damage -----------------------------------------------------------------------------------------------------------


def page_of(path: Path, name: str) -> int:
    """Where the first page of a table or index lies in the file (in bytes)."""
    with closing(sqlite3.connect(path)) as connection:
        (number,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(size * (number - 1))


def test_an_index_that_does_not_agree_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The work begins without a look at the index of what was heard; it is compared then, and what it lost is found."""
    with closing(Journal(tmp_path, clock=Clock(NOON_S))) as journal:
        journal.add([A, B])
        done(journal, A, SIREN, DOG)
        assert check_index(journal)
    content, start = bytearray(journal.path.read_bytes()), page_of(journal.path, "heard_at")
    place = content.index(b"siren", start)
    content[place : place + 5] = b"sirex"
    journal.path.write_bytes(content)
    with closing(Journal(tmp_path, clock=Clock(NOON_S))) as journal:
        assert heard_in(journal, "siren") == []
        assert not check_index(journal)
        assert "did not agree with its table, and was made again" in caplog.text
        assert [one.heard for one in heard_in(journal, "siren")] == [SIREN]
        assert check_index(journal)


def test_damage_of_what_was_heard_is_found(tmp_path: Path) -> None:
    """A page that is none is found when the journal is opened, and a value of another type when it is asked for."""
    with closing(Journal(tmp_path, clock=Clock(NOON_S))) as journal:
        journal.add([A])
        done(journal, A, SIREN)
    with closing(sqlite3.connect(journal.path)) as connection:
        connection.execute("UPDATE heard SET label = x'ff00'")
        connection.commit()
    with closing(Journal(tmp_path)) as journal, pytest.raises(JournalDamagedError, match="values of other types"):
        heard_labels(journal)
    content, start = bytearray(journal.path.read_bytes()), page_of(journal.path, "heard")
    content[start] = 0xEE
    journal.path.write_bytes(content)
    with pytest.raises(JournalDamagedError, match="is damaged"):
        Journal(tmp_path)
