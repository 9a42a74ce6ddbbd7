"""A network as it lies in its file: its tensors, operators and multiplications, also where it cannot be run here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sonyc_ml.model.interpreter import Tensor
from sonyc_ml.model.runtime import construct, load_runtime, quiet_stderr

COUNTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# They multiply too, and how often is not counted here.
UNCOUNTED = frozenset(
    {
        *("BATCH_MATMUL", "CONV_3D", "CONV_3D_TRANSPOSE", "TRANSPOSE_CONV", "SVDF", "LSTM", "RNN"),
        *("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"),
        *("UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "WHILE", "IF", "CALL_ONCE"),
    }
)


@dataclass(frozen=True, slots=True)
class NetworkDescription:
    """What a file of a network says.

    Attributes
    ----------
    runtime : str
        What has read it.
    inputs, outputs : tuple of Tensor
        Of any number and type.
    n_operators : int
    n_multiplications : int or None
        For one window, in convolutions and dense layers; None where a shape is only known once it runs.
    uncounted : tuple of str
        Operators that multiply as well, and are not in that number.
    """

    runtime: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    n_operators: int
    n_multiplications: int | None
    uncounted: tuple[str, ...]


def describe_network(network: bytes, backend: str | None = None) -> NetworkDescription:
    """Read what a network says of itself; it is not run.

    Raises
    ------
    BundleError
        No runtime is installed, or it cannot read the network.
    """
    name, module = load_runtime(backend)
    runtime = construct(module, network, 1, True)
    operators = runtime._get_ops_details()  # noqa: SLF001  nothing public tells
    kinds = {operator["op_name"] for operator in operators}
    return NetworkDescription(
        runtime=name,
        inputs=tuple(map(_tensor, runtime.get_input_details())),
        outputs=tuple(map(_tensor, runtime.get_output_details())),
        n_operators=len(operators),
        n_multiplications=_multiplications(runtime, operators),
        uncounted=tuple(sorted(kinds & UNCOUNTED)),
    )


def _multiplications(runtime: Any, operators: list[dict[str, Any]]) -> int | None:
    try:
        with quiet_stderr():
            runtime.allocate_tensors()
    except (ValueError, RuntimeError):  # an operator that this runtime does not have, or a shape that is open
        return None
    shapes = {details["index"]: tuple(map(int, details["shape"])) for details in runtime.get_tensor_details()}
    counts = [_of_operator(operator, shapes) for operator in operators if operator["op_name"] in COUNTED]
    return sum(counts)


def _of_operator(operator: Mapping[str, Any], shapes: Mapping[int, tuple[int, ...]]) -> int:
    weights, output = shapes[int(operator["inputs"][1])], math.prod(shapes[int(operator["outputs"][0])])
    if operator["op_name"] == "DEPTHWISE_CONV_2D":  # [1, height, width, channels]: each channel for itself
        return output * math.prod(weights[1:3])
    return output * math.prod(weights[1:])  # [outputs, height, width, channels], [outputs, inputs]


def _tensor(details: Mapping[str, Any]) -> Tensor:
    signature = details.get("shape_signature")
    shape = details["shape"] if signature is None or len(signature) == 0 else signature
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"])
    sizes = tuple(int(size) for size in shape)
    return Tensor(
        details["index"], details["name"], sizes, dtype, float(scale) if dtype.kind in "iu" else 0.0, int(zero_point)
    )
