"""The OpenAPI document says what `sonyc-ml serve` does: its examples work, answers are as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jsonschema
import pytest

from tests.conftest import ROOT, examples, needs
from tests.support.serving import Served, served

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client")]

DOCUMENT: dict[str, Any] = json.loads((ROOT / "sonyc_ml" / "web" / "openapi.json").read_text())
OPERATIONS = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Served]:
    """A service with the bundle that the examples name, and a smaller one."""
    models = ("--model", tiny_bundle, "--model", ROOT / "models" / "quantized_default_int8.tflite")
    with served(*models, "--port", 0, "--workers", 1, "--max-duration", 10) as running:
        yield running


def check(operation: dict[str, Any], status: int, body: Any) -> None:
    """Compare an answer with what the document says of it."""
    response = operation["responses"][str(status)]
    schema = {**response["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
    jsonschema.validate(body, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=[one[2]["operationId"] for one in OPERATIONS])
def test_examples_work(service: Served, method: str, path: str, operation: dict[str, Any]) -> None:
    """Each example is answered with 200, and as the document says."""
    filled = path.replace("{name}", "quantized_default_int8")
    body = operation.get("requestBody", {"content": {"application/json": {"examples": {"none": {"value": None}}}}})
    for example in body["content"]["application/json"]["examples"].values():
        reply = service.ask(method.upper(), filled, example["value"])
        assert reply.status == 200, reply.body
        if reply.headers["content-type"] == "application/json":
            check(operation, 200, reply.json())


def test_it_is_served(service: Served) -> None:
    """As /openapi.json."""
    assert service.ask("GET", "/openapi.json").json() == DOCUMENT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=10,
)
INSTANCES = JSON | st.fixed_dictionaries(
    {
        "samples": JSON | st.lists(st.floats(-1, 1, width=32), max_size=200),
        "sample_rate": JSON | st.integers(1, 400_000),
    }
)
REQUESTS = JSON | st.fixed_dictionaries(
    {"instances": JSON | st.lists(INSTANCES, max_size=3)},
    optional={
        "parameters": JSON
        | st.fixed_dictionaries({}, optional={"hop_size": JSON, "encoding": JSON, "outputs": JSON, "model": JSON}),
    },
)
TENSORS = st.fixed_dictionaries(
    {"name": st.sampled_from(["audio", "sample_rate"]) | JSON},
    optional={
        "datatype": st.sampled_from(["FP32", "FP64", "INT32", "BYTES"]) | JSON,
        "shape": st.lists(st.integers(-1, 5)) | JSON,
        "data": st.lists(st.floats(-1, 1)) | JSON,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size"]), JSON) | JSON,
    },
)
INFERENCES = JSON | st.fixed_dictionaries(
    {"inputs": JSON | st.lists(TENSORS, max_size=3)},
    optional={"parameters": JSON | st.fixed_dictionaries({"sample_rate": JSON}), "outputs": JSON, "id": JSON},
)


@pytest.mark.parametrize(("path", "bodies"), [("/predict", REQUESTS), ("/v2/models/{name}/infer", INFERENCES)])
def test_no_body_is_too_odd(service: Served, path: str, bodies: st.SearchStrategy[Any]) -> None:
    """Whatever JSON comes is answered, or refused as the document says; never with 500."""
    operation = DOCUMENT["paths"][path]["post"]

    @examples(200)
    @hypothesis.given(body=bodies)
    def ask(body: Any) -> None:
        reply = service.ask("POST", path.replace("{name}", "tiny"), json.dumps(body).encode())
        check(operation, reply.status, reply.json())

    ask()
