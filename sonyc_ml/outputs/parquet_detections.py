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

import numpy.typing as npt

from sonyc_ml.base.durable import atomic_file
from sonyc_ml.outputs.archive.shared_columns import lists_of_windows, origin_columns
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
    fields = {name: arrow.array(arrays[f"detection_{name}"]) for name in COLUMNS}
    return lists_of_windows(arrow, fields, arrays["detection_start_s"], output.timestamps)


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
    columns = {name: arrow.array(arrays[f"detection_{name}"]) for name in COLUMNS}
    columns |= origin_columns(arrow, output, arrays["detection_start_s"])
    columns["label"] = arrow.array([one.label for one in detections], arrow.string())
    return arrow.table([columns[field.name] for field in schema], schema=schema)
