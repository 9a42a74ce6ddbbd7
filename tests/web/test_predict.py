"""`sonyc-ml serve`: whatever the way in and out, the numbers are those of the model."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml import load_model
from sonyc_ml.model import Model
from tests.conftest import ROOT, needs
from tests.support.serving import Reply, Served, array_of, served

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client")]

DEFAULT = ROOT / "models" / "quantized_default_int8.tflite"
ARROW = "application/vnd.apache.arrow.stream"
Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Served]:
    """A service of two bundles."""
    with served("--model", DEFAULT, "--model", tiny_bundle, "--port", 0, "--workers", 2) as running:
        yield running


@pytest.fixture(scope="module")
def model() -> Model:
    """The first of them, in this process."""
    return load_model(DEFAULT)


@pytest.fixture(scope="module")
def samples() -> Floats:
    """Three seconds of noise at 16 kHz, as 16 bits hold it."""
    noise = np.random.default_rng(3).normal(0, 0.1, 48000)
    return (np.round(noise * 32768) / 32768).astype(np.float32)


@pytest.fixture(scope="module")
def wav(samples: Floats) -> bytes:
    """The same as a file."""
    return file_of(samples, "WAV")


def file_of(samples: Floats, kind: str) -> bytes:
    """Samples at 16 kHz as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format=kind, subtype="PCM_16")
    return file.getvalue()


def instances(*files: bytes) -> list[dict[str, Any]]:
    """Files as instances."""
    return [{"b64": base64.b64encode(content).decode()} for content in files]


def assert_same(prediction: dict[str, Any], outputs: dict[str, npt.NDArray[Any]]) -> None:
    """What was predicted is what the model gives, to the last bit."""
    for name, array in outputs.items():
        found = array_of(prediction[name]).astype(array.dtype, casting="same_kind")
        np.testing.assert_array_equal(found, array, err_msg=name)


@pytest.mark.parametrize("encoding", ["list", "b64"])
def test_instances_come_back_in_order(
    service: Served, model: Model, samples: Floats, wav: bytes, encoding: str
) -> None:
    """Files and samples, as lists or base64; with the labels."""
    asked = [*instances(wav), {"samples": (samples[:20000] * 0.5).tolist(), "sample_rate": 22050}]
    reply = service.ask("POST", "/predict", {"instances": asked, "parameters": {"encoding": encoding, "hop_size": 0.5}})
    assert reply.status == 200, reply.body
    first, second = reply.json()["predictions"]
    assert_same(first, model.get_outputs(samples, 16000, hop_size=0.5))
    assert_same(second, model.get_outputs(samples[:20000] * np.float32(0.5), 22050, hop_size=0.5))
    assert first["labels"] == list(model.labels)
    assert isinstance(first["embedding"], dict) == (encoding == "b64")


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_file_is_a_body(service: Served, model: Model, samples: Floats, kind: str) -> None:
    """Its bytes alone, with what else there is to say in the address."""
    path = "/predict?encoding=b64&outputs=embedding,timestamps&hop_size=0.25"
    reply = service.ask("POST", path, file_of(samples, kind), Content_Type=f"audio/{kind.lower()}")
    (prediction,) = reply.json()["predictions"]
    outputs = model.get_outputs(samples, 16000, hop_size=0.25)
    assert set(prediction) == {"embedding", "timestamps"}
    assert_same(prediction, {name: outputs[name] for name in prediction})


def test_npz(service: Served, model: Model, samples: Floats, wav: bytes) -> None:
    """What a folder would hold, with its origin; of files alone, for one instance."""
    reply = service.ask("POST", "/predict", wav, Content_Type="audio/wav", Accept="application/x-npz")
    assert reply.headers["content-type"] == "application/x-npz"
    with np.load(io.BytesIO(reply.body), allow_pickle=False) as arrays:
        for name, array in model.get_outputs(samples, 16000).items():
            np.testing.assert_array_equal(arrays[name], array)
        assert arrays["bundle"] == model.bundle.name
        assert arrays["start_time_source"] == "arrival"
    reply = service.ask("POST", "/predict", {"instances": instances(wav, wav)}, Accept="application/x-npz")
    assert (reply.status, reply.json()) == (
        406,
        {"error": "application/x-npz holds one instance: send one, or accept application/json"},
    )


def test_arrow(service: Served, model: Model, samples: Floats, wav: bytes) -> None:
    """One row per window, of one instance after another."""
    arrow = pytest.importorskip("pyarrow")
    reply = service.ask("POST", "/predict", {"instances": instances(wav, wav)}, Accept=ARROW)
    assert reply.headers["content-type"] == ARROW
    table = arrow.ipc.open_stream(reply.body).read_all()
    outputs = model.get_outputs(samples, 16000)
    n_windows = len(outputs["timestamps"])
    assert table["recording"].to_pylist() == ["instance 0"] * n_windows + ["instance 1"] * n_windows
    for name in ("embedding", "scores"):
        flat = table[name].combine_chunks().flatten().to_numpy()
        np.testing.assert_array_equal(flat.reshape(2, *outputs[name].shape)[1], outputs[name])
    assert json.loads(table.schema.metadata[b"labels"]) == list(model.labels)


