"""An archive read back: only the partitions, parts and row groups that are needed, and no output twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sonyc_ml.outputs.archive.choice import Choice
from sonyc_ml.outputs.archive.partitions import (
    N_TRIES,
    Key,
    Partition,
    PartitionChangedError,
    chosen,
    key_of,
    opened,
    partitions,
)
from sonyc_ml.outputs.archive.parts import PartFile, outputs_of
from sonyc_ml.outputs.archive.store import Store
from sonyc_ml.outputs.output import Output

Tell = Callable[[str], None]
T = TypeVar("T")


def iter_archive(
    store: Store, choice: Choice, tell: Tell | None = None, kinds: Collection[str] | None = None
) -> Iterator[Output]:
    """Yield the outputs of an archive that have windows which are asked for, node by node and day by day.

    Parameters
    ----------
    store : Store
    choice : Choice
    tell : callable, optional
        See :func:`sonyc_ml.outputs.reading.iter_outputs`.
    kinds : collection of str, optional
        Of outputs that are read, as in ``scores``; all where not given.

    Raises
    ------
    DamagedPartError, NewerPartError, StoreError
        See :func:`~sonyc_ml.outputs.archive.parts.part_file`.
    """

    def read(part: PartFile, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[list[Key], Output]]:
        for number, output in outputs_of(part, wanted, kinds):
            yield [key_of(part.description.recordings[number][0], part.place.node)], output

    for partition in partitions(store, choice):
        for output in each_once(partition, choice, read, tell):
            if not choice.is_span or choice.rows(output.times()).any():
                yield output


def each_once(
    partition: Partition,
    choice: Choice,
    read: Callable[[PartFile, npt.NDArray[np.bool_]], Iterator[tuple[list[Key], T]]],
    tell: Tell | None = None,
) -> Iterator[T]:
    """Yield what is read of a partition, each output once, while others may merge its parts.

    Parameters
    ----------
    partition : Partition
    choice : Choice
    read : callable
        Reads some recordings of a part; yields what it read, and which outputs that was.
    tell : callable, optional
        Called with the reason for each part that is left out, for it is damaged.
    """
    done: set[Key] = set()
    for _ in range(N_TRIES):
        try:
            for part, wanted in chosen(opened(partition, tell), choice, done):
                for keys, found in read(part, wanted):
                    done.update(keys)
                    yield found
        except FileNotFoundError:  # merged into another part meanwhile, which holds what it held
            partition = partition.listed_again()
        else:
            return
    raise PartitionChangedError(
        f"{partition.store.where(partition.folder)} changed {N_TRIES} times while it was read; try again when nobody "
        "merges its parts"
    )
