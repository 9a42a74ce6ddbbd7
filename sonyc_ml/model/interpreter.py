"""A TFLite network behind one small class: features in, one float32 array for each output out.

LiteRT (``ai-edge-litert``) is used where it is installed, ``tflite-runtime`` where not; both have the same interface.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model.runtime import (
    RESOURCES,
    VARIABLES,
    construct,
    first_line,
    load_runtime,
    quiet_stderr,
    state_of_network,
)
from sonyc_ml.outputs.kinds import COMPUTED

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]

DTYPES = (np.float32, np.int8, np.uint8, np.int16)


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a network.

    Attributes
    ----------
    index : int
        Its number inside the network.
    name : str
    shape : tuple of int
        As the network declares it; -1 where it takes any size.
    dtype : np.dtype
    scale, zero_point : float, int
        Of a quantised tensor: value = (stored - zero_point) * scale. A scale of 0 means not quantised.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    def quantised(self, values: Floats) -> npt.NDArray[Any]:
        """Values as the tensor stores them: rounded, and clipped where the type ends instead of wrapping round."""
        if self.dtype.kind == "f":
            return np.asarray(values, self.dtype)
        limits = np.iinfo(self.dtype)
        stored = np.rint(values / np.float32(self.scale or 1)) + self.zero_point
        return np.asarray(np.clip(stored, limits.min, limits.max), self.dtype)

    def dequantised(self, stored: npt.NDArray[Any]) -> Floats:
        """Stored values as float32."""
        if not self.scale:
            return np.asarray(stored, np.float32)
        return (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)

    def __str__(self) -> str:
        sizes = ", ".join("any" if size < 0 else str(size) for size in self.shape)
        sign = "-" if self.zero_point >= 0 else "+"
        quantisation = f", {self.scale:g} * (q {sign} {abs(self.zero_point)})" if self.scale else ""
        return f"{self.name} [{sizes}] {self.dtype}{quantisation}"


class Interpreter:
    """Runs a network on features, one batch after another; :meth:`fit` it to the features' shape first.

    Parameters
    ----------
    network : bytes
        The content of a ``.tflite`` file.
    num_threads : int > 0
        Threads of the kernels; one is the fastest for a node that has other work to do.
    reference_kernels : bool
        Run the builtin kernels without a delegate: slower, and equal on every machine to the last bits of a float.
    backend : {"litert", "tflite-runtime"}, optional
        Which runtime to use; the first one installed where not given.
    batch_size : int > 0
        Windows at once, where the network takes any number.

    Attributes
    ----------
    backend : str
        The runtime and its version.
    inputs, outputs : tuple of Tensor
    state : {"", "variables", "resources"}
        What of one window the network would carry into the next: nothing, tensors that the runtime can set back, or
        resources that only a new interpreter is without. Each window begins without it.
    row_shapes : tuple of tuple of int
        Shape of what one window yields, for each of `outputs`; known once it is fitted.

    Raises
    ------
    BundleError
        No runtime is installed, or it cannot read the network.
    BundleMismatchError
        The network's tensors are of a kind or shape that does not fit.
    """

    def __init__(
        self,
        network: bytes,
        *,
        num_threads: int = 1,
        reference_kernels: bool = False,
        backend: str | None = None,
        batch_size: int = 1,
    ) -> None:
        if num_threads < 1 or batch_size < 1:
            raise ValueError(f"num_threads and batch_size must be at least 1, not {num_threads} and {batch_size}")
        self.backend, runtime = load_runtime(backend)
        self._construct: Callable[[], Any] = partial(construct, runtime, network, num_threads, reference_kernels)
        self._runtime = self._construct()
        self.state = state_of_network(self._runtime)
        self.inputs = tuple(_tensor(details) for details in self._runtime.get_input_details())
        self.outputs = tuple(_tensor(details) for details in self._runtime.get_output_details())
        if len(self.inputs) != 1:
            raise BundleMismatchError(f"the network has {len(self.inputs)} inputs; one that reads features has 1")
        self._batch_size = batch_size
        self._input_shape: tuple[int, ...] = ()
        self.row_shapes: tuple[tuple[int, ...], ...] = ()

    def __call__(self, features: Floats) -> tuple[Floats, ...]:
        """Run the network on every window.

        Parameters
        ----------
        features : np.ndarray [shape=(n_windows, …), dtype=float32]

        Returns
        -------
        tuple of np.ndarray [shape=(n_windows, …), dtype=float32]
            One array for each of `outputs`.
        """
        n_windows, size = len(features), self._batch_size
        windows = features.reshape(n_windows, *self._input_shape[1:] or self._input_shape)
        stored = self.inputs[0].quantised(windows)
        results = tuple(np.empty((n_windows, *shape), np.float32) for shape in self.row_shapes)
        for start in range(0, n_windows, size):
            batch = stored[start : start + size]
            n_rows = len(batch)
            if n_rows < size:
                batch = np.concatenate([batch, np.zeros((size - n_rows, *batch.shape[1:]), batch.dtype)])
            self._forget()
            self._runtime.set_tensor(self.inputs[0].index, batch.reshape(self._input_shape))
            self._runtime.invoke()
            for tensor, result in zip(self.outputs, results, strict=True):
                rows = self._runtime.get_tensor(tensor.index).reshape(size, *result.shape[1:])
                result[start : start + n_rows] = tensor.dequantised(rows[:n_rows])
        return results

    def _forget(self) -> None:
        """Set back what the window before has left: a window's numbers are its own, in whatever order they run."""
        if self.state == VARIABLES:
            self._runtime.reset_all_variables()
        elif self.state == RESOURCES:
            with quiet_stderr():
                self._runtime = self._construct()
                self._allocate(self._input_shape)

    def _allocate(self, input_shape: tuple[int, ...]) -> None:
        tensor = self.inputs[0]
        if input_shape != tensor.shape:
            self._runtime.resize_tensor_input(tensor.index, input_shape, strict=True)
        self._runtime.allocate_tensors()

    def delegated(self) -> tuple[int, int]:
        """How many of the network's operators XNNPACK has taken, and how many there are."""
        operators = self._runtime._get_ops_details()  # noqa: SLF001  nothing public tells
        nodes = [operator for operator in operators if operator["op_name"] != "DELEGATE"]
        producers = {int(output): node for node in nodes for output in node["outputs"]}
        taken: set[int] = set()
        for delegate in operators:
            if delegate["op_name"] != "DELEGATE":
                continue
            given = {int(i) for i in delegate["inputs"]}
            wanted = [int(i) for i in delegate["outputs"]]
            while wanted:
                node = producers.get(wanted.pop())
                if node is not None and node["index"] not in taken:
                    taken.add(node["index"])
                    wanted += [int(i) for i in node["inputs"] if int(i) not in given]
        return len(taken), len(nodes)

    def fit(self, feature_shape: tuple[int, ...]) -> None:
        """Make the network read windows of this shape; its dimensions of size 1 do not count.

        Raises
        ------
        BundleMismatchError
            They do not fit; says both shapes.
        """
        tensor = self.inputs[0]
        wanted = _fitted(tensor.shape, feature_shape, self._batch_size)
        try:
            with quiet_stderr():
                self._allocate(wanted)
                # Once through, on silence: some outputs have a shape only then, and what cannot run is refused here.
                self._runtime.set_tensor(tensor.index, np.zeros(wanted, tensor.dtype))
                self._runtime.invoke()
        except (ValueError, RuntimeError) as error:
            raise BundleMismatchError(f"the network cannot read {_shape_text(wanted)}: {first_line(error)}") from error
        self._input_shape = wanted
        self._batch_size = wanted[0] if len(wanted) > 1 else 1
        self.row_shapes = tuple(self._row_shape(tensor) for tensor in self.outputs)

    def _row_shape(self, tensor: Tensor) -> tuple[int, ...]:
        """Shape of what one window yields: the output without its batch, or the whole of it where a batch is 1."""
        shape = tuple(int(size) for size in self._runtime.get_tensor(tensor.index).shape)
        if shape and shape[0] == self._batch_size:
            return shape[1:]
        if self._batch_size == 1:
            return shape
        raise BundleMismatchError(
            f"the network reads {self._batch_size} windows at once, and its output {tensor} is not one row per window"
        )


