"""`connect` to `sonyc-ml serve`: numbers and exceptions are those of a model in this process."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sonyc_ml
from sonyc_ml.client import RemoteModel, connect
from sonyc_ml.client.over_http import HttpAddress
from sonyc_ml.errors import ConfigError, LostModelError, ProtocolError, RestartedModelWarning
from tests.conftest import ROOT, needs
from tests.support.serving import Served, served, until

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client")]

SR = 8000
Y = np.random.default_rng(9).uniform(-0.5, 0.5, 9 * SR + 77).astype(np.float32)
DEFAULT = ROOT / "models" / "quantized_default_int8.tflite"
INFO: dict[str, Any] = {"name": "a", "outputs": ["embedding"], "sample_rate": SR}


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Served]:
    with served("--model", tiny_bundle, "--model", DEFAULT, "--port", 0, "--max-duration", 20) as running:
        yield running


def address_of(service: Served) -> str:
    return f"http://127.0.0.1:{service.connection().port}"


def assert_same(remote: RemoteModel, local: sonyc_ml.model.Model) -> None:
    for y, sr, hop_size in ((Y, SR, None), (Y[:20_001], 44100, 0.25), (Y[:5], SR, None)):
        ours, theirs = remote.get_outputs(y, sr, hop_size), local.get_outputs(y, sr, hop_size)
        assert list(ours) == list(theirs)
        for kind, array in theirs.items():
            np.testing.assert_array_equal(ours[kind], array)
            assert (ours[kind].dtype, ours[kind].flags.writeable) == (array.dtype, True)


def test_the_same_numbers(service: Served, tiny_bundle: Path) -> None:
    """Of the first model, or of one that is named; to the last bit."""
    address = address_of(service)
    for path, where in ((tiny_bundle, address), (DEFAULT, f"{address}/v2/models/quantized_default_int8")):
        local = sonyc_ml.load_model(path)
        with connect(where) as model:
            assert (model.name, model.labels, model.outputs) == (local.bundle.name, local.labels, tuple(local.outputs))
            assert (model.sample_rate, model.hop_size_s) == (local.extractor.sample_rate, local.extractor.hop_size_s)
            assert_same(model, local)
            np.testing.assert_array_equal(model.get_embedding(Y, SR), local.get_embedding(Y, SR))


def test_the_same_exceptions(service: Served, tiny_bundle: Path) -> None:
    """Class and sentence, where a model in this process has one; what a service alone refuses is told, too."""
    local = sonyc_ml.load_model(tiny_bundle)
    nothing, loud = np.zeros(0, np.float32), np.full(SR, 1e30, np.float32)
    calls: list[tuple[str, Any, Any, Any]] = [
        ("y is empty", nothing, SR, None),
        ("NaN", np.full(SR, np.nan, np.float32), SR, None),
        ("samples as large as no sound is", loud, SR, None),
        ("sr must be a number above 0", Y, -1, None),
        ("hop_size must be a number", Y, SR, -1.0),
        ("hop_size must be a number", Y, SR, float("nan")),
        ("hop_size must be a number", Y, SR, "often"),
    ]
    with connect(address_of(service)) as model:
        for sentence, *call in calls:
            with pytest.raises((ValueError, TypeError), match=sentence) as theirs:
                local.get_outputs(*call)
            with pytest.raises(type(theirs.value), match=sentence):
                model.get_outputs(*call)
        with pytest.raises(ProtocolError, match="there is more sound than 20 s: send it in parts"):
            model.get_outputs(np.zeros(21 * SR, np.float32), SR)
        assert len(model.get_embedding(Y[:SR], SR)) == 1
        with pytest.raises(ValueError, match="takes whole recordings; for a stream use spawn"):
            model.stream(SR, 1)
    with pytest.raises(ConfigError, match="there is no model 'none' here; there are tiny, quantized"):
        connect(f"{address_of(service)}/v2/models/none")


def test_over_a_unix_socket_and_again(tiny_bundle: Path, tmp_path: Path) -> None:
    """A service that was started anew is found again, with a warning; one that is gone is said to be."""
    path = tmp_path / "predict.sock"
    with served("--model", tiny_bundle, "--socket", path):
        model = connect(f"http+unix:{path}")
        assert_same(model, sonyc_ml.load_model(tiny_bundle))
    with pytest.raises(LostModelError, match=r"predict\.sock: nobody answers there: No such file"):
        model.get_embedding(Y, SR)
    with served("--model", tiny_bundle, "--socket", path):
        assert len(model.get_embedding(Y[:SR], SR)) == 1
    model.close()


def test_a_busy_service_is_waited_for(tiny_bundle: Path) -> None:
    """As long as a call may take; then that is told."""
    with served("--model", tiny_bundle, "--port", 0, "--workers", 1, "--waiting", 0) as service:
        address = address_of(service)
        long = threading.Thread(target=connect(address).get_outputs, args=(np.tile(Y, 4), SR, 0.002))
        patient, hasty = connect(address, timeout_s=60), connect(address, timeout_s=0.5)
        long.start()
        until(lambda: service.ask("GET", "/health").json()["n_running"] == 1)
        with pytest.raises(LostModelError, match=r"the service is busy, for 0\.5 s now: too many requests wait"):
            hasty.get_embedding(Y[:SR], SR)
        assert len(patient.get_embedding(Y[:SR], SR)) == 1
        long.join()


class Answering:
    """A service that answers each request of a connection with what it is given, and then hangs up."""

    def __init__(self, *connections: list[bytes]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, args=(connections,))

    def __enter__(self) -> str:
        self._thread.start()
        return self.address

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self, connections: tuple[list[bytes], ...]) -> None:
        for answers in connections:
            accepted, _ = self._listener.accept()
            with accepted:
                for answer in answers:
                    received = b""
                    while b"\r\n\r\n" not in received or (b"POST" in received and not received.endswith(bytes(40))):
                        received += accepted.recv(1 << 16)
                    accepted.sendall(answer)


def answer_of(content: dict[str, Any], payload: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text + payload)}\r\nInference-Header-Content-Length: {len(text)}"
    return b"%b\r\n\r\n%b%b" % (head.encode(), text, payload)


READY, DESCRIBED = answer_of({"models": ["a"]}), answer_of({"sonyc_ml": INFO})
OUTPUTS = answer_of({"outputs": [{"name": "embedding", "datatype": "FP32", "shape": [1, 2]}]}, bytes(8))
SILENCE = np.zeros(SR, np.float32)


def test_an_idle_connection_may_be_closed() -> None:
    """A service does that after some seconds; nobody is told. One that hangs up while it computes is asked again."""
    with Answering([READY, DESCRIBED], [OUTPUTS]) as address, connect(address) as model:
        assert model.get_embedding(SILENCE, SR).shape == (1, 2)
    with (
        Answering([READY, DESCRIBED], [b""], [READY, DESCRIBED, OUTPUTS]) as address,
        connect(address) as model,
        pytest.warns(RestartedModelWarning, match=r"has hung up while it computed 1\.0 s of sound"),
    ):
        assert model.get_embedding(SILENCE, SR).shape == (1, 2)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "speaks no HTTP"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n<h1>no</h", "answers with status 404: <h1>no</h"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "is no sonyc_ml"),
        (answer_of({"name": "other"}), "what answers there is no sonyc_ml"),
    ],
)
def test_others_that_answer(answer: bytes, reason: str) -> None:
    """Another service at that address is found out."""
    with Answering([answer]) as address, pytest.raises((ProtocolError, ConfigError), match=reason):
        connect(f"{address}/v2/models/a")


@pytest.mark.parametrize(
    "outputs",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        answer_of({}),
        answer_of({"outputs": [{"name": "embedding", "datatype": "BYTES", "shape": [1]}]}),
        answer_of({"outputs": [{"name": "embedding", "datatype": "FP32", "shape": [7]}]}, bytes(8)),
    ],
)
def test_outputs_that_are_none(outputs: bytes) -> None:
    """They are refused as what another program should not have sent."""
    with (
        Answering([READY, DESCRIBED, outputs]) as address,
        connect(address) as model,
        pytest.raises(ProtocolError, match="outputs"),
    ):
        model.get_embedding(SILENCE, SR)


def test_addresses() -> None:
    """A name and a password are not shown; a proxy may have the service below a path."""
    one = HttpAddress("https://me:a%40b@node.example/sonyc/v2/models/street%20a")
    assert (one.shown, one.prefix, one.model) == (
        "https://node.example/sonyc/v2/models/street%20a",
        "/sonyc",
        "street a",
    )
    assert one.headers == {"Authorization": "Basic bWU6YUBi"}
    assert one.connection().port == 443
    assert HttpAddress("http://[::1]:81").connection().host == "::1"
    wrong: Callable[[str], HttpAddress] = HttpAddress
    for address in ("http:", "http+unix:", "http://", "http://a:b", "http://a:99999", "http://a/?b=c"):
        with pytest.raises(ConfigError, match="http://HOST:PORT"):
            wrong(address)
