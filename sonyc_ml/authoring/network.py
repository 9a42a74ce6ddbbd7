"""A network as it lies in its file: its tensors, operators and multiplications, also where it cannot be run here."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from sonyc_ml.base.process import quiet_stderr
from sonyc_ml.base.records import dataclass
from sonyc_ml.model.interpreter import Tensor
from sonyc_ml.model.runtime import construct, load_runtime

COUNTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
POOLS = frozenset({"MEAN", "REDUCE_MAX", "SUM", "MAX_POOL_2D", "AVERAGE_POOL_2D"})
AS_IT_IS = frozenset({"RESHAPE", "QUANTIZE", "DEQUANTIZE"})
LEAST_DIMS, MOST_INNER = 8, 5  # of an embedding; tensors that are listed
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
    inner : tuple of Tensor
        Those inside it that could be an embedding: a row of numbers that a dense layer reads, or that a mean gives.
    n_operators : int
    n_multiplications : int or None
        For one window, in convolutions and dense layers; None where a shape is only known once it runs.
    uncounted : tuple of str
        Operators that multiply as well, and are not in that number.
    """

    runtime: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    inner: tuple[Tensor, ...]
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
    inputs, outputs = (
        tuple(map(_tensor, tensors)) for tensors in (runtime.get_input_details(), runtime.get_output_details())
    )
    n_multiplications = _multiplications(runtime, operators)  # knows the shapes
    return NetworkDescription(
        runtime=name,
        inputs=inputs,
        outputs=outputs,
        inner=_inner(runtime, operators, {tensor.index for tensor in (*inputs, *outputs)}),
        n_operators=len(operators),
        n_multiplications=n_multiplications,
        uncounted=tuple(sorted(kinds & UNCOUNTED)),
    )


def _inner(runtime: Any, operators: list[dict[str, Any]], seen: Collection[int]) -> tuple[Tensor, ...]:
    """The tensors that could be an embedding, the last ones computed: they are the nearest to the outputs."""
    computed = [int(output) for operator in operators for output in operator["outputs"]]
    known = set(seen)
    for operator in operators:
        if operator["op_name"] in AS_IT_IS and int(operator["inputs"][0]) in known:  # the input, stored otherwise
            known.update(map(int, operator["outputs"]))
    read = {int(operator["inputs"][0]) for operator in operators if operator["op_name"] == "FULLY_CONNECTED"}
    given = {int(operator["outputs"][0]) for operator in operators if operator["op_name"] in POOLS}
    details = {tensor["index"]: tensor for tensor in runtime.get_tensor_details()}
    found = [_tensor(details[t]) for t in computed if t in read | given and t not in known]
    rows = [tensor for tensor in found if _is_row(tensor)]
    return tuple(rows[-MOST_INNER:])


def _is_row(tensor: Tensor) -> bool:
    sizes = [size for size in tensor.shape[1:] if size != 1]
    return tensor.shape[:1] in ((1,), (-1,)) and len(sizes) == 1 and sizes[0] >= LEAST_DIMS


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
