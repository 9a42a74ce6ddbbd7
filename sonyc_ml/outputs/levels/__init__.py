"""Sound levels as files hold them; what is imported here costs nothing where an output has none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonyc_ml.outputs.output import Output
    from sonyc_ml.sound.levels.result import SoundLevels

MADE = "level_made"  # the array, and the line of a csv, that is there where there are levels
LEVELS, LEVEL_HEAD = "levels", "level_head"  # the column of a Parquet part, and what is of a whole recording
FOLDER_SUFFIX = ".levels"  # of the folder of a Parquet dataset's levels, behind the name of the dataset's


def arrays_of(levels: SoundLevels | None) -> dict[str, Any]:
    """The arrays of an npz; none where there are no levels."""
    if levels is None:
        return {}
    from sonyc_ml.outputs.levels.arrays import to_arrays  # noqa: PLC0415

    return to_arrays(levels)


def levels_in_arrays(arrays: Mapping[str, Any]) -> SoundLevels | None:
    """The levels of an npz; None where there are none."""
    if MADE not in arrays:
        return None
    from sonyc_ml.outputs.levels.arrays import from_arrays  # noqa: PLC0415

    return from_arrays(arrays)


def lines_of(levels: SoundLevels | None) -> Iterator[tuple[str, str]]:
    """Names and texts of a csv's lines before its rows; none where there are no levels."""
    if levels is not None:
        from sonyc_ml.outputs.levels.arrays import to_lines  # noqa: PLC0415

        yield from to_lines(levels)


def levels_in_lines(lines: Sequence[tuple[str, str]]) -> SoundLevels | None:
    """The levels of a csv; None where there are none."""
    if not any(name == MADE for name, _ in lines):
        return None
    from sonyc_ml.outputs.levels.arrays import from_lines  # noqa: PLC0415

    return from_lines(lines)


def table_folder(dataset: Path) -> Path:
    """Where the table of a Parquet dataset's levels lies: beside it, where nobody reads it for windows."""
    return dataset.with_name(f"{dataset.name}{FOLDER_SUFFIX}")


def write_level_table(path: Path, outputs: Iterable[Output]) -> None:
    """Write the table of some outputs' levels; see :func:`sonyc_ml.outputs.levels.parquet.write_table`."""
    from sonyc_ml.outputs.levels.parquet import write_table  # noqa: PLC0415

    write_table(path, outputs)


def level_column(arrow: Any, output: Output) -> Any:
    """The levels of an output as a column of its windows; see :mod:`sonyc_ml.outputs.levels.parquet`."""
    from sonyc_ml.outputs.levels.parquet import to_column  # noqa: PLC0415

    assert output.levels is not None
    return to_column(arrow, output.levels, output.timestamps)


def level_head(output: Output) -> dict[str, str]:
    """What of an output's levels is of the whole recording, as JSON by its name; nothing where there are none."""
    if output.levels is None:
        return {}
    from sonyc_ml.outputs.levels.parquet import head_of  # noqa: PLC0415

    return {LEVEL_HEAD: json.dumps(head_of(output.levels))}


def levels_in_column(column: Any, head: str) -> SoundLevels:
    """The levels of an output, by what was made of them in a part."""
    from sonyc_ml.outputs.levels.parquet import from_column  # noqa: PLC0415

    return from_column(column, json.loads(head))
