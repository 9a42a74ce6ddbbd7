"""The routes of programs: what is asked, and by whom it is answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sonyc_ml.errors import ConfigError
from sonyc_ml.model import Model
from sonyc_ml.outputs.output import Output
from sonyc_ml.web.metrics import ServeMetrics
from sonyc_ml.web.predict import answers, inference
from sonyc_ml.web.predict.loading import Reloader
from sonyc_ml.web.predict.pool import BusyError, DroppedError, Job, Models, Pool
from sonyc_ml.web.predict.requests import (
    Request,
    RequestError,
    model_named,
    read_parameters,
    read_request,
    request_of_file,
    run,
)
from sonyc_ml.web.settings import ServeSettings

logger = logging.getLogger(__name__)

MODEL_ROUTES = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
BODIES_AT_ONCE = 2  # as many as the largest, in memory; smaller ones accordingly
GONE = 499  # what nobody reads: the client has left
FILE_TYPES = ("audio/", "application/octet-stream")
QUERY: dict[str, Callable[[str], Any]] = {"hop_size": float, "outputs": lambda text: text.split(",")}


class Service:
    """Answers requests.

    Parameters
    ----------
    settings : ServeSettings
    pool : Pool
    metrics : ServeMetrics
    reloader : Reloader
    """

    def __init__(self, settings: ServeSettings, pool: Pool, metrics: ServeMetrics, reloader: Reloader) -> None:
        self._settings, self._pool, self._metrics, self._reloader = settings, pool, metrics, reloader
        self.reload = reloader.ask
        self._n_held = 0  # bytes of bodies
        pool.observe = metrics.observe_stage
        metrics.watch_pool(lambda: pool.n_waiting, lambda: pool.n_running)

    def routes(self) -> list[Route]:
        """Return what is asked of it, and the method that answers."""
        return [
            Route(self._settings.predict_route, self._predict, methods=["POST"]),
            Route(self._settings.health_route, self._health),
            Route("/v2", _describe_server),
            Route("/v2/health/live", _is_live),
            Route("/v2/health/ready", self._health),
            *(Route(f"{model}{end}", answer) for model in MODEL_ROUTES for end, answer in self._model_routes()),
            *(Route(f"{model}/infer", self._infer, methods=["POST"]) for model in MODEL_ROUTES),
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the models on entry; finish what runs on exit."""
        self._pool.start()
        self._reloader.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self._reloader.stop)
            await asyncio.to_thread(self._pool.stop)

    async def _health(self, _: HttpRequest) -> Response:
        """200 once the models are loaded, checked and warmed up; 503 before, and while the service ends."""
        pool = self._pool
        facts = {"models": list(pool.models), "n_running": pool.n_running, "n_waiting": pool.n_waiting}
        if pool.problem:
            facts["problem"] = f"the new bundles cannot be used, the old ones stay: {pool.problem}"
        if pool.is_ready:
            return JSONResponse({"status": "ready", "ready": True, **facts})
        return JSONResponse({"status": "not ready", "ready": False, **facts}, 503)

    def _model_routes(self) -> tuple[tuple[str, Callable[[HttpRequest], Awaitable[Response]]], ...]:
        return ("", self._describe_model), ("/ready", self._describe_model)

    async def _describe_model(self, request: HttpRequest) -> Response:
        self._refuse_if_not_ready()
        return JSONResponse(inference.describe_model(_model_of(request, self._pool.models)))

    async def _infer(self, request: HttpRequest) -> Response:
        json_length = request.headers.get(inference.JSON_LENGTH)

        def work(body: bytes, models: Models, progress: Callable[[], None]) -> Response:
            model = _model_of(request, models)
            asked = inference.read_inference(body, json_length)
            size = partial(inference.bytes_of_window, inference=asked)
            (output,) = self._run(asked.request, {model.bundle.name: model}, progress, size)
            content, length = inference.answer(output, asked, model)
            if length == len(content):
                return Response(content, media_type=answers.JSON)
            headers = {inference.JSON_LENGTH: str(length)}
            return Response(content, media_type="application/octet-stream", headers=headers)

        async with self._body(request) as body:
            return await self._done(partial(work, body), request)

    async def _predict(self, request: HttpRequest) -> Response:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        accepted = request.headers.get("accept", "")
        query = dict(request.query_params)
        settings = self._settings

        def work(body: bytes, models: Models, progress: Callable[[], None]) -> Response:
            if content_type.startswith(FILE_TYPES):
                asked = request_of_file(body, read_parameters(_read_query(query)))
            else:
                asked = read_request(body, settings)
            size = partial(answers.bytes_of_window, parameters=asked.parameters, accepted=accepted)
            return answered(self._run(asked, models, progress, size), asked, accepted)

        async with self._body(request) as body:
            return await self._done(partial(work, body), request)

    def _run(
        self, request: Request, models: Models, progress: Callable[[], None], size: Callable[[Mapping[str, int]], int]
    ) -> list[Output]:
        outputs = run(request, models, self._settings, progress, size)
        self._metrics.embedded(outputs)
        return outputs

    async def _done(self, work: Callable[[Models, Callable[[], None]], Response], request: HttpRequest) -> Response:
        """Let a worker do it, for as long as the client waits."""
        self._refuse_if_not_ready()
        try:
            job: Job[Response] = self._pool.submit(work)
        except BusyError:
            raise RequestError(503, "too many requests wait already: try again later") from None
        watch = asyncio.create_task(_drop_when_gone(request, job))
        try:
            return await job.result()
        except DroppedError:
            return Response(status_code=GONE)
        finally:
            watch.cancel()

    def _refuse_if_not_ready(self) -> None:
        if not self._pool.is_ready:
            raise RequestError(503, "the models are not loaded yet, or the service ends: try again")

    @asynccontextmanager
    async def _body(self, request: HttpRequest) -> AsyncIterator[bytes]:
        """Read the body, up to what is allowed; it counts among the bodies that are held until the context ends."""
        most = self._settings.max_request_bytes
        too_large = RequestError(413, f"the body is larger than {most} bytes: send it in parts")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            raise too_large
        content, begun_s = bytearray(), time.monotonic()
        try:
            try:
                async with asyncio.timeout(self._settings.body_s):
                    async for chunk in request.stream():
                        content += chunk
                        self._n_held += len(chunk)
                        if len(content) > most:
                            raise too_large
                        if self._n_held > BODIES_AT_ONCE * most:
                            raise RequestError(503, "too many bodies come at once: try again later")
            except TimeoutError:
                raise RequestError(408, f"the body did not come within {self._settings.body_s:g} s") from None
            except ClientDisconnect:
                raise RequestError(400, "the body ended before its end") from None
            self._metrics.observe_stage("receiving", time.monotonic() - begun_s)
            yield bytes(content)
        finally:
            self._n_held -= len(content)


