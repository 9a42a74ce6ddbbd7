"""One network of several that sound passes: called with its inputs, its state carried from call to call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.process import quiet_stderr
from sonyc_ml.bundles.waveform import Stage as Section
from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.model.runtime import construct, first_line, load_runtime, state_of_network
from sonyc_ml.model.tensors import Tensor, read_tensor

Floats = npt.NDArray[np.float32]


class Stage:
    """A network of a waveform model, as its manifest describes it; :meth:`begin` a run of it for each channel.

    Parameters
    ----------
    network : bytes
        The content of a ``.tflite`` file.
    section : sonyc_ml.bundles.waveform.Stage
        What the manifest says of it.
    length : int > 0
        Samples of a block, for an input that takes any number.
    num_threads, reference_kernels, backend
        See :class:`~sonyc_ml.model.interpreter.Interpreter`.

    Attributes
    ----------
    name : str
        The network's file.
    backend : str
        The runtime and its version.
    inputs, outputs : tuple of Tensor
        Those that are no state, in the network's order.
    has_state : bool
        Whether what it gives depends on what it read before.

    Raises
    ------
    BundleError
        No runtime is installed, or it cannot read the network.
    BundleMismatchError
        The network's tensors are of a kind that is not read, or are not those of the manifest.
    """

    def __init__(
        self,
        network: bytes,
        section: Section,
        length: int,
        *,
        num_threads: int = 1,
        reference_kernels: bool = False,
        backend: str | None = None,
    ) -> None:
        self.name = section.network
        self._network, self._length = network, length
        self._num_threads, self._reference_kernels = num_threads, reference_kernels
        self.backend, self._library = load_runtime(backend)
        self._runtime = self._construct()
        self._is_begun = False
        inputs, outputs = (
            tuple(read_tensor(details) for details in all_details)
            for all_details in (self._runtime.get_input_details(), self._runtime.get_output_details())
        )
        pairs = [
            (find_tensor(inputs, state.in_, self.name), find_tensor(outputs, state.out, self.name))
            for state in section.state
        ]
        self.states = tuple((inputs[read], outputs[written]) for read, written in pairs)
        self.inputs = tuple(tensor for i, tensor in enumerate(inputs) if i not in {read for read, _ in pairs})
        self.outputs = tuple(tensor for i, tensor in enumerate(outputs) if i not in {written for _, written in pairs})
        self.has_hidden_state = bool(state_of_network(self._runtime))
        self._check_states()

    @property
    def has_state(self) -> bool:
        """Whether what it gives depends on what it read before."""
        return bool(self.states) or self.has_hidden_state

    def begin(self) -> Run:
        """A run of the network from the beginning of a sound, with a state of its own.

        Runs share an interpreter where all of their state is in tensors; a state inside of the network needs an
        interpreter for each.
        """
        if not self.has_hidden_state:
            return Run(self, self._runtime)
        runtime = self._construct() if self._is_begun else self._runtime
        self._is_begun = True
        return Run(self, runtime)

    def _construct(self) -> Any:
        try:
            runtime = construct(self._library, self._network, self._num_threads, self._reference_kernels)
            with quiet_stderr():
                for details in runtime.get_input_details():
                    shape = read_tensor(details).shape
                    if min(shape, default=1) < 0:
                        runtime.resize_tensor_input(details["index"], _with_length(shape, self._length), strict=True)
                runtime.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleMismatchError(f"{self.name} cannot be run: {first_line(error)}") from error
        return runtime

    def _check_states(self) -> None:
        for read, written in self.states:
            if (read.shape, read.dtype, read.scale, read.zero_point) != (
                *(written.shape, written.dtype),
                *(written.scale, written.zero_point),
            ):
                raise BundleMismatchError(f"{self.name}: the state {written} cannot be read as {read}: they differ")


class Run:
    """A stage at work on one channel: call it with its inputs; its state is that of the call before.

    Parameters
    ----------
    stage : Stage
    runtime : object
        The interpreter, shared with other runs where the stage's states are tensors.
    """

    def __init__(self, stage: Stage, runtime: Any) -> None:
        self.inputs, self.outputs, self.name = stage.inputs, stage.outputs, stage.name
        self._runtime = runtime
        self._indexes = [(read.index, written.index) for read, written in stage.states]
        self._states = [_zeros(read, runtime) for read, _ in stage.states]
        self._shapes = [tuple(runtime.get_tensor(tensor.index).shape) for tensor in stage.inputs]

    def __call__(self, *values: Floats) -> tuple[Floats, ...]:
        """Run the network once.

        Parameters
        ----------
        *values : np.ndarray [dtype=float32]
            One for each of `inputs`, with as many numbers as it takes, in any shape.

        Returns
        -------
        tuple of np.ndarray [dtype=float32]
            One for each of `outputs`, in its own shape.
        """
        runtime = self._runtime
        for tensor, shape, value in zip(self.inputs, self._shapes, values, strict=True):
            runtime.set_tensor(tensor.index, tensor.quantised(value).reshape(shape))
        for (read, _), state in zip(self._indexes, self._states, strict=True):
            runtime.set_tensor(read, state)
        runtime.invoke()
        # As they are stored: a quantised state is carried to the last bit.
        self._states = [runtime.get_tensor(written) for _, written in self._indexes]
        return tuple(tensor.dequantised(runtime.get_tensor(tensor.index)) for tensor in self.outputs)

    def shape_of_input(self, number: int) -> tuple[int, ...]:
        """The shape of an input as it runs, with sizes where the network takes any."""
        return self._shapes[number]


def find_tensor(tensors: Sequence[Tensor], named: int | str, network: str) -> int:
    """The number of an input or output that a manifest names by number or name."""
    numbers = {tensor.name: i for i, tensor in enumerate(tensors)} | {str(i): i for i in range(len(tensors))}
    if str(named) not in numbers:
        listing = "; ".join(f"{i}: {tensor}" for i, tensor in enumerate(tensors))
        raise BundleMismatchError(f"{network} has no tensor {named!r} there; it has {listing}")
    return numbers[str(named)]


def _with_length(shape: tuple[int, ...], length: int) -> list[int]:
    """A shape with sizes where it has none: a batch of one, and the last of the others as long as a block."""
    is_open = [i for i, size in enumerate(shape) if size < 0]
    sizes = [max(1, size) for size in shape]
    if is_open != [0] or len(shape) == 1:
        sizes[is_open[-1]] = length
    return sizes


def _zeros(tensor: Tensor, runtime: Any) -> npt.NDArray[Any]:
    return np.full(runtime.get_tensor(tensor.index).shape, tensor.zero_point, tensor.dtype)
