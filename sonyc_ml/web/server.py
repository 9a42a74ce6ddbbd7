"""The service as a process: a port or socket opened, models loaded, requests answered until a signal."""

from __future__ import annotations

import logging
import signal
import socket
import stat
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from sonyc_ml.errors import ConfigError
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.cache import OutputCache
from sonyc_ml.web.app import make_app
from sonyc_ml.web.metrics import ServeMetrics
from sonyc_ml.web.predict.pool import Models, Pool
from sonyc_ml.web.predict.service import Service
from sonyc_ml.web.settings import ServeSettings

logger = logging.getLogger(__name__)

KEEP_ALIVE_S, GRACE_S = 5, 30
MAX_CONNECTIONS, BACKLOG = 1000, 128
SOCKET_MODE = 0o660


def serve(settings: ServeSettings, models: Mapping[Path, Mapping[str, Any]]) -> None:
    """Answer requests until SIGTERM or SIGINT; what runs by then is finished.

    Parameters
    ----------
    settings : ServeSettings
    models : mapping of Path to mapping
        Keywords of :func:`sonyc_ml.load_model` by the path of each network; the first is the one that is meant where a
        request names none.

    Raises
    ------
    BundleError, ConfigError
        It cannot be loaded, or cannot listen there.
    """
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    cache = OutputCache(settings.cache_bytes) if settings.cache_bytes else None
    pool = Pool(_loader(models, cache), settings.n_workers, settings.n_waiting, failed)
    metrics = ServeMetrics()
    if cache is not None:
        metrics.watch_cache(cache)
    server = uvicorn.Server(_config(make_app(settings, Service(settings, pool, metrics), metrics)))
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them once more when it has ended well
        signal.signal(number, lambda *_: None)
    with closing(_listening(settings)) as listening:
        logger.info("listening on %s", _place(listening))
        server.run(sockets=[listening])
    if settings.socket is not None:
        settings.socket.unlink(missing_ok=True)
    if failures:
        raise failures[0]


def _loader(models: Mapping[Path, Mapping[str, Any]], cache: OutputCache | None) -> Callable[[], Models]:
    """What loads, checks and warms up the models of one worker; all workers' have one cache."""
    lock = threading.Lock()

    def load() -> Models:
        with lock:
            loaded = [load_model(path, **keywords) for path, keywords in models.items()]
        for model in loaded:
            model.warm_up()
            model.cache = cache  # only now: each network is to run once
        return {model.bundle.name: model for model in loaded}

    return load


def _config(app: Starlette) -> uvicorn.Config:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=MAX_CONNECTIONS,
    )


def _listening(settings: ServeSettings) -> socket.socket:
    """A socket that listens where it is asked for.

    Raises
    ------
    ConfigError
        It cannot; says why.
    """
    place = settings.socket or f"{settings.host}:{settings.port}"
    family = socket.AF_INET if settings.socket is None else socket.AF_UNIX
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if settings.socket is None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((settings.host, settings.port))
        else:
            _remove_abandoned(settings.socket)
            listening.bind(str(settings.socket))
            settings.socket.chmod(SOCKET_MODE)
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {place}: {why}; choose another --port or --socket") from error
    return listening


def _remove_abandoned(path: Path) -> None:
    """Remove the socket of a service that was killed: nobody listens there any more."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def _place(listening: socket.socket) -> str:
    address = listening.getsockname()
    return f"http://{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
