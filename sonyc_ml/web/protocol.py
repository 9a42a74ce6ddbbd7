"""HTTP/1.1 by uvicorn and h11, for clients that have only so long to ask."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class BoundedProtocol(H11Protocol):
    """One connection: whoever does not ask within `patience_s` is told so, and hung up on.

    uvicorn has a limit only from one answer to the first byte of the next request. A client that sends a byte now and
    then would hold its connection for ever.
    """

    patience_s = 30.0  # for all headers of a request
    _timer: asyncio.TimerHandle | None = None

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
        super().connection_lost(exc)

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
