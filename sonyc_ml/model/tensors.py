"""The inputs and outputs of a network: what each holds, in which shape, and which of them is what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import BundleMismatchError
from sonyc_ml.outputs.kinds import COMPUTED

Floats = npt.NDArray[np.float32]

FEATURE_DTYPES = (np.float32, np.int8, np.uint8, np.int16)
NUMBERS = "fiub"  # kinds of numpy's dtypes that a constant, a state or an output may be of


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
        if self.dtype.kind in "fb":
            return np.asarray(values, self.dtype)
        limits = np.iinfo(self.dtype)
        stored = np.rint(values / np.float32(self.scale or 1)) + self.zero_point
        return np.asarray(np.clip(stored, limits.min, limits.max), self.dtype)

    def dequantised(self, stored: npt.NDArray[Any]) -> Floats:
        """Stored values as float32."""
        if not self.scale:
            return np.asarray(stored, np.float32)
        return (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)

    def constant(self, value: Any, batch_size: int = 1) -> npt.NDArray[Any]:
        """A value that was given for the tensor, as it stores it: one number for all of it, or an array that fits.

        Parameters
        ----------
        value : number, list or array
        batch_size : int > 0
            Size of a first dimension that takes any.

        Raises
        ------
        BundleMismatchError
            It is no number, or does not fit; says what the tensor takes.
        """
        given = np.asarray(value)
        if given.dtype.kind not in NUMBERS or not np.isfinite(given).all():
            raise BundleMismatchError(f"the constant {self.name} must be numbers, not {value!r}")
        sizes = self._sizes_for(given.shape, batch_size)
        try:
            held = np.broadcast_to(given, sizes)
        except ValueError as error:
            raise BundleMismatchError(
                f"the constant {self.name} has the shape {shape_text(given.shape)}, and the network reads {self}"
            ) from error
        if self.scale or self.dtype.kind == "f":
            return np.ascontiguousarray(self.quantised(held.astype(np.float32)))
        stored = np.ascontiguousarray(held, self.dtype)
        if not np.array_equal(stored, held):
            raise BundleMismatchError(f"the constant {self.name} is {value!r}, and the network reads {self}")
        return stored

    def zeros(self) -> npt.NDArray[Any]:
        """A state of zeros, as the tensor stores it; dimensions of any size are 1."""
        shape = tuple(max(1, size) for size in self.shape)
        return np.full(shape, self.zero_point if self.scale else 0, self.dtype)

    def _sizes_for(self, given: tuple[int, ...], batch_size: int) -> tuple[int, ...]:
        """The tensor's shape, with the sizes of what was given where it takes any."""
        padded = (1,) * (len(self.shape) - len(given)) + given
        sizes = [size if size >= 0 else other for size, other in zip(self.shape, padded, strict=False)]
        if sizes and self.shape[0] < 0 and sizes[0] == 1:
            sizes[0] = batch_size
        return tuple(sizes)

    def __str__(self) -> str:
        sizes = ", ".join("any" if size < 0 else str(size) for size in self.shape)
        sign = "-" if self.zero_point >= 0 else "+"
        quantisation = f", {self.scale:g} * (q {sign} {abs(self.zero_point)})" if self.scale else ""
        return f"{self.name} [{sizes}] {self.dtype}{quantisation}"


def read_tensor(details: Mapping[str, Any]) -> Tensor:
    """A tensor of a runtime's details.

    Raises
    ------
    BundleMismatchError
        It holds no numbers, or is quantised channel by channel.
    """
    signature = details.get("shape_signature")
    shape = details["shape"] if signature is None or len(signature) == 0 else signature
    dtype = np.dtype(details["dtype"])
    scale, zero_point = details["quantization"]
    if dtype.kind not in NUMBERS:
        raise BundleMismatchError(f"the network's tensor {details['name']!r} is {dtype}; this package reads numbers")
    if np.size(details["quantization_parameters"]["scales"]) > 1:
        raise BundleMismatchError(f"the network's tensor {details['name']!r} is quantised channel by channel")
    scale = float(scale) if dtype.kind != "f" else 0.0
    return Tensor(details["index"], details["name"], tuple(int(size) for size in shape), dtype, scale, int(zero_point))


