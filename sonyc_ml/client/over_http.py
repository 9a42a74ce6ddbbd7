"""A model of `sonyc-ml serve`: questions by version 2 of the Open Inference Protocol, samples and outputs as bytes."""

from __future__ import annotations

import json
import time
from contextlib import suppress

from sonyc_ml.client.session import Peer
from sonyc_ml.client.transport import HungUpError, SilenceError
from sonyc_ml.errors import ConfigError, LostModelError, ProtocolError
from sonyc_ml.sound.live.answers import OUTPUTS
from sonyc_ml.sound.live.wyoming import ERROR, INFO, Event

TYPE_CHECKING = False  # typing takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from http.client import HTTPConnection
    from typing import Any, TypeAlias

    Body: TypeAlias = Sequence[bytes | memoryview] | None

MODELS = "/v2/models/"
JSON_LENGTH = "Inference-Header-Content-Length"
DTYPES = {"FP32": "<f4", "FP64": "<f8"}
CONNECTING_S = 10.0
RETRY_S = 1.0  # where a service that is busy does not say when to try again
BUSY = 503
# What an answer that names no exception stands for; any other status is something that a service does not answer.
CODES = {400: "ValueError", 404: "ConfigError", 408: "LostModelError", BUSY: "LostModelError"}


class HttpAddress:
    """Where a service listens.

    Parameters
    ----------
    address : str
        ``http://HOST:PORT``, ``https://…`` or ``http+unix:PATH``; the first two with ``USER:PASSWORD@`` before the host
        and ``/v2/models/NAME`` behind it where wanted.

    Attributes
    ----------
    shown : str
        The address without a password.
    prefix, model : str
        What comes before ``/v2`` in the path of each request; the name of a model, empty for the first.
    headers : dict of str to str
        Of each request.

    Raises
    ------
    ConfigError
        It is no such address.
    """

    def __init__(self, address: str) -> None:
        from urllib.parse import unquote, urlsplit  # noqa: PLC0415  this and http only with a service to ask

        self.prefix = self.model = ""
        self.headers: dict[str, str] = {}
        kind, _, place = address.partition(":")
        self._is_secret, self._path = kind == "https", place if kind == "http+unix" else ""
        self._host, self._port, self.shown = "localhost", None, address
        if self._path:
            self._path, _, name = self._path.partition(MODELS)
            self.model = unquote(name)
            return
        try:
            parts = urlsplit(address)
            host, self._port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.query or parts.fragment:
            raise ConfigError(f"the address of a service is http://HOST:PORT or http+unix:PATH, not {address!r}")
        self._host, path = host, parts.path.rstrip("/")
        self.prefix, _, name = path.partition(MODELS)
        self.model = unquote(name)
        if parts.username is not None:
            from base64 import b64encode  # noqa: PLC0415

            said = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self.headers["Authorization"] = f"Basic {b64encode(said).decode()}"
            self.shown = address.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1)

    def connection(self) -> HTTPConnection:
        """A connection to there, which is made with the first request."""
        from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415

        if self._path:
            return unix_connection(self._path)
        kind = HTTPSConnection if self._is_secret else HTTPConnection
        return kind(self._host, self._port, timeout=CONNECTING_S)


