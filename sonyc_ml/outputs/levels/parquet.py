"""Sound levels in Parquet: with the windows of a part, and as a table of their own beside the dataset.

A part holds them in a column ``levels``: a list for each window, of the periods that begin in it; what is of a whole
recording is in the part's metadata. The table beside it has one row per period::

    recording  start_s  time                measured_s  LAeq   ...  band_1000  ...  n_clipped  near_floor  reference
    string     double   timestamp[us, UTC]  float       float       float           int32      bool        string
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.durable import atomic_file
from sonyc_ml.outputs.archive.shared_columns import lists_of_windows, origin_columns
from sonyc_ml.outputs.levels.arrays import BY_PERIOD
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.levels.result import QUANTITIES, SoundLevels


def to_column(arrow: Any, levels: SoundLevels, timestamps: npt.NDArray[np.float64]) -> Any:
    """The levels of an output as a column of its windows."""
    fields = {name: arrow.array(getattr(levels, name)) for name in BY_PERIOD}
    for name in ("values", "bands"):
        array = getattr(levels, name)
        flat = arrow.array(np.ascontiguousarray(array).reshape(-1))
        ends = np.arange(len(levels) + 1) * array.shape[1]
        fields[name] = arrow.ListArray.from_arrays(arrow.array(ends, arrow.int32()), flat)
    return lists_of_windows(arrow, fields, levels.start_s, timestamps)


def head_of(levels: SoundLevels) -> dict[str, Any]:
    """What is of the whole recording, as plain values."""
    totals = {name: _plain(getattr(levels, name)) for name in ("total", "band_total")}
    return {**totals, "band_hz": list(levels.band_hz), "made": levels.made}


def from_column(column: Any, head: Mapping[str, Any]) -> SoundLevels:
    """What :func:`to_column` and :func:`head_of` were given."""
    structs = column.combine_chunks().flatten()
    fields: dict[str, Any] = {name: structs.field(name).to_numpy(zero_copy_only=False) for name in BY_PERIOD}
    for name, width in (("values", len(QUANTITIES)), ("bands", len(head["band_hz"]))):
        flat = structs.field(name).flatten().to_numpy(zero_copy_only=False)
        fields[name] = flat.reshape(len(structs), width).astype(np.float32)
    for name in ("total", "band_total"):
        fields[name] = np.array([np.nan if value is None else value for value in head[name]], np.float32)
    return SoundLevels(**fields, band_hz=tuple(head["band_hz"]), made=head["made"])


def write_table(path: Path, outputs: Iterable[Output]) -> None:
    """Write the table of some outputs' levels, whole or not at all.

    Raises
    ------
    StoreError
        Nothing was written, and nothing half-written is left.
    ConfigError
        There is no pyarrow.
    """
    from sonyc_ml.outputs.parquet import arrow_modules  # noqa: PLC0415  it imports this module

    arrow, parquet = arrow_modules()
    held = [_rows(arrow, output, output.levels) for output in outputs if output.levels is not None]
    table = arrow.concat_tables(held, promote_options="default")
    with atomic_file(path) as file:
        parquet.write_table(table, file, compression="zstd", write_page_checksum=True)


def _rows(arrow: Any, output: Output, levels: SoundLevels) -> Any:
    columns = {
        **origin_columns(arrow, output, levels.start_s),
        "measured_s": arrow.array(levels.measured_s),
        **{quantity: arrow.array(levels.values[:, place]) for place, quantity in enumerate(QUANTITIES)},
        **{f"band_{hz:g}": arrow.array(levels.bands[:, place]) for place, hz in enumerate(levels.band_hz)},
        "n_clipped": arrow.array(levels.n_clipped),
        "near_floor": arrow.array(levels.near_floor),
        "reference": arrow.array([levels.reference] * len(levels), arrow.string()),
    }
    return arrow.table(columns)


def _plain(values: npt.NDArray[np.float32]) -> list[float | None]:
    """Numbers of JSON, which has no NaN."""
    return [None if np.isnan(value) else float(value) for value in values]
