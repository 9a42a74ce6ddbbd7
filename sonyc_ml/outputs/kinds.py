"""The kinds of outputs that a model can have, and how files hold them: the one place that lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputKind:
    """One kind of output: an array with one row per window.

    An npz holds it under its name. A csv has a column for each of its columns, ``NAME_0`` and so on, or the labels
    where it has some. Parquet has one column of its name, whose values are lists of one length.

    Attributes
    ----------
    name : str
        Also of the field of :class:`~sonyc_ml.outputs.output.Output`.
    text : str
        What one of them is called in messages, as in ``an embedding``.
    columns : str
        What its columns are called there, as in ``256 dimensions``.
    dtype : np.dtype
        Of its values, in every format.
    is_labelled : bool
        Whether the bundle's labels are those of its columns.
    is_computed : bool
        Whether networks compute it; else it is what is kept of something that they do.
    """

    name: str
    text: str
    columns: str
    dtype: np.dtype[Any]
    is_labelled: bool = False
    is_computed: bool = True

    def fits(self, array: npt.NDArray[Any], n_windows: int) -> bool:
        """Whether an array is of the shape that the kind has: `(n_windows, n_columns)`."""
        return array.ndim == 2 and len(array) == n_windows

    def describe(self, array: npt.NDArray[Any] | None) -> str:
        """What an output has of it, as in ``scores of 10 classes`` and ``no scores``."""
        return f"no {self.name}" if array is None else f"{self.text} of {array.shape[1]} {self.columns}"

    def headings(self, n_columns: int, labels: Sequence[str] = ()) -> tuple[str, ...]:
        """The names of its columns, in a csv and elsewhere."""
        return tuple(labels if labels and self.is_labelled else (f"{self.name}_{i}" for i in range(n_columns)))


KINDS = {
    kind.name: kind
    for kind in (
        OutputKind(name="embedding", text="an embedding", columns="dimensions", dtype=np.dtype(np.float32)),
        OutputKind(
            name="top_classes", text="top classes", columns="a window", dtype=np.dtype(np.int32), is_computed=False
        ),
        OutputKind(
            name="top_scores", text="top scores", columns="a window", dtype=np.dtype(np.float32), is_computed=False
        ),
        OutputKind(name="scores", text="scores", columns="classes", dtype=np.dtype(np.float32), is_labelled=True),
    )
}
COMPUTED = tuple(kind.name for kind in KINDS.values() if kind.is_computed)


def split_headings(headings: Sequence[str]) -> tuple[dict[str, slice], tuple[str, ...]]:
    """Find which columns of a csv belong to which kind, and the labels; they stand in the order of :data:`KINDS`.

    Returns
    -------
    columns : dict of str to slice
        By the name of each kind that there is.
    labels : tuple of str
        Empty where every column is named by its kind and number.
    """
    columns: dict[str, slice] = {}
    labels: tuple[str, ...] = ()
    start = 0
    for kind in KINDS.values():
        end = start
        while end < len(headings) and headings[end] == f"{kind.name}_{end - start}":
            end += 1
        if kind.is_labelled and end < len(headings):  # what no kind names by number
            end = len(headings)
            labels = tuple(headings[start:])
        if end > start:
            columns[kind.name] = slice(start, end)
        start = end
    return columns, labels


def describe_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """The shapes of arrays, for a `repr`: ``, embedding (91, 256), scores (91, 3)``; empty where there are none."""
    return "".join(f", {name} {array.shape}" for name, array in arrays.items())
