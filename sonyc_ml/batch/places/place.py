"""What a batch asks of the place that its outputs lie in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from sonyc_ml.base.durable import write_atomically

State: TypeAlias = tuple[int, int]  # size of a file and its time (in nanoseconds since 1970); another content, another


class Place(Protocol):
    """A folder of outputs, wherever it is. Files are called by their paths below it, with ``/`` between the parts.

    It goes to other processes and machines, whose workers write into it: what is in it must fit into a pickle.
    """

    @property
    def state_folder(self) -> Path:
        """A folder on this machine for what is known of the outputs."""

    def __str__(self) -> str:
        """Its path or its address."""

    def path(self, name: str) -> str:
        """Path or address of a file."""

    def state(self, name: str) -> State | None:
        """Size and time of a file; None where there is none."""

    def write(self, name: str, write: Callable[[Path], None]) -> State:
        """Put a file there, whole or not at all; `write` writes it at the path that it is given.

        Raises
        ------
        StoreError
            Nothing was published, and nothing half-written is left.
        OutputNameError
            There can be no file of this name.
        """

    def note(self, name: str, state: State) -> None:
        """Know that another process or machine has written a file."""

    def files(self, names: Sequence[str]) -> AbstractContextManager[list[Path]]:
        """Files as paths on this machine, for as long as the context lasts.

        Raises
        ------
        OSError
            They cannot be read.
        """

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def remove_all(self) -> None:
        """Remove it with all that is in it; what cannot be removed stays."""

    def walk(self) -> Iterator[tuple[str, State]]:
        """Every file in it and its folders, but for hidden folders, with its state."""

    def holds(self, name: str) -> bool:
        """Whether a file of this name lies in it: a folder of one that came from elsewhere may be a link."""

    def beside(self, suffix: str) -> Place:
        """The place beside it whose name has this suffix."""

    def below(self, folder: str) -> Place:
        """A folder in it."""

    def scratch(self, name: str) -> Path:
        """A folder on this machine for what is put aside while a file is made."""

    def clear_up(self) -> None:
        """Remove what a process that was killed was writing."""


def move_files(source: Place, target: Place) -> None:
    """Move every file from one place to another; what is interrupted goes on the next time."""
    for name, _ in list(source.walk()):
        with source.files([name]) as (path,):
            content = path.read_bytes()
        target.write(name, partial(write_atomically, content=content))
        source.remove(name)
