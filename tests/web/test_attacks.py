"""`sonyc-ml serve` and whoever means it ill: each is refused with a sentence, and the others are answered."""

from __future__ import annotations

import gzip
import io
import json
import re
import selectors
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT, needs
from tests.support.serving import Served, served

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client")]

MEGABYTE = 1 << 20
PATIENCE_S = 3
N_SLOW = 500
MAX_MORE_MEMORY = 60 * MEGABYTE  # for five hundred connections, or any one attack


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Served]:
    """A service that waits for nobody for long."""
    limits = ("--max-bytes", 8 * MEGABYTE, "--max-duration", 60, "--patience", PATIENCE_S)
    with served("--model", tiny_bundle, "--port", 0, "--workers", 1, *limits) as running:
        yield running


def highest_memory(service: Served) -> int:
    """The most memory that the process has had (in bytes)."""
    text = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found
    return int(found[1]) * 1024


@pytest.fixture(autouse=True)
def _memory_is_bounded(service: Served) -> Iterator[None]:
    """Whatever is sent, memory does not grow by much; and the next one is answered."""
    before = highest_memory(service)
    yield
    assert highest_memory(service) - before < MAX_MORE_MEMORY
    assert service.ask("GET", "/health").status == 200


def exchanged(service: Served, content: bytes, seconds: float = 20.0) -> bytes:
    """What comes back for bytes until the other side hangs up."""
    port = service.connection().port
    received = b""
    with closing(socket.create_connection(("127.0.0.1", port), seconds)) as connection:
        with suppress(ConnectionError):
            connection.sendall(content)
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
    return received


def status_of(received: bytes) -> int:
    found = re.match(rb"HTTP/1.1 (\d{3}) ", received)
    assert found, received[:200]
    return int(found[1])


HOST = b"Host: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("request_line", "headers"),
    [
        (b"GET /../../etc/passwd HTTP/1.1", HOST),
        (b"GET /v2/models/..%2f..%2fetc%2fpasswd HTTP/1.1", HOST),
        (b"GET /v2/models/%00 HTTP/1.1", HOST),
        (b"GET /v2/models/a%0d%0aSet-Cookie:%20a=b HTTP/1.1", HOST),
        (b"GET /v2/models/%ff%fe%80 HTTP/1.1", HOST),
        (b"GET /%s HTTP/1.1" % (b"a" * 30_000), HOST),
        (b"GET /%s HTTP/1.1" % (b"a" * 100_000), HOST),
        (b"GET http://other.example/predict HTTP/1.1", HOST),
        (b"GET /health HTTP/1.1", b"Host: other.example\r\nConnection: close\r\n"),
        (b"GET /health HTTP/1.1", b"Host: localhost\r\nHost: other.example\r\n"),
        (b"GET /health HTTP/1.1", b"Connection: close\r\n"),
        (b"GET /nowhere HTTP/1.1", HOST + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 100) for i in range(2000))),
        (b"GET /health HTTP/1.1", HOST + b"X: a\x00b\r\n"),
        (b"GET /health HTTP/1.1", HOST + b"X : a\r\n"),
        (b"G\x00T /health HTTP/1.1", HOST),
        (b"POST /predict HTTP/1.1", HOST + b"Content-Length: 4\r\nTransfer-Encoding: gzip\r\n"),
        (b"POST /predict HTTP/1.1", HOST + b"Content-Length: 4\r\nContent-Length: 5\r\n"),
        (b"POST /predict HTTP/1.1", HOST + b"Content-Length: -1\r\n"),
        (b"POST /predict HTTP/1.1", HOST + b"Content-Length: 99999999999999999999999\r\n"),
        (b"POST /predict?hop_size=%ff&outputs=%00&model=../.. HTTP/1.1", HOST + b"Content-Type: audio/wav\r\n"),
        (b"POST /v2/models/tiny/infer HTTP/1.1", HOST + b"Inference-Header-Content-Length: 99999\r\n"),
        (b"CONNECT localhost:22 HTTP/1.1", HOST),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
    ],
)
def test_odd_requests(service: Served, request_line: bytes, headers: bytes) -> None:
    """Paths, headers, hosts and lengths that are none: refused with a sentence."""
    received = exchanged(service, b"%b\r\n%b\r\n" % (request_line, headers))
    assert 400 <= status_of(received) < 500
    head, _, body = received.partition(b"\r\n\r\n")
    assert len(body) > 10
    assert b"set-cookie" not in head.lower()
    assert b"root:" not in body
    if b"application/json" in head:
        assert json.loads(body)["error"]


