"""A sound file as an answer: all of it, or the part that a player asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import anyio.to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sonyc_ml.base.identity import Identity

CHUNK_LENGTH = 1 << 17  # bytes
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
# By how files begin: the bytes at a place.
MEDIA_TYPES = (
    ("audio/wav", 8, b"WAVE"),
    ("audio/flac", 0, b"fLaC"),
    ("audio/ogg", 0, b"OggS"),
    ("audio/aiff", 0, b"FORM"),
    ("audio/mpeg", 0, b"ID3"),
    ("audio/mpeg", 0, b"\xff\xfb"),
)
UNKNOWN = "application/octet-stream"


class SoundResponse(Response):
    """Sends a file that is open, and closes it.

    Parameters
    ----------
    descriptor : int
        Of the file.
    identity : Identity
        Of the recording.
    headers : mapping of str to str
        Of the request: a range of bytes, as RFC 9110 has it; of several, or of one that is not understood, all of the
        file is sent.
    """

    def __init__(self, descriptor: int, identity: Identity, headers: Mapping[str, str]) -> None:
        tag = f'"{identity.n_bytes:x}-{identity.mtime_ns:x}"'
        asked = headers.get("range", "") if headers.get("if-range", tag) == tag else ""
        chosen = chosen_range(asked, identity.n_bytes)
        self._descriptor = descriptor
        self._first, self._end = chosen or (0, 0)
        is_part = bool(chosen) and asked != "" and RANGE.fullmatch(asked) is not None
        status = 416 if chosen is None else 206 if is_part else 200
        super().__init__(status_code=status, media_type=media_type_of(os.pread(descriptor, 12, 0)))
        self.headers["Content-Length"] = str(self._end - self._first)
        self.headers["Accept-Ranges"] = "bytes"
        self.headers["ETag"] = tag
        self.headers["Cache-Control"] = "private, no-cache"
        if status == 206:
            self.headers["Content-Range"] = f"bytes {self._first}-{self._end - 1}/{identity.n_bytes}"
        elif status == 416:
            self.headers["Content-Range"] = f"bytes */{identity.n_bytes}"

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            position = self._first if scope["method"] != "HEAD" else self._end
            while position < self._end:
                length = min(CHUNK_LENGTH, self._end - position)
                content = await anyio.to_thread.run_sync(os.pread, self._descriptor, length, position)
                if not content:  # it is shorter now: what was promised cannot be sent, and the connection is dropped
                    raise OSError("the file has become shorter")
                await send({"type": "http.response.body", "body": content, "more_body": True})
                position += len(content)
            await send({"type": "http.response.body", "body": b""})
        finally:
            os.close(self._descriptor)


def chosen_range(asked: str, n_bytes: int) -> tuple[int, int] | None:
    """The first byte and the one behind the last of a range; all where none is understood, None where there is none.

    Parameters
    ----------
    asked : str
        Value of the header ``Range``.
    n_bytes : int
        Of the file.
    """
    found = RANGE.fullmatch(asked)
    if found is None or found.groups() == ("", ""):
        return 0, n_bytes
    first, last = found.groups()
    if not first:  # so many at the end
        n_last = min(int(last), n_bytes)
        return (n_bytes - n_last, n_bytes) if n_last else None
    end = min(int(last) + 1, n_bytes) if last else n_bytes
    return (int(first), end) if int(first) < end else None


def media_type_of(beginning: bytes) -> str:
    """What kind of sound a file holds, by its first bytes."""
    kinds = (kind for kind, place, mark in MEDIA_TYPES if beginning[place : place + len(mark)] == mark)
    return next(kinds, UNKNOWN)
