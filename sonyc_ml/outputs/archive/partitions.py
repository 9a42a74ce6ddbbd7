"""The partitions of an archive: what is in each, and which of the outputs that are there twice counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.errors import StoreError
from sonyc_ml.outputs.archive.choice import Choice
from sonyc_ml.outputs.archive.layout import Place, is_part, place_of
from sonyc_ml.outputs.archive.parts import PartFile, part_file
from sonyc_ml.outputs.archive.store import Store
from sonyc_ml.outputs.output import Provenance
from sonyc_ml.outputs.parquet import DamagedPartError

N_TRIES = 5  # to see a partition as it is at one moment: whoever merges parts removes some


class Key(NamedTuple):
    """What two outputs have in common that are of the same sound, embedded in the same way."""

    node: str
    recording: str
    start_time: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Partition:
    """A folder of parts, by its listing.

    Attributes
    ----------
    store : Store
    folder : str
        Below the root, as in ``node=pole_12/date=2026-11-21``.
    keys : mapping of str to int
        The parts in it, with their sizes.
    """

    store: Store
    folder: str
    keys: dict[str, int]

    @property
    def place(self) -> Place:
        """Whose it is."""
        return place_of(f"{self.folder}/")

    def listed_again(self) -> Partition:
        """As it is now."""
        return Partition(self.store, self.folder, _in_folder(self.store.files(self.folder), self.folder))


def partitions(store: Store, choice: Choice) -> Iterator[Partition]:
    """Yield the partitions that may have what is asked for, in the order of their names, one node after another."""
    folders = store.folders()
    nodes = [name for name in folders if name.startswith("node=")]
    if not nodes:
        yield from _grouped(store, choice, store.files())
        return
    for name in nodes:
        if not choice.has_node(place_of(f"{name}/").node):
            continue
        dates = choice.dates()
        if dates is None:
            yield from _grouped(store, choice, store.files(name))
            continue
        for date in dates:
            found = store.files(f"{name}/date={date}") or store.files(f"{name}/day={date}")
            yield from _grouped(store, choice, found)


def _grouped(store: Store, choice: Choice, files: dict[str, int]) -> Iterator[Partition]:
    groups: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for key, n_bytes in files.items():
        if is_part(key) and choice.has_date(place_of(key).date):
            groups[key.rpartition("/")[0]][key] = n_bytes
    for folder in sorted(groups):
        yield Partition(store, folder, groups[folder])


def _in_folder(files: dict[str, int], folder: str) -> dict[str, int]:
    return {key: n for key, n in files.items() if is_part(key) and key.rpartition("/")[0] == folder}


def opened(partition: Partition, tell: Callable[[str], None] | None = None) -> list[PartFile]:
    """Read the footers of a partition's parts; those with most recordings first.

    Parameters
    ----------
    partition : Partition
    tell : callable, optional
        Called with the reason for each part that is damaged and left out; without it the first ends the reading.

    Raises
    ------
    DamagedPartError, NewerPartError, StoreError
        See :func:`~sonyc_ml.outputs.archive.parts.part_file`; NewerPartError in any case.
    FileNotFoundError
        One is not there any more: list the partition again.
    """
    parts = []
    for key, n_bytes in sorted(partition.keys.items()):
        try:
            parts.append(part_file(partition.store, key, n_bytes, partition.place))
        except DamagedPartError as error:
            if tell is None:
                raise
            tell(str(error))
    return sorted(parts, key=lambda part: (-len(part.description.recordings), part.key))


def chosen(
    parts: Sequence[PartFile], choice: Choice, done: frozenset[Key] | set[Key] = frozenset()
) -> list[tuple[PartFile, npt.NDArray[np.bool_]]]:
    """Choose which recordings of a partition's parts are read: of each, one output of one way of embedding.

    Of outputs that are there twice the one of the most sound counts: a recording that was salvaged may have come whole
    later. Of equal ones that of the part with most recordings does.

    Parameters
    ----------
    parts : sequence of PartFile
    choice : Choice
    done : set of Key
        Outputs that have been read already.

    Returns
    -------
    list of tuple of (PartFile, np.ndarray [shape=(n_recordings,), dtype=bool])
        In the order of their first recordings; parts of which nothing is needed are left out.
    """
    best: dict[Key, tuple[tuple[int, int], int, int]] = {}
    for which, part in enumerate(parts):
        for number, (made, _) in enumerate(part.description.recordings):
            key = key_of(made, part.place.node)
            if key in done or not choice.may_have(made):
                continue
            worth = made.n_samples, made.recording_mtime_ns
            if key not in best or worth > best[key][0]:
                best[key] = worth, which, number
    masks = [np.zeros(len(part.description.recordings), np.bool_) for part in parts]
    for _, which, number in best.values():
        masks[which][number] = True
    needed = [(part, mask) for part, mask in zip(parts, masks, strict=True) if mask.any()]
    return sorted(
        needed, key=lambda one: (one[0].description.recordings[int(one[1].argmax())][0].start_time, one[0].key)
    )


def key_of(made: Provenance, node: str) -> Key:
    """What an output is told from others by."""
    return Key(node, made.recording, made.start_time, made.fingerprint)


class PartitionChangedError(StoreError):
    """Parts of a partition went away again and again while it was read."""
