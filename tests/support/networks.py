"""Tiny networks as the bytes of a ``.tflite`` file: what the tests run where SONYC's own is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt

try:
    from ai_edge_litert import schema_py_generated as schema
except ImportError:  # 32-bit ARM, for which there is no LiteRT: scripts/test-arm brings this file of it alone
    import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
    "resource": schema.TensorType.RESOURCE,
}


@dataclass(frozen=True)
class Spec:
    """An input or output: its shape (-1 for any size) and how it stores its values."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0
    name: str = ""


def _made(kind: Any, **values: Any) -> Any:
    """One of the schema's objects; before LiteRT 2.1 they take no values when they are made."""
    made = kind()
    for name, value in values.items():
        assert hasattr(made, name), name
        setattr(made, name, value)
    return made


@dataclass
class Graph:
    """A network under construction: tensors by number, operators in their order."""

    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    operators: list[Any] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def tensor(self, spec: Spec, values: npt.NDArray[Any] | None = None) -> int:
        """Add a tensor, a constant one where it has values; return its number."""
        quantised = spec.scale != 0
        buffer = 0
        if values is not None:
            buffer = len(self.buffers)
            self.buffers.append(_made(schema.BufferT, data=np.frombuffer(values.tobytes(), np.uint8)))
        self.tensors.append(
            _made(
                schema.TensorT,
                shape=[max(1, size) for size in spec.shape],
                shapeSignature=list(spec.shape) if min(spec.shape, default=1) < 0 else None,
                type=TYPES[spec.dtype],
                buffer=buffer,
                name=spec.name or f"tensor_{len(self.tensors)}",
                quantization=_made(
                    schema.QuantizationParametersT,
                    scale=[spec.scale] if quantised else None,
                    zeroPoint=[spec.zero_point] if quantised else None,
                ),
            )
        )
        return len(self.tensors) - 1

    def constant(self, values: npt.NDArray[Any]) -> int:
        """Add a constant; return its number."""
        return self.tensor(Spec(values.shape, values.dtype.name), values)

    def operator(self, name: str, inputs: Sequence[int], output: int | None, options: Any = None) -> None:
        """Add an operator by its name in the schema, with its options where it has any."""
        code = getattr(schema.BuiltinOperator, name)
        if code not in self.codes:
            self.codes.append(code)
        kind = type(options).__name__.removesuffix("T") if options is not None else "NONE"
        self.operators.append(
            _made(
                schema.OperatorT,
                opcodeIndex=self.codes.index(code),
                inputs=list(inputs),
                outputs=[] if output is None else [output],
                builtinOptionsType=getattr(schema.BuiltinOptions, kind),
                builtinOptions=options,
            )
        )

    def subgraph(self, inputs: Sequence[int] = (), outputs: Sequence[int] = (), name: str = "main") -> Any:
        """Return the graph as one of a network's."""
        return _made(
            schema.SubGraphT,
            tensors=self.tensors,
            inputs=list(inputs),
            outputs=list(outputs),
            operators=self.operators,
            name=name,
        )

    def pack(self, inputs: Sequence[int], outputs: Sequence[int], *others: Any) -> bytes:
        """Return the file's bytes; `others` are subgraphs that share this one's buffers and codes."""
        codes = [
            _made(schema.OperatorCodeT, builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=1)
            for code in self.codes
        ]
        graphs = [self.subgraph(inputs, outputs), *others]
        model = _made(schema.ModelT, version=3, operatorCodes=codes, subgraphs=graphs, buffers=self.buffers)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def reshaping(read: Spec, *written: Spec) -> bytes:
    """A network whose outputs are its input in other shapes: what goes in comes out."""
    graph = Graph()
    source = graph.tensor(read)
    targets = [graph.tensor(spec) for spec in written]
    for spec, target in zip(written, targets, strict=True):
        graph.operator("RESHAPE", [source, graph.constant(np.array(spec.shape, np.int32))], target)
    return graph.pack([source], targets)