def name_outputs(tensors: tuple[Tensor, ...], named: Mapping[str, int | str] | None) -> dict[str, int]:
    """Find what was named among a network's outputs.

    Parameters
    ----------
    tensors : tuple of Tensor
        The outputs.
    named : mapping of str to int or str, or None
        Kind to number or name; a network with one output needs none.

    Returns
    -------
    dict of str to int
        Kind to number.

    Raises
    ------
    BundleMismatchError, ValueError
        There is no such output, or no such kind.
    """
    listing = "; ".join(f"{i}: {tensor}" for i, tensor in enumerate(tensors))
    if not named:
        if len(tensors) == 1:
            return {"embedding": 0}
        raise BundleMismatchError(
            f"the network has {len(tensors)} outputs ({listing}): say which is what, as in outputs={{'scores': 0}} "
            "(--outputs scores=0)"
        )
    numbers = {tensor.name: i for i, tensor in enumerate(tensors)} | {str(i): i for i in range(len(tensors))}
    for kind, output in named.items():
        if kind not in COMPUTED:
            raise ValueError(f"an output is {' or '.join(COMPUTED)}, not {kind!r}")
        if str(output) not in numbers:
            raise BundleMismatchError(f"the network has no output {output!r}; it has {listing}")
    return {kind: numbers[str(output)] for kind, output in named.items()}


