"""The real ``sonyc-ml embed``, started and observed from outside: its events, and when each came."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.benchmarks import environments
from scripts.benchmarks.watching import command

Event = dict[str, Any]

GROUP_ENDS_S = 5.0  # how long processes whose parent was killed may take to end


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command that has ended.

    Attributes
    ----------
    status : int
    elapsed_s : float
        From its start to its end.
    events : list of dict
        What it told with ``--json``; `at_s` is when that was heard, in seconds from its start.
    said : str
        On standard error.
    peak_mb : float
        Of its memory, without that of its workers; 0 where it was stopped.
    """

    status: int
    elapsed_s: float
    events: list[Event]
    said: str
    peak_mb: float

    def named(self, kind: str) -> list[Event]:
        """The events of a kind."""
        return [event for event in self.events if event["event"] == kind]


class Embed:
    """A running ``sonyc-ml embed --json``.

    Parameters
    ----------
    source, network, output : Path
    flags : sequence of str
        Further ones of the command.
    """

    def __init__(self, source: Path, network: Path, output: Path, flags: Sequence[str] = ()) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        options: list[str | Path] = ["embed", source, "--model", network, "--output", output, "--json", *flags]
        self._events: list[Event] = []
        self._peak_mb = 0.0
        self._start_s = time.perf_counter()
        self._process = subprocess.Popen(
            [*command(environments.ours()), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environments.variables(),
            start_new_session=True,  # as at a terminal of its own: Ctrl-C meets its group and no other
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    @property
    def elapsed_s(self) -> float:
        """Since its start."""
        return time.perf_counter() - self._start_s

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing left of it; what it said can still be read."""
        status = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return status is not None

    def events(self) -> Iterator[Event]:
        """Yield its events as they come, until it ends."""
        for line in self._process.stdout or ():
            with suppress(ValueError):  # a line that was being written when it was killed
                event = {**json.loads(line), "at_s": self.elapsed_s}
                self._events.append(event)
                if event["event"] == "ended":  # it does not go before it has shut its workers down
                    with suppress(OSError, KeyError):
                        self._peak_mb = _memory_mb(self._process.pid, "VmHWM")
                yield event

    def finish(self) -> Outcome:
        """Wait for its end."""
        for _ in self.events():
            pass
        self._process.wait()
        elapsed_s = self.elapsed_s
        self._log.seek(0)
        said = self._log.read().decode(errors="replace")
        return Outcome(self._process.returncode, elapsed_s, self._events, said, self._peak_mb)

    def kill(self) -> float:
        """Kill the process that was started, as the kernel does where memory is short.

        Returns how long the others of it lived on (in seconds).
        """
        others = self.workers()
        self._process.kill()
        self._process.wait()
        start_s = time.perf_counter()
        while any(_is_alive(pid) for pid in others) and time.perf_counter() - start_s < GROUP_ENDS_S:
            time.sleep(0.001)
        return time.perf_counter() - start_s

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def workers(self) -> list[int]:
        """The processes that embed beside it; none where it does so itself."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with suppress(OSError):
            return [pid for pid in map(int, children.read_text().split()) if b"spawn_main" in _command_line(pid)]
        return []

    def memory_mb(self, what: str = "VmRSS") -> list[float]:
        """What it occupies now, or (``VmHWM``) at most so far: itself first, then each worker."""
        return [_memory_mb(pid, what) for pid in (self._process.pid, *self.workers())]

    def processor_s(self) -> list[float]:
        """Time of processors that it has taken: itself first, then each worker."""
        return [_processor_s(pid) for pid in (self._process.pid, *self.workers())]


def run(source: Path, network: Path, output: Path, flags: Sequence[str] = ()) -> Outcome:
    """Run it to its end."""
    with Embed(source, network, output, flags) as embed:
        return embed.finish()


def _command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _memory_mb(pid: int, what: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return int(values[what].split()[0]) / 1024


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # in user mode, and in the kernel for it
