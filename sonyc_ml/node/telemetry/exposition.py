"""Metrics as Prometheus reads them: the text format (0.0.4), and ``GET /metrics`` on the loopback or a Unix socket.

Nothing here waits for a client, and no client waits for another: sockets do not block, and whoever is too slow is
disconnected. http.server would bring ssl and email with it, and its one thread would wait for the slowest.
"""

from __future__ import annotations

import logging
import math
import os
import re
import selectors
import socket
import stat
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import ConfigError

logger = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HOST, PATH = "127.0.0.1", "/metrics"
HOSTS = ("localhost", HOST, "[::1]")  # and the machine's name: another would be that of a web page
HOST_LINE = re.compile(r"^host[ \t]*:[ \t]*(.*?)(?::\d*)?[ \t]*\r?$", re.MULTILINE)
MAX_CLIENTS = 16
MAX_REQUEST_BYTES = 8192
REQUEST_S = 5.0  # from the connection to the last byte of the answer
MAX_PATIENCE_S, PAUSE_S = 3600.0, 0.1  # the first: the system takes no larger numbers than it knows
SOCKET_MODE = 0o660

Labels: TypeAlias = Mapping[str, str]
Value: TypeAlias = "float | Histogram"


class Histogram:
    """How often a value was at most so large.

    Parameters
    ----------
    bounds : sequence of float
        Upper ends of the buckets, rising; one more takes what is beyond.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        """One that stays as it is."""
        copied = Histogram(self.bounds)
        copied.counts, copied.sum = self.counts.copy(), self.sum
        return copied


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name.

    Attributes
    ----------
    name : str
    kind : {"counter", "gauge", "histogram"}
    text : str
        What it measures, in a sentence.
    samples : sequence of (labels, value)
    """

    name: str
    kind: str
    text: str
    samples: Sequence[tuple[Labels, Value]] = field(default_factory=tuple)


def render(families: Iterable[Family]) -> bytes:
    """All families as one text; those without a sample are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines += [f"# HELP {family.name} {_escaped(family.text)}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.samples:
            if isinstance(value, Histogram):
                lines += _histogram(family.name, labels, value)
            else:
                lines.append(f"{family.name}{_labelled(labels)} {_number(value)}")
    return "".join(f"{line}\n" for line in lines).encode()


def _histogram(name: str, labels: Labels, histogram: Histogram) -> list[str]:
    ends = [f"{bound:g}" for bound in histogram.bounds] + ["+Inf"]
    totals = list(accumulate(histogram.counts))
    lines = [
        f"{name}_bucket{_labelled({**labels, 'le': end})} {total}" for end, total in zip(ends, totals, strict=True)
    ]
    shown = _labelled(labels)
    return [*lines, f"{name}_sum{shown} {_number(histogram.sum)}", f"{name}_count{shown} {totals[-1]}"]


def _labelled(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str, *, quoted: bool = False) -> str:
    """On one line; in a HELP line a quotation mark stands for itself, in a label's value it does not."""
    # A name that is not UTF-8 is shown by its bytes, and stays different from every other.
    clean = text.encode(errors="backslashreplace").decode()
    clean = clean.replace("\\", r"\\").replace("\n", r"\n")
    return clean.replace('"', r"\"") if quoted else clean


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


class Client:
    """A connection and how far its request has come."""

    def __init__(self, connection: socket.socket, until_s: float) -> None:
        self.connection, self.until_s = connection, until_s
        self.request, self.answer = b"", b""

    def is_asking(self) -> bool:
        """Whether the request goes on."""
        return not self.answer and len(self.request) < MAX_REQUEST_BYTES and not _is_whole(self.request)


