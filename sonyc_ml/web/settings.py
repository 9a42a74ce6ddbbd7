"""Where a service listens, and how much it takes at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104  the second only where the platform asks for it
PORT_VARIABLE, ROUTE_VARIABLE, HEALTH_VARIABLE = "AIP_HTTP_PORT", "AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """All that ``sonyc-ml serve`` is told but for its models.

    Attributes
    ----------
    host : str
    port : int
        0 for any that is free.
    socket : Path or None
        A Unix socket instead of host and port.
    predict_route, health_route : str
    n_workers : int > 0
        Threads, each with networks of its own.
    n_waiting : int >= 0
        Requests that may wait for a worker; more are sent away.
    max_request_bytes, max_duration_s, max_windows, max_instances
        The most that one request may hold: bytes; sound in all its instances (in seconds), and its windows; instances.
    max_answer_bytes : int > 0
        The most that the arrays of one answer may take, as they are written in it.
    body_s : float > 0
        How long a client may take to send the headers of a request, and then its body (in seconds).
    cache_bytes : int >= 0
        Of outputs that are kept for whoever asks again; 0 for none.
    """

    host: str = LOOPBACK
    port: int = 8080
    socket: Path | None = None
    predict_route: str = "/predict"
    health_route: str = "/health"
    n_workers: int = 1
    n_waiting: int = 32
    max_request_bytes: int = 64 << 20
    max_duration_s: float = 600.0
    max_windows: int = 100_000
    max_instances: int = 64
    max_answer_bytes: int = 64 << 20
    body_s: float = 30.0
    cache_bytes: int = 16 << 20


def address_of(environment: Mapping[str, str]) -> dict[str, str | int]:
    """What a serving platform asks for: values of :class:`ServeSettings`, empty where nothing is asked.

    A platform that runs containers reaches the service from outside, so it then listens on every address.

    Parameters
    ----------
    environment : mapping of str to str
        ``AIP_HTTP_PORT``, ``AIP_PREDICT_ROUTE``, ``AIP_HEALTH_ROUTE``, as `Vertex AI`_ names them.

    Raises
    ------
    ConfigError
        One of them is no port or no route.

    .. _Vertex AI: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
    """
    asked: dict[str, str | int] = {}
    if port := environment.get(PORT_VARIABLE):
        if not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ConfigError(f"{PORT_VARIABLE} must be a port from 1 to 65535, not {port!r}")
        asked |= {"host": EVERYWHERE, "port": int(port)}
    for variable, key in ((ROUTE_VARIABLE, "predict_route"), (HEALTH_VARIABLE, "health_route")):
        if route := environment.get(variable):
            if not route.startswith("/"):
                raise ConfigError(f"{variable} must begin with /, as in /predict, not {route!r}")
            asked[key] = route
    return asked


def usual_workers() -> int:
    """As many workers as there are processors that this process may use."""
    return len(os.sched_getaffinity(0))
