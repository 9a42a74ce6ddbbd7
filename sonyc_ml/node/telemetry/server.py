"""One text over HTTP, to whoever is on this machine: ``GET /metrics`` on the loopback or a Unix socket.

Nothing here waits for a client, and no client waits for another: sockets do not block, and whoever does not get on is
hung up on. http.server would bring ssl and email with it, and its one thread would wait for the slowest.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sonyc_ml.errors import ConfigError

logger = logging.getLogger(__name__)

HOST, PATH = "127.0.0.1", "/metrics"
MAX_CLIENTS = 16
MAX_REQUEST_BYTES = 8192
REQUEST_S = 5.0  # from the connection to the last byte of the answer
MAX_PATIENCE_S = 3600.0  # the system takes no larger numbers than it knows
PAUSE_S = 0.1
SOCKET_MODE = 0o660


class Client:
    """Somebody who asks."""

    def __init__(self, connection: socket.socket, until_s: float) -> None:
        self.connection, self.until_s = connection, until_s
        self.request, self.answer = b"", b""

    def is_asking(self) -> bool:
        """Whether the request goes on."""
        return not self.answer and len(self.request) < MAX_REQUEST_BYTES and not _is_whole(self.request)


class Server:
    """Answers each request with the text of the moment.

    Parameters
    ----------
    text : callable
        Returns what there is to tell.
    content_type : str
        What that is.
    timer : callable
        Returns seconds that only grow.
    """

    def __init__(
        self, text: Callable[[], bytes], content_type: str, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._text, self._content_type, self._timer = text, content_type, timer
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
            client.answer = self._answer(client.request)
            self._selector.modify(client.connection, selectors.EVENT_WRITE, client)
            self._write(client)

    def _write(self, client: Client) -> None:
        client.answer = client.answer[client.connection.send(client.answer) :]
        if not client.answer:
            self._hang_up(client)

    def _answer(self, request: bytes) -> bytes:
        words = request.split(b"\n", 1)[0].decode("latin-1").split()
        if not _is_whole(request) or len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response("400 Bad Request", b"this is no request of HTTP\n")
        method, target, _ = words
        if method not in ("GET", "HEAD") or target.partition("?")[0] != PATH:
            return _response("404 Not Found", f"there is only GET {PATH}\n".encode())
        try:
            response = _response("200 OK", self._text(), self._content_type)
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
