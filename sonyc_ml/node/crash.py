"""Crashes while networks are loaded: remembered on the disk, found out in a child, reported in a sentence.

The runtimes are native code. Where one stumbles (LiteRT on ARM, over a /proc/cpuinfo that does not describe the
processor) the process is gone, and nothing of Python's can catch that.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sonyc_ml.errors import CrashError

FILE_NAME: Final = "loading"
# What native code dies of by its own fault. Others send SIGKILL and SIGTERM: the kernel without memory, an operator.
FAULTS: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP)
HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
REMEDY: Final = (
    "let the runtime see this processor's own /proc/cpuinfo, without which it crashes on ARM, "
    "or install another version of it, or use another bundle"
)


class LoadingMark:
    """A file that is there while networks are loaded, so that a start knows of one that was killed at it.

    It costs a normal start two system calls. Whoever loads holds it (flock): one that is there and that nobody holds
    was left by a process that is dead. Where it cannot be written nothing is remembered, and nothing else changes.

    Parameters
    ----------
    folder : Path
        Where the journal lies.

    Attributes
    ----------
    was_left : bool
        Whether the start before was killed while it loaded.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._descriptor: int | None = None
        self.was_left = False

    def __enter__(self) -> Self:
        """Make the file, or take over the one that was left."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            was_there = self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # another daemon loads just now
                os.close(descriptor)
            else:
                self._descriptor, self.was_left = descriptor, was_there
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the file: the process lives. After a crash in a child it stays, and the next start looks again."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            if not isinstance(error, CrashError):
                self._path.unlink()
        os.close(self._descriptor)


def refuse_to_crash(load: Callable[[], object], names: str) -> None:
    """Load in a child first; where that dies, the process that does the work shall not.

    Parameters
    ----------
    load : callable
        Loads the networks.
    names : str
        What is loaded, as the sentence names it.

    Raises
    ------
    CrashError
        The child was killed by what it loaded.
    """
    fault = fault_of(load)
    if fault is not None:
        raise CrashError(
            f"{crash_text(f'loading {names}', fault)} and would again: {REMEDY}; sonyc-ml doctor says more"
        )


def crash_text(work: str, fault: signal.Signals) -> str:
    """What has happened, as a clause."""
    return f"{work} kills the process on this machine ({fault.name}: {signal.strsignal(fault)})"


def fault_of(work: Callable[[], object]) -> signal.Signals | None:
    """Do some work in a child; return the signal that it died of by its own fault, None where it did not.

    An exception is no such fault: whoever does the work itself meets it again. The child is a copy of this process, so
    that it does just what this process would do; ask before there are threads, of which a child has only one.
    """
    with warnings.catch_warnings():  # Python 3.12 and later count the threads of libraries, too
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _do_and_exit(work)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return next((fault for fault in FAULTS if status == -fault), None)


def _do_and_exit(work: Callable[[], object]) -> None:
    """Do the work in a process that leaves no core, obeys signals, and flushes nothing that its parent has yet to."""
    try:
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        work()
    finally:
        os._exit(0)  # whatever was raised: it is raised again where the work is done


def times_killed(n_attempts: int) -> str:
    """Why a recording is not begun again."""
    times = "once" if n_attempts == 1 else f"{n_attempts} times"
    return f"the process was killed {times} while it embedded this recording"
