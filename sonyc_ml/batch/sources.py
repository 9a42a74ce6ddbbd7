"""Files, folders, patterns, lists and remote addresses to the recordings that they mean."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from sonyc_ml.base.folders import is_path_left_out, walk
from sonyc_ml.base.identity import Identity, state_of
from sonyc_ml.base.records import dataclass
from sonyc_ml.batch import remote
from sonyc_ml.errors import ConfigError
from sonyc_ml.sound.kinds import EXTENSIONS, skipped_kind


@dataclass(frozen=True, slots=True)
class Source:
    """A recording to embed.

    Attributes
    ----------
    path : str
        Its path, or its address where it is remote.
    name : str
        What its output is called by, with ``/`` between its parts.
    remote_state : tuple of int, optional
        Size and time (in nanoseconds) of what is remote, as its store says.
    """

    path: str
    name: str
    remote_state: tuple[int, int] | None = None

    @property
    def is_remote(self) -> bool:
        """Whether it has to be fetched before it is read."""
        return self.remote_state is not None

    def identity(self) -> Identity:
        """Its name, size and time, by which this state of it is known.

        Raises
        ------
        OSError
            It is gone, or cannot be looked at.
        """
        state = state_of(os.stat(self.path)) if self.remote_state is None else self.remote_state  # noqa: PTH116
        return Identity(self.name, *state)


class Sources:
    """The recordings of several inputs, found anew each time they are gone through; memory does not hold them.

    What is hidden, or lies in a recycle bin, is left alone; linked folders are followed where they lead somewhere new.

    Parameters
    ----------
    inputs : sequence of str
        Files; folders, which are searched with their sub-folders; patterns such as ``archive/**/2026*.wav``; addresses
        such as ``s3://bucket/folder``.
    listed : iterable of str
        More of them, read from a list: files and addresses.
    root : str, optional
        Files and patterns are named by their path from here. Without it a file given as an input is named by its own
        name, one of a list by the path as it is listed, one of a pattern by its path below the part without wildcards.

    Attributes
    ----------
    skipped : Counter of str
        How many sound files of kinds that are not read lie in the folders and fit the patterns, by the ending of their
        names; of the last time that they were gone through.

    Raises
    ------
    ConfigError
        An input is not there, or none was given.
    """

    def __init__(self, inputs: Sequence[str], listed: Iterable[str] = (), root: str | None = None) -> None:
        self._inputs, self._listed, self._root = tuple(inputs), tuple(listed), root
        self.skipped: Counter[str] = Counter()
        if not (self._inputs or self._listed):
            raise ConfigError("there is nothing to embed: give recordings, folders or a list of them")
        for given in self._inputs:
            if not (remote.is_remote(given) or os.path.lexists(given) or glob.has_magic(given)):
                raise ConfigError(f"{given} does not exist")

    def __iter__(self) -> Iterator[Source]:
        self.skipped.clear()
        for given in self._inputs:
            yield from self._found(given)
        for path in self._listed:
            if remote.is_remote(path):
                for address, _, state in remote.find(path, EXTENSIONS):
                    yield Source(address, _listed_name(address.partition("://")[2]), state)
            else:
                yield self._named(path, _listed_name(path))

    @property
    def has_remote(self) -> bool:
        """Whether some of them have to be fetched."""
        return any(map(remote.is_remote, (*self._inputs, *self._listed)))

    def count(self) -> int:
        """How many there are.

        Raises
        ------
        ConfigError
            Two of them would have the same output.
        """
        if len(self._inputs) == 1 and not self._listed:  # cannot meet itself
            return sum(1 for _ in self)
        sources: dict[str, str] = {}
        for source in self:
            other = sources.setdefault(source.name, source.path)
            if other != source.path:
                raise ConfigError(
                    f"{other} and {source.path} would have the same output, {source.name}; give the folder above them, "
                    "or --root"
                )
        return len(sources)

    def __str__(self) -> str:
        shown = [*self._inputs, *(["the list"] if self._listed else [])]
        return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")

    def _found(self, given: str) -> Iterator[Source]:
        if remote.is_remote(given):
            for address, name, state in remote.find(given, EXTENSIONS):
                yield Source(address, name, state)
        elif os.path.isdir(given):  # noqa: PTH112
            yield from self._walk(given)
        elif os.path.lexists(given):
            yield self._named(given, os.path.basename(given))  # noqa: PTH119
        else:
            start = _fixed_part(given)
            for path in sorted(glob.iglob(given, recursive=True)):  # noqa: PTH207
                name = os.path.relpath(path, start)
                if os.path.isfile(path) and not is_path_left_out(name) and self._is_recording(name):  # noqa: PTH113
                    yield self._named(path, name)

    def _walk(self, root: str) -> Iterator[Source]:
        """The recordings of a folder in the order of their paths."""
        for folder, names in walk(root):
            inside = os.path.relpath(folder, root)
            above = "" if inside == "." else f"{inside}/"
            for name in names:
                if self._is_recording(name):
                    yield Source(os.path.join(folder, name), above + name)

    def _is_recording(self, name: str) -> bool:
        if kind := skipped_kind(name):
            self.skipped[kind] += 1
        return name.lower().endswith(EXTENSIONS)

    def _named(self, path: str, name: str) -> Source:
        if self._root is not None:
            name = os.path.relpath(path, self._root)
            if name == ".." or name.startswith("../"):
                raise ConfigError(f"{path} does not lie in {self._root}, the --root that names are counted from")
        return Source(path, PurePosixPath(name).as_posix())


def _fixed_part(pattern: str) -> str:
    """The folder that a pattern's wildcards begin below."""
    fixed: list[str] = []
    for part in pattern.split("/")[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return "/".join(fixed) or ("/" if pattern.startswith("/") else ".")


def _listed_name(path: str) -> str:
    """A path of a list as a name: as it is listed, but never out of the folder of the outputs."""
    parts = [part for part in os.path.normpath(path).split("/") if part not in ("", "..", ".")]
    return "/".join(parts)
