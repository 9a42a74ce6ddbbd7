"""What was found into objects: a day or an hour of outputs into parts of an archive, everything else as it is."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sonyc_ml.base.human import count, to_install
from sonyc_ml.base.identity import state_of
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.upload.finding import Place, period_end_s
from sonyc_ml.node.upload.ledger import Ledger
from sonyc_ml.node.upload.ledger_file import FoundFile, Group, StoredObject
from sonyc_ml.node.upload.naming import object_key
from sonyc_ml.node.upload.pacing import Stopped

logger = logging.getLogger(__name__)

MAX_FILES, MAX_BYTES = 10_000, 1 << 30  # of what is packed at once
MAX_AHEAD = 12  # parts that wait: a store that is away for a week does not fill the disk with them
N_RAW = 500  # files that are sent as they are, a transaction
LEDGER_FOLDER = "parts"


class Packer:
    """Makes objects of files, when their time has come; for one thread.

    Parameters
    ----------
    places : sequence of Place
        Where the files lie.
    folder : Path
        Where parts are made; what is left there of a process that was killed is removed.
    node : str
        The node's name.
    pack : {"day", "hour", "none"}
    late_s : float
        How long after the end of a day or an hour, or after what came later, it is packed (in seconds).
    is_stopped : callable
    clock, timer : callable
        Return seconds since 1970, and seconds that only grow.
    """

    def __init__(
        self,
        places: Sequence[Place],
        folder: Path,
        node: str,
        pack: str,
        late_s: float,
        is_stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = {place.kind: place.folder for place in places}
        self._folder, self._node, self._late_s = folder, node, late_s
        self._packs = pack != "none"
        self._length_s = 3600.0 if pack == "hour" else 86400.0
        self._is_stopped, self._clock, self._timer = is_stopped, clock, timer
        self._seen_s: dict[str, float] = {}
        if pack != "none" and find_spec("pyarrow") is None:
            raise ConfigError(f'upload.pack = "{pack}" needs pyarrow; {to_install("upload")}, or set pack = "none"')

    def clear_up(self, ledger: Ledger) -> None:
        """Remove parts that nobody waits for: of a process that was killed while it packed, or after proof."""
        wanted = ledger.parts_waiting()
        for path, folders, names in os.walk(self._folder, topdown=False):
            for name in names:
                if Path(path, name) not in wanted:
                    with suppress(OSError):
                        Path(path, name).unlink()
            for name in folders:
                with suppress(OSError):
                    Path(path, name).rmdir()  # where it is empty

    def due_s(self, group: Group) -> float:
        """When a group is packed (in seconds since 1970)."""
        if not (group.period and self._packs):
            return group.found_s
        return max(period_end_s(group.period), group.found_s) + self._late_s

    def is_due(self, group: Group) -> bool:
        """Whether it is time; a clock that was set back delays it by a day at most."""
        if not (group.period and self._packs):
            return True
        now = self._timer()
        waited_s = now - self._seen_s.setdefault(group.period, now)
        return self._clock() >= self.due_s(group) or waited_s >= self._length_s + self._late_s

    def pack(self, ledger: Ledger, *, at_once: bool = False) -> int:
        """Make objects of what is due, or of everything; returns how many.

        Raises
        ------
        StoreError
            An output cannot be read, or a part cannot be written, for now.
        """
        groups = ledger.groups()
        self._seen_s = {one.period: self._seen_s[one.period] for one in groups if one.period in self._seen_s}
        n_made = 0
        for group in groups:
            while (at_once or self.is_due(group)) and not self._is_stopped():
                if self._packs and group.period and len(ledger.parts_waiting()) >= MAX_AHEAD:
                    return n_made
                files = ledger.unpacked(group.period, MAX_FILES if group.period else N_RAW, MAX_BYTES)
                if not files:
                    self._seen_s.pop(group.period, None)
                    break
                n_made += self._pack(ledger, files)
        return n_made

    def _pack(self, ledger: Ledger, files: Sequence[FoundFile]) -> int:
        there = {self._path(file): file for file in files if self._is_there(file)}
        ledger.forget([file for file in files if self._path(file) not in there])  # another state is found by itself
        packs: list[tuple[list[StoredObject], list[FoundFile]]] = []
        if self._packs and files[0].period and there:
            objects, left_out = self._parts(list(there))
            members = [file for path, file in there.items() if path not in left_out]
            packs.append((objects, members))
            there = {path: there[path] for path in left_out if path in there}
        with suppress(Stopped):
            packs += [([made], [file]) for file, made in self._raw(there)]
        ledger.put(packs)
        return sum(len(objects) for objects, _ in packs)

    def _parts(self, paths: list[Path]) -> tuple[list[StoredObject], set[Path]]:
        from sonyc_ml.outputs.archive.packing import pack  # noqa: PLC0415  imports numpy

        packed = pack(paths, self._folder, self._node, progress=self._check_stopped)
        for path, why in packed.left_out:
            logger.warning("%s is sent as it is, for it cannot be packed: %s", path, why)
        logger.info("%s were packed into %s", count(len(paths), "output"), count(len(packed.parts), "part"))
        now = self._clock()
        objects = [
            StoredObject(0, 0, part.key, part.path, True, part.n_bytes, part.sha256, now) for part in packed.parts
        ]
        return objects, {path for path, _ in packed.left_out}

    def _raw(self, files: dict[Path, FoundFile]) -> Iterator[tuple[FoundFile, StoredObject]]:
        for path, file in files.items():
            self._check_stopped()
            try:
                with path.open("rb") as opened:
                    sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            except OSError as error:
                logger.warning("%s cannot be read, and is tried again: %s", path, error.strerror)
                continue
            key = object_key(file, sha256, self._node)
            yield file, StoredObject(0, 0, key, path, False, file.n_bytes, sha256, self._clock())

    def _path(self, file: FoundFile) -> Path:
        return self._folders[file.kind] / file.name

    def _is_there(self, file: FoundFile) -> bool:
        try:
            return state_of(self._path(file).lstat()) == (file.n_bytes, file.mtime_ns)
        except OSError:
            return False

    def _check_stopped(self) -> None:
        if self._is_stopped():
            raise Stopped
