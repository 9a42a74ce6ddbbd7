"""The windows of an archive as arrays, without an object for each output: a node's day in less than a second."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.archive.choice import Choice, node_of
from sonyc_ml.outputs.archive.embeddings import Embeddings, described
from sonyc_ml.outputs.archive.partitions import Key, key_of, partitions
from sonyc_ml.outputs.archive.parts import PartFile, tables_of
from sonyc_ml.outputs.archive.reading import Tell, each_once
from sonyc_ml.outputs.archive.store import Store
from sonyc_ml.outputs.detection_arrays import COLUMNS
from sonyc_ml.outputs.detection_table import Detections
from sonyc_ml.outputs.detections import label_lookup
from sonyc_ml.outputs.kinds import KINDS
from sonyc_ml.outputs.output import Provenance
from sonyc_ml.outputs.parquet import checked, matrix_in
from sonyc_ml.outputs.parquet_detections import COLUMN


@dataclass(frozen=True, slots=True)
class Block:
    """What is asked for of one part.

    Attributes
    ----------
    part : PartFile
    rows : np.ndarray [shape=(n_windows,), dtype=int64]
        Which of the part each window is.
    start_s, time : np.ndarray
        See :class:`~sonyc_ml.outputs.archive.embeddings.Embeddings`.
    kinds : dict of str to np.ndarray
    heard : dict of str to np.ndarray, or None
        The detections, by the names of their columns, and ``row``: which of `rows` each begins in.
    """

    part: PartFile
    rows: npt.NDArray[np.int64]
    start_s: npt.NDArray[np.float64]
    time: npt.NDArray[np.datetime64]
    kinds: dict[str, npt.NDArray[Any]]
    heard: dict[str, npt.NDArray[Any]] | None


def read_columns(
    store: Store, choice: Choice, kinds: Collection[str] | None = None, tell: Tell | None = None
) -> tuple[Embeddings, int]:
    """Read the windows of an archive that are asked for.

    Parameters
    ----------
    store : Store
    choice : Choice
    kinds : collection of str, optional
        That are read, as in ``scores``; all where not given.
    tell : callable, optional
        See :func:`~sonyc_ml.outputs.archive.reading.iter_archive`.

    Returns
    -------
    embeddings : Embeddings
    n_without : int
        Recordings that have no detections where others have.

    Raises
    ------
    ConfigError
        There is nothing of what is asked for, or it does not go together.
    DamagedPartError, NewerPartError, StoreError
        See :func:`~sonyc_ml.outputs.archive.parts.part_file`.
    """

    def read(part: PartFile, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[list[Key], Block]]:
        block = _block(part, wanted, choice, kinds)
        made = part.description.recordings
        yield [key_of(made[number][0], part.place.node) for number in np.flatnonzero(wanted)], block

    blocks = [
        block
        for partition in partitions(store, choice)
        for block in each_once(partition, choice, read, tell)
        if len(block.rows)
    ]
    if not blocks:
        raise ConfigError(f"there are no outputs in {store.where('')} of what is asked for")
    _check_alike(blocks)
    return _joined(blocks)


def _block(part: PartFile, wanted: npt.NDArray[np.bool_], choice: Choice, kinds: Collection[str] | None) -> Block:
    names = [name for name in KINDS if name in part.columns and (kinds is None or name in kinds)]
    with_heard = COLUMN in part.columns and kinds is None
    columns = ["start_s", "time", *names, *([COLUMN] if with_heard else [])]
    of_wanted = np.repeat(wanted, np.diff(part.starts))
    held: list[tuple[Any, ...]] = []
    for first, table in tables_of(part, wanted, columns):
        times = table["time"].to_numpy()
        kept = of_wanted[first : first + len(times)] & choice.rows(times)
        with checked(part.where):
            held.append(
                (
                    first + np.flatnonzero(kept),
                    table["start_s"].to_numpy()[kept],
                    times[kept],
                    {name: _kept(matrix_in(table, name), kept) for name in names},
                    _heard(table[COLUMN], kept) if with_heard else None,
                )
            )
    return _block_of(part, held, names)


def _block_of(part: PartFile, held: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Block:
    rows, start_s, time, kinds, heard = zip(*held, strict=True)
    before = np.cumsum([0, *map(len, rows)])
    for n_before, one in zip(before[:-1], heard, strict=True):
        if one is not None:
            one["row"] += n_before
    joined = None
    if heard[0] is not None:
        joined = {name: np.concatenate([one[name] for one in heard]) for name in heard[0]}
    matrices = {name: np.concatenate([one[name] for one in kinds]) for name in names}  # Arrow's own are read-only
    return Block(part, _concatenated(rows), _concatenated(start_s), _concatenated(time), matrices, joined)


def _heard(column: Any, kept: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[Any]]:
    """The detections that begin in windows that are kept."""
    lists = column.combine_chunks()
    structs = lists.flatten()
    row = np.repeat(np.arange(len(kept)), lists.value_lengths().to_numpy())
    is_kept, place = kept[row], np.cumsum(kept) - 1
    arrays = {name: structs.field(name).to_numpy(zero_copy_only=False)[is_kept] for name in COLUMNS}
    return arrays | {"row": place[row[is_kept]]}


def _check_alike(blocks: Sequence[Block]) -> None:
    first = blocks[0]
    wanted = _shape(first)
    for block in blocks:
        if _shape(block) != wanted:
            raise ConfigError(
                f"{first.part.where} and {block.part.where} do not go together: one has {wanted}, the other "
                f"{_shape(block)}; read them apart, by nodes, since and until, or embed one of them again"
            )


def _shape(block: Block) -> str:
    return described(block.kinds, block.part.description.labels)


def _joined(blocks: Sequence[Block]) -> tuple[Embeddings, int]:
    provenances: list[Provenance] = []
    nodes: list[str] = []
    numbers: list[npt.NDArray[np.int32]] = []
    n_without = 0
    for block in blocks:
        of_part = np.searchsorted(block.part.starts, block.rows, side="right") - 1
        found, number = np.unique(of_part, return_inverse=True)
        numbers.append((number + len(provenances)).astype(np.int32))
        made = [block.part.description.recordings[which][0] for which in found]
        provenances += made
        nodes += [block.part.place.node or node_of(one) for one in made]
        n_without += len(made) if block.heard is None else 0
    has_heard = n_without < len(provenances)
    embeddings = Embeddings(
        labels=blocks[0].part.description.labels if "scores" in blocks[0].kinds else (),
        detections=_detections(blocks, numbers, tuple(provenances)) if has_heard else None,
        start_s=_concatenated([block.start_s for block in blocks]),
        time=_concatenated([block.time for block in blocks]),
        number=_concatenated(numbers),
        provenances=tuple(provenances),
        nodes=tuple(nodes),
        **{name: _concatenated([block.kinds[name] for block in blocks]) for name in blocks[0].kinds},
    )
    return embeddings, n_without if has_heard else 0


def _detections(
    blocks: Sequence[Block], numbers: Sequence[npt.NDArray[np.int32]], provenances: tuple[Provenance, ...]
) -> Detections:
    columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in (*COLUMNS, "label", "time", "number")}
    for block, number in zip(blocks, numbers, strict=True):
        if block.heard is None:
            continue
        row = block.heard["row"]
        label = label_lookup(block.part.description.labels, block.part.description.label_numbers)
        for name in COLUMNS:
            columns[name].append(block.heard[name])
        columns["label"].append(np.array([label(one) for one in block.heard["class"].tolist()], dtype=object))
        columns["number"].append(number[row])
        after_us = np.rint(block.heard["start_s"] * 1e6) - np.rint(block.start_s[row] * 1e6)
        columns["time"].append(block.time[row] + after_us.astype("timedelta64[us]"))
    joined = {name: _concatenated(arrays) for name, arrays in columns.items()}
    return Detections(
        start_s=joined["start_s"],
        end_s=joined["end_s"],
        time=joined["time"],
        label=joined["label"],
        class_number=joined["class"],
        score_max=joined["score_max"].astype(np.float64),
        score_mean=joined["score_mean"],
        number=joined["number"],
        provenances=provenances,
    )


def _kept(rows: npt.NDArray[Any], kept: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Those rows that are kept; without copying them where all are."""
    return rows if kept.all() else rows[kept]


def _concatenated(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
