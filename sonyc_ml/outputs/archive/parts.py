"""One part of an archive: what it holds by its footer, and the rows of some of its recordings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.outputs.archive.layout import Place
from sonyc_ml.outputs.archive.metadata import METADATA_KEY, PartDescription, description_of
from sonyc_ml.outputs.archive.store import Store
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.parquet import DamagedPartError, arrow_modules, checked, output_in


@dataclass(frozen=True, slots=True)
class PartFile:
    """A part in a store, of which the footer has been read.

    Attributes
    ----------
    store : Store
    key : str
    n_bytes : int
    place : Place
        Whose it is; its texts are empty where the key does not say.
    footer : pyarrow.parquet.FileMetaData
    description : PartDescription
    starts : tuple of int
        The first row of each recording, and the number of rows.
    """

    store: Store
    key: str
    n_bytes: int
    place: Place
    footer: Any
    description: PartDescription
    starts: tuple[int, ...]

    @property
    def where(self) -> str:
        """What a message calls it."""
        return self.store.where(self.key)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(self.footer.schema.to_arrow_schema().names)


def part_file(store: Store, key: str, n_bytes: int, place: Place) -> PartFile:
    """Read the footer of a part.

    Raises
    ------
    DamagedPartError
        It is no part, or damaged.
    NewerPartError
        It is of a schema that this version does not know.
    FileNotFoundError
        It is not there any more.
    StoreError
        The store does not give it for now.
    """
    _, parquet = arrow_modules()
    with checked(store.where(key)), store.open(key, n_bytes) as file:
        footer = parquet.read_metadata(file)
        description = description_of(footer.metadata[METADATA_KEY.encode()], store.where(key))
        starts = tuple(accumulate((n for _, n in description.recordings), initial=0))
        if starts[-1] != footer.num_rows:
            raise DamagedPartError(
                f"{store.where(key)} is damaged: it has {footer.num_rows} rows, and its metadata says {starts[-1]}"
            )
        return PartFile(store, key, n_bytes, place, footer, description, starts)


def tables_of(
    part: PartFile, wanted: npt.NDArray[np.bool_], columns: Sequence[str] | None = None
) -> Iterator[tuple[int, Any]]:
    """Read the row groups that hold some recordings.

    Parameters
    ----------
    part : PartFile
    wanted : np.ndarray [shape=(n_recordings,), dtype=bool]
    columns : sequence of str, optional
        Those that are read; all where not given.

    Yields
    ------
    tuple of (int, pyarrow.Table)
        The first row's number in the part, and rows that follow one another.
    """
    _, parquet = arrow_modules()
    is_wanted = np.repeat(wanted, np.diff(part.starts))
    with (
        checked(part.where),
        part.store.open(part.key, part.n_bytes) as opened,
        parquet.ParquetFile(opened, metadata=part.footer, page_checksum_verification=True, pre_buffer=True) as file,
    ):
        first = 0
        for number in range(part.footer.num_row_groups):
            n_rows = part.footer.row_group(number).num_rows
            if is_wanted[first : first + n_rows].any():
                yield first, file.read_row_group(number, columns=columns)
            first += n_rows


def slices_of(
    part: PartFile, wanted: npt.NDArray[np.bool_], columns: Sequence[str] | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield the rows of some recordings of a part, each as a table with its number there; see :func:`tables_of`."""
    arrow, _ = arrow_modules()
    held: list[Any] = []  # of a recording that goes on in the next group
    for first, table in tables_of(part, wanted, columns):
        end = first + table.num_rows
        number = int(np.searchsorted(part.starts, first, side="right")) - 1
        while number < len(wanted) and part.starts[number] < end:
            start, stop = max(part.starts[number], first), min(part.starts[number + 1], end)
            if wanted[number]:
                held.append(table.slice(start - first, stop - start))
                if stop == part.starts[number + 1]:
                    yield number, arrow.concat_tables(held)
                    held = []
            number += 1


def outputs_of(
    part: PartFile, wanted: npt.NDArray[np.bool_], kinds: Collection[str] | None = None
) -> Iterator[tuple[int, Output]]:
    """Yield the outputs of some recordings of a part, each with its number there; see :func:`tables_of`."""
    columns = None if kinds is None else [name for name in part.columns if name in ("start_s", *kinds)]
    for number, table in slices_of(part, wanted, columns):
        with checked(part.where):
            output = output_in(table, part.description.recordings[number][0], part.description)
        yield number, output


def all_of(part: PartFile) -> npt.NDArray[np.bool_]:
    """All recordings of a part, as what is wanted."""
    return np.ones(len(part.description.recordings), np.bool_)