class Server:
    """Answers each request with the text of the moment, over HTTP.

    Parameters
    ----------
    text : callable
        Returns the text.
    timer : callable
        Returns seconds that only grow.
    """

    def __init__(self, text: Callable[[], bytes], timer: Callable[[], float] = time.monotonic) -> None:
        self._text, self._timer = text, timer
        self._selector = selectors.DefaultSelector()
        self._listeners: list[socket.socket] = []
        self._clients: list[Client] = []
        self._bound: list[tuple[Path, int]] = []
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def listen_on_port(self, port: int) -> None:
        """Serve on the loopback.

        Raises
        ------
        ConfigError
            It cannot be had.
        """
        try:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
            self._listen(listener)
        except OSError as error:
            raise ConfigError(f"metrics.port = {port} cannot be had: {error.strerror}") from error

    def listen_on_socket(self, path: Path) -> None:
        """Serve on a Unix socket, for owner and group; what a killed process left there is removed.

        Raises
        ------
        ConfigError
            It cannot be had.
        """
        try:
            _remove_stale(path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listeners.append(listener)
            listener.bind(os.fspath(path))
            self._bound.append((path, path.stat().st_ino))
            path.chmod(SOCKET_MODE)  # nobody can connect before it listens
            self._listen(listener)
        except OSError as error:
            # One of too long a path has no errno.
            raise ConfigError(f"metrics.socket = {path} cannot be had: {error.strerror or error}") from error

    def _listen(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        listener.listen(MAX_CLIENTS)
        self._selector.register(listener, selectors.EVENT_READ)

    def serve(self, until_s: float) -> None:
        """Serve until a time of the timer, or until :meth:`wake`."""
        while (now := self._timer()) < until_s:
            patience_s = min(until_s, self._next_deadline_s(), now + MAX_PATIENCE_S) - now
            for key, _ in self._selector.select(max(0.0, patience_s)):
                if key.fileobj == self._wake:
                    with suppress(BlockingIOError):
                        os.read(self._wake, 64)
                    return
                if key.data is None:
                    self._accept(key.fileobj)  # type: ignore[arg-type]
                else:
                    self._go_on(key.data)
            self._hang_up_on_the_slow()

    @property
    def n_clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def wake(self) -> None:
        """End :meth:`serve`; from any thread."""
        with suppress(OSError):
            os.write(self._woken, b"\0")

    def close(self) -> None:
        """Stop listening, and remove the Unix socket unless another one has taken its place."""
        for client in self._clients.copy():
            self._hang_up(client)
        for listener in self._listeners:
            listener.close()
        for path, inode in self._bound:
            with suppress(OSError):
                if path.stat().st_ino == inode:
                    path.unlink()
        self._selector.close()
        os.close(self._wake)
        os.close(self._woken)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            logger.debug("metrics: %s", error)
            if not isinstance(error, (BlockingIOError, ConnectionError)):
                time.sleep(PAUSE_S)  # too many open files: it still waits there, and would be asked for without end
            return
        if len(self._clients) >= MAX_CLIENTS:
            self._hang_up(self._clients[0])  # whoever came first has had the most time
        connection.setblocking(False)
        client = Client(connection, self._timer() + REQUEST_S)
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _go_on(self, client: Client) -> None:
        """Read what has come, or write what can be written."""
        if client not in self._clients:  # hung up on for one that came later
            return
        try:
            if client.is_asking():
                self._read(client)
            else:
                self._write(client)
        except BlockingIOError:
            pass
        except OSError as error:
            logger.debug("metrics: %s", error)
            self._hang_up(client)

    def _read(self, client: Client) -> None:
        received = client.connection.recv(MAX_REQUEST_BYTES)
        client.request += received
        if not received:
            self._hang_up(client)
        elif not client.is_asking():
            client.answer = self._answer(client.request, is_local=client.connection.family == socket.AF_UNIX)
            self._selector.modify(client.connection, selectors.EVENT_WRITE, client)
            self._write(client)

    def _write(self, client: Client) -> None:
        client.answer = client.answer[client.connection.send(client.answer) :]
        if not client.answer:
            self._hang_up(client)

    def _answer(self, request: bytes, *, is_local: bool = False) -> bytes:
        words = request.split(b"\n", 1)[0].decode("latin-1").split()
        if not _is_whole(request) or len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response("400 Bad Request", b"this is no request of HTTP\n")
        method, target, _ = words
        hosts = set(HOST_LINE.findall(request.decode("latin-1").lower()))
        if not (is_local or hosts <= {*HOSTS, "", socket.gethostname().lower()}):  # a page in a browser here
            return _response("421 Misdirected Request", b"these figures are of localhost, not of that host\n")
        if method not in ("GET", "HEAD") or target.partition("?")[0] != PATH:
            return _response("404 Not Found", f"there is only GET {PATH}\n".encode())
        try:
            response = _response("200 OK", self._text(), CONTENT_TYPE)
        except Exception:
            logger.exception("metrics: a mistake of ours")
            return _response("500 Internal Server Error", b"see the log\n")
        return response if method == "GET" else response[: response.index(b"\r\n\r\n") + 4]

    def _next_deadline_s(self) -> float:
        return self._clients[0].until_s if self._clients else float("inf")

    def _hang_up_on_the_slow(self) -> None:
        now = self._timer()
        for client in [client for client in self._clients if client.until_s <= now]:
            self._hang_up(client)

    def _hang_up(self, client: Client) -> None:
        self._clients.remove(client)
        self._selector.unregister(client.connection)
        client.connection.close()


def _is_whole(request: bytes) -> bool:
    return b"\r\n\r\n" in request or b"\n\n" in request


def _response(status: str, body: bytes, content_type: str = "text/plain; charset=utf-8") -> bytes:
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; anything else is not ours to remove."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigError(f"metrics.socket = {path} cannot be had: a file that is no socket is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise ConfigError(f"metrics.socket = {path} cannot be had: another program serves there")
