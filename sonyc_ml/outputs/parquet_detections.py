"""Detections in Parquet: with the windows of a part, and as a table of their own beside the dataset.

A part holds them in a column ``detections``: a list for each window, of those that begin in it. So a part is whole
alone, and :func:`sonyc_ml.outputs.parquet.read_part` gives the very outputs back. The table beside it is made of the
part, has its name, and one row per detection::

    recording  start_s  end_s   time               class  label   score_max  score_mean
    string     double   double  timestamp[us, UTC] int32  string  float      double
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.durable import atomic_file
from sonyc_ml.outputs.detection_arrays import COLUMNS, from_arrays, to_arrays
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.output import Output

COLUMN = "detections"
FOLDER_SUFFIX = ".detections"  # of the table's folder, behind the name of the dataset's


def table_folder(dataset: Path) -> Path:
    """Where the table of a dataset's detections lies: beside it, so that whoever reads all of one reads no other."""
    return dataset.with_name(f"{dataset.name}{FOLDER_SUFFIX}")


def to_column(arrow: Any, output: Output) -> Any:
    """The detections of an output as a column of its windows."""
    detections = output.detections or ()
    arrays = to_arrays(detections)
    structs = arrow.StructArray.from_arrays(
        [arrow.array(arrays[f"detection_{name}"]) for name in COLUMNS], names=list(COLUMNS)
    )
    begins_s = arrays["detection_start_s"]
    rows = np.maximum(np.searchsorted(output.timestamps, begins_s, side="right") - 1, 0)
    offsets = np.searchsorted(rows, np.arange(len(output.timestamps) + 1))
    return arrow.ListArray.from_arrays(arrow.array(offsets, arrow.int32()), structs)


def from_column(column: Any, labels: Sequence[str], numbers: Sequence[int]) -> tuple[Detection, ...] | None:
    """What :func:`to_column` was given."""
    structs = column.combine_chunks().flatten()
    arrays: dict[str, npt.NDArray[Any]] = {
        f"detection_{name}": structs.field(name).to_numpy(zero_copy_only=False) for name in COLUMNS
    }
    return from_arrays(arrays, labels, numbers)


def write_table(path: Path, outputs: Iterable[Output]) -> None:
    """Write the table of some outputs' detections, whole or not at all.

    Raises
    ------
    StoreError
        Nothing was written, and nothing half-written is left.
    ConfigError
        There is no pyarrow.
    """
    from sonyc_ml.outputs.parquet import arrow_modules  # noqa: PLC0415  it imports this module

    arrow, parquet = arrow_modules()
    schema = arrow.schema(
        [
            ("recording", arrow.string()),
            ("start_s", arrow.float64()),
            ("end_s", arrow.float64()),
            ("time", arrow.timestamp("us", "UTC")),
            ("class", arrow.int32()),
            ("label", arrow.string()),
            ("score_max", arrow.float32()),
            ("score_mean", arrow.float64()),
        ]
    )
    settings = {"compression": "zstd", "write_page_checksum": True}
    held = [_rows(arrow, output, schema) for output in outputs if output.detections]
    with atomic_file(path) as file, parquet.ParquetWriter(file, schema, **settings) as writer:
        writer.write_table(arrow.concat_tables(held) if held else schema.empty_table())


def _rows(arrow: Any, output: Output, schema: Any) -> Any:
    detections = output.detections or ()
    arrays = to_arrays(detections)
    name = output.provenance.recording.encode(errors="backslashreplace").decode()  # a text column is UTF-8
    labels = [one.label for one in detections]
    columns = {name: arrow.array(arrays[f"detection_{name}"]) for name in COLUMNS}
    columns |= {
        "recording": arrow.array([name] * len(detections), arrow.string()),
        "time": arrow.array(output.times_at(arrays["detection_start_s"]), arrow.timestamp("us", "UTC")),
        "label": arrow.array(labels, arrow.string()),
    }
    return arrow.table([columns[field.name] for field in schema], schema=schema)
