"""The application: the routes of its parts, who may ask, and how refusals look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from sonyc_ml.web.metrics import CONTENT_TYPE, Measured, ServeMetrics
from sonyc_ml.web.predict.requests import RequestError
from sonyc_ml.web.predict.service import Service
from sonyc_ml.web.settings import EVERYWHERE, ServeSettings

HOSTS = ("localhost", "127.0.0.1", "[::1]")
INTERFACE = Path(__file__).with_name("openapi.json")
RETRY_S = 1


def make_app(settings: ServeSettings, service: Service, metrics: ServeMetrics) -> Starlette:
    """Return what a server runs."""

    async def expose(_: Request) -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    hosts = ["*"] if settings.host == EVERYWHERE else list(HOSTS)
    return Starlette(
        routes=[*service.routes(), Route("/metrics", expose), Route("/openapi.json", _describe_interface)],
        middleware=[Middleware(Measured, metrics=metrics), Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        exception_handlers={RequestError: _refusal, HTTPException: _http_refusal},
        lifespan=lifespan,
    )


async def _describe_interface(_: Request) -> Response:
    return FileResponse(INTERFACE, media_type="application/json")


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    headers = {"Retry-After": str(RETRY_S)} if error.status == 503 else None
    return JSONResponse(error.described(), error.status, headers)


async def _http_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    texts = {404: f"there is no {request.url.path} here", 405: f"{request.url.path} does not take {request.method}"}
    return JSONResponse({"error": texts.get(error.status_code, error.detail)}, error.status_code, error.headers)
