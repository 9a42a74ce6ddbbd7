"""The Open Inference Protocol, version 2, which clients of KServe and Triton speak: tensors as JSON or as bytes.

Source: https://github.com/kserve/open-inference-protocol (rest/inference_rest.yaml); tensors as bytes behind the JSON
are Triton's extension "binary_tensor_data".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml import __version__
from sonyc_ml.base.records import dataclass
from sonyc_ml.model import Model
from sonyc_ml.model.serving.conversation import describe
from sonyc_ml.outputs.output import Output
from sonyc_ml.web.predict.answers import BYTES_OF_NUMBER, COMPACT, encoded
from sonyc_ml.web.predict.requests import (
    Parameters,
    Request,
    RequestError,
    decoded,
    read_json,
    read_parameters,
    request_of_file,
)
from sonyc_ml.web.predict.sound import SamplesRecording

JSON_LENGTH = "Inference-Header-Content-Length"  # of a body with bytes behind its JSON: how long that is
AUDIO, SAMPLE_RATE = "audio", "sample_rate"
DATATYPES = {"FP32": "<f4", "FP64": "<f8", "INT32": "<i4", "INT64": "<i8", "UINT32": "<u4"}
NAMES = {np.dtype(dtype): name for name, dtype in DATATYPES.items()}
BYTES_OF_TEXT, BYTES_OF_DOUBLE = BYTES_OF_NUMBER["list"], 8
PREFIX_LENGTH = 4  # of each element of a BYTES tensor: its own length

SERVER = {"name": "sonyc-ml", "version": __version__, "extensions": ["binary_tensor_data"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """A request to infer.

    Attributes
    ----------
    request : Request
        Of one instance.
    id : str
        The client's own; given back.
    binary : mapping of str to bool
        Of the outputs that are asked for by name, whether as bytes.
    all_binary : bool
        Whether the others are given as bytes.
    """

    request: Request
    id: str
    binary: Mapping[str, bool]
    all_binary: bool


def describe_model(model: Model) -> dict[str, Any]:
    """Return what a model reads and gives: the answer to ``GET /v2/models/NAME``."""
    manifest = model.bundle.manifest
    return {
        "name": model.bundle.name,
        "versions": [manifest.version] if manifest else [],
        "platform": "tflite",
        "inputs": [
            {"name": AUDIO, "datatype": "FP32", "shape": [-1]},
            {"name": SAMPLE_RATE, "datatype": "INT32", "shape": [1]},
        ],
        "outputs": [
            {"name": "timestamps", "datatype": "FP64", "shape": [-1]},
            *({"name": name, "datatype": "FP32", "shape": [-1, n]} for name, n in model.widths.items()),
        ],
        "sonyc_ml": describe(model)["sonyc_ml"],  # what `sonyc_ml.client` wants to know
    }


def read_inference(content: bytes, json_length: str | None) -> Inference:
    """Read the body of ``POST /v2/models/NAME/infer``.

    Parameters
    ----------
    content : bytes
    json_length : str or None
        Value of the header :data:`JSON_LENGTH`.

    Raises
    ------
    RequestError
        It is not as the protocol has it; says where.
    """
    head, tail = content, b""
    if json_length is not None:
        if not json_length.isdecimal() or int(json_length) > len(content):
            raise RequestError(400, f"{JSON_LENGTH} must be at most the length of the body, not {json_length!r}")
        head, tail = content[: int(json_length)], content[int(json_length) :]
    body = read_json(head)
    tensors = _read_tensors(body.get("inputs"), tail)
    parameters = _objects(body, "parameters", {})
    all_binary = bool(parameters.pop("binary_data_output", False))
    wanted = body.get("outputs", [])
    if not isinstance(wanted, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in wanted
    ):
        raise RequestError(400, "outputs must be a list of objects with a name")
    binary = {one["name"]: bool(_objects(one, "parameters", {}).get("binary_data", all_binary)) for one in wanted}
    said = _said_rate(tensors, parameters)
    request = _request(tensors, said, read_parameters(parameters))
    return Inference(request=request, id=str(body.get("id", "")), binary=binary, all_binary=all_binary)


def bytes_of_window(widths: Mapping[str, int], inference: Inference) -> int:
    """How much of an answer one window takes at most, whose outputs have so many columns each."""
    names = inference.binary or ("timestamps", *widths)
    sizes = [BYTES_OF_DOUBLE if inference.binary.get(name, inference.all_binary) else BYTES_OF_TEXT for name in names]
    return sum(size * widths.get(name, 1) for name, size in zip(names, sizes, strict=True))


def answer(output: Output, inference: Inference, model: Model) -> tuple[bytes, int]:
    """Return the body of the answer, and how long its JSON is."""
    arrays = {"timestamps": output.timestamps, **output.by_kind()}
    names = list(inference.binary) or list(arrays)
    if missing := [name for name in names if name not in arrays]:
        raise RequestError(400, f"{model.bundle.name} has no output {missing[0]!r}; it has {', '.join(arrays)}")
    said, payload = [], []
    for name in names:
        array = np.ascontiguousarray(arrays[name])
        tensor: dict[str, Any] = {"name": name, "datatype": NAMES[array.dtype], "shape": list(array.shape)}
        if inference.binary.get(name, inference.all_binary):
            content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            tensor["parameters"] = {"binary_data_size": len(content)}
            payload.append(content)
            said.append(json.dumps(tensor, separators=COMPACT))
        else:
            said.append(f'{json.dumps(tensor, separators=COMPACT)[:-1]},"data":{encoded(array.ravel(), "list")}}}')
    manifest = model.bundle.manifest
    head: dict[str, Any] = {"model_name": model.bundle.name, "model_version": manifest.version if manifest else ""}
    if inference.id:
        head["id"] = inference.id
    text = f'{json.dumps(head, separators=COMPACT)[:-1]},"outputs":[{",".join(said)}]}}'.encode()
    return b"".join([text, *payload]), len(text)


def _read_tensors(inputs: Any, tail: bytes) -> dict[str, Any]:
    """The inputs by name: arrays, and the bytes of a file."""
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        raise RequestError(400, "inputs must be a list of tensors")
    found: dict[str, Any] = {}
    position = 0
    for tensor in inputs:
        name = str(tensor.get("name", ""))
        if name not in (AUDIO, SAMPLE_RATE):
            raise RequestError(400, f"there is no input {name!r}; there are {AUDIO} and {SAMPLE_RATE}")
        length = _objects(tensor, "parameters", {}).get("binary_data_size")
        content = None
        if length is not None:
            if type(length) is not int or not 0 <= length <= len(tail) - position:
                raise RequestError(
                    400, f"{name}: binary_data_size must be at most what is left of the body, not {length}"
                )
            content, position = tail[position : position + length], position + length
        try:
            found[name] = _tensor(tensor, content)
        except (ValueError, TypeError) as error:
            raise RequestError(400, f"{name}: {error}") from error
    if AUDIO not in found:
        raise RequestError(400, f"inputs must have a tensor {AUDIO}")
    return found


def _tensor(tensor: Mapping[str, Any], content: bytes | None) -> npt.NDArray[Any] | bytes:
    datatype, shape, data = tensor.get("datatype"), tensor.get("shape"), tensor.get("data")
    if not isinstance(shape, list) or any(type(length) is not int or length < 0 for length in shape):
        raise ValueError("shape must be a list of whole numbers")
    if datatype == "BYTES":
        return _file(content, data)
    if datatype not in DATATYPES:
        raise ValueError(f"datatype must be one of {', '.join((*DATATYPES, 'BYTES'))}, not {datatype!r}")
    if content is not None:
        array = np.frombuffer(content, DATATYPES[datatype])
    else:
        array = np.array(data, DATATYPES[datatype]).ravel()
    if array.size != int(np.prod(shape)) or sum(length != 1 for length in shape) > 1:
        raise ValueError(
            f"one recording has the shape [n] or [1, n], and as many numbers; there are {array.size} of {shape}"
        )
    return array


def _file(content: bytes | None, data: Any) -> bytes:
    """The one element of a BYTES tensor: a file."""
    if content is not None:
        return content[PREFIX_LENGTH:]
    if not isinstance(data, list) or len(data) != 1:
        raise ValueError("data must have one string: a file in base64")
    return decoded(data[0])


def _said_rate(tensors: Mapping[str, Any], parameters: dict[str, Any]) -> Any:
    """The sample rate, which is an input or a parameter."""
    rate = parameters.pop(SAMPLE_RATE, None)
    if SAMPLE_RATE in tensors:
        array = tensors[SAMPLE_RATE]
        if isinstance(array, bytes) or array.size != 1:
            raise RequestError(400, f"{SAMPLE_RATE} must be one whole number")
        rate = array.item()
    return rate


def _request(tensors: Mapping[str, Any], rate: Any, parameters: Parameters) -> Request:
    audio = tensors[AUDIO]
    if isinstance(audio, bytes):
        return request_of_file(audio, parameters)
    if rate is None:
        raise RequestError(400, f"samples need their sample rate: an input or a parameter {SAMPLE_RATE}")
    if audio.dtype.kind != "f":
        raise RequestError(400, f"{AUDIO} must be FP32 in [-1, 1], or the BYTES of a file")
    try:
        recording = SamplesRecording(audio, rate, AUDIO)
    except (ValueError, TypeError) as error:
        raise RequestError(400, f"{AUDIO}: {error}", {0: error}) from error
    return Request((lambda: nullcontext(recording),), parameters)


def _objects(table: Mapping[str, Any], key: str, default: dict[str, Any]) -> dict[str, Any]:
    value = table.get(key, default)
    if not isinstance(value, dict):
        raise RequestError(400, f"{key} must be a JSON object")
    return dict(value)
