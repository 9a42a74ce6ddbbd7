"""The node as the page sees it: its configuration, its journal, its folders; nothing here changes any of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sonyc_ml.base.records import dataclass
from sonyc_ml.node.config import Config, load_config
from sonyc_ml.node.journal.file import stamp_of_files
from sonyc_ml.node.journal.journal import Journal


@dataclass(frozen=True, slots=True)
class Node:
    """A node, to be looked at.

    Attributes
    ----------
    config_path : Path
        The daemon's configuration file.
    config : Config
        What it said when the service began.
    clock : callable
        Returns seconds since 1970.
    """

    config_path: Path
    config: Config
    clock: Callable[[], float] = time.time

    @classmethod
    def of(cls, config_path: Path) -> Node:
        """The node of a configuration.

        Raises
        ------
        ConfigError
            It cannot be read, or has a mistake.
        """
        return cls(config_path, load_config(config_path, {}))

    @property
    def state_folder(self) -> Path:
        """Where the journal lies."""
        return self.config.state_folder

    @property
    def output_folders(self) -> tuple[Path, ...]:
        """Where outputs lie, a folder for each bundle."""
        return self.config.output_folders

    @property
    def recordings_folder(self) -> Path:
        """Where recordings appear."""
        return self.config.spool.folder

    def stamp(self) -> str:
        """A text that is another one once anything was written to the journal; costs two looks at the disk."""
        return stamp_of_files(self.state_folder)

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        """Open the journal to read; each thread opens its own.

        Raises
        ------
        StoreError, JournalDamagedError
            There is none yet, or it cannot be read; says why.
        """
        journal = Journal(self.state_folder, read_only=True, clock=self.clock)
        try:
            yield journal
        finally:
            journal.close()
