"""`sonyc-ml serve`: what is refused, with which status, in which words."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sonyc_ml.web.failing import Failing
from tests.conftest import needs
from tests.support.serving import Served, served

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client")]


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Served]:
    """A service that takes little."""
    limits = ("--max-bytes", 200_000, "--max-duration", 20, "--max-answer-bytes", 20_000)
    with served("--model", tiny_bundle, "--port", 0, "--workers", 1, *limits) as running:
        yield running


def good(seconds: float = 1.0) -> dict[str, str]:
    """An instance that can be embedded."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(round(8000 * seconds)), 8000, format="FLAC")
    return {"b64": base64.b64encode(file.getvalue()).decode()}


@pytest.mark.parametrize(
    ("instance", "sentence"),
    [
        ({"b64": "####"}, "b64 is no base64: Only base64 data is allowed"),
        ({"b64": 7}, "b64 must be a string, not a number"),
        ({"b64": base64.b64encode(b"no sound").decode()}, "b64: it is not a sound file of a kind that is read"),
        ({"samples": "loud", "sample_rate": 8000}, "samples must be a list of numbers in [-1, 1], not a string"),
        (
            {"samples": [0.0, None], "sample_rate": 8000},
            "a list of numbers in [-1, 1] and nothing else",
        ),
        ({"samples": [], "sample_rate": 8000}, "y is empty"),
        ({"samples": [1e30], "sample_rate": 8000}, "samples as large as no sound is"),
        ({"samples": [0.0], "sample_rate": -1}, "sr must be a number above 0, not -1"),
        (
            {"samples": [0.0]},
            'a file in base64, or "samples" and "sample_rate"; it has samples',
        ),
        (7, "it must be a JSON object, not a number"),
    ],
)
def test_each_bad_instance_is_named(service: Served, instance: Any, sentence: str) -> None:
    """One that is good does not hide it, and the others are named too."""
    reply = service.ask("POST", "/predict", {"instances": [good(), instance, good(), 7]})
    assert reply.status == 400
    errors = reply.json()["instances"]
    assert [one["index"] for one in errors] == [1, 3]
    assert sentence in errors[0]["error"]
    assert f"instance 1: {errors[0]['error']}" in reply.json()["error"]
    assert "/proc" not in reply.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 400, "the body is no JSON: Expecting property name"),
        (b"[" * 100_000, 400, "the body is no JSON"),
        (b"\xff", 400, "the body is no JSON"),
        (b"[]", 400, "the body must be a JSON object, not a list"),
        ({"instances": []}, 400, 'the body must have a list "instances" with at least one'),
        (
            {"instances": [good()], "parameter": {}},
            400,
            "'parameter' is not a known key; known are instances",
        ),
        ({"instances": [good()], "parameters": {"hop": 1}}, 400, "parameters.hop is not a known key; known are model"),
        (
            {"instances": [good()], "parameters": {"hop_size": 0}},
            400,
            "hop_size must be a number of seconds above 0",
        ),
        ({"instances": [good()], "parameters": {"encoding": "x"}}, 400, "encoding must be list or b64, not 'x'"),
        ({"instances": [good()] * 65}, 422, "65 instances are more than 64: send them in parts"),
        ({"instances": [good(15), good(15)]}, 422, "there is more sound than 20 s: send it in parts"),
        ({"instances": [good(3600)]}, 422, "there is more sound than 20 s: send it in parts"),
        (
            {"instances": [good(15)], "parameters": {"hop_size": 1.25e-4}},
            422,
            "112001 windows are more than 100000: give a longer hop_size, or send it in parts",
        ),
        (b"x" * 200_001, 413, "the body is larger than 200000 bytes: send it in parts"),
    ],
)
def test_bad_bodies(service: Served, body: Any, status: int, sentence: str) -> None:
    """One sentence; what is small and stands for much sound is refused before it is read."""
    reply = service.ask("POST", "/predict", body)
    assert reply.status == status, reply.body
    assert sentence in reply.json()["error"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "inputs must be a list of tensors"),
        ({"inputs": []}, "inputs must have a tensor audio"),
        ({"inputs": [{"name": "video"}]}, "there is no input 'video'; there are audio and sample_rate"),
        ({"inputs": [{"name": "audio", "datatype": "FP8", "shape": [1]}]}, "audio: datatype must be one of FP32"),
        ({"inputs": [{"name": "audio", "datatype": "FP32", "shape": [2], "data": [0.0]}]}, "there are 1 of [2]"),
        (
            {"inputs": [{"name": "audio", "datatype": "FP32", "shape": [1], "data": [0.0]}]},
            "need their sample rate",
        ),
        (
            {"inputs": [{"name": "audio", "datatype": "FP32", "shape": [9], "parameters": {"binary_data_size": 36}}]},
            "audio: binary_data_size must be at most what is left of the body, not 36",
        ),
    ],
)
def test_bad_inferences(service: Served, body: Any, sentence: str) -> None:
    """The protocol's own."""
    reply = service.ask("POST", "/v2/models/tiny/infer", body)
    assert reply.status == 400, reply.body
    assert sentence in reply.json()["error"]


