"""The process that makes pictures, as the service sees it: one picture at a time, within bounds, ended when idle."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from socket import SHUT_RDWR, socket, socketpair
from typing import TypeAlias

from sonyc_ml.base.records import dataclass
from sonyc_ml.web.pictures.jobs import Job, to_line
from sonyc_ml.web.pictures.kept import Kept, Parts

PROGRAM = "sonyc_ml.web.pictures"
READ_LENGTH = 1 << 16  # bytes
MAX_HEAD_LENGTH = 1 << 14
ENDING_S = 2.0  # how long the process may take to end by itself

Order: TypeAlias = tuple[Job, "Future[Parts]"]


class PictureError(Exception):
    """A picture that was not made; one sentence says why.

    Parameters
    ----------
    message : str
    status : int
        Of HTTP.
    """

    def __init__(self, message: str, status: int = 503) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What making pictures may take.

    Attributes
    ----------
    job_s : float
        How long one may take (in seconds), with the start of the process.
    memory_mb : int
        Of the process.
    idle_s : float
        How long the process waits for another before it is ended.
    n_waiting : int
        How many may wait; more are refused.
    kept_bytes : int
        Of what was made.
    """

    job_s: float = 20.0
    memory_mb: int = 256
    idle_s: float = 30.0
    n_waiting: int = 3
    kept_bytes: int = 8 << 20


class Pictures:
    """Makes pictures, and keeps them.

    A thread starts the process, gives it one job after another, and ends it with itself when there was none for a
    while. The kernel kills the process when that thread ends (PR_SET_PDEATHSIG), so a service that is killed leaves
    none behind.

    Parameters
    ----------
    config_path : Path
        The daemon's configuration.
    bounds : Bounds
    """

    def __init__(self, config_path: Path, bounds: Bounds | None = None) -> None:
        self._config_path, self._bounds = config_path, bounds or Bounds()
        self.kept = Kept(self._bounds.kept_bytes)
        self._orders: queue.Queue[Order | None] = queue.Queue()
        self._lock = threading.Lock()
        self._n_ordered = 0
        self._thread: threading.Thread | None = None
        self._child: _Child | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        child = self._child
        return child.pid if child else None

    def made(self, job: Job) -> Parts:
        """Return what a job makes: what was made before, or else the caller waits.

        Raises
        ------
        PictureError
            Too many wait, a bound was passed, or it cannot be made; says which.
        """
        parts = self.kept.get(job)
        if parts is not None:
            return parts
        future: Future[Parts] = Future()
        with self._lock:
            if self._n_ordered > self._bounds.n_waiting:
                raise PictureError("other pictures are being made, and more wait already: try again in a few seconds")
            self._n_ordered += 1
            self._orders.put((job, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="pictures", daemon=True)
                self._thread.start()
        try:
            return future.result()
        finally:
            with self._lock:
                self._n_ordered -= 1

    def close(self) -> None:
        """End the process, in the middle of a picture too."""
        with self._lock:
            thread = self._thread
            if thread is not None:
                self._orders.put(None)
        child = self._child
        if child is not None and self._n_ordered:  # one that is idle ends by itself
            child.kill()
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        try:
            while (order := self._next()) is not None:
                self._make(*order)
        finally:
            self._end_child()

    def _next(self) -> Order | None:
        """The next order; None where there was none for a while, and then this thread is over."""
        try:
            order = self._orders.get(timeout=self._bounds.idle_s)
        except queue.Empty:
            order = None
        if order is not None:
            return order
        with self._lock:
            with suppress(queue.Empty):
                order = self._orders.get_nowait()  # it came just now
            if order is None:
                self._thread = None
        return order

    def _make(self, job: Job, future: Future[Parts]) -> None:
        parts = self.kept.get(job)  # somebody else asked for the same
        try:
            if parts is None:
                parts = self._asked(job)
                self.kept.put(job, parts)
            future.set_result(parts)
        except PictureError as error:
            future.set_exception(error)
        except Exception as error:  # noqa: BLE001  whoever waits must not wait for ever
            self._end_child()
            future.set_exception(PictureError(f"the picture could not be made: {error}", 500))

    def _asked(self, job: Job) -> Parts:
        end_s = time.monotonic() + self._bounds.job_s
        try:
            if self._child is None:
                self._child = _Child(self._config_path, self._bounds.memory_mb)
            return self._child.ask(job, end_s)
        except TimeoutError:
            self._end_child()
            raise PictureError(
                f"the picture took longer than {self._bounds.job_s:g} s and was given up: ask for a shorter span"
            ) from None
        except OSError:
            how = self._end_child()
            raise PictureError(f"the process that makes pictures {how}: try again") from None

    def _end_child(self) -> str:
        child, self._child = self._child, None
        return child.end() if child else "could not be started"


class _Child:
    """The process, and a socket that is its standard input and output."""

    def __init__(self, config_path: Path, memory_mb: int) -> None:
        self._connection, theirs = socketpair()
        # What can be imported here can be imported there.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109
        command = [sys.executable, "-P", "-m", PROGRAM, str(config_path), str(os.getpid()), str(memory_mb)]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env=environment,
                process_group=0,  # Ctrl-C is for the service
            )
        self.pid = self._process.pid

    def ask(self, job: Job, end_s: float) -> Parts:
        """Give it a job, and wait for what it makes.

        Raises
        ------
        TimeoutError, ConnectionError
            It took too long; it ended.
        PictureError
            It says why it cannot be made.
        """
        reader = _Reader(self._connection, end_s)
        self._connection.settimeout(max(0.001, end_s - time.monotonic()))
        self._connection.sendall(to_line(job))
        head = json.loads(reader.line())
        if "error" in head:
            raise PictureError(head["error"], head["status"])
        lengths: Mapping[str, int] = head["parts"]
        return {name: reader.read(length) for name, length in lengths.items()}

    def kill(self) -> None:
        """End it at once; whoever waits for it is told."""
        self._process.kill()

    def end(self) -> str:
        """Close its input, and kill it where it does not end by itself; returns how it ended."""
        from sonyc_ml.client.child import how_it_ended  # noqa: PLC0415

        with suppress(OSError):
            self._connection.shutdown(SHUT_RDWR)
        self._connection.close()
        try:
            self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return how_it_ended(self._process.returncode)


class _Reader:
    """Reads from a socket until a time."""

    def __init__(self, connection: socket, end_s: float) -> None:
        self._connection, self._end_s, self._buffer = connection, end_s, bytearray()

    def line(self) -> bytes:
        """Up to the end of a line."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD_LENGTH:
                raise ConnectionError("it said something else")
            self._receive()
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        return bytes(line)

    def read(self, length: int) -> bytes:
        """So many bytes."""
        while len(self._buffer) < length:
            self._receive()
        content = bytes(self._buffer[:length])
        del self._buffer[:length]
        return content

    def _receive(self) -> None:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        content = self._connection.recv(READ_LENGTH)
        if not content:
            raise ConnectionError("it ended")
        self._buffer += content
