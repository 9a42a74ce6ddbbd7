"""A mistake of ours: whoever asked gets a sentence in the form of every other refusal, and the log says all of it."""

from __future__ import annotations

import logging

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

STATUS = 500
SAID = "the service made a mistake, which is in its log; what was asked for may be all right: please report it"


class Failing:
    """An ASGI application that answers where the one inside it raises what nobody expected.

    Parameters
    ----------
    app : ASGIApp
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; an answer that had begun is broken off, so that nobody takes it for a whole one."""
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if scope["type"] != "http" or has_begun:
                raise
            logger.exception("%s %s failed: %s", scope["method"], scope["path"], type(error).__name__)
            await JSONResponse({"error": SAID, "code": type(error).__name__}, STATUS)(scope, receive, send)