def dense(shape: tuple[int, ...], n_dims: int = 5) -> bytes:
    """A network that flattens each of its windows and multiplies it with fixed weights: `(n, n_dims)`."""
    graph = Graph()
    n_values = int(np.prod(shape[1:]))
    weights = np.random.default_rng(3).normal(0, 1 / n_values, (n_dims, n_values)).astype(np.float32)
    source = graph.tensor(Spec(shape, name="features"))
    flat = graph.tensor(Spec((shape[0], n_values)))
    target = graph.tensor(Spec((shape[0], n_dims), name="embedding"))
    graph.operator("RESHAPE", [source, graph.constant(np.array((shape[0], n_values), np.int32))], flat)
    graph.operator("FULLY_CONNECTED", [flat, graph.constant(weights), -1], target, schema.FullyConnectedOptionsT())
    return graph.pack([source], [target])


def weighted(weights: npt.NDArray[np.float32]) -> bytes:
    """A network that multiplies its `(1, n)` input with these weights, `(n_dims, n)`."""
    graph = Graph()
    source, target = graph.tensor(Spec((1, weights.shape[1]))), graph.tensor(Spec((1, weights.shape[0])))
    graph.operator("FULLY_CONNECTED", [source, graph.constant(weights), -1], target, schema.FullyConnectedOptionsT())
    return graph.pack([source], [target])


def requantising(read: Spec, written: Spec) -> bytes:
    """A network that only changes how the values are stored."""
    graph = Graph()
    source, target = graph.tensor(read), graph.tensor(written)
    graph.operator("QUANTIZE", [source], target)
    return graph.pack([source], [target])


def adding(*shapes: tuple[int, ...]) -> bytes:
    """A network that adds its two inputs."""
    graph = Graph()
    sources = [graph.tensor(Spec(shape)) for shape in shapes]
    target = graph.tensor(Spec(shapes[0]))
    graph.operator("ADD", sources, target, schema.AddOptionsT())
    return graph.pack(sources, [target])


def tiling(n_values: int) -> bytes:
    """A network that returns its `(1, n_values)` input, in an output whose shape is known only once it has run."""
    graph = Graph()
    source = graph.tensor(Spec((1, n_values)))
    pair = graph.tensor(Spec((2,)))
    none = graph.tensor(Spec((2,)))
    none_int = graph.tensor(Spec((2,), "int32"))
    once = graph.tensor(Spec((2,), "int32"))
    target = graph.tensor(Spec((1, n_values)))
    zeros, twos = graph.constant(np.zeros(1, np.int32)), graph.constant(np.array([2], np.int32))
    flat = graph.tensor(Spec((n_values,)))
    graph.operator("RESHAPE", [source, graph.constant(np.array([n_values], np.int32))], flat)
    graph.operator("SLICE", [flat, zeros, twos], pair)
    graph.operator("MUL", [pair, graph.constant(np.zeros(2, np.float32))], none, schema.MulOptionsT())
    graph.operator("CAST", [none], none_int, schema.CastOptionsT())
    graph.operator("ADD", [none_int, graph.constant(np.ones(2, np.int32))], once, schema.AddOptionsT())
    graph.operator("TILE", [source, once], target)
    return graph.pack([source], [target])


def remembering(n_values: int, memory_size: int = 4) -> bytes:
    """An SVDF: its output for `(1, n_values)` depends on the runs before, until it is told to forget them."""
    graph = Graph()
    source = graph.tensor(Spec((1, n_values), name="samples"))
    rng = np.random.default_rng(5)
    weights_feature = graph.constant(rng.normal(0, 1 / n_values, (2, n_values)).astype(np.float32))
    weights_time = graph.constant(rng.normal(0, 1, (2, memory_size)).astype(np.float32))
    state = graph.tensor(Spec((1, 2 * memory_size)))
    graph.tensors[state].isVariable = True
    target = graph.tensor(Spec((1, 2), name="embedding"))
    graph.operator(
        "SVDF", [source, weights_feature, weights_time, -1, state], target, _made(schema.SVDFOptionsT, rank=1)
    )
    return graph.pack([source], [target])


