"""The application: the routes of its parts, who may ask, and how refusals look."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from sonyc_ml.web.failing import Failing
from sonyc_ml.web.metrics import CONTENT_TYPE, Measured, ServeMetrics
from sonyc_ml.web.security import Guarded
from sonyc_ml.web.settings import EVERYWHERE, ServeSettings

if TYPE_CHECKING:
    from sonyc_ml.web.events import NodeEvents
    from sonyc_ml.web.page.frame import Frame
    from sonyc_ml.web.predict.service import Service

HOSTS = ("localhost", "127.0.0.1", "[::1]")
INTERFACE = Path(__file__).with_name("openapi.json")
RETRY_S = 1
HANGS_UP = (408, 413, 503)


def make_app(
    settings: ServeSettings,
    metrics: ServeMetrics,
    service: Service | None = None,
    frame: Frame | None = None,
    events: NodeEvents | None = None,
) -> Starlette:
    """Return what a server runs.

    Parameters
    ----------
    settings : ServeSettings
    metrics : ServeMetrics
    service : Service, optional
        Answers programs; nobody does where not given.
    frame, events : Frame, NodeEvents, optional
        Of the node's page, and of the node; there are none where not given.
    """

    async def expose(_: Request) -> Response:
        text = await to_thread.run_sync(metrics.text)  # a node's come from its journal, on a disk that may be slow
        return Response(text, media_type=CONTENT_TYPE)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            async with service.running() if service is not None else nullcontext():
                yield
        finally:
            if frame is not None:
                frame.pictures.close()

    hosts = ["*"] if settings.host == EVERYWHERE else list(HOSTS)
    return Starlette(
        routes=[*([events.route()] if events else []), *_routes(settings, service, frame), Route("/metrics", expose)],
        middleware=[
            Middleware(Measured, metrics=metrics),
            Middleware(Guarded),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(Failing),
        ],
        exception_handlers=_refusals(service, frame),
        lifespan=lifespan,
    )


def _routes(settings: ServeSettings, service: Service | None, frame: Frame | None) -> list[Route]:
    found: list[Route] = []
    if service is not None:
        found += [*service.routes(), Route("/openapi.json", _describe_interface)]
    else:
        found.append(Route(settings.health_route, _is_up))
    if frame is not None:
        from sonyc_ml.web.page import routes  # noqa: PLC0415  most who predict have no page

        found += routes(frame)
    return found


def _refusals(service: Service | None, frame: Frame | None) -> dict[Any, Callable[[Request, Exception], Any]]:
    handlers: dict[Any, Callable[[Request, Exception], Any]] = {HTTPException: _http_refusal(frame)}
    if service is not None:
        from sonyc_ml.web.predict.requests import RequestError  # noqa: PLC0415  imports numpy

        handlers[RequestError] = _refusal
    return handlers


async def _describe_interface(_: Request) -> Response:
    return FileResponse(INTERFACE, media_type="application/json")


async def _is_up(_: Request) -> Response:
    """The page has nothing to load: it is there as soon as it answers."""
    return JSONResponse({"status": "ready", "ready": True, "models": []})


async def _refusal(_: Request, error: Any) -> Response:
    headers = {"Retry-After": str(RETRY_S)} if error.status == 503 else {}
    if error.status in HANGS_UP:  # what is left of the body, which may be endless, is not waited for
        headers["Connection"] = "close"
    return JSONResponse(error.described(), error.status, headers)


def _http_refusal(frame: Frame | None) -> Callable[[Request, Exception], Any]:
    """What is said of an address that is not there: a page to browsers, JSON to programs."""

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        texts = {404: f"there is no {path} here", 405: f"{path} does not take {request.method}"}
        text = texts.get(error.status_code, error.detail)
        if frame is not None and "text/html" in request.headers.get("accept", ""):
            return frame.refusal(error.status_code, text, request.scope["raw_path"].decode("latin-1"))
        return JSONResponse({"error": text}, error.status_code, error.headers)

    return refuse
