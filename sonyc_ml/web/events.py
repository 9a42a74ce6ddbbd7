"""``GET /events``: what happens on the node, as Server-Sent Events, for as long as a reader reads.

An event's ``id`` is its number in the journal; a browser sends the last one it has had when it connects again, and so
goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from sonyc_ml.base.human import moment
from sonyc_ml.errors import JournalDamagedError, StoreError
from sonyc_ml.node.journal.event_log import LOOK_S, Follower, LoggedEvent, number_before
from sonyc_ml.node.journal.journal import Journal

logger = logging.getLogger(__name__)

MOST_READERS = 32
BEAT_S = 15.0  # so that a proxy does not take the connection for dead, and a reader that has gone is seen
PATIENCE_S = 10.0  # how long a reader may not read; SQLite and the others do not wait for it


class NodeEvents:
    """Streams the events of a node's journal.

    Parameters
    ----------
    folder : Path
        Where the journal lies.
    is_ending : callable
        Whether the service ends, and streams with it.
    patience_s : float
        How long a reader may take nothing before it is hung up on (in seconds).
    """

    def __init__(self, folder: Path, is_ending: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        self._folder, self._is_ending, self._patience_s = folder, is_ending, patience_s
        self._n_readers = 0

    def route(self) -> Route:
        """Where it is asked for."""
        return Route("/events", self._answer)

    async def _answer(self, request: Request) -> Response:
        """Answer with a stream of events.

        ``?after=ID`` or the header ``Last-Event-ID`` say behind which event to begin, ``?since=WHEN`` since when;
        without them it begins with what comes next.
        """
        if self._n_readers >= MOST_READERS:
            refusal = {"error": f"{MOST_READERS} readers have events already: try again later"}
            return JSONResponse(refusal, 503, {"Retry-After": "10"})
        try:
            after = await asyncio.to_thread(self._beginning, request)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        except (
            StoreError,
            JournalDamagedError,
        ):  # none yet, or it is made again: it is waited for, and read from its first
            after = 0
        return _Patient(self._stream(Follower(self._folder, after)), self._patience_s)

    def _beginning(self, request: Request) -> int | None:
        """The number behind which a reader wants to begin; None for what comes from now on."""
        said = request.query_params.get("after") or request.headers.get("last-event-id")
        if said is not None:
            if not said.isdecimal() or len(said) > 18:
                raise ValueError(f"the id of an event is a number, not {said!r}")
            return int(said)
        since = request.query_params.get("since")
        if since is None:
            return None
        since_s = moment(since, time.time())
        journal = Journal(self._folder, read_only=True)
        try:
            return number_before(journal, since_s)
        finally:
            journal.close()

    async def _stream(self, follower: Follower) -> AsyncIterator[bytes]:
        self._n_readers += 1
        try:
            yield b"retry: 2000\n\n"
            beat_s = time.monotonic()
            while not self._is_ending():
                batch = await asyncio.to_thread(follower.read) if follower.has_news() else []
                if batch:
                    yield b"".join(map(_as_text, batch))
                elif time.monotonic() >= beat_s + BEAT_S:
                    yield b": still here\n\n"
                else:
                    await asyncio.sleep(LOOK_S)
                    continue
                beat_s = time.monotonic()
        finally:
            self._n_readers -= 1


class _Patient(StreamingResponse):
    """A stream that ends where its reader takes nothing for too long."""

    def __init__(self, content: AsyncIterator[bytes], patience_s: float) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second for nginx
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._patience_s = patience_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, for as long as somebody reads."""

        async def send_soon(message: Message) -> None:
            async with asyncio.timeout(self._patience_s):
                await send(message)

        try:
            await super().__call__(scope, receive, send_soon)
        except TimeoutError:
            logger.info("a reader of events was hung up on: it took nothing for %g s", self._patience_s)


def _as_text(event: LoggedEvent) -> bytes:
    return f"id: {event.number}\nevent: {event.kind}\ndata: {json.dumps(event.to_plain())}\n\n".encode()