def counting(n_values: int) -> bytes:
    """A network that adds up its inputs in a resource, which only a new interpreter is without."""
    graph = Graph()
    setup = Graph(buffers=graph.buffers, codes=graph.codes)
    handle = setup.tensor(Spec((1,), "resource"))
    options = _made(schema.VarHandleOptionsT, container="", sharedName="sum")
    setup.operator("VAR_HANDLE", [], handle, options)
    zeros = setup.constant(np.zeros((1, n_values), np.float32))
    setup.operator("ASSIGN_VARIABLE", [handle, zeros], None, _made(schema.AssignVariableOptionsT))
    source = graph.tensor(Spec((1, n_values), name="samples"))
    handle = graph.tensor(Spec((1,), "resource"))
    before = graph.tensor(Spec((1, n_values)))
    target = graph.tensor(Spec((1, n_values), name="embedding"))
    graph.operator("CALL_ONCE", [], None, _made(schema.CallOnceOptionsT, initSubgraphIndex=1))
    graph.operator("VAR_HANDLE", [], handle, options)
    graph.operator("READ_VARIABLE", [handle], before, schema.ReadVariableOptionsT())
    graph.operator("ADD", [source, before], target, schema.AddOptionsT())
    graph.operator("ASSIGN_VARIABLE", [handle, target], None, _made(schema.AssignVariableOptionsT))
    return graph.pack([source], [target], setup.subgraph(name="setup"))


def recurrent(n_values: int, n_dims: int = 3, batch: int = 1) -> bytes:
    """A network that is handed its state and hands it on: `memory` is half of the one before plus the sound."""
    graph = Graph()
    weights = np.random.default_rng(6).normal(0, 1 / n_values, (n_dims, n_values)).astype(np.float32)
    source = graph.tensor(Spec((batch, n_values), name="samples"))
    before = graph.tensor(Spec((batch, n_dims), name="memory_in"))
    heard, kept, after, target = (
        graph.tensor(Spec((batch, n_dims), name=name)) for name in ("heard", "kept", "memory_out", "embedding")
    )
    graph.operator("FULLY_CONNECTED", [source, graph.constant(weights), -1], heard, schema.FullyConnectedOptionsT())
    graph.operator("MUL", [before, graph.constant(np.full(1, 0.5, np.float32))], kept, schema.MulOptionsT())
    graph.operator("ADD", [heard, kept], after, schema.AddOptionsT())
    graph.operator("TANH", [after], target)
    return graph.pack([before, source], [after, target])


def placed(n_values: int, dtype: str = "int32") -> bytes:
    """A network that adds where and when it listens, `place` of three numbers and `week`, to its samples' sums."""
    graph = Graph()
    weights = np.random.default_rng(7).normal(0, 1 / n_values, (3, n_values)).astype(np.float32)
    place, week = graph.tensor(Spec((-1, 3), name="place")), graph.tensor(Spec((1,), dtype, name="week"))
    source = graph.tensor(Spec((-1, n_values), name="samples"))
    heard, there, as_float, target = (
        graph.tensor(Spec((-1, 3) if name != "now" else (1,), name=name))
        for name in ("heard", "there", "now", "scores")
    )
    graph.operator("FULLY_CONNECTED", [source, graph.constant(weights), -1], heard, schema.FullyConnectedOptionsT())
    graph.operator("ADD", [heard, place], there, schema.AddOptionsT())
    graph.operator("CAST", [week], as_float, schema.CastOptionsT())
    graph.operator("ADD", [there, as_float], target, schema.AddOptionsT())
    return graph.pack([place, source, week], [target])


def numbering(n_values: int, dtype: str = "int64") -> bytes:
    """A network that says which of its values is the largest, by its number."""
    graph = Graph()
    source, target = graph.tensor(Spec((1, n_values))), graph.tensor(Spec((1,), dtype, name="label"))
    kind = TYPES[dtype]
    options = _made(schema.ArgMaxOptionsT, outputType=kind)
    graph.operator("ARG_MAX", [source, graph.constant(np.array(1, np.int32))], target, options)
    return graph.pack([source], [target])


def summing(n_values: int) -> bytes:
    """A network that adds what it reads to a state that it reads as int8 and gives as float32."""
    graph = Graph()
    source = graph.tensor(Spec((1, n_values), name="samples"))
    before = graph.tensor(Spec((1, n_values), "int8", 0.5, 10, name="before"))
    floats, target = graph.tensor(Spec((1, n_values))), graph.tensor(Spec((1, n_values), name="sum"))
    graph.operator("DEQUANTIZE", [before], floats)
    graph.operator("ADD", [source, floats], target, schema.AddOptionsT())
    return graph.pack([before, source], [target])


