"""Where live sound comes from: standard input, a socket or port that takes connections, a command that is restarted."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

from sonyc_ml.errors import ConfigError
from sonyc_ml.node.intake.config import SourceConfig

logger = logging.getLogger(__name__)

SOCKET_MODE = 0o660
N_WAITING = 16  # connections that are not accepted yet
MAX_CONNECTIONS = 16  # of one source
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
SAID_LENGTH = 4096  # bytes of its last complaints
LASTING_S = 60.0  # a command that ran so long ran well


def listen_at(source: SourceConfig) -> socket.socket:
    """Open the socket or port of a source.

    Raises
    ------
    ConfigError
        It cannot be had.
    """
    where = f"listen.source {source.name}: "
    try:
        if source.socket is not None:
            return _unix_socket(source.socket)
        found = socket.socket(socket.AF_INET)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", source.port or 0))
        found.listen(N_WAITING)
    except OSError as error:
        place = source.socket if source.socket is not None else f"port {source.port}"
        raise ConfigError(f"{where}{place} cannot be had: {error.strerror or error}") from error
    return found


def _unix_socket(path: Path) -> socket.socket:
    """Listen at a path, for this user and group; a socket that a killed process left there is removed."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with suppress(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as other:
            other.connect(os.fspath(path))
            raise OSError("another process listens there")
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    found = socket.socket(socket.AF_UNIX)
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        found.bind(os.fspath(path))
    finally:
        os.umask(before)
    found.listen(N_WAITING)
    return found


class Command:
    """A command that sends sound to its standard output, started again whenever it ends.

    Parameters
    ----------
    source : SourceConfig
    """

    def __init__(self, source: SourceConfig) -> None:
        self.name, self._command = source.name, source.command
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at_s = 0.0  # by the timer
        self._started_s, self._pause_s = 0.0, FIRST_PAUSE_S
        self._said = b""

    def start(self, now_s: float) -> int | None:
        """Start it; return what its sound is read from, None where it could not be started."""
        self._started_s, self._said = now_s, b""
        try:
            self.process = subprocess.Popen(  # noqa: S603  the node's owner says what runs
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            self._wait(now_s, f"{shlex.join(self._command)} cannot be started: {error.strerror or error}")
            return None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        return os.dup(self.process.stdout.fileno())

    def drain(self) -> None:
        """Read what it complains of: nobody else does, and a full pipe would hold it up."""
        if self.process is None or self.process.stderr is None:
            return
        while content := self._complaint():
            self._said = (self._said + content)[-SAID_LENGTH:]
            for line in content.decode(errors="replace").splitlines():
                level = logging.WARNING if "overrun" in line.lower() else logging.DEBUG
                logger.log(level, "%s: %s: %s", self.name, self._command[0], line.strip())

    def _complaint(self) -> bytes:
        assert self.process is not None
        assert self.process.stderr is not None
        with suppress(OSError):  # nothing is there
            return os.read(self.process.stderr.fileno(), SAID_LENGTH)
        return b""

    def ended(self, now_s: float) -> str:
        """Its output has ended: clear up, and say why, with the last line that it wrote."""
        status = self.stop()
        why = "it ended" if status == 0 else f"it ended with status {status}"
        if status is not None and status < 0:
            why = f"it was ended by signal {-status}"
        lines = self._said.decode(errors="replace").strip().splitlines()
        detail = f"{self._command[0]}: {why}" + (f": {lines[-1].strip()}" if lines and status else "")
        self._wait(now_s, detail)
        return detail

    def stop(self, patience_s: float = 2.0) -> int | None:
        """End it, if it runs; return its status."""
        process, self.process = self.process, None
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stderr is not None
        assert process.stdout is not None
        with suppress(OSError):
            self._said += process.stderr.read() or b""
        process.stderr.close()
        process.stdout.close()
        return process.returncode

    def _wait(self, now_s: float, detail: str) -> None:
        """Wait before it is started again, longer each time unless it ran well."""
        if now_s - self._started_s >= LASTING_S:
            self._pause_s = FIRST_PAUSE_S
        logger.warning("%s: %s; it is started again in %.0f s", self.name, detail, self._pause_s)
        self.start_at_s = now_s + self._pause_s
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
