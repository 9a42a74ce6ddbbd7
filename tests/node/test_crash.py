"""A runtime that kills the process ends as a sentence, not as restarts: by faults that are real."""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sonyc_ml.errors import CrashError
from sonyc_ml.node.crash import FILE_NAME, LoadingMark, fault_of, refuse_to_crash
from tests.conftest import write_recording
from tests.support.deadly import make_deadly

WATCH: list[str | Path] = [sys.executable, "-m", "sonyc_ml", "watch"]
DOCTOR: list[str | Path] = [sys.executable, "-m", "sonyc_ml", "doctor"]
SENTENCE = "kills the process on this machine (SIGSEGV: Segmentation fault)"


@pytest.fixture
def deadly_bundle(tmp_path: Path) -> Path:
    return make_deadly(tmp_path / "deadly.tflite")


def start(bundle: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Start a daemon that is expected to end by itself."""
    folder.joinpath("recordings").mkdir(exist_ok=True)
    command = [*WATCH, folder / "recordings", "--model", bundle, "--output", folder / "outputs"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def mark_of(folder: Path) -> Path:
    return folder / "outputs" / ".sonyc-ml" / FILE_NAME


def test_a_second_start_says_what_kills_it(deadly_bundle: Path, tmp_path: Path) -> None:
    """The first start is killed; the next ones say why, and what to do, and exit with 70, which is not restarted."""
    assert start(deadly_bundle, tmp_path).returncode == -signal.SIGSEGV
    for _ in range(2):
        again = start(deadly_bundle, tmp_path)
        assert again.returncode == os.EX_SOFTWARE
        (sentence,) = [line for line in again.stderr.splitlines() if "error" in line]
        assert f"loading {deadly_bundle} {SENTENCE}" in sentence
        assert "/proc/cpuinfo" in sentence
        assert "Traceback" not in again.stderr


def test_a_mended_bundle_is_loaded_again(deadly_bundle: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """After a crash a bundle that loads is loaded, and the start after that looks at no child."""
    assert start(deadly_bundle, tmp_path).returncode == -signal.SIGSEGV
    write_recording(tmp_path / "recordings" / "a.wav")
    command = [*WATCH, tmp_path / "recordings", "--model", tiny_bundle, "--output", tmp_path / "outputs"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        lines = iter(daemon.stderr.readline, "")
        assert "loaded in a child first" in next(lines)
        assert "watching" in next(lines)
        assert not mark_of(tmp_path).exists()
        daemon.send_signal(signal.SIGTERM)
        list(lines)  # it must be able to say that it stops
    assert daemon.returncode == 0


def test_a_bundle_that_is_only_bad_leaves_no_mark(tmp_path: Path) -> None:
    """An error that can be told is told at every start, with the status of errors; nothing is tried in a child."""
    bundle = tmp_path / "bad.tflite"
    bundle.write_bytes(b"no network")
    for _ in range(2):
        ended = start(bundle, tmp_path)
        assert ended.returncode == 2
        assert "child" not in ended.stderr
        assert not mark_of(tmp_path).exists()


def test_a_mark_that_somebody_holds_is_no_crash(tmp_path: Path) -> None:
    """While another daemon loads, its mark is neither taken for a crash nor removed."""
    with LoadingMark(tmp_path) as first, LoadingMark(tmp_path) as second:
        assert not first.was_left
        assert not second.was_left
        second.__exit__(None, None, None)
        assert (tmp_path / FILE_NAME).exists()
    assert not (tmp_path / FILE_NAME).exists()


@pytest.fixture(autouse=True)
def _no_words_of_pytest() -> Iterator[None]:
    """Let a child die without the trace that pytest would write of it."""
    faulthandler.disable()
    yield
    faulthandler.enable(2)


def test_a_mark_that_cannot_be_made_hinders_nothing(tmp_path: Path) -> None:
    """Where the folder cannot be made, a start goes on without a mark."""
    (tmp_path / "file").write_bytes(b"")
    with LoadingMark(tmp_path / "file") as mark:
        assert not mark.was_left


def test_only_a_crash_keeps_the_mark(tmp_path: Path) -> None:
    """An exception in loading removes the mark, a crash in the child leaves it to the next start."""
    with pytest.raises(ValueError, match="bad"), LoadingMark(tmp_path):
        raise ValueError("bad")
    with LoadingMark(tmp_path) as mark:
        assert not mark.was_left
    with pytest.raises(CrashError), LoadingMark(tmp_path):
        refuse_to_crash(lambda: ctypes.string_at(0), "it")
    with LoadingMark(tmp_path) as mark:
        assert mark.was_left


@pytest.mark.parametrize(
    ("work", "fault"),
    [
        (lambda: ctypes.string_at(0), signal.SIGSEGV),
        (os.abort, signal.SIGABRT),
        (lambda: os.kill(os.getpid(), signal.SIGILL), signal.SIGILL),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), None),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), None),
        (lambda: 1 / 0, None),
        (lambda: None, None),
    ],
    ids=["SIGSEGV", "SIGABRT", "SIGILL", "SIGTERM", "SIGKILL", "exception", "nothing"],
)
def test_a_fault_is_told_from_a_kill(work: Callable[[], object], fault: signal.Signals | None) -> None:
    """What native code dies of is a fault; a signal that others send, and an exception, are none."""
    assert fault_of(work) == fault


def test_the_child_leaves_locks_alone(tmp_path: Path) -> None:
    """A lock that the parent holds stays held when the child ends."""
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert fault_of(lambda: None) is None
        with (tmp_path / "lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_the_child_leaves_output_alone() -> None:
    """What the parent has not flushed yet is written once."""
    program = "from sonyc_ml.node.crash import fault_of; print('once'); fault_of(lambda: print('never'))"
    done = subprocess.run([sys.executable, "-E", "-c", program], capture_output=True, check=True)  # -E: with buffers
    assert done.stdout == b"once\n"


def test_doctor_survives_and_says_it(deadly_bundle: Path) -> None:
    """doctor tells the signal and the remedy, and goes on with its other checks."""
    command = [*DOCTOR, "--model", deadly_bundle, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["bundle"]["verdict"] == "bad"
    assert findings["bundle"]["text"] == f"loading {deadly_bundle} {SENTENCE}"
    assert "/proc/cpuinfo" in findings["bundle"]["remedy"]
    assert findings["speed"]["verdict"] == "skipped"
    assert "memory" in findings
