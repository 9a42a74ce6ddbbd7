"""One daemon for one journal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sonyc_ml.base.lock import FILE_NAME, Lock, holder
from sonyc_ml.errors import ConfigError, StoreError

HOLD = (
    "import sys; from pathlib import Path; from sonyc_ml.base.lock import Lock; "
    "lock = Lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def another_daemon(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it is ended."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_one_is_refused(tmp_path: Path) -> None:
    """It is told who holds the lock, where, and what to do."""
    with another_daemon(tmp_path) as process:
        sentence = f"process {process.pid} already keeps the journal in {tmp_path}; stop it, or give another --output"
        with pytest.raises(ConfigError) as caught:
            Lock(tmp_path)
        assert str(caught.value) == sentence
        assert holder(tmp_path) == process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_process(tmp_path: Path, number: int) -> None:
    """However a daemon dies, the next one may start."""
    with another_daemon(tmp_path) as process:
        process.send_signal(number)
        process.wait()
        assert holder(tmp_path) is None
        Lock(tmp_path).release()


def test_it_is_released(tmp_path: Path) -> None:
    """It can be taken again and again, and makes its folder."""
    folder = tmp_path / "out" / ".sonyc-ml"
    for _ in range(2):
        lock = Lock(folder)
        assert holder(folder) == os.getpid()
        assert (folder / FILE_NAME).read_text().split() == [str(os.getpid())]
        lock.release()
        assert holder(folder) is None


def test_it_says_who_holds_it_now(tmp_path: Path) -> None:
    """What a longer number of a former process left in the file is gone."""
    (tmp_path / FILE_NAME).write_text("123456789012345\n")
    lock = Lock(tmp_path)
    assert holder(tmp_path) == os.getpid()
    lock.release()


def test_who_asks_holds_up_nobody(tmp_path: Path) -> None:
    """Where nobody holds it, or it was never made, there is no holder; asking makes nothing."""
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_does_not_say_its_number(tmp_path: Path) -> None:
    """It is refused all the same."""
    lock = Lock(tmp_path)
    (tmp_path / FILE_NAME).write_text("who knows")
    assert holder(tmp_path) is None
    with pytest.raises(ConfigError, match=r"process \(unknown\) already keeps"):
        Lock(tmp_path)
    lock.release()


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    """It is told which file cannot be made, and why."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"daemon\.lock cannot be made: "):
        Lock(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot be made: Not a directory"):
        Lock(tmp_path / "file" / "below")


def test_who_asks_for_a_moment_refuses_nobody(tmp_path: Path) -> None:
    """A daemon that starts while somebody asks whether one runs waits for that moment."""
    import fcntl

    Lock(tmp_path).release()
    program = (
        "import fcntl, os, sys; fd = os.open(sys.argv[1], 0); fcntl.flock(fd, fcntl.LOCK_SH); print('held', flush=True)"
    )
    command = [sys.executable, "-c", f"{program}; import select; select.select([], [], [], 0.1)"]
    with subprocess.Popen([*command, str(tmp_path / FILE_NAME)], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline() == "held\n"
        descriptor = os.open(tmp_path / FILE_NAME, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        Lock(tmp_path).release()