def _fitted(declared: tuple[int, ...], feature_shape: tuple[int, ...], batch_size: int) -> tuple[int, ...]:
    """The input's shape for features of one window's shape: `(64, 51)` fits `[1, 64, 51, 1]`."""
    declared_features, batch = declared[1:], declared[:1]
    if len(declared) == 1:  # a lone waveform without a batch
        declared_features, batch = declared, ()
    elif declared[0] < 0:
        batch = (batch_size,)
    if _takes(declared_features, feature_shape):  # first as it is: a dimension of any size may be of size 1
        return (*batch, *feature_shape)
    sizes = tuple(size for size in feature_shape if size != 1)
    slots = [i for i, size in enumerate(declared_features) if size != 1]
    if not _takes(tuple(declared_features[slot] for slot in slots), sizes):
        raise BundleMismatchError(
            f"the network reads windows of shape {_shape_text(declared_features)}, "
            f"and the extractor makes windows of shape {_shape_text(feature_shape)}"
        )
    fixed = list(declared_features)
    for slot, size in zip(slots, sizes, strict=True):
        fixed[slot] = size
    return (*batch, *fixed)


def _takes(declared: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(declared) == len(shape) and all(d in (-1, size) for d, size in zip(declared, shape, strict=True))


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"({', '.join('any' if size < 0 else str(size) for size in shape)})"


def _tensor(details: dict[str, Any]) -> Tensor:
    signature = details.get("shape_signature")
    shape = details["shape"] if signature is None or len(signature) == 0 else signature
    dtype = np.dtype(details["dtype"])
    scale, zero_point = details["quantization"]
    if dtype not in DTYPES:
        raise BundleMismatchError(
            f"the network's tensor {details['name']!r} is {dtype}; this package reads float32, int8, uint8 and int16"
        )
    if np.size(details["quantization_parameters"]["scales"]) > 1:
        raise BundleMismatchError(f"the network's tensor {details['name']!r} is quantised channel by channel")
    scale = float(scale) if dtype.kind != "f" else 0.0
    return Tensor(details["index"], details["name"], tuple(int(size) for size in shape), dtype, scale, int(zero_point))
