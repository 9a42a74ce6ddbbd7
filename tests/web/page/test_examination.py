"""The doctor, as the page asks it: rarely, not for long, and not of what only the daemon may do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sonyc_ml.web.page import examination
from sonyc_ml.web.page.examination import Examiner
from tests.support.journals import mounted

FINDINGS = [
    {"check": "output", "verdict": "bad", "text": "cannot be written to", "remedy": "chown it"},
    {"check": "clock", "verdict": "warn", "text": "not synchronised", "remedy": "set it"},
    {"check": "user", "verdict": "ok", "text": "root", "remedy": ""},
]


def doctor(folder: Path, *lines: str) -> tuple[str, ...]:
    """A program that answers as the doctor does, after some lines of its own; counts how often it was asked."""
    program = folder / "doctor.py"
    text = json.dumps({"verdict": "bad", "findings": FINDINGS})
    count = f"open({str(folder / 'asked')!r}, 'a').write('x')"
    program.write_text("\n".join(["import time", count, *lines, f"print({text!r})"]))
    return sys.executable, str(program)


def test_it_is_asked_once_for_some_time(tmp_path: Path) -> None:
    """Many who look at the page get the same answer."""
    examiner = Examiner(tmp_path / "c.toml", tmp_path, doctor(tmp_path))
    first = examiner.last()
    assert first is not None
    assert [one["verdict"] for one in first.findings] == ["bad", "warn", "ok"]
    assert first.of("warn", "bad") == FINDINGS[:2]
    assert all(examiner.last() is first for _ in range(5))
    assert (tmp_path / "asked").read_text() == "x"


def test_an_old_answer_stands_until_there_is_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the second examination."""
    examiner = Examiner(tmp_path / "c.toml", tmp_path, doctor(tmp_path))
    first = examiner.last()
    monkeypatch.setattr(examination, "KEPT_S", -1.0)
    assert examiner.last() is first
    end_s = time.monotonic() + 30
    while examiner.is_at_it and time.monotonic() < end_s:
        time.sleep(0.01)
    assert (tmp_path / "asked").read_text() == "xx"


def test_one_that_takes_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page does not wait for it, and then says that it was not through."""
    monkeypatch.setattr(examination, "MAX_S", 0.5)
    examiner = Examiner(tmp_path / "c.toml", tmp_path, doctor(tmp_path, "time.sleep(600)"))
    assert examiner.last(wait_s=0.0) is None
    assert examiner.is_at_it
    found = examiner.last(wait_s=30.0)
    assert found is not None
    assert (found.problem, found.findings) == ("the doctor was not through after 0.5 s", ())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("raise SystemExit('sonyc-ml: error: no such file')", "sonyc-ml: error: no such file"),
        ("print('no json')", "it ended with 0"),
        ("print('[]')", "it ended with 0"),
    ],
)
def test_one_that_cannot_answer_is_said_to(tmp_path: Path, line: str, why: str) -> None:
    """In its own words, where it has some."""
    found = Examiner(tmp_path / "c.toml", tmp_path, doctor(tmp_path, line, "raise SystemExit")).last(wait_s=30.0)
    assert found is not None
    assert found.problem == f"the doctor could not be asked: {why}"


def test_what_only_the_daemon_may_is_not_held_against_it(tmp_path: Path) -> None:
    """A page that may only read, as in its unit's sandbox, does not say that the daemon cannot write."""
    with mounted("64k") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        found = Examiner(tmp_path / "c.toml", disk / "state", doctor(tmp_path)).last(wait_s=30.0)
    assert found is not None
    assert [one["verdict"] for one in found.findings] == ["skipped", "warn", "ok"]
    assert found.findings[0]["text"].startswith("not seen from here, for this page may only read; ask sudo -u ")
