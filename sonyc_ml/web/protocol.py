"""HTTP/1.1 by uvicorn and h11, for clients that have only so long to ask, and to read what they asked for."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)

SLOWEST = 1000  # bytes per second: a reader that takes fewer is hung up on


class BoundedProtocol(H11Protocol):
    """One connection: whoever does not ask within `patience_s` is told so, and who does not read is hung up on.

    uvicorn has a limit only from one answer to the first byte of the next request. A client that sends a byte now and
    then would hold its connection for ever; one that reads nothing would hold its answer, too.
    """

    patience_s = 30.0  # for all headers of a request; between two looks at how much a reader took
    _timer: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in H11Protocol
        """Begin to wait."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Go on waiting, unless a request has begun."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
        self._stop_reading()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to look at how fast the answer is read: more of it waits than the system takes."""
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        """Look no more: what waited is read."""
        self._stop_reading()
        super().resume_writing()

    def _look_again(self) -> None:
        n_waiting = self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(self.patience_s, self._judge, n_waiting)

    def _judge(self, n_waited: int) -> None:
        if n_waited - self.transport.get_write_buffer_size() >= SLOWEST * self.patience_s:
            self._look_again()
            return
        text = "a reader was hung up on: it took fewer than %d bytes of an answer in %g s"
        logger.info(text, SLOWEST * self.patience_s, self.patience_s)
        self.transport.abort()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.patience_s, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        with suppress(h11.LocalProtocolError):  # where it was answered before it had asked all
            self.send_400_response(f"The request did not come within {self.patience_s:g} s.")
        self.transport.close()


def bounded(patience_s: float) -> type[BoundedProtocol]:
    """Return the protocol of a server whose clients have so long to ask (in seconds)."""
    return type("BoundedProtocol", (BoundedProtocol,), {"patience_s": patience_s})
