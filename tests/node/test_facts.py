"""The facts of a daemon: the same after the journal, and read whatever version has written them."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.node.facts import (
    SCHEMA,
    BundleFacts,
    DaemonFacts,
    Facts,
    FolderFacts,
    InputFacts,
    ReloadFacts,
    TroubleFacts,
)
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.operate.status import status

NOON = "2026-11-21T12:00:00+00:00"
BUNDLE = BundleFacts("tiny", "1.2.0", "ab" * 32, "/m/tiny.tflite", "litert", 3, 5, "/out")
FULL = Facts(
    daemon=DaemonFacts(
        12, NOON, "1.0", "/in", (".wav", ".flac"), False, "/out", "csv", "newest-first", "move", (BUNDLE,)
    ),
    folder=FolderFacts("polled", "scanned every 10 s", NOON),
    input=InputFacts("quiet", NOON),
    trouble=TroubleFacts(NOON, "the disk is full"),
    reload=ReloadFacts(NOON, ok=True, detail="running tiny"),
    stopped=NOON,
)
# What the version before there was a schema wrote, a row for each key.
BEFORE = {
    "complete": "true",
    "daemon": json.dumps(
        {
            "pid": 12,
            "since": NOON,
            "version": "0.9",
            "folder": "/in",
            "extensions": [".wav"],
            "recursive": True,
            "output": "/out",
            "format": "npz",
            "overload": "oldest-first",
            "retention": "keep",
            "bundles": [
                {
                    "name": "tiny",
                    "version": "1.2.0",
                    "sha256": "ab" * 32,
                    "path": "/m/tiny.tflite",
                    "runtime": "litert",
                    "xnnpack_operators": 3,
                    "operators": 5,
                    "output": "/out",
                }
            ],
        }
    ),
    "folder": json.dumps({"word": "watched", "detail": "", "since": NOON}),
    "input": json.dumps({"word": "ok", "since": NOON}),
    "trouble": "null",
    "reload": json.dumps({"at": NOON, "ok": False, "detail": "it is no good"}),
    "stopped": json.dumps(NOON),
}


@pytest.mark.parametrize("facts", [Facts(), FULL, dataclasses.replace(FULL, trouble=None, folder=None)])
def test_facts_are_the_same_after_the_journal(tmp_path: Path, facts: Facts) -> None:
    """Every field, and those of which there is nothing to say."""
    assert Facts.from_plain(json.loads(json.dumps(facts.to_plain()))) == facts
    journal = Journal(tmp_path)
    journal.write_facts(facts)
    assert journal.facts() == facts
    journal.close()


def test_facts_of_the_last_version_are_read(tmp_path: Path) -> None:
    """A journal that it has written says what it said then, in status too, and is gone on with."""
    journal = Journal(tmp_path)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        connection.executemany("INSERT INTO facts VALUES (?, ?)", BEFORE.items())
    connection.close()
    journal = Journal(tmp_path)
    assert FULL.daemon is not None
    daemon = dataclasses.replace(
        FULL.daemon,
        version="0.9",
        extensions=(".wav",),
        recursive=True,
        format="npz",
        overload="oldest-first",
        retention="keep",
    )
    assert journal.is_complete()
    assert journal.facts() == Facts(
        daemon=daemon,
        folder=FolderFacts("watched", "", NOON),
        input=InputFacts("ok", NOON),
        reload=ReloadFacts(NOON, ok=False, detail="it is no good"),
        stopped=NOON,
    )
    answer = status(journal)
    assert (answer["stopped"], answer["version"], answer["word"]) == (NOON, "0.9", "stopped")
    assert answer["bundles"] == [{**json.loads(BEFORE["daemon"])["bundles"][0], "warning": ""}]
    assert answer["reload"] == json.loads(BEFORE["reload"])
    journal.write_facts(FULL)
    assert journal.facts() == FULL
    assert journal.is_complete()
    journal.close()


def test_facts_of_a_later_version_are_read_as_far_as_they_are_known(tmp_path: Path) -> None:
    """Unknown fields, unknown rows and fields of another type cost nothing but themselves."""
    plain = FULL.to_plain() | {"schema": SCHEMA + 1, "intake": {"kind": "live"}, "folder": ["of", "another", "type"]}
    plain["daemon"] |= {"altitude_m": 12.0, "extensions": "wav", "format": None}
    plain["daemon"]["bundles"][0]["levels"] = True
    rows = [(key, json.dumps(value)) for key, value in plain.items()]
    journal = Journal(tmp_path)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        connection.executemany("INSERT INTO facts VALUES (?, ?)", rows)
    connection.close()
    assert FULL.daemon is not None
    journal = Journal(tmp_path, read_only=True)
    assert journal.facts() == dataclasses.replace(
        FULL,
        schema=SCHEMA + 1,
        folder=None,
        daemon=dataclasses.replace(FULL.daemon, extensions=(), format="npz"),
    )
    journal.close()


WORDS = st.text("abc.", max_size=5)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([entry.name for entry in dataclasses.fields(Facts)]), PLAIN))
def test_no_values_make_reading_fail(values: dict[str, Any]) -> None:
    """Whatever the JSON holds."""
    facts = Facts.from_plain(values)
    assert Facts.from_plain(facts.to_plain()) == facts


@pytest.mark.parametrize(
    ("facts", "pid", "is_of"), [(Facts(), 12, False), (FULL, 12, True), (FULL, 13, False), (FULL, None, False)]
)
def test_facts_are_of_one_process(facts: Facts, pid: int | None, *, is_of: bool) -> None:
    """Those of the daemon before are not taken for those of the one that starts."""
    assert facts.is_of(pid) == is_of
