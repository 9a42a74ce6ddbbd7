"""Outputs as parts of a Parquet dataset: one row per window, provenance in the schema's metadata.

::

    recording  start_s  time               embedding                    scores
    string     double   timestamp[us, UTC] fixed_size_list<float>[256]  fixed_size_list<float>[10]

DuckDB, pandas and Polars read a folder of parts as one table; :func:`read_part` gives back the very outputs. An output
waits for its part in a file of its own, in Arrow's format: whoever embeds writes it, and a part is put together from
such files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.durable import atomic_file
from sonyc_ml.base.human import to_install
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.archive.metadata import METADATA_KEY, PartDescription, description_of, joined, metadata_of
from sonyc_ml.outputs.archive.shared_columns import origin_columns
from sonyc_ml.outputs.detection_arrays import occurring
from sonyc_ml.outputs.detections import label_lookup
from sonyc_ml.outputs.files import root_of
from sonyc_ml.outputs.kinds import KINDS
from sonyc_ml.outputs.levels import LEVELS, level_column, levels_in_column
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.outputs.parquet_detections import COLUMN, from_column, to_column
from sonyc_ml.outputs.rows import forget

GROUP_BYTES = 8 << 20  # of a row group, in memory, or a little more: it ends where a recording does
MAX_GROUP_BYTES = 2 * GROUP_BYTES  # of one that ends within a recording, as one of many hours is in several
BATCH_BYTES = 1 << 20  # that are written and read at once


class DamagedPartError(ValueError):
    """A file that is no part, or is damaged."""


def check_installed() -> None:
    """See that pyarrow is there; a ConfigError where it is not."""
    arrow_modules()


def write_waiting(output: Output, path: Path) -> None:
    """Write an output that waits for its part, durably.

    Raises
    ------
    StoreError
        Nothing was published, and nothing half-written is left.
    """
    arrow, _ = arrow_modules()
    tables = output_tables(output)
    first = next(tables)
    with atomic_file(path, root_of(path, output)) as file, arrow.ipc.new_file(file, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)


def read_waiting(path: Path, columns: Sequence[str] | None = None) -> Output:
    """Read an output that waits for its part; of the columns that are named alone, with ``start_s`` among them.

    Raises
    ------
    DamagedPartError, OSError
    """
    arrow, _ = arrow_modules()
    with checked(path):
        schema = _waiting_schema(path)
        description, kept = (
            _description(schema, path),
            [name for name in columns or schema.names if name in schema.names],
        )
        table = arrow.concat_tables(_batches(path, kept))
        ((provenance, _),) = description.recordings
        return output_in(table, provenance, description)


def write_part(path: Path, waiting: Sequence[Path]) -> None:
    """Put a part together, whole or not at all; the same outputs make the same bytes.

    Parameters
    ----------
    path : Path
    waiting : sequence of Path
        Outputs of one way of embedding, as :func:`write_waiting` wrote them. They are read twice, a part at a time.

    Raises
    ------
    StoreError
        Nothing was published, and nothing half-written is left.
    DamagedPartError, OSError
        One of those that wait cannot be read.
    """
    metadata = joined(json.loads(_waiting_schema(one).metadata[METADATA_KEY.encode()]) for one in waiting)
    write_rows(path, _waiting_schema(waiting[0]), metadata, map(_batches, waiting))


def write_rows(path: Path, schema: Any, metadata: str, outputs: Iterable[Iterable[Any]]) -> None:
    """Write a part, whole or not at all; the same rows make the same bytes, however they were cut.

    Parameters
    ----------
    path : Path
    schema : pyarrow.Schema
        Of the columns.
    metadata : str
        What the part says of itself; see :func:`sonyc_ml.outputs.archive.metadata.joined`.
    outputs : iterable of iterable of pyarrow.Table
        The rows of each output in turn, as :func:`output_tables` gives them.

    Raises
    ------
    StoreError
        Nothing was published, and nothing half-written is left.
    """
    _, parquet = arrow_modules()
    schema = schema.remove_metadata()  # Arrow would keep it twice, and the footer of a day has megabytes
    settings = {"compression": "zstd", "write_page_checksum": True}
    with atomic_file(path) as file, parquet.ParquetWriter(file, schema, **settings) as writer:
        writer.add_key_value_metadata({METADATA_KEY: metadata})
        for group in _groups(outputs):
            writer.write_table(group.cast(schema), row_group_size=max(1, group.num_rows))


def read_part(path: Path) -> Iterator[Output]:
    """Yield the outputs of a part, as they were.

    Raises
    ------
    DamagedPartError
        It is no part, or damaged.
    OSError
        It cannot be read.
    """
    arrow, parquet = arrow_modules()
    description = read_description(path)
    recordings = iter(description.recordings)
    with checked(path), parquet.ParquetFile(path, page_checksum_verification=True) as file:
        held: list[Any] = []  # of a recording that goes on in the next group
        provenance, n_missing = next(recordings, (None, 0))
        for number in range(file.num_row_groups):
            group, start = file.read_row_group(number), 0
            while start < group.num_rows:
                if provenance is None or n_missing < 1:
                    raise DamagedPartError(f"{path} is damaged: it has more rows than its metadata says")
                held.append(group.slice(start, n_missing))
                start, n_missing = start + held[-1].num_rows, n_missing - held[-1].num_rows
                if n_missing == 0:
                    yield output_in(arrow.concat_tables(held), provenance, description)
                    held = []
                    provenance, n_missing = next(recordings, (None, 0))
        if provenance is not None:
            raise DamagedPartError(f"{path} is damaged: it has fewer rows than its metadata says")


def read_description(path: Path) -> PartDescription:
    """Read what a part holds, without its windows.

    Raises
    ------
    DamagedPartError
        It is no part, or damaged.
    OSError
        It cannot be read.
    """
    _, parquet = arrow_modules()
    with checked(path):
        return description_of(parquet.read_metadata(path).metadata[METADATA_KEY.encode()], path)


# To Arrow


def output_tables(output: Output) -> Iterator[Any]:
    """An output as tables with its provenance, so many windows at a time; one at least."""
    arrow, _ = arrow_modules()
    kinds, n_windows = output.by_kind(), len(output.timestamps)
    lists = {} if output.detections is None else {COLUMN: to_column(arrow, output)}
    lists |= {} if output.levels is None else {LEVELS: level_column(arrow, output)}
    metadata = {METADATA_KEY: json.dumps(metadata_of(output))}
    n_rows = max(1, BATCH_BYTES // (16 + sum(array[:1].nbytes for array in kinds.values())))
    for start in range(0, max(1, n_windows), n_rows):
        rows = slice(start, start + n_rows)
        columns = {
            **origin_columns(arrow, output, output.timestamps[rows]),
            **{kind: _lists(arrow, values[rows]) for kind, values in kinds.items()},
        }
        columns |= {name: column.slice(start, n_rows) for name, column in lists.items()}
        yield arrow.table(columns, metadata=metadata)
        for values in kinds.values():
            forget(values)


def _lists(arrow: Any, values: npt.NDArray[Any]) -> Any:
    wide = values.astype(np.float32) if values.dtype == np.float16 else values  # few who read Parquet know float16
    return arrow.FixedSizeListArray.from_arrays(arrow.array(np.ascontiguousarray(wide).reshape(-1)), values.shape[1])


def _groups(outputs: Iterable[Iterable[Any]]) -> Iterator[Any]:
    """Tables of whole outputs, each large enough for a row group; a long output in several."""
    arrow, _ = arrow_modules()
    held: list[Any] = []
    n_bytes = 0
    for tables in outputs:
        for batch in tables:
            if n_bytes >= MAX_GROUP_BYTES:
                yield arrow.concat_tables(held).combine_chunks()
                held, n_bytes = [], 0
            held.append(batch.replace_schema_metadata(None))
            n_bytes += batch.nbytes
        if n_bytes >= GROUP_BYTES:
            yield arrow.concat_tables(held).combine_chunks()
            held, n_bytes = [], 0
    if held:
        yield arrow.concat_tables(held).combine_chunks()


def _waiting_schema(path: Path) -> Any:
    arrow, _ = arrow_modules()
    with checked(path), arrow.OSFile(str(path)) as file:
        return arrow.ipc.open_file(file).schema


def _batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """What waits, so many windows at a time, as tables of some columns."""
    arrow, _ = arrow_modules()
    with checked(path), arrow.OSFile(str(path)) as file:
        schema = arrow.ipc.open_file(file).schema
        fields = None if columns is None else [schema.get_field_index(name) for name in columns]
        reader = arrow.ipc.open_file(file, options=arrow.ipc.IpcReadOptions(included_fields=fields))
        for number in range(reader.num_record_batches):
            yield arrow.Table.from_batches([reader.get_batch(number)])


# From Arrow


def _description(schema: Any, path: Path) -> PartDescription:
    return description_of(schema.metadata[METADATA_KEY.encode()], path)


def output_in(table: Any, provenance: Provenance, description: PartDescription) -> Output:
    """The output that some rows of a part are."""
    labels, numbers = description.labels, description.label_numbers
    kinds: dict[str, Any] = {name: matrix_in(table, name) for name in KINDS if name in table.column_names}
    detections = from_column(table[COLUMN], labels, numbers) if COLUMN in table.column_names else None
    levels = None
    if LEVELS in table.column_names:
        levels = levels_in_column(
            table[LEVELS], description.level_heads[provenance.recording, provenance.recording_mtime_ns]
        )
    if numbers:  # those that occur in this output, of those of the part
        labels, numbers = occurring(label_lookup(labels, numbers), kinds.get("top_classes"), detections)
    return Output(
        timestamps=table["start_s"].to_numpy(),
        labels=labels,
        label_numbers=numbers,
        detections=detections,
        levels=levels,
        provenance=provenance,
        **kinds,
    )


def matrix_in(table: Any, name: str) -> npt.NDArray[Any]:
    """A column of lists of one length as an array, `(n_rows, length)`."""
    column = table[name].combine_chunks()
    values: npt.NDArray[Any] = column.flatten().to_numpy().reshape(len(column), -1)
    return values


@contextmanager
def checked(path: object) -> Iterator[None]:
    """Raise what Arrow says of a damaged file as a DamagedPartError."""
    arrow, _ = arrow_modules()
    try:
        yield
    except DamagedPartError:
        raise
    except (arrow.ArrowException, KeyError, ValueError, TypeError, IndexError, OSError) as error:
        is_missing = isinstance(error, FileNotFoundError)  # of stores elsewhere it has no number
        if is_missing or (isinstance(error, OSError) and error.errno is not None):  # the system's, not Arrow's
            raise
        raise DamagedPartError(f"{path} is no part of a dataset, or damaged: {error}") from error


def arrow_modules() -> tuple[Any, Any]:
    """Import pyarrow and its Parquet, where they are used; a ConfigError where there is none."""
    try:
        import pyarrow as arrow  # noqa: ICN001, PLC0415  an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"Parquet needs pyarrow; {to_install('parquet')}") from error
    return arrow, parquet
