"""``sonyc-ml serve`` as a process, and requests to it."""

from __future__ import annotations

import base64
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

READY_S = 30.0


class Reply(NamedTuple):
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Its body as JSON."""
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Served:
    """A service that runs; ended with the context, by SIGTERM."""

    def __init__(self, *arguments: object, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "sonyc_ml", "serve", *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self._has_news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(READY_S)
        finally:
            self.process.kill()
            self._reader.join()

    def said(self, pattern: str) -> re.Match[str]:
        """Wait for a line of its log."""
        with self._has_news:
            self._has_news.wait_for(lambda: self._find(pattern) or self.process.poll() is not None, READY_S)
            found = self._find(pattern)
        assert found, "".join(self.lines)
        return found

    def _find(self, pattern: str) -> re.Match[str] | None:
        return next((found for line in self.lines if (found := re.search(pattern, line))), None)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._has_news:
                self.lines.append(line)
                self._has_news.notify_all()
        self.process.stderr.close()
        with self._has_news:
            self._has_news.notify_all()

    def connection(self) -> http.client.HTTPConnection:
        """A connection to where it listens."""
        address = self.said(r"listening on (?:http://127.0.0.1:(?P<port>\d+)|(?P<path>/\S+))")
        if address["path"]:
            return UnixConnection(Path(address["path"]))
        return http.client.HTTPConnection("127.0.0.1", int(address["port"]), timeout=60)

    def ask(self, method: str, path: str, body: bytes | dict[str, Any] | None = None, **headers: str) -> Reply:
        """Send one request."""
        connection = self.connection()
        try:
            content = json.dumps(body).encode() if isinstance(body, dict) else body
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, content, named)
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())
        finally:
            connection.close()


def array_of(value: Any) -> npt.NDArray[Any]:
    """An array as an answer holds it."""
    if isinstance(value, dict):
        return np.frombuffer(base64.b64decode(value["b64"]), value["dtype"]).reshape(value["shape"])
    return np.array(value)


@contextmanager
def served(*arguments: object, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A service whose models are loaded."""
    with Served(*arguments, environment=environment) as service:
        service.said("ready: ")
        yield service


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, "it did not come to hold"
        time.sleep(0.01)