def test_a_model_is_named(service: Served, tiny_bundle: Path, samples: Floats, wav: bytes) -> None:
    """Or the first is meant."""
    named = {"instances": instances(wav), "parameters": {"model": "tiny"}}
    (prediction,) = service.ask("POST", "/predict", named).json()["predictions"]
    assert_same(prediction, load_model(tiny_bundle).get_outputs(samples, 16000))
    other = service.ask("POST", "/predict", {"instances": instances(wav), "parameters": {"model": "none"}})
    text = "there is no model 'none' here; there are quantized_default_int8, tiny"
    assert (other.status, other.json()["error"]) == (404, text)


# The Open Inference Protocol


def infer(service: Served, body: dict[str, Any], *payload: bytes, name: str = "quantized_default_int8") -> Reply:
    """Ask by version 2 of the protocol, with tensors as bytes behind the JSON where there are some."""
    head = json.dumps(body).encode()
    headers = {"Inference_Header_Content_Length": str(len(head))} if payload else {}
    return service.ask("POST", f"/v2/models/{name}/infer", b"".join([head, *payload]), **headers)


def tensor(samples: Floats, **more: Any) -> dict[str, Any]:
    """The input `audio`, without its numbers."""
    return {"name": "audio", "datatype": "FP32", "shape": [len(samples)], **more}


def test_v2_in_json(service: Served, model: Model, samples: Floats) -> None:
    """The sample rate is an input or a parameter; outputs are all, or those that are named."""
    outputs = model.get_outputs(samples, 16000)
    rate = {"name": "sample_rate", "datatype": "INT32", "shape": [1], "data": [16000]}
    body: dict[str, Any] = {"id": "7", "inputs": [tensor(samples, data=samples.tolist()), rate]}
    reply = infer(service, body).json()
    assert (reply["model_name"], reply["id"]) == ("quantized_default_int8", "7")
    found = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in reply["outputs"]}
    assert_same(found, outputs)
    del body["id"]
    body |= {"inputs": body["inputs"][:1], "parameters": {"sample_rate": 16000}, "outputs": [{"name": "scores"}]}
    (only,) = infer(service, body).json()["outputs"]
    assert (only["name"], only["datatype"], only["shape"]) == ("scores", "FP32", list(outputs["scores"].shape))


def test_v2_in_bytes(service: Served, model: Model, samples: Floats, wav: bytes) -> None:
    """Tensors, or a file, behind the JSON; the answer's too, if asked for."""
    content = samples.astype("<f4").tobytes()
    body: dict[str, Any] = {
        "inputs": [tensor(samples, parameters={"binary_data_size": len(content)})],
        "parameters": {"sample_rate": 16000, "binary_data_output": True},
    }
    outputs = model.get_outputs(samples, 16000)
    assert_bytes(infer(service, body, content), outputs)
    framed = struct.pack("<I", len(wav)) + wav
    body["inputs"] = [
        {"name": "audio", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(framed)}}
    ]
    assert_bytes(infer(service, body, framed), outputs)


def assert_bytes(reply: Reply, outputs: dict[str, npt.NDArray[Any]]) -> None:
    """The answer's tensors, which follow its JSON, are these."""
    length = int(reply.headers["inference-header-content-length"])
    position, found = length, {}
    for one in json.loads(reply.body[:length])["outputs"]:
        size = one["parameters"]["binary_data_size"]
        dtype = {"FP32": "<f4", "FP64": "<f8"}[one["datatype"]]
        found[one["name"]] = np.frombuffer(reply.body[position : position + size], dtype).reshape(one["shape"])
        position += size
    assert position == len(reply.body)
    assert_same(found, outputs)


def test_v2_describes(service: Served, model: Model) -> None:
    """Server, model, version; what is not there is refused."""
    assert service.ask("GET", "/v2").json()["extensions"] == ["binary_tensor_data"]
    assert service.ask("GET", "/v2/health/live").json() == {"live": True}
    assert service.ask("GET", "/v2/health/ready").status == 200
    manifest = model.bundle.manifest
    assert manifest is not None
    for path in ("", "/ready", f"/versions/{manifest.version}"):
        described = service.ask("GET", f"/v2/models/quantized_default_int8{path}").json()
        shapes = {one["name"]: one["shape"] for one in described["outputs"]}
        assert shapes == {"timestamps": [-1], "embedding": [-1, 256], "scores": [-1, 10]}
    assert service.ask("GET", "/v2/models/quantized_default_int8/versions/0.0.1").status == 404
    assert service.ask("GET", "/v2/models/none").status == 404
