"""What has not left the node, for a program of one's own that sends it: listed, sent by a command, marked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from sonyc_ml.base.lock import UPLOAD, Lock
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import Config
from sonyc_ml.node.upload.config import UploadConfig
from sonyc_ml.node.upload.facts import upload_folder
from sonyc_ml.node.upload.finding import OUTPUT, Finder, Place
from sonyc_ml.node.upload.ledger import Ledger
from sonyc_ml.node.upload.ledger_file import FoundFile, StoredObject
from sonyc_ml.node.upload.packing import LEDGER_FOLDER, Packer

BY_HAND = "marked by sonyc-ml outbox"


class Item(NamedTuple):
    """Something that is to be sent: its name below the folder, and what the ledger calls it."""

    name: str
    n_bytes: int
    row: FoundFile | StoredObject


class Marked(NamedTuple):
    """What was taken as acknowledged: how many, and the names that were not, each with the reason."""

    n: int
    refused: tuple[tuple[str, str], ...]


class Outbox:
    """The outputs of a node that are not acknowledged, or the parts that they are packed into.

    Parameters
    ----------
    config : Config
    packed : bool
        Whether outputs of days (or hours) that are over are packed as ``[upload]`` says, and the parts listed.

    Raises
    ------
    ConfigError
        Parts are asked for, and ``sonyc-ml upload`` runs, or pyarrow is missing.
    StoreError
        The ledger cannot be used.
    """

    def __init__(self, config: Config, *, packed: bool = False) -> None:
        settings = config.upload or UploadConfig()
        if packed and settings.pack == "none":
            raise ConfigError('--packed needs upload.pack = "day" or "hour"')
        state = upload_folder(config)
        places = (Place(OUTPUT, config.output.folder, (f".{config.output.format}",)),)
        self.folder = state / LEDGER_FOLDER if packed else config.output.folder
        self._is_packed = packed
        self._finder = Finder(places, settings.pack)
        parts = state / LEDGER_FOLDER
        self._packer = Packer(places, parts, config.node.name, settings.pack, settings.late_s) if packed else None
        self._lock = Lock(state, UPLOAD) if packed else None
        self._ledger = Ledger(state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger.close()
        if self._lock is not None:
            self._lock.release()

    def find(self) -> None:
        """Look what is new, and pack it where that is asked for.

        Raises
        ------
        StoreError
        """
        self._finder.find(self._ledger)
        if self._packer is not None:
            self._packer.pack(self._ledger)

    def items(self) -> Iterator[Item]:
        """Yield what is not acknowledged and there to be sent, the oldest first."""
        if self._is_packed:
            for one in reversed(self._ledger.objects("waiting")):
                if one.is_part:
                    yield Item(one.key, one.n_bytes, one)
            return
        for file in self._ledger.waiting_files():
            if file.kind == OUTPUT and is_there(self.folder, file):
                yield Item(file.name, file.n_bytes, file)

    def mark(self, names: Iterable[str]) -> Marked:
        """Take items as acknowledged by their names, or their paths.

        Raises
        ------
        StoreError
        """
        known = {item.name: item for item in self.items()}
        chosen, refused = [], []
        for name in names:
            item = known.get(self._below(name))
            if item is None:
                refused.append((name, "not one that waits, or it has changed since"))
            else:
                chosen.append(item)
        return Marked(self.acknowledge(chosen), tuple(refused))

    def acknowledge(self, items: Sequence[Item]) -> int:
        """Take items as acknowledged; returns how many."""
        files = [item.row for item in items if isinstance(item.row, FoundFile)]
        if files:
            self._ledger.mark(files)
        for item in items:
            if isinstance(item.row, StoredObject):
                self._ledger.acknowledge(item.row, "", BY_HAND)
                with suppress(OSError):
                    item.row.path.unlink()
        return len(items)

    def run(self, command: str, items: Sequence[Item], separator: str) -> int:
        """Run a command of a shell in the folder, with the names on its standard input; returns its exit status.

        Where that is 0, all of them are acknowledged.
        """
        text = "".join(f"{item.name}{separator}" for item in items)
        status = subprocess.run(command, shell=True, cwd=self.folder, input=os.fsencode(text), check=False).returncode  # noqa: S602
        if status == 0:
            self.acknowledge(items)
        return status

    def _below(self, name: str) -> str:
        path = Path(name)
        if path.is_absolute():
            with suppress(ValueError):
                return path.relative_to(self.folder.absolute()).as_posix()
        return name.removeprefix("./")


def is_there(folder: Path, file: FoundFile) -> bool:
    """Whether a file is as it was when it was found."""
    try:
        status = (folder / file.name).lstat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (file.n_bytes, file.mtime_ns)
