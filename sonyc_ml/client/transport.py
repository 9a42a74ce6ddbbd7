"""Events over a socket: sent while answers are read, so that neither side waits for the other, and never for ever."""

from __future__ import annotations

import select
import time
from collections import deque

from sonyc_ml.sound.live.wyoming import Event, EventReader

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from socket import socket

READ_SIZE = 1 << 18  # bytes
SHUT_WR = 1  # of <sys/socket.h>; the module socket takes as long to import as all of this
SOCKET_SIZE = 1 << 20  # bytes that the kernel is asked to hold: fewer turns of the two processes
MAX_ANSWER_LENGTH = 1 << 31  # bytes of one recording's outputs


class HungUpError(Exception):
    """The other side has hung up."""


class SilenceError(Exception):
    """Nothing has come for as long as one waits."""


class Transport:
    """A connection to another process.

    Parameters
    ----------
    connection : socket
        Connected; closed by :meth:`close`.

    Attributes
    ----------
    is_closed_there : bool
        Whether the other side has closed, and all that it sent has been read.
    is_out_of_step : bool
        Whether the other side has answered what it had not been asked yet: nothing more can be asked.
    """

    def __init__(self, connection: socket) -> None:
        from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET  # noqa: PLC0415  with a connection there is one

        connection.setblocking(False)
        for size in (SO_SNDBUF, SO_RCVBUF):
            connection.setsockopt(SOL_SOCKET, size, SOCKET_SIZE)
        self._connection = connection
        self._poll = select.poll()
        self._reader = EventReader(MAX_ANSWER_LENGTH)
        self._come: deque[Event] = deque()
        self.is_closed_there = False
        self.is_out_of_step = False

    def ask(self, parts: Iterable[bytes | memoryview], wanted: Container[str], patience_s: float) -> Event:
        """Send bytes, one part after another, and return the first answer of a type that is wanted.

        Raises
        ------
        SilenceError
            Nothing has been taken or has come for `patience_s` seconds.
        HungUpError
        ProtocolError
            What comes is no event.
        """
        for part in parts:
            if not self._send_all(memoryview(part), patience_s):
                self.is_out_of_step = True  # an answer before all has been asked
                break
        while (event := self.receive(patience_s)).type not in wanted:
            pass
        return event

    def send_what_fits(self, view: memoryview) -> int:
        """Send what is taken at once; return how many bytes that were."""
        try:
            return self._connection.send(view)
        except (BlockingIOError, ConnectionError):  # of the latter :meth:`receive` says what there is to say
            return 0

    def receive(self, patience_s: float) -> Event:
        """Return the next event that comes.

        Raises
        ------
        SilenceError
            None has come, nor a part of one, for `patience_s` seconds.
        HungUpError
        ProtocolError
            What comes is no event.
        """
        while not self._come:
            if self.is_closed_there:
                raise HungUpError
            self._wait(select.POLLIN, patience_s)
            self._read()
        return self._come.popleft()

    def received(self) -> Iterable[Event]:
        """Yield the events that have come until now, without waiting; see :meth:`receive`."""
        while not self.is_closed_there and self._poll_now():
            self._read()
        while self._come:
            yield self._come.popleft()

    def finish(self) -> None:
        """Say that nothing more will be sent; answers still come."""
        self._connection.shutdown(SHUT_WR)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _send_all(self, view: memoryview, patience_s: float) -> bool:
        """Send a part; False where there is an answer to read first, or nobody reads it."""
        while len(view):
            n_sent = self.send_what_fits(view)
            view = view[n_sent:]
            if not n_sent and self._wait(select.POLLIN | select.POLLOUT, patience_s) & ~select.POLLOUT:
                self._read()
                if self._come or self.is_closed_there:
                    return False
        return True

    def _wait(self, events: int, patience_s: float) -> int:
        self._poll.register(self._connection, events)
        end_s = time.monotonic() + patience_s
        while (left_s := end_s - time.monotonic()) > 0:
            if found := self._poll.poll(1000 * left_s):
                return found[0][1]
        raise SilenceError

    def wait(self, patience_s: float, *, to_send: bool) -> None:
        """Wait until something has come, or can be sent where there is something `to_send`.

        Raises
        ------
        SilenceError
        """
        self._wait(select.POLLIN | (select.POLLOUT if to_send else 0), patience_s)

    def _poll_now(self) -> bool:
        self._poll.register(self._connection, select.POLLIN)
        return bool(self._poll.poll(0))

    def _read(self) -> None:
        try:
            content = self._connection.recv(READ_SIZE)
        except BlockingIOError:
            return
        except ConnectionError:
            content = b""
        self._come.extend(self._reader.feed(content))
        if not content:
            self.is_closed_there = True
