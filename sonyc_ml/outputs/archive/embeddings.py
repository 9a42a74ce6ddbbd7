"""The windows of many recordings as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.outputs.archive.shared_columns import pandas_table, recordings_of
from sonyc_ml.outputs.detection_table import Detections
from sonyc_ml.outputs.kinds import KINDS, describe_arrays
from sonyc_ml.outputs.output import Provenance

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The windows of many recordings, one row per window, in the order of the recordings.

    Attributes
    ----------
    embedding : np.ndarray [shape=(n_windows, n_dims), dtype=float32] or None
    scores : np.ndarray [shape=(n_windows, n_classes), dtype=float32] or None
    top_classes : np.ndarray [shape=(n_windows, k), dtype=int32] or None
    top_scores : np.ndarray [shape=(n_windows, k), dtype=float32] or None
        Of outputs that keep the highest scores alone; see :class:`~sonyc_ml.outputs.output.Output`.
    detections : Detections or None
        What was heard; None where no output has any. One without counts as one in which nothing was heard, which is
        logged.
    labels : tuple of str
        Of the scores' columns; empty where they have none.
    start_s : np.ndarray [shape=(n_windows,), dtype=float64]
        Where each window begins, in seconds from its recording's first sample.
    time : np.ndarray [shape=(n_windows,), dtype=datetime64[us]]
        When each window begins, in UTC; NaT where nobody knows.
    number : np.ndarray [shape=(n_windows,), dtype=int32]
        Which of `provenances` each window is of.
    provenances : tuple of Provenance
        Of the recordings.
    nodes : tuple of str
        Whose each of `provenances` is; empty texts where nobody says.
    """

    embedding: npt.NDArray[np.float32] | None = None
    scores: npt.NDArray[np.float32] | None = None
    top_classes: npt.NDArray[np.int32] | None = None
    top_scores: npt.NDArray[np.float32] | None = None
    detections: Detections | None = None
    labels: tuple[str, ...]
    start_s: npt.NDArray[np.float64]
    time: npt.NDArray[np.datetime64]
    number: npt.NDArray[np.int32]
    provenances: tuple[Provenance, ...]
    nodes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.start_s)

    def __repr__(self) -> str:
        arrays = {name: array for name in KINDS if (array := getattr(self, name)) is not None}
        labels = f" of {len(self.labels)} labels" if self.labels else ""
        described = f"{len(self)} windows{describe_arrays(arrays)}{labels}"
        return f"<Embeddings of {len(self.provenances)} recordings: {described}>"

    @property
    def recording(self) -> npt.NDArray[np.object_]:
        """The name of each window's recording, `(n_windows,)`."""
        return recordings_of(self.provenances, self.number)

    @property
    def node(self) -> npt.NDArray[np.object_]:
        """Whose each window is, `(n_windows,)`; empty texts where nobody says."""
        names = self.nodes or ("",) * len(self.provenances)
        return np.array(names, dtype=object)[self.number]

    def to_pandas(self) -> pd.DataFrame:
        """Put everything into one table of the package pandas, which is imported only here.

        Returns
        -------
        pandas.DataFrame
            One row per window, with the columns ``recording``, ``time`` (in UTC, NaT where nobody knows), ``start_s``,
            ``node`` where any is known, ``embedding_0`` and so on, and one for each score: its label, or ``scores_0``
            and so on. A label that is also the name of a column before it has ``scores_`` before it, as in
            ``scores_time``.

        Raises
        ------
        ConfigError
            There is no pandas.
        """
        columns: dict[str, Any] = {"start_s": self.start_s}
        if any(self.nodes):
            columns["node"] = self.node
        for name, kind in KINDS.items():
            array = getattr(self, name)
            if array is not None:
                headings = kind.headings(array.shape[1], self.labels)
                taken = columns.keys() | {"recording", "time"}
                named = (f"{name}_{heading}" if heading in taken else heading for heading in headings)
                columns |= dict(zip(named, array.T, strict=True))
        return pandas_table(self.provenances, self.number, self.time, columns)


def described(arrays: Mapping[str, npt.NDArray[Any]], labels: Sequence[str]) -> str:
    """What kinds outputs have, of which widths, and the labels: outputs that go together have the same."""
    parts = [
        kind.describe(arrays.get(name))
        for name, kind in KINDS.items()
        if kind.is_computed or arrays.get(name) is not None
    ]
    named = f" ({', '.join(labels)})" if labels and "scores" in arrays else ""
    return f"{' and '.join(parts)}{named}"
