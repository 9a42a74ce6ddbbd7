"""Small parts of an archive into large ones, while others read it, and whatever happens to whoever merges them."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.human import seconds_of
from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import StoreError
from sonyc_ml.outputs.archive.choice import Choice
from sonyc_ml.outputs.archive.layout import TABLES, part_name
from sonyc_ml.outputs.archive.metadata import NewerPartError, joined, metadata_in
from sonyc_ml.outputs.archive.packing import WRITERS
from sonyc_ml.outputs.archive.partitions import N_TRIES, Partition, PartitionChangedError, key_of, opened, partitions
from sonyc_ml.outputs.archive.parts import PartFile, all_of, outputs_of, part_file, slices_of, tables_of
from sonyc_ml.outputs.archive.store import Store
from sonyc_ml.outputs.parquet import DamagedPartError, write_rows

TARGET_BYTES = 256 << 20  # a part of this size is large enough
Order = tuple[float, str, int]
Asked = list[tuple[PartFile, npt.NDArray[np.bool_]]]  # parts, and which of their recordings


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of a partition.

    Attributes
    ----------
    folder : str
        As in ``node=pole_12/date=2026-11-21``.
    n_before, n_after : int
        Parts, without those that are damaged.
    n_doubles : int
        Outputs that were there twice, of the same recording and bundle, and are there once now.
    """

    folder: str
    n_before: int
    n_after: int
    n_doubles: int


def compact(
    store: Store, choice: Choice, tell: Callable[[str], None], target_bytes: int = TARGET_BYTES
) -> Iterator[Merged]:
    """Merge the small parts of each node and day.

    A new part is whole and in its place, and the tables that are made of it, before the first old one is removed. So
    at any moment everything is there, some of it twice, which readers leave out; whoever is killed may begin again.
    Parts of other columns, labels or ways of embedding stay apart.

    Parameters
    ----------
    store : Store
    choice : Choice
        Which nodes and days.
    tell : callable
        Called with the reason for each part that is left as it is, because it is damaged or of a newer schema.
    target_bytes : int
        A part of this size is large enough.

    Yields
    ------
    Merged
        For each partition that had something to merge.

    Raises
    ------
    StoreError
        The store fails; what was there is there.
    """
    for partition in partitions(store, choice):
        if len(partition.keys) < 2:
            continue
        try:
            merged = _merge_partition(partition, tell, target_bytes)
        except (NewerPartError, DamagedPartError) as error:
            tell(f"{error}; {partition.folder} stays as it is")
            continue
        if merged.n_after < merged.n_before:
            yield merged


def _merge_partition(partition: Partition, tell: Callable[[str], None], target_bytes: int) -> Merged:
    for _ in range(N_TRIES):
        try:
            parts = opened(partition, tell)
            groups: defaultdict[str, list[PartFile]] = defaultdict(list)
            for part in parts:
                groups[_alike(part)].append(part)
            n_after, n_doubles = 0, 0
            for _, group in sorted(groups.items()):
                n_left, n_twice = _merge(group, target_bytes)
                n_after, n_doubles = n_after + n_left, n_doubles + n_twice
        except FileNotFoundError:  # another process merges here too
            partition = partition.listed_again()
        else:
            return Merged(partition.folder, len(parts), n_after, n_doubles)
    raise PartitionChangedError(f"{partition.store.where(partition.folder)} changed {N_TRIES} times; try again")


def _alike(part: PartFile) -> str:
    """What parts have in common that become one: columns, labels of scores, ways of embedding."""
    made = part.description
    ways = sorted({one.fingerprint for one, _ in made.recordings})
    labels = () if made.label_numbers else made.labels
    return "\n".join([str(part.footer.schema.to_arrow_schema().remove_metadata()), *labels, "", *ways])


def _merge(parts: Sequence[PartFile], target_bytes: int) -> tuple[int, int]:
    """Merge parts that are alike; returns how many there are then, and how many outputs were there twice."""
    asked, covered = _without_doubles(parts)
    n_doubles = sum(len(part.description.recordings) for part in parts) - sum(int(mask.sum()) for _, mask in asked)
    if covered:
        for part, _ in asked:  # which hold all that is removed: see that it can be read
            deque(tables_of(part, all_of(part)), maxlen=0)
            _ensure_tables(part)
    for part in covered:
        _remove(part)
    n_after = 0
    for group in _bins(asked, target_bytes):
        n_after += 1
        if len(group) > 1:
            _ensure_tables(_written(group))
            for part, _ in group:
                _remove(part)
    return n_after, n_doubles


