"""Where a model is found: a process that is started, or a daemon that runs."""

from __future__ import annotations

import os

from sonyc_ml.client.child import ENDING_S, Child
from sonyc_ml.client.model import RemoteModel
from sonyc_ml.client.session import Peer
from sonyc_ml.client.transport import Transport
from sonyc_ml.errors import ConfigError, LostModelError
from sonyc_ml.sound.live.wyoming import AUDIO_START, AUDIO_STOP, DESCRIBE, encode

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

HERE = "127.0.0.1"
LOAD = "load"
LOADING_S = 300.0  # a golden vector on a slow node
ANSWERING_S = 60.0
CONNECTING_S = 10.0


def spawn(path: str | Path, *, timeout_s: float = ANSWERING_S, **parameters: Any) -> RemoteModel:
    """Load a model in a process of its own, which ends with this one, however that ends.

    Parameters
    ----------
    path : str or Path
        As for :func:`sonyc_ml.load_model`.
    timeout_s : float > 0
        How long the process may give no sign of life while it computes (in seconds), beside ten times the length of
        the sound.
    **parameters
        Those of :func:`sonyc_ml.load_model`, as far as JSON can hold them.

    Raises
    ------
    BundleError, ValueError, TypeError
        As load_model does.
    LostModelError
        The process ended while it loaded the model, twice.
    """
    held = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in parameters.items()}
    load = encode(LOAD, {"path": os.fspath(path), "parameters": held})
    return RemoteModel(lambda: SpawnedPeer(load), os.fspath(path), timeout_s, "loaded the model")


def connect(address: str, *, timeout_s: float = ANSWERING_S) -> RemoteModel:
    """Use the model of a daemon that runs, or of ``sonyc-ml serve``.

    Parameters
    ----------
    address : str
        ``unix:PATH``, a socket of ``[listen]``, ``tcp:PORT``, or ``tcp:HOST:PORT``. Of a service ``http://HOST:PORT``,
        ``http+unix:PATH``, or ``http://HOST:PORT/v2/models/NAME`` for another than its first model; https and
        ``USER:PASSWORD@`` where a proxy has them.
    timeout_s : float > 0
        As for :func:`spawn`; also how long to try again where a service is busy.

    Raises
    ------
    ConfigError
        The address is of no such kind, or there is no such model.
    LostModelError
        Nobody answers there.
    """
    kind, _, place = address.partition(":")
    if kind in ("http", "https", "http+unix"):
        from sonyc_ml.client.over_http import HttpAddress, HttpPeer  # noqa: PLC0415  json and http, for few

        there = HttpAddress(address)
        return RemoteModel(lambda: HttpPeer(there, timeout_s), there.shown, timeout_s, "said what it is")
    host, _, port = place.rpartition(":") if ":" in place else (HERE, "", place)
    if kind == "unix" and place:
        where: str | tuple[str, int] = place
    elif kind == "tcp" and host and port.isascii() and port.isdigit():
        where = (host, int(port))
    else:
        raise ConfigError(
            "the address of a daemon is unix:PATH or tcp:HOST:PORT, that of a service http://HOST:PORT or "
            f"http+unix:PATH, not {address!r}"
        )
    return RemoteModel(lambda: DaemonPeer(where, address), address, timeout_s, "said what it is")


class SpawnedPeer(Peer):
    """A process of our own."""

    is_ours = True

    def __init__(self, load: bytes) -> None:
        self._child = Child()
        self.pid = self._child.pid
        super().__init__(Transport(self._child.connection), load, LOADING_S)

    def request(self, samples: memoryview, said: dict[str, Any]) -> list[bytes | memoryview]:
        """See :class:`Peer`; the samples go by way of memory that both see."""
        self._child.samples.put(samples)
        return [encode(AUDIO_START, {**said, "is_shared": True}), encode(AUDIO_STOP)]

    def end(self, *, hangs: bool = False) -> str:
        """See :class:`Peer`."""
        return self._child.end(0.0 if hangs else ENDING_S)


class DaemonPeer(Peer):
    """A daemon that somebody else has started."""

    def __init__(self, where: str | tuple[str, int], address: str) -> None:
        import socket  # noqa: PLC0415  see Transport

        connection = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        connection.settimeout(CONNECTING_S)
        try:
            connection.connect(where)
        except OSError as error:
            connection.close()
            raise LostModelError(f"{address}: nobody answers there: {error.strerror or error}") from error
        super().__init__(Transport(connection), encode(DESCRIBE), CONNECTING_S)

    def end(self, *, hangs: bool = False) -> str:  # noqa: ARG002  it is not ours to end
        """See :class:`Peer`."""
        self.link.close()
        return "has hung up"
