"""The service as a process: a port or socket opened, models loaded, requests answered until a signal."""

from __future__ import annotations

import logging
import signal
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette

from sonyc_ml.errors import ConfigError
from sonyc_ml.web.app import make_app
from sonyc_ml.web.metrics import ServeMetrics
from sonyc_ml.web.protocol import bounded
from sonyc_ml.web.settings import ServeSettings

if TYPE_CHECKING:
    from sonyc_ml.web.events import NodeEvents
    from sonyc_ml.web.node_metrics import NodeCollector
    from sonyc_ml.web.page.frame import Frame
    from sonyc_ml.web.page.node import Node
    from sonyc_ml.web.predict.service import Service

logger = logging.getLogger(__name__)

KEEP_ALIVE_S, GRACE_S = 5, 30
MAX_CONNECTIONS, BACKLOG = 1000, 128
SOCKET_MODE = 0o660
ENDING = (signal.SIGTERM, signal.SIGINT)


def serve(settings: ServeSettings, models: Mapping[Path, Mapping[str, Any]], node: Node | None = None) -> None:
    """Answer requests until SIGTERM or SIGINT; what runs by then is finished.

    Parameters
    ----------
    settings : ServeSettings
    models : mapping of Path to mapping
        Keywords of :func:`sonyc_ml.load_model` by the path of each network; the first is the one that is meant where a
        request names none. Where there are none, nothing is predicted.
    node : Node, optional
        Whose page is served; it is, too, where models cannot be loaded.

    Raises
    ------
    BundleError, ConfigError
        It cannot listen there; or a model cannot be loaded, and there is no page to say so.
    """
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        failures.append(error)
        if node is None:
            server.should_exit = True
        else:
            logger.error("nothing is predicted: %s", error)

    metrics = ServeMetrics(_node_metrics(node) if node else None)
    service = _service(settings, models, metrics, failed) if models else None
    events = _events(node, lambda: server.should_exit) if node else None
    app = make_app(settings, metrics, service, _frame(node, failures) if node else None, events)
    server = _Server(_config(app, settings.body_s))
    for number in ENDING:  # uvicorn raises them once more when it has ended well
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # one that comes before it can end waits until it can
    signal.signal(signal.SIGHUP, lambda *_: service.reload() if service else None)
    with closing(_listening(settings)) as listening:
        logger.info("listening on %s", _place(listening))
        if service is None:
            logger.info("ready: the node's page")
        server.run(sockets=[listening])
    if settings.socket is not None:
        settings.socket.unlink(missing_ok=True)
    if failures and node is None:
        raise failures[0]


class _Server(uvicorn.Server):
    """A server that a signal ends well, whenever it comes."""

    async def main_loop(self) -> None:
        """Answer; from now on it can end."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        await super().main_loop()


# Each part imports what it needs: a page alone takes a third of the memory of a page with a network.


def _frame(node: Node, failures: Sequence[Exception]) -> Frame:
    from sonyc_ml.web.page.frame import Frame  # noqa: PLC0415

    return Frame(node, failures)


def _node_metrics(node: Node) -> NodeCollector:
    from sonyc_ml.web.node_metrics import NodeCollector  # noqa: PLC0415

    return NodeCollector(node.state_folder)


def _events(node: Node, is_ending: Callable[[], bool]) -> NodeEvents:
    from sonyc_ml.web.events import NodeEvents  # noqa: PLC0415

    return NodeEvents(node.state_folder, is_ending)


def _service(
    settings: ServeSettings,
    models: Mapping[Path, Mapping[str, Any]],
    metrics: ServeMetrics,
    failed: Callable[[Exception], None],
) -> Service:
    from sonyc_ml.outputs.cache import OutputCache  # noqa: PLC0415
    from sonyc_ml.web.predict.loading import Reloader, loader  # noqa: PLC0415
    from sonyc_ml.web.predict.pool import Pool  # noqa: PLC0415
    from sonyc_ml.web.predict.service import Service  # noqa: PLC0415

    cache = OutputCache(settings.cache_bytes) if settings.cache_bytes else None
    if cache is not None:
        metrics.watch_cache(cache)
    pool = Pool(loader(models, cache), settings.n_workers, settings.n_waiting, failed)
    return Service(settings, pool, metrics, Reloader(pool, models, metrics))


def _config(app: Starlette, patience_s: float) -> uvicorn.Config:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return uvicorn.Config(
        app,
        http=bounded(patience_s),
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