def test_other_paths_and_methods(service: Served) -> None:
    """They are named."""
    assert service.ask("GET", "/nowhere").json() == {"error": "there is no /nowhere here"}
    reply = service.ask("GET", "/predict")
    assert (reply.status, reply.json()) == (405, {"error": "/predict does not take GET"})
    assert service.ask("GET", "/health", Host="page.example").status == 400


def test_a_length_that_is_a_lie(service: Served) -> None:
    """A body that announces a gigabyte is refused before it comes."""
    connection = service.connection()
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, "larger than 200000 bytes" in json.loads(answer.read())["error"]) == (413, True)
    connection.close()


@pytest.mark.parametrize(
    ("parameters", "accept", "status"),
    [
        ({}, "", 422),
        ({"outputs": ["timestamps"]}, "", 200),
        ({"encoding": "b64"}, "", 200),
        ({}, "application/x-npz", 200),
        ({"encoding": "b64", "hop_size": 0.02}, "", 422),
    ],
)
def test_an_answer_that_would_be_too_long(
    service: Served, parameters: dict[str, Any], accept: str, status: int
) -> None:
    """It is refused before it is computed, and so says how it would be shorter."""
    body = {"instances": [good(19)], "parameters": parameters}
    reply = service.ask("POST", "/predict", body, **({"Accept": accept} if accept else {}))
    assert reply.status == status, reply.body[:300]
    if status == 422:
        assert "the answer would take up to" in reply.json()["error"]
        assert "a longer hop_size, arrays as bytes" in reply.json()["error"]


@pytest.mark.parametrize(("binary", "status"), [(False, 422), (True, 200)])
def test_tensors_that_would_be_too_long(service: Served, binary: bool, status: int) -> None:
    """Of the Open Inference Protocol too: as text they take three times the room."""
    body = {
        "inputs": [{"name": "audio", "datatype": "BYTES", "shape": [1], "data": [good(19)["b64"]]}],
        "parameters": {"binary_data_output": binary},
    }
    assert service.ask("POST", "/v2/models/tiny/infer", body).status == status


def in_thread(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it where no browser of other tests has an event loop."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


def test_a_mistake_of_the_service(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody expected is answered in the form of every refusal, and the log has where it happened."""

    async def mistaken(scope: Any, receive: Any, send: Any) -> None:
        del receive
        if scope["path"] == "/half":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("a secret")

    sent: list[dict[str, Any]] = []

    async def ask(path: str) -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError

        await Failing(mistaken)({"type": "http", "method": "POST", "path": path}, receive, send)

    in_thread(ask("/predict"))
    assert sent[0]["status"] == 500
    said = json.loads(sent[1]["body"])
    assert said["code"] == "KeyError"
    assert "made a mistake" in said["error"]
    assert "secret" not in said["error"]
    assert "POST /predict failed: KeyError" in caplog.text
    assert "a secret" in caplog.text
    with pytest.raises(KeyError):  # an answer that has begun ends without its end
        in_thread(ask("/half"))