def bomb_of_flac() -> bytes:
    """Two hours of silence in a few kilobytes."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8000, 1, format="FLAC") as flac:
        for _ in range(120):
            flac.write(np.zeros(60 * 8000, np.int16))
    return file.getvalue()


def bomb_of_zip() -> bytes:
    """A gigabyte of zeros as the member of an npz."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("y.npy", "w") as member:
        for _ in range(64):
            member.write(bytes(MEGABYTE))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "headers", "status", "sentence"),
    [
        (bomb_of_flac(), {"Content_Type": "audio/flac"}, 422, "there is more sound than 60 s"),
        (bomb_of_zip(), {"Content_Type": "audio/wav"}, 400, "a zip archive of a kind that is not read"),
        (gzip.compress(bytes(64 * MEGABYTE)), {"Content_Encoding": "gzip"}, 400, "is no JSON"),
        (b'{"instances": ' + b"[" * 4_000_000, {}, 400, "is no JSON"),
        (b"9" * 4_000_000, {}, 400, "is no JSON"),
    ],
    ids=["flac", "zip", "gzip", "brackets", "digits"],
)
def test_small_bodies_that_stand_for_large_ones(
    service: Served, content: bytes, headers: dict[str, str], status: int, sentence: str
) -> None:
    """What unfolds is not unfolded."""
    reply = service.ask("POST", "/predict", content, **headers)
    assert (reply.status, sentence in reply.json()["error"]) == (status, True), reply.body[:300]


@pytest.mark.parametrize("head", [b"Content-Length: 1073741824", b"Transfer-Encoding: chunked"])
def test_a_gigabyte(service: Served, head: bytes) -> None:
    """Refused before it comes, or after as much as is allowed; nothing more of it is read."""
    port, sent = service.connection().port, 0
    chunk = b"100000\r\n%b\r\n" % bytes(MEGABYTE) if b"chunked" in head else bytes(MEGABYTE)
    with closing(socket.create_connection(("127.0.0.1", port), 20)) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % head)
        with suppress(ConnectionError):
            while sent < 1 << 30:
                connection.sendall(chunk)
                sent += MEGABYTE
        received = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
    assert sent < 64 * MEGABYTE
    assert not received or (status_of(received), b"larger than 8388608 bytes" in received) == (413, True)


def test_slow_connections(service: Served) -> None:
    """Hundreds that send a byte now and then, of headers or of a body, are hung up on; others are answered."""
    port = service.connection().port
    begin_s, answers = time.monotonic(), dict[socket.socket, bytes]()
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for i in range(N_SLOW):
            one = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 20)))
            kind = b"" if i % 2 else b"\r\nContent-Length: 1000\r\n\r\n{"
            one.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost%b" % kind)
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
            answers[one] = b""
        while selector.get_map():
            assert time.monotonic() - begin_s < 15 * PATIENCE_S
            assert service.ask("GET", "/health").status == 200
            for key in list(selector.get_map().values()):
                with suppress(OSError):
                    key.fileobj.send(b" ")  # type: ignore[union-attr]
            for key, _ in selector.select(0.3):
                one = key.fileobj  # type: ignore[assignment]
                part = b""
                with suppress(ConnectionError):
                    part = one.recv(65536)
                answers[one] += part
                if not part:
                    selector.unregister(one)
    sentences = re.compile(rb"did not come within 3 s|$", re.DOTALL)
    assert {status_of(answer) for answer in answers.values() if answer} == {400, 408}
    assert all(sentences.search(answer) for answer in answers.values())
    assert sum(b"did not come within 3 s" in answer for answer in answers.values()) > N_SLOW * 0.9


def test_readers_that_do_not_read(service: Served) -> None:
    """Whoever asks for more and more, and takes none of it, is hung up on; who reads slowly, but reads, has it all."""
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body, n_slow, n_received = service.ask("GET", "/openapi.json").body, 100, 0
    with closing(deaf := reader(service, 4096)), suppress(ConnectionError, TimeoutError):
        for _ in range(1000):
            deaf.sendall(ask)
        service.said(r"a reader was hung up on: it took fewer than 3000 bytes of an answer in 3 s")
        while part := deaf.recv(MEGABYTE):
            n_received += len(part)
    assert n_received < 500 * len(body)
    with closing(slow := reader(service, 65_536)):
        slow.sendall(n_slow * ask)
        received = b""
        while received.count(body[-20:]) < n_slow:
            received += slow.recv(32_768)
            time.sleep(0.03)
    assert received.count(body) == n_slow


def reader(service: Served, size: int) -> socket.socket:
    """A connection of somebody with so much room for answers (in bytes)."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", service.connection().port))
    return connection


@needs("schemathesis")
def test_whatever_the_interface_allows(service: Served, tmp_path: Path) -> None:
    """Schemathesis asks what the OpenAPI document allows and what it does not: no 500, and answers as it says."""
    url = f"http://127.0.0.1:{service.connection().port}"
    command = [Path(sys.executable).with_name("schemathesis"), "run", ROOT / "sonyc_ml" / "web" / "openapi.json"]
    checks = "not_a_server_error,response_schema_conformance,content_type_conformance"
    bounds = ["--max-examples", "3", "--generation-deterministic", "--phases", "examples,coverage,fuzzing"]
    run = subprocess.run(
        [*map(str, command), "--url", url, "--checks", checks, *bounds, "--no-color"],
        cwd=tmp_path,  # it keeps notes
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:]
