"""The kinds of outputs that a model can have, and how files hold them: one table."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of output: an array of `(n_windows, n)`.

    Attributes
    ----------
    name : str
        Of the array in an npz and the column in Parquet; in a csv, of its columns, ``NAME_0`` and so on.
    dtype : str
        Of the array and of everything that holds it.
    has_labels : bool
        Whether its columns stand for the bundle's labels, where it has some.
    """

    name: str
    dtype: str
    has_labels: bool


KINDS = (
    Kind("embedding", "float32", has_labels=False),
    Kind("scores", "float32", has_labels=True),
)
NAMES = tuple(kind.name for kind in KINDS)
