"""Columns that every table has in common: of windows, of detections, of levels; in Parquet and in pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.output import Output, Provenance

if TYPE_CHECKING:
    import pandas as pd


def origin_columns(arrow: Any, output: Output, start_s: npt.NDArray[np.float64]) -> dict[str, Any]:
    """What each row of an output begins with in Parquet: whose it is, and when it begins."""
    name = output.provenance.recording.encode(errors="backslashreplace").decode()  # a text column is UTF-8
    return {
        "recording": arrow.repeat(arrow.scalar(name, arrow.string()), len(start_s)),
        "start_s": arrow.array(start_s),
        "time": arrow.array(output.times_at(start_s), arrow.timestamp("us", "UTC")),
    }


def lists_of_windows(
    arrow: Any, fields: Mapping[str, Any], start_s: npt.NDArray[np.float64], timestamps: npt.NDArray[np.float64]
) -> Any:
    """A column of lists, one for each window: of the things, `start_s` rising, that begin in it or before the first."""
    structs = arrow.StructArray.from_arrays(list(fields.values()), names=list(fields))
    rows = np.maximum(np.searchsorted(timestamps, start_s, side="right") - 1, 0)
    offsets = np.searchsorted(rows, np.arange(len(timestamps) + 1))
    return arrow.ListArray.from_arrays(arrow.array(offsets, arrow.int32()), structs)


def recordings_of(provenances: Sequence[Provenance], number: npt.NDArray[np.int32]) -> npt.NDArray[np.object_]:
    """The name of each row's recording, `(n_rows,)`; `number` is which of the provenances it is of."""
    return np.array([provenance.recording for provenance in provenances], dtype=object)[number]


def pandas_table(
    provenances: Sequence[Provenance],
    number: npt.NDArray[np.int32],
    time: npt.NDArray[np.datetime64],
    columns: Mapping[str, Any],
) -> pd.DataFrame:
    """A table of pandas, which is imported only here; `time` is in UTC, and texts are of the dtype object."""
    try:
        import pandas as pd  # noqa: PLC0415  most who read outputs do without
    except ImportError as error:
        raise ConfigError("a table needs pandas: pip install pandas") from error
    rest = {name: pd.Series(one, dtype=object) if one.dtype == object else one for name, one in columns.items()}
    recording = pd.Series(recordings_of(provenances, number), dtype=object)
    return pd.DataFrame({"recording": recording, "time": pd.Series(time).dt.tz_localize("UTC"), **rest})