def unix_connection(path: str) -> HTTPConnection:
    """A connection to a Unix socket."""
    import socket  # noqa: PLC0415
    from http.client import HTTPConnection  # noqa: PLC0415

    class UnixConnection(HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(path)

    return UnixConnection("localhost", timeout=CONNECTING_S)


class HttpLink:
    """What :class:`~sonyc_ml.client.transport.Transport` is over a socket: something to ask, that answers with events.

    Parameters
    ----------
    address : HttpAddress
    busy_s : float
        How long to try again where the service is busy (in seconds).
    """

    is_out_of_step = False  # each question has its answer

    def __init__(self, address: HttpAddress, busy_s: float) -> None:
        self._address, self._busy_s = address, busy_s
        self._connection = address.connection()
        self.path = ""  # of the model, once it is known

    def ask(self, parts: Sequence[bytes | memoryview], _wanted: object, patience_s: float) -> Event:
        """Send the JSON and the samples of a question; return the outputs, or the error that is answered.

        Raises
        ------
        LostModelError
            The service has been busy for too long, or nobody listens any more.
        SilenceError
            Nothing has come for `patience_s` seconds.
        HungUpError
        ProtocolError
            What comes is no such answer.
        """
        head = {JSON_LENGTH: str(len(parts[0])), "Content-Type": "application/octet-stream"}
        head["Content-Length"] = str(sum(map(len, parts)))
        status, headers, content = self.request("POST", f"{self.path}/infer", parts, head, patience_s)
        if status != 200:
            return read_refusal(status, content)
        return read_answer(content, headers.get(JSON_LENGTH.lower()))

    def request(
        self, method: str, path: str, body: Body, headers: Mapping[str, str], patience_s: float
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request, once more whenever the service says that it is busy, and when to try again.

        Returns
        -------
        status : int
        headers : dict of str to str
            By names in small letters.
        content : bytes
        """
        end_s = time.monotonic() + self._busy_s
        while True:
            status, found, content = self._request(method, path, body, headers, patience_s)
            wait_s = retry_s(found.get("retry-after", ""))
            if status != BUSY:
                return status, found, content
            if time.monotonic() + wait_s > end_s:
                why = read_refusal(status, content).data["text"]
                raise LostModelError(f"{self._address.shown}: the service is busy, for {self._busy_s:g} s now: {why}")
            time.sleep(wait_s)

    def _request(
        self, method: str, path: str, body: Body, headers: Mapping[str, str], patience_s: float
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; on a new connection where the service has closed the old one, on which nobody asked."""
        question = (method, self._address.prefix + path, body, {**self._address.headers, **headers})
        if self._connection.sock is not None:
            with suppress(HungUpError):
                return self._exchange(question, patience_s)
        try:
            self._connection.connect()
        except OSError as error:
            self.close()
            why = error.strerror or error
            raise LostModelError(f"{self._address.shown}: nobody answers there: {why}") from error
        return self._exchange(question, patience_s)

    def _exchange(
        self, question: tuple[str, str, Body, dict[str, str]], patience_s: float
    ) -> tuple[int, dict[str, str], bytes]:
        from http.client import HTTPException, IncompleteRead  # noqa: PLC0415

        self._connection.sock.settimeout(patience_s)
        try:
            with suppress(ConnectionError):  # it has answered, perhaps, before it had all
                self._connection.request(*question)
            response = self._connection.getresponse()
            content = response.read()
        except TimeoutError:
            self.close()
            raise SilenceError from None
        except (OSError, IncompleteRead):
            self.close()
            raise HungUpError from None
        except HTTPException as error:
            self.close()
            raise ProtocolError(f"{self._address.shown}: what answers there speaks no HTTP: {error!r:.80}") from error
        return response.status, {name.lower(): value for name, value in response.headers.items()}, content

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class HttpPeer(Peer):
    """A service that somebody else has started."""

    takes_streams = False

    def __init__(self, address: HttpAddress, busy_s: float) -> None:
        self._address = address
        self._http = HttpLink(address, busy_s)
        super().__init__(self._http, b"", CONNECTING_S)

    def greet(self) -> Event:
        """Return what the service says of its model, or its error."""
        from urllib.parse import quote  # noqa: PLC0415

        name = self._address.model
        if not name:
            ready = self._get("/v2/health/ready")
            if ready.type == ERROR:
                return ready
            models = ready.data.get("models")
            name = str(models[0]) if isinstance(models, list) and models else ""
        self._http.path = MODELS + quote(name, safe="")
        return self._get(self._http.path)

    def _get(self, path: str) -> Event:
        status, _, content = self._http.request("GET", path, None, {}, self._patience_s)
        return Event(INFO, read_object(content)) if status == 200 else read_refusal(status, content)

    def request(self, samples: memoryview, said: dict[str, Any]) -> list[bytes | memoryview]:
        """See :class:`Peer`: the JSON of the question, and the samples."""
        parameters = {"sample_rate": said["rate"], "hop_size": said["hop_size"], "binary_data_output": True}
        size = {"binary_data_size": samples.nbytes}
        audio = {"name": "audio", "datatype": "FP32", "shape": [said["n_samples"]], "parameters": size}
        return [json.dumps({"inputs": [audio], "parameters": parameters}).encode(), samples]

    def end(self, *, hangs: bool = False) -> str:  # noqa: ARG002  it is not ours to end
        """See :class:`Peer`."""
        self.link.close()
        return "has hung up"


def retry_s(text: str) -> float:
    """When to try again, by a header; a date, which it may be too, is taken for the usual."""
    return float(text) if text.isdecimal() else RETRY_S


def read_object(content: bytes) -> dict[str, Any]:
    """Read a body, or the part of one, that is a JSON object.

    Raises
    ------
    ProtocolError
    """
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ProtocolError(f"what answers there is no sonyc_ml: {content[:40]!r}")
    return value


def read_refusal(status: int, content: bytes) -> Event:
    """The error that an answer with another status than 200 stands for."""
    try:
        said = read_object(content)
    except ProtocolError:
        said = {"error": f"it answers with status {status}: {content[:80].decode(errors='replace')}"}
    instances = said.get("instances")
    if isinstance(instances, list) and len(instances) == 1 and isinstance(instances[0], dict):
        said = instances[0]
    code = said.get("code") or CODES.get(status, "ProtocolError")
    return Event(ERROR, {"text": str(said.get("error", f"status {status}")), "code": code})


def read_answer(content: bytes, json_length: str | None) -> Event:
    """Read the outputs of an answer.

    Raises
    ------
    ProtocolError
        It is no answer with its tensors as bytes.
    """
    if json_length is None or not json_length.isdecimal():
        raise ProtocolError("the service answers without the bytes of its outputs")
    length = int(json_length)
    try:
        arrays = [
            {"name": one["name"], "dtype": DTYPES[one["datatype"]], "shape": one["shape"]}
            for one in read_object(content[:length])["outputs"]
        ]
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"the service answers with outputs that cannot be read: {error!r}") from error
    return Event(OUTPUTS, {"arrays": arrays}, content[length:])
