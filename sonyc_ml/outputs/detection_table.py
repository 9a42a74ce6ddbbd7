"""What was heard in many recordings, as columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.outputs.archive.shared_columns import pandas_table, recordings_of
from sonyc_ml.outputs.output import Output, Provenance

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """The detections of many recordings, in the order of the recordings and of their beginnings.

    Attributes
    ----------
    start_s, end_s : np.ndarray [shape=(n_detections,), dtype=float64]
        In seconds from the recording's first sample.
    time : np.ndarray [shape=(n_detections,), dtype=datetime64[us]]
        When each begins, in UTC; NaT where nobody knows.
    label : np.ndarray [shape=(n_detections,), dtype=object]
    class_number : np.ndarray [shape=(n_detections,), dtype=int32]
    score_max, score_mean : np.ndarray [shape=(n_detections,), dtype=float64]
        See :class:`~sonyc_ml.outputs.detections.Detection`.
    number : np.ndarray [shape=(n_detections,), dtype=int32]
        Which of `provenances` each is of.
    provenances : tuple of Provenance
        Of all recordings that were looked at, those too in which nothing was heard.
    """

    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    time: npt.NDArray[np.datetime64]
    label: npt.NDArray[np.object_]
    class_number: npt.NDArray[np.int32]
    score_max: npt.NDArray[np.float64]
    score_mean: npt.NDArray[np.float64]
    number: npt.NDArray[np.int32]
    provenances: tuple[Provenance, ...]

    def __len__(self) -> int:
        return len(self.start_s)

    def __repr__(self) -> str:
        labels = f" of {len(set(self.label))} labels" if len(self) else ""
        return f"<Detections in {len(self.provenances)} recordings: {len(self)}{labels}>"

    @property
    def recording(self) -> npt.NDArray[np.object_]:
        """The name of each detection's recording, `(n_detections,)`."""
        return recordings_of(self.provenances, self.number)

    def to_pandas(self) -> pd.DataFrame:
        """Put everything into one table of the package pandas, which is imported only here.

        Returns
        -------
        pandas.DataFrame
            One row per detection, with the columns ``recording``, ``time`` (in UTC, NaT where nobody knows),
            ``start_s``, ``end_s``, ``label``, ``class``, ``score_max`` and ``score_mean``.

        Raises
        ------
        ConfigError
            There is no pandas.
        """
        columns = {
            "start_s": self.start_s,
            "end_s": self.end_s,
            "label": self.label,
            "class": self.class_number,
            "score_max": self.score_max,
            "score_mean": self.score_mean,
        }
        return pandas_table(self.provenances, self.number, self.time, columns)


def detections_of(outputs: Iterable[Output]) -> Detections:
    """The detections of outputs as one table; one that has none is as one in which nothing was heard."""
    rows: list[tuple[Any, ...]] = []
    times: list[npt.NDArray[np.datetime64]] = [np.zeros(0, "datetime64[us]")]
    provenances: list[Provenance] = []
    for output in outputs:
        found = output.detections or ()
        number = len(provenances)
        provenances.append(output.provenance)
        times.append(output.times_at(np.array([one.start_s for one in found], np.float64)))
        rows += [
            (one.start_s, one.end_s, one.label, one.class_number, one.score_max, one.score_mean, number)
            for one in found
        ]
    starts_s, ends_s, labels, numbers, highest, means, which = zip(*rows, strict=True) if rows else ((),) * 7
    return Detections(
        start_s=np.array(starts_s, np.float64),
        end_s=np.array(ends_s, np.float64),
        time=np.concatenate(times),
        label=np.array(labels, dtype=object),
        class_number=np.array(numbers, np.int32),
        score_max=np.array(highest, np.float64),
        score_mean=np.array(means, np.float64),
        number=np.array(which, np.int32),
        provenances=tuple(provenances),
    )