def _without_doubles(parts: Sequence[PartFile]) -> tuple[Asked, list[PartFile]]:
    """Of each output one, and the parts that are not needed for any; the largest parts first."""
    seen: set[tuple[Any, ...]] = set()
    asked: Asked = []
    covered: list[PartFile] = []
    for part in parts:
        mask = all_of(part)
        for number, (made, _) in enumerate(part.description.recordings):
            key = (*key_of(made, ""), made.recording_sha256, made.recording_mtime_ns, made.n_samples)
            mask[number] = key not in seen
            seen.add(key)
        if mask.any():
            asked.append((part, mask))
        else:
            covered.append(part)
    return asked, covered


def _bins(asked: Asked, target_bytes: int) -> Iterator[Asked]:
    """What becomes one part each, in the order of time; what is large enough stays alone."""
    held: Asked = []
    for part, mask in sorted(asked, key=lambda one: (min(_orders(*one)), one[0].key)):
        if part.n_bytes >= target_bytes:
            yield [(part, mask)]
            continue
        held.append((part, mask))
        if sum(one.n_bytes for one, _ in held) >= target_bytes:
            yield held
            held = []
    if held:
        yield held


def _order(part: PartFile, number: int) -> Order:
    made = part.description.recordings[number][0]
    return seconds_of(made.start_time) if made.start_time else 0.0, made.recording, made.recording_mtime_ns


def _written(group: Asked) -> PartFile:
    """Write the part that some parts become, and read its footer where it lies."""
    first = group[0][0]
    store, place = first.store, first.place
    folder = first.key.rpartition("/")[0]
    name = part_name(place, sorted(part.key.rpartition("/")[2] for part, _ in group))
    key = f"{folder}/{name}" if folder else name
    order = sorted(
        (_order(part, int(number)), which, int(number))
        for which, (part, mask) in enumerate(group)
        for number in np.flatnonzero(mask)
    )
    metadata = joined(metadata_in(group[which][0].description, number) for _, which, number in order)
    schema = first.footer.schema.to_arrow_schema()
    store.write(key, lambda path: write_rows(path, schema, metadata, _rows(group)))
    n_bytes = store.files(folder).get(key)
    written = part_file(store, key, n_bytes or 0, place) if n_bytes else None
    if written is None or len(written.description.recordings) != len(order):
        raise StoreError(f"{store.where(key)} is not what was written there; nothing was removed")
    return written


def _rows(group: Asked) -> Iterator[list[Any]]:
    """The rows of each output in the order of time; memory holds a row group of each part that overlaps others."""
    for cluster in _overlapping(group):
        streams = [_in_order(part, mask, which) for which, part, mask in cluster]
        for *_, table in heapq.merge(*streams, key=lambda one: one[:3]):
            yield [table.replace_schema_metadata(None)]


def _overlapping(group: Asked) -> Iterator[list[tuple[int, PartFile, npt.NDArray[np.bool_]]]]:
    """Parts whose recordings lie among one another, together; the others one after another."""
    held: list[tuple[int, PartFile, npt.NDArray[np.bool_]]] = []
    last: Order = (-math.inf, "", 0)
    for which, (part, mask) in enumerate(group):
        orders = _orders(part, mask)
        if held and min(orders) > last:
            yield held
            held = []
        held.append((which, part, mask))
        last = max(last, *orders)
    yield held


def _in_order(part: PartFile, mask: npt.NDArray[np.bool_], which: int) -> Iterator[tuple[Order, int, int, Any]]:
    found = ((_order(part, number), which, number, table) for number, table in slices_of(part, mask))
    orders = _orders(part, mask)
    # A batch fills parts in the order of names.
    return found if orders == sorted(orders) else iter(sorted(found, key=lambda one: one[:3]))


def _orders(part: PartFile, mask: npt.NDArray[np.bool_]) -> list[Order]:
    return [_order(part, int(number)) for number in np.flatnonzero(mask)]


def _ensure_tables(part: PartFile) -> None:
    """Make the tables of a part, where it has what they are made of and they are not there."""
    kinds = [kind for kind in TABLES if kind in part.columns]
    for kind in kinds:
        key = _table_key(part.key, kind)
        if key not in part.store.files(key.rpartition("/")[0]):
            outputs = (output for _, output in outputs_of(part, all_of(part)))
            part.store.write(key, lambda path, kind=kind, outputs=outputs: WRITERS[kind](path, outputs))  # type: ignore[misc]


def _remove(part: PartFile) -> None:
    """Remove a part; its tables first, for they are nobody's when it is gone."""
    for kind in TABLES:
        if kind in part.columns:
            part.store.remove(_table_key(part.key, kind))
    part.store.remove(part.key)


def _table_key(key: str, kind: str) -> str:
    return f"{kind}/{key}"