def classifying(n_values: int, n_dims: int = 16, n_classes: int = 4, batch: int = 1, twice: bool = False) -> bytes:
    """A network with an embedding inside it, `inner`, of which one dense layer makes logits, and a softmax scores.

    With `twice`, its scores are made of the samples too: the embedding is not all that they come from.
    """
    graph = Graph()
    rng = np.random.default_rng(8)
    first, last = (
        graph.constant(rng.normal(0, 3 / shape[1] ** 0.5, shape).astype(np.float32))
        for shape in ((n_dims, n_values), (n_classes, n_dims))
    )
    source = graph.tensor(Spec((batch, n_values), name="samples"))
    inner = graph.tensor(Spec((batch, n_dims), name="block/inner;relu"))
    logits, scores = (graph.tensor(Spec((batch, n_classes), name=name)) for name in ("logits", "scores"))
    dense_options = schema.FullyConnectedOptionsT
    graph.operator("FULLY_CONNECTED", [source, first, -1], inner, dense_options())
    graph.operator("FULLY_CONNECTED", [inner, last, -1], logits, dense_options())
    if twice:
        direct = graph.constant(rng.normal(0, 1, (n_classes, n_values)).astype(np.float32))
        other, logits_2 = (graph.tensor(Spec((batch, n_classes), name=name)) for name in ("direct", "sum"))
        graph.operator("FULLY_CONNECTED", [source, direct, -1], other, dense_options())
        graph.operator("ADD", [logits, other], logits_2, schema.AddOptionsT())
        logits = logits_2
    graph.operator("SOFTMAX", [logits], scores, _made(schema.SoftmaxOptionsT, beta=1.0))
    return graph.pack([source], [scores])


def scaling(n_values: int, *factors: float) -> bytes:
    """A network that multiplies its `(1, n_values)` input by each factor: an output for each."""
    graph = Graph()
    source = graph.tensor(Spec((1, n_values), name="samples"))
    targets = [graph.tensor(Spec((1, n_values), name=f"times {factor:g}")) for factor in factors]
    for factor, target in zip(factors, targets, strict=True):
        graph.operator("MUL", [source, graph.constant(np.array([factor], np.float32))], target, schema.MulOptionsT())
    return graph.pack([source], targets)


def echoing(n_values: int) -> bytes:
    """A network with a state in tensors: gives its input plus half of what it gave before, and that as its state."""
    graph = Graph()
    source = graph.tensor(Spec((1, n_values), name="samples"))
    before = graph.tensor(Spec((1, n_values, 1), name="before"))
    flat = graph.tensor(Spec((1, n_values)))
    half = graph.tensor(Spec((1, n_values)))
    target = graph.tensor(Spec((1, n_values), name="echo"))
    after = graph.tensor(Spec((1, n_values, 1), name="after"))
    graph.operator("RESHAPE", [before, graph.constant(np.array((1, n_values), np.int32))], flat)
    graph.operator("MUL", [flat, graph.constant(np.array([0.5], np.float32))], half, schema.MulOptionsT())
    graph.operator("ADD", [source, half], target, schema.AddOptionsT())
    graph.operator("RESHAPE", [target, graph.constant(np.array((1, n_values, 1), np.int32))], after)
    return graph.pack([source, before], [target, after])


def delaying(n_values: int) -> bytes:
    """A network with a state in tensors: gives what it read before, and keeps what it reads."""
    graph = Graph()
    source = graph.tensor(Spec((1, n_values), name="samples"))
    before = graph.tensor(Spec((1, n_values, 1), name="before"))
    target = graph.tensor(Spec((1, n_values), name="delayed"))
    after = graph.tensor(Spec((1, n_values, 1), name="after"))
    graph.operator("RESHAPE", [before, graph.constant(np.array((1, n_values), np.int32))], target)
    graph.operator("RESHAPE", [source, graph.constant(np.array((1, n_values, 1), np.int32))], after)
    return graph.pack([source, before], [target, after])
