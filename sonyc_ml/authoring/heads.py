"""Heads without TensorFlow: a linear classifier on embeddings becomes a ``.tflite`` that a bundle can name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import ConfigError

Doubles = npt.NDArray[np.float64]

ACTIVATIONS = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC"}
FILE_IDENTIFIER = b"TFL3"
N_PROOFS = 16  # embeddings that a classifier and its head must agree about
PROOF_SCALES = (0.1, 1.0, 10.0)  # of them, in standard deviations
PROOF_TOLERANCE = 1e-6


def dense_head(
    weights: npt.ArrayLike,
    biases: npt.ArrayLike,
    *,
    mean: npt.ArrayLike | None = None,
    scale: npt.ArrayLike | None = None,
    activation: str = "softmax",
) -> bytes:
    """Make a network of one dense layer: the scores of one embedding.

    Parameters
    ----------
    weights : array_like [shape=(n_classes, n_dims)]
        As scikit-learn's ``coef_``.
    biases : array_like [shape=(n_classes,)]
        As ``intercept_``.
    mean, scale : array_like [shape=(n_dims,)], optional
        Of a standardisation before the layer, ``(embedding - mean) / scale``; it becomes part of weights and biases,
        in float64.
    activation : {"softmax", "sigmoid"}
        Of classes of which one is heard at a time, or of classes that are heard side by side.

    Returns
    -------
    bytes
        The content of a ``.tflite``: reads float32 `(1, n_dims)`, gives float32 `(1, n_classes)`. Its operators are of
        their first versions, which every runtime knows.

    Raises
    ------
    ValueError
        The shapes do not go together, or a value is no number.
    ConfigError
        What writes such files is not installed.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be {' or '.join(ACTIVATIONS)}, not {activation!r}")
    folded = _folded(weights, biases, mean, scale)
    schema, flatbuffers = load_schema()
    builder = flatbuffers.Builder(1024)
    builder.Finish(_model(schema, *folded, ACTIVATIONS[activation]).Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


def head_of(classifier: Any, scaler: Any = None) -> tuple[bytes, tuple[str, ...]]:
    """Make a head of a linear classifier that was trained on embeddings.

    Parameters
    ----------
    classifier : object
        A classifier of scikit-learn's with ``coef_``, ``intercept_``, ``classes_`` and ``predict_proba``, such as
        ``LogisticRegression``; or a ``Pipeline`` of ``StandardScaler`` and one. Where it separates two classes by one
        row of weights, the head has two scores nevertheless, one for each, that add up to 1.
    scaler : object, optional
        With ``mean_`` and ``scale_``: what the embeddings went through before.

    Returns
    -------
    network : bytes
        See :func:`dense_head`; softmax.
    labels : tuple of str
        Of its scores.

    Raises
    ------
    ValueError
        It is not such a classifier, or the head would not give its probabilities: says why.
    ConfigError
        What writes such files is not installed.
    """
    *before, final = _steps(classifier)
    missing = [name for name in ("coef_", "intercept_", "classes_", "predict_proba") if not hasattr(final, name)]
    if missing:
        raise ValueError(
            f"{type(final).__name__} has no {', '.join(missing)}; a head is made of a linear classifier that is fitted "
            "and gives probabilities, such as LogisticRegression"
        )
    weights, biases = np.asarray(final.coef_, np.float64), np.asarray(final.intercept_, np.float64)
    if len(final.classes_) == 2 and len(weights) == 1:
        weights, biases = np.concatenate([0 * weights, weights]), np.concatenate([0 * biases, biases])
    mean, scale = np.zeros(weights.shape[-1]), np.ones(weights.shape[-1])
    for step in ([] if scaler is None else [scaler]) + before:
        mean, scale = _after(step, mean, scale)
    _prove(classifier, scaler, weights, biases, mean, scale)
    return dense_head(weights, biases, mean=mean, scale=scale), tuple(str(label) for label in final.classes_)


def _steps(classifier: Any) -> Iterator[Any]:
    """The steps of a pipeline in their order, those of pipelines inside it too; a classifier is its own only step."""
    if not hasattr(classifier, "steps"):
        yield classifier
        return
    for _, step in classifier.steps:
        if step is not None and step != "passthrough":
            yield from _steps(step)


def _after(step: Any, mean: Doubles, scale: Doubles) -> tuple[Doubles, Doubles]:
    """One standardisation, of what another came before."""
    if not hasattr(step, "scale_"):
        raise ValueError(
            f"a head cannot hold the step {type(step).__name__}; before a linear classifier it can hold a fitted "
            "StandardScaler, and nothing else"
        )
    centre = getattr(step, "mean_", None) if getattr(step, "with_mean", True) else None
    centres = np.zeros_like(mean) if centre is None else np.asarray(centre, np.float64)
    widths = np.ones_like(scale) if step.scale_ is None else np.asarray(step.scale_, np.float64)
    return mean + scale * centres, scale * widths


def _prove(classifier: Any, scaler: Any, weights: Doubles, biases: Doubles, mean: Doubles, scale: Doubles) -> None:
    """Compare the head with its classifier, whatever kind it is of: many are linear and yet normalise otherwise."""
    advice = "LogisticRegression behind a StandardScaler gives those of a head, with every solver but liblinear"
    n_classes = len(classifier.classes_)
    if weights.shape != (n_classes, len(mean)):
        raise ValueError(
            f"{type(classifier).__name__} has {len(weights)} rows of weights for {n_classes} classes; {advice}"
        )
    rng = np.random.default_rng(0)
    normal = [rng.normal(0, deviation, (N_PROOFS, len(mean))) for deviation in PROOF_SCALES]
    embedding = mean + scale * np.concatenate(normal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns that had names when it was fitted
        wanted = classifier.predict_proba(embedding if scaler is None else scaler.transform(embedding))
    folded_weights, folded_biases = _folded(weights, biases, mean, scale)
    logits = embedding @ folded_weights.T + folded_biases
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    apart = float(np.abs(powers / powers.sum(axis=1, keepdims=True) - wanted).max())
    if not apart <= PROOF_TOLERANCE:
        raise ValueError(
            f"the probabilities of {type(classifier).__name__} are not the softmax of its linear function, they differ "
            f"by up to {apart:.2g}; {advice}"
        )


def _folded(
    weights: npt.ArrayLike, biases: npt.ArrayLike, mean: npt.ArrayLike | None, scale: npt.ArrayLike | None
) -> tuple[Doubles, Doubles]:
    """Weights and biases that read an embedding as it is, in float64."""
    rows, offsets = np.asarray(weights, np.float64), np.asarray(biases, np.float64)
    if rows.ndim != 2 or not rows.size or offsets.shape != rows.shape[:1]:
        raise ValueError(
            f"weights are (n_classes, n_dims) and biases (n_classes,), not {rows.shape} and {offsets.shape}"
        )
    if scale is not None:
        rows = rows / _of_dims("scale", scale, rows.shape[1])
    if mean is not None:
        offsets = offsets - rows @ _of_dims("mean", mean, rows.shape[1])
    if not (np.isfinite(rows).all() and np.isfinite(offsets).all()):
        raise ValueError("weights, biases, mean or scale hold a value that is no number, or a scale is 0")
    return rows, offsets


def _of_dims(name: str, values: npt.ArrayLike, n_dims: int) -> Doubles:
    array = np.asarray(values, np.float64)
    if array.shape != (n_dims,):
        raise ValueError(f"{name} has shape {array.shape}, and the weights are of {n_dims} dimensions")
    if name == "scale" and not array.all():
        raise ValueError("scale holds a 0, and nothing can be divided by it")
    return array


# The file


def load_schema() -> tuple[ModuleType, ModuleType]:
    """Import the schema of a network's file, and what writes it; they come with LiteRT.

    Raises
    ------
    ConfigError
        They are not installed.
    """
    try:
        return import_module("ai_edge_litert.schema_py_generated"), import_module("flatbuffers")
    except ImportError as error:
        raise ConfigError(
            f"a head is written with ai-edge-litert and flatbuffers, and this Python cannot import them ({error}); "
            "make it where they are installed (pip install ai-edge-litert flatbuffers): the node only runs it"
        ) from error


def _model(schema: ModuleType, weights: Doubles, biases: Doubles, activation: str) -> Any:
    """Two operators: embedding, weights and biases to logits, logits to scores."""
    n_classes, n_dims = weights.shape
    constants = [np.ascontiguousarray(array, np.float32) for array in (weights, biases)]
    buffers = [_made(schema.BufferT)]  # the first one is empty, by definition
    buffers += [_made(schema.BufferT, data=np.frombuffer(array.tobytes(), np.uint8)) for array in constants]
    shapes = {
        "embedding": (1, n_dims),
        "weights": (n_classes, n_dims),
        "biases": (n_classes,),
        "logits": (1, n_classes),
        "scores": (1, n_classes),
    }
    held = {"weights": 1, "biases": 2}
    tensors = [
        _made(schema.TensorT, name=name, shape=list(shape), type=schema.TensorType.FLOAT32, buffer=held.get(name, 0))
        for name, shape in shapes.items()
    ]
    dense = _operator(schema, 0, [0, 1, 2], 3, _made(schema.FullyConnectedOptionsT))
    options = _made(schema.SoftmaxOptionsT, beta=1.0) if activation == "SOFTMAX" else None
    operators = [dense, _operator(schema, 1, [3], 4, options)]
    subgraph = _made(schema.SubGraphT, name="main", tensors=tensors, inputs=[0], outputs=[4], operators=operators)
    numbers = [getattr(schema.BuiltinOperator, name) for name in ("FULLY_CONNECTED", activation)]
    codes = [_made(schema.OperatorCodeT, builtinCode=code, deprecatedBuiltinCode=code, version=1) for code in numbers]
    return _made(schema.ModelT, version=3, operatorCodes=codes, subgraphs=[subgraph], buffers=buffers)


def _operator(schema: ModuleType, code: int, inputs: list[int], output: int, options: Any) -> Any:
    kind = "NONE" if options is None else type(options).__name__.removesuffix("T")
    return _made(
        schema.OperatorT,
        opcodeIndex=code,
        inputs=inputs,
        outputs=[output],
        builtinOptionsType=getattr(schema.BuiltinOptions, kind),
        builtinOptions=options,
    )


def _made(kind: Any, **values: Any) -> Any:
    """A table of the schema; not every version of it takes values when it is made."""
    table = kind()
    for name, value in values.items():
        setattr(table, name, value)
    return table
