"""Many small outputs of a node into few parts of an archive."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sonyc_ml.base.human import seconds_of
from sonyc_ml.base.identity import state_of
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import StoreError
from sonyc_ml.outputs.archive.layout import EMBEDDINGS, TABLES, Place, date_in, part_name
from sonyc_ml.outputs.archive.metadata import joined, metadata_of
from sonyc_ml.outputs.files import read_output
from sonyc_ml.outputs.levels import write_level_table
from sonyc_ml.outputs.output import Provenance
from sonyc_ml.outputs.parquet import check_installed, output_tables, read_part, write_rows
from sonyc_ml.outputs.parquet_detections import write_table

WRITERS = {"detections": write_table, "levels": write_level_table}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file that was packed.

    Attributes
    ----------
    kind : {"embeddings", "detections", "levels"}
        The last two are tables that are made of the first; nothing is in them that is not in it.
    key : str
        Where it belongs in an archive, below the root: ``node=pole_12/date=2026-11-21/part-….parquet``.
    path : Path
        Where it lies: `key` below the folder that was packed into.
    n_bytes : int
    sha256 : str
        Of the file.
    outputs : tuple of Path
        What it was made of.
    n_windows : int
        Rows of the embeddings' part, of which a table is made too.
    """

    kind: str
    key: str
    path: Path
    n_bytes: int
    sha256: str
    outputs: tuple[Path, ...]
    n_windows: int


@dataclass(frozen=True, slots=True)
class Packed:
    """What became of the outputs that were to be packed.

    Attributes
    ----------
    parts : tuple of Part
        For each day and each way of embedding one, and the tables that are made of it.
    left_out : tuple of tuple of (Path, str)
        Outputs that are not there or damaged, each with the reason.
    """

    parts: tuple[Part, ...]
    left_out: tuple[tuple[Path, str], ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """An output, but for its numbers."""

    order: tuple[float, str, int]
    path: Path
    state: tuple[int, int]
    sha256: str
    metadata: dict[str, Any]
    schema: Any  # of pyarrow
    labels: str  # that all outputs of a part share; of those that name only what occurs in them, none


def pack(outputs: Iterable[Path], folder: Path, node: str, *, progress: Callable[[], None] | None = None) -> Packed:
    """Pack the outputs of a node into parts of an archive, each whole or not at all.

    A part holds all that its outputs hold, to the last bit, the provenance of each too. Its name is decided by what it
    holds and its bytes are always the same, so it may be packed and sent again after any interruption. Memory holds
    two outputs, one row group and what the outputs say of themselves, 2 kB each.

    Parameters
    ----------
    outputs : iterable of Path
        As ``watch``, ``listen`` and ``embed`` write them (npz or csv), in any order, of any days.
    folder : Path
        That becomes the archive's root, or is the place from which parts are sent.
    node : str
        Its name.
    progress : callable, optional
        Called after each output that was read, twice for each. What it raises ends the work.

    Raises
    ------
    ConfigError
        There is no pyarrow.
    StoreError
        An output cannot be read for now or changes meanwhile, or a part cannot be written. Nothing half-written
        is left.
    """
    check_installed()
    tell = progress or (lambda: None)
    groups, left_out = _grouped(outputs, tell)
    parts: list[Part] = []
    for key in sorted(groups):
        held = sorted(groups[key], key=lambda one: one.order)
        parts += _write(folder, Place(node, key[0]), held, tell)
    return Packed(tuple(parts), tuple(left_out))


def _grouped(
    outputs: Iterable[Path], tell: Callable[[], None]
) -> tuple[dict[tuple[str, ...], list[_Found]], list[tuple[Path, str]]]:
    """What goes into one part each, by its day and way of embedding; and what is left out."""
    groups: defaultdict[tuple[str, ...], list[_Found]] = defaultdict(list)
    left_out: list[tuple[Path, str]] = []
    for path in outputs:
        try:
            found, made = _look_at(path)
        except (ValueError, FileNotFoundError) as error:
            left_out.append((path, str(error)))
            continue
        groups[date_in(made.start_time), made.fingerprint, str(found.schema), found.labels].append(found)
        tell()
    return groups, left_out


def _look_at(path: Path) -> tuple[_Found, Provenance]:
    try:
        state = state_of(path.stat())
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        output = read_output(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be packed: {error.strerror or error}") from error
    made = output.provenance
    start_s = seconds_of(made.start_time) if made.start_time else 0.0
    found = _Found(
        order=(start_s, made.recording, made.recording_mtime_ns),
        path=path,
        state=state,
        sha256=sha256,
        metadata=metadata_of(output),
        schema=next(output_tables(output)).schema.remove_metadata(),
        labels="" if output.label_numbers else "\n".join(output.labels),
    )
    return found, made


def _write(folder: Path, place: Place, held: Sequence[_Found], tell: Callable[[], None]) -> Iterator[Part]:
    """Write a part, and the tables that are made of it."""
    name = part_name(place, (one.sha256 for one in held))
    path = folder / place.key(name)
    schema = held[0].schema
    write_rows(path, schema, joined(one.metadata for one in held), (_rows_of(one, tell) for one in held))
    yield _part(EMBEDDINGS, folder, place.key(name), held)
    for kind in TABLES:
        if kind in schema.names:
            WRITERS[kind](folder / place.key(name, kind), read_part(path))
            yield _part(kind, folder, place.key(name, kind), held)


def _rows_of(found: _Found, tell: Callable[[], None]) -> Iterator[Any]:
    """The rows of an output, which is read a second time: so memory holds one."""
    try:
        output = read_output(found.path)
        state = state_of(found.path.stat())
    except (OSError, ValueError) as error:
        raise StoreError(f"{found.path} cannot be packed: {error}") from error
    if state != found.state:
        raise StoreError(f"{found.path} changed while it was packed; pack it again")
    yield from output_tables(output)
    tell()


def _part(kind: str, folder: Path, key: str, held: Sequence[_Found]) -> Part:
    path = folder / key
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Part(
        kind=kind,
        key=key,
        path=path,
        n_bytes=path.stat().st_size,
        sha256=sha256,
        outputs=tuple(one.path for one in held),
        n_windows=sum(one.metadata["recordings"]["n_windows"][0] for one in held),
    )