def find_tensor(tensors: tuple[Tensor, ...], wanted: int | str, what: str) -> int:
    """The number of an input or output that was named by its name or number.

    Raises
    ------
    BundleMismatchError
        There is none; lists those that there are.
    """
    numbers = {tensor.name: i for i, tensor in enumerate(tensors)} | {str(i): i for i in range(len(tensors))}
    if str(wanted) not in numbers:
        raise BundleMismatchError(f"the network has no {what} {wanted!r}; it has {listing(tensors)}")
    return numbers[str(wanted)]


def feature_input(tensors: tuple[Tensor, ...], others: Iterable[int]) -> Tensor:
    """The one input that reads the features: what is left beside constants and state.

    Parameters
    ----------
    tensors : tuple of Tensor
        All inputs.
    others : iterable of int
        Numbers of those that are given otherwise.

    Raises
    ------
    BundleMismatchError
        More or less than one is left, or it is of a type that features have not; says what to give.
    """
    taken = set(others)
    left = [tensor for number, tensor in enumerate(tensors) if number not in taken]
    if not left:
        raise BundleMismatchError(f"none of the network's inputs ({listing(tensors)}) is left to read the features")
    if len(left) > 1:
        raise BundleMismatchError(
            f"the network has {len(tensors)} inputs ({listing(tensors)}), and {len(left)} of them could read the "
            'features: give the values of the others as constants (--constant NAME=VALUE, "constants" in the '
            'manifest), or the output that is fed back to each (--state INPUT=OUTPUT, "state")'
        )
    if left[0].dtype not in FEATURE_DTYPES:
        raise BundleMismatchError(
            f"the network's tensor {left[0].name!r} is {left[0].dtype}; features are read as float32, int8, uint8 "
            "and int16"
        )
    return left[0]


def name_outputs(
    tensors: tuple[Tensor, ...], named: Mapping[str, int | str] | None, state: Iterable[int] = ()
) -> dict[str, int]:
    """Find what was named among a network's outputs.

    Parameters
    ----------
    tensors : tuple of Tensor
        The outputs.
    named : mapping of str to int or str, or None
        Kind to number or name; a network with one output, beside those of its state, needs none.
    state : iterable of int
        Numbers of the outputs that are fed back.

    Returns
    -------
    dict of str to int
        Kind to number.

    Raises
    ------
    BundleMismatchError, ValueError
        There is no such output, or no such kind.
    """
    if not named:
        left = set(range(len(tensors))).difference(state)
        if len(left) == 1:
            return {"embedding": left.pop()}
        raise BundleMismatchError(
            f"the network has {len(tensors)} outputs ({listing(tensors)}): say which is what, as in "
            "outputs={'scores': 0} (--outputs scores=0)"
        )
    for kind in named:
        if kind not in COMPUTED:
            raise ValueError(f"an output is {' or '.join(COMPUTED)}, not {kind!r}")
    return {kind: find_tensor(tensors, output, "output") for kind, output in named.items()}


def fitted_shape(declared: tuple[int, ...], feature_shape: tuple[int, ...], batch_size: int) -> tuple[int, ...]:
    """The input's shape for features of one window's shape: `(64, 51)` fits `[1, 64, 51, 1]`.

    Raises
    ------
    BundleMismatchError
        They do not fit; says both shapes.
    """
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
            f"the network reads windows of shape {shape_text(declared_features)}, "
            f"and the extractor makes windows of shape {shape_text(feature_shape)}"
        )
    fixed = list(declared_features)
    for slot, size in zip(slots, sizes, strict=True):
        fixed[slot] = size
    return (*batch, *fixed)


def _takes(declared: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(declared) == len(shape) and all(d in (-1, size) for d, size in zip(declared, shape, strict=True))


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as it is written for people, with `any` where a size is open."""
    return f"({', '.join('any' if size < 0 else str(size) for size in shape)})"


def listing(tensors: tuple[Tensor, ...]) -> str:
    """Tensors with their numbers, in one line."""
    return "; ".join(f"{number}: {tensor}" for number, tensor in enumerate(tensors))
