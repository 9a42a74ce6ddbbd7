"""A TFLite network behind one small class: features in, one float32 array for each output out.

LiteRT (``ai-edge-litert``) is used where it is installed, ``tflite-runtime`` where not; both have the same interface.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.process import quiet_stderr
from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model.runtime import (
    RESOURCES,
    VARIABLES,
    construct,
    first_line,
    load_runtime,
    state_of_network,
)
from sonyc_ml.model.tensors import (
    Tensor,
    feature_input,
    find_tensor,
    fitted_shape,
    name_outputs,
    read_tensor,
    shape_text,
)

__all__ = ["Interpreter", "Tensor", "name_outputs"]

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]


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
        Windows at once, where the network takes any number; 1 with `feedback`.
    constants : mapping of str to value, optional
        What inputs that do not read the features hold, by their names or numbers: a number, or an array that fits.
    feedback : iterable of (int or str, int or str)
        Inputs that hold what an output gave for the window before, by names or numbers, as in
        ``[("input_3", "Identity_1")]``; zeros after :meth:`reset`.

    Attributes
    ----------
    backend : str
        The runtime and its version.
    inputs, outputs : tuple of Tensor
        All of them.
    input : Tensor
        The one that reads the features.
    state : {"", "variables", "resources"}
        What of one window the network would carry into the next by itself: nothing, tensors that the runtime can set
        back, or resources that only a new interpreter is without. Each window begins without it.
    feedback : tuple of (int, int)
        Numbers of the inputs and outputs that were named: this state is carried, from call to call too.
    row_shapes : tuple of tuple of int
        Shape of what one window yields, for each of `outputs`; known once it is fitted.

    Raises
    ------
    BundleError
        No runtime is installed, or it cannot read the network.
    BundleMismatchError
        The network's tensors are of a kind or shape that does not fit.

    Examples
    --------
    A network that hands a state on runs on windows in their order, in any number of calls::

        network = Interpreter(content, feedback=[("input_3", "Identity_1")])
        network.fit((257,))
        network.reset()  # a new recording begins
        masks, states = network(magnitudes)  # (n_windows, 257); call again with those that follow
    """

    def __init__(
        self,
        network: bytes,
        *,
        num_threads: int = 1,
        reference_kernels: bool = False,
        backend: str | None = None,
        batch_size: int = 1,
        constants: Mapping[str, Any] | None = None,
        feedback: Iterable[tuple[int | str, int | str]] = (),
    ) -> None:
        if num_threads < 1 or batch_size < 1:
            raise ValueError(f"num_threads and batch_size must be at least 1, not {num_threads} and {batch_size}")
        self.backend, runtime = load_runtime(backend)
        self._construct: Callable[[], Any] = partial(construct, runtime, network, num_threads, reference_kernels)
        self._runtime = self._construct()
        self.state = state_of_network(self._runtime)
        self.inputs = tuple(read_tensor(details) for details in self._runtime.get_input_details())
        self.outputs = tuple(read_tensor(details) for details in self._runtime.get_output_details())
        self.feedback = tuple(
            (find_tensor(self.inputs, source, "input"), find_tensor(self.outputs, target, "output"))
            for source, target in feedback
        )
        constants = constants or {}
        named = [find_tensor(self.inputs, name, "input") for name in constants]
        given = [*named, *(number for number, _ in self.feedback)]
        if len(set(given)) < len(given):
            raise BundleMismatchError("an input of the network is given twice, as a constant or as state")
        self.input = feature_input(self.inputs, given)
        self._batch_size = 1 if self.feedback else batch_size
        self._values = dict(zip(named, constants.values(), strict=True))
        self._constants: dict[int, npt.NDArray[Any]] = {}
        self._carried: list[npt.NDArray[Any]] = []
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
        stored = self.input.quantised(windows)
        results = tuple(np.empty((n_windows, *shape), np.float32) for shape in self.row_shapes)
        for start in range(0, n_windows, size):
            batch = stored[start : start + size]
            n_rows = len(batch)
            if n_rows < size:
                batch = np.concatenate([batch, np.zeros((size - n_rows, *batch.shape[1:]), batch.dtype)])
            self._forget()
            self._invoke(batch.reshape(self._input_shape))
            for tensor, result in zip(self.outputs, results, strict=True):
                rows = self._runtime.get_tensor(tensor.index).reshape(size, *result.shape[1:])
                result[start : start + n_rows] = tensor.dequantised(rows[:n_rows])
        return results

    def _invoke(self, stored: npt.NDArray[Any]) -> None:
        """Run once; what is fed back stays with us, in the very bits that the network gave."""
        self._runtime.set_tensor(self.input.index, stored)
        for index, value in self._constants.items():
            self._runtime.set_tensor(index, value)
        for (number, _), held in zip(self.feedback, self._carried, strict=True):
            self._runtime.set_tensor(self.inputs[number].index, held)
        self._runtime.invoke()
        self._carried = [self._fed_back(*pair) for pair in self.feedback]

    def _fed_back(self, number: int, output: int) -> npt.NDArray[Any]:
        """What an output holds, as the input of the next window stores it."""
        source, target = self.outputs[output], self.inputs[number]
        held = self._runtime.get_tensor(source.index)
        wanted = target.zeros().shape
        if held.size != np.prod(wanted):
            raise BundleMismatchError(f"the network's output {source} cannot be fed back to {target}: other sizes")
        is_stored_alike = (source.dtype, source.scale, source.zero_point) == (
            target.dtype,
            target.scale,
            target.zero_point,
        )
        return (held if is_stored_alike else target.quantised(source.dequantised(held))).reshape(wanted)

    def reset(self) -> None:
        """Begin another recording: what is fed back is zero again."""
        self._carried = [self.inputs[number].zeros() for number, _ in self.feedback]

    def _forget(self) -> None:
        """Set back what the window before has left: a window's numbers are its own, in whatever order they run."""
        if self.state == VARIABLES:
            self._runtime.reset_all_variables()
        elif self.state == RESOURCES:
            with quiet_stderr():
                self._runtime = self._construct()
                self._allocate(self._input_shape)

    def _allocate(self, input_shape: tuple[int, ...]) -> None:
        shapes = {self.input.index: input_shape} | {index: value.shape for index, value in self._constants.items()}
        shapes |= {self.inputs[number].index: self.inputs[number].zeros().shape for number, _ in self.feedback}
        for tensor in self.inputs:
            if shapes[tensor.index] != tensor.shape:
                self._runtime.resize_tensor_input(tensor.index, shapes[tensor.index], strict=True)
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
        wanted = fitted_shape(self.input.shape, feature_shape, self._batch_size)
        batch_size = wanted[0] if len(wanted) > 1 else 1
        if self.feedback and batch_size > 1:
            raise BundleMismatchError(f"a network whose state is fed back reads one window at once, not {batch_size}")
        self._constants = {
            self.inputs[number].index: self.inputs[number].constant(value, batch_size)
            for number, value in self._values.items()
        }
        self.reset()
        try:
            with quiet_stderr():
                self._allocate(wanted)
                # Once through, on silence: some outputs have a shape only then, and what cannot run is refused here.
                self._invoke(np.zeros(wanted, self.input.dtype))
        except (ValueError, RuntimeError) as error:
            raise BundleMismatchError(f"the network cannot read {shape_text(wanted)}: {first_line(error)}") from error
        self._input_shape, self._batch_size = wanted, batch_size
        self.row_shapes = tuple(self._row_shape(tensor) for tensor in self.outputs)
        self.reset()

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