async def _describe_server(_: HttpRequest) -> Response:
    return JSONResponse(inference.SERVER)


async def _is_live(_: HttpRequest) -> Response:
    return JSONResponse({"live": True})


def _model_of(request: HttpRequest, models: Models) -> Model:
    """The model that a path names, and its version, if it names one."""
    model = model_named(request.path_params["name"], models)
    version = request.path_params.get("version")
    here = model.bundle.manifest.version if model.bundle.manifest else ""
    if version is not None and version != here:
        raise RequestError(404, f"there is no version {version!r} of {model.bundle.name} here, only {here!r}")
    return model


def answered(outputs: list[Output], request: Request, accepted: str) -> Response:
    """Return outputs in the form that a client accepts.

    Raises
    ------
    RequestError
        It has room for one output, and there are several; or there is no pyarrow here.
    """
    if answers.ARROW in accepted:
        try:
            return Response(answers.arrow_stream(outputs), media_type=answers.ARROW)
        except ConfigError as error:
            raise RequestError(406, f"{answers.ARROW} cannot be made here: {error}") from error
    if answers.NPZ in accepted:
        if len(outputs) > 1:
            raise RequestError(406, f"{answers.NPZ} holds one instance: send one, or accept {answers.JSON}")
        return Response(answers.npz(outputs[0]), media_type=answers.NPZ)
    return Response(answers.predictions(outputs, request.parameters), media_type=answers.JSON)


async def _drop_when_gone(request: HttpRequest, job: Job[Any]) -> None:
    with suppress(asyncio.CancelledError):
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.drop()


def _read_query(query: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a request whose body is a file."""
    found: dict[str, Any] = {}
    for key, text in query.items():
        try:
            found[key] = QUERY.get(key, str)(text)
        except ValueError:
            raise RequestError(400, f"{key} must be a number, not {text!r}") from None
    return found
