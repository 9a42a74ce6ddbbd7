"""Float32 networks of the layers that are trained and quantised, and the signatures of networks."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from tests.support.networks import Graph, Spec

try:
    from ai_edge_litert import schema_py_generated as schema
except ImportError:  # 32-bit ARM; see networks.py
    import schema_py_generated as schema


def made(kind: Any, **values: Any) -> Any:
    """One of the schema's objects; before LiteRT 2.1 they take no values when they are made."""
    found = kind()
    for name, value in values.items():
        setattr(found, name, value)
    return found


def convolutional(shape: tuple[int, ...] = (1, 64, 51, 1), n_dims: int = 48, seed: int = 11) -> bytes:
    """Three convolutions and a dense layer of fixed weights: a float32 network like those that are trained."""
    graph, rng = Graph(), np.random.default_rng(seed)
    source = last = graph.tensor(Spec(shape, name="features"))
    options = made(
        schema.Conv2DOptionsT,
        padding=schema.Padding.SAME,
        strideW=2,
        strideH=2,
        dilationWFactor=1,
        dilationHFactor=1,
        fusedActivationFunction=schema.ActivationFunctionType.RELU,
    )
    n_batch, height, width, n_before = shape
    for n_channels in (8, 16, 32):
        height, width = -(-height // 2), -(-width // 2)
        deviation = (2 / (9 * n_before)) ** 0.5
        weights = rng.normal(0, deviation, (n_channels, 3, 3, n_before)).astype(np.float32)
        biases = graph.constant(rng.normal(0, 0.1, n_channels).astype(np.float32))
        target = graph.tensor(Spec((n_batch, height, width, n_channels), name=f"convolution_{n_channels}"))
        graph.operator("CONV_2D", [last, graph.constant(weights), biases], target, options)
        last, n_before = target, n_channels
    flat = graph.tensor(Spec((n_batch, height * width * n_before), name="flat"))
    graph.operator("RESHAPE", [last, graph.constant(np.array((n_batch, height * width * n_before), np.int32))], flat)
    n_values = height * width * n_before
    weights = rng.normal(0, n_values**-0.5, (n_dims, n_values)).astype(np.float32)
    target = graph.tensor(Spec((n_batch, n_dims), name="embedding"))
    graph.operator("FULLY_CONNECTED", [flat, graph.constant(weights), -1], target, schema.FullyConnectedOptionsT())
    return graph.pack([source], [target])


def signed(network: bytes, key: str, input_name: str) -> bytes:
    """The network with a signature of this name, in which its one input has this name."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(network, 0))
    graph = model.subgraphs[0]
    inputs = [made(schema.TensorMapT, name=input_name, tensorIndex=int(graph.inputs[0]))]
    outputs = [
        made(schema.TensorMapT, name=f"said_{i}", tensorIndex=int(number)) for i, number in enumerate(graph.outputs)
    ]
    model.signatureDefs = [
        made(schema.SignatureDefT, signatureKey=key, subgraphIndex=0, inputs=inputs, outputs=outputs)
    ]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def signatures_of(network: bytes) -> list[str]:
    """The names of a network's signatures."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(network, 0))
    return [made.signatureKey.decode() for made in model.signatureDefs or ()]


def multiplying(shape: tuple[int, ...], n_dims: int = 5) -> bytes:
    """A network that multiplies rows, of any number where the first size is -1, with fixed weights."""
    graph = Graph()
    weights = np.random.default_rng(4).normal(0, 1 / shape[1], (n_dims, shape[1])).astype(np.float32)
    source = graph.tensor(Spec(shape, name="samples"))
    target = graph.tensor(Spec((shape[0], n_dims), name="embedding"))
    graph.operator("FULLY_CONNECTED", [source, graph.constant(weights), -1], target, schema.FullyConnectedOptionsT())
    return graph.pack([source], [target])


def dividing(n_values: int) -> bytes:
    """A network that divides by a sum of its samples and a little, which is 0 once it is rounded to 8 bits."""
    graph, rng = Graph(), np.random.default_rng(6)
    source = graph.tensor(Spec((1, n_values), name="samples"))
    sums = [graph.tensor(Spec((1, 4))) for _ in range(2)]
    for target in sums:
        weights = graph.constant(rng.normal(0, 1, (4, n_values)).astype(np.float32))
        graph.operator("FULLY_CONNECTED", [source, weights, -1], target, schema.FullyConnectedOptionsT())
    shifted, ratio = graph.tensor(Spec((1, 4))), graph.tensor(Spec((1, 4), name="embedding"))
    little = graph.constant(np.full((1, 4), 1e-4, np.float32))
    graph.operator("ADD", [sums[1], little], shifted, schema.AddOptionsT())
    graph.operator("DIV", [sums[0], shifted], ratio, schema.DivOptionsT())
    return graph.pack([source], [ratio])


def scoring(shape: tuple[int, ...], n_classes: int) -> bytes:
    """A network that gives scores from 0 to 1 for each of its windows: a dense layer and a sigmoid."""
    graph = Graph()
    n_values = int(np.prod(shape[1:]))
    weights = np.random.default_rng(3).normal(0, 1 / n_values, (n_classes, n_values)).astype(np.float32)
    source = graph.tensor(Spec(shape, name="features"))
    flat, logits = graph.tensor(Spec((shape[0], n_values))), graph.tensor(Spec((shape[0], n_classes)))
    target = graph.tensor(Spec((shape[0], n_classes), name="scores"))
    graph.operator("RESHAPE", [source, graph.constant(np.array((shape[0], n_values), np.int32))], flat)
    graph.operator("FULLY_CONNECTED", [flat, graph.constant(weights), -1], logits, schema.FullyConnectedOptionsT())
    graph.operator("LOGISTIC", [logits], target)
    return graph.pack([source], [target])
