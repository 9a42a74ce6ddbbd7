"""The parts of a node, put together as the daemon does it: recordings, bundles, journal and worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sonyc_ml.base.identity import Identity, state_of
from sonyc_ml.node.events import NodeEvent
from sonyc_ml.node.journal.journal import Entry, Journal, open_journal
from sonyc_ml.node.running_bundles import RunningBundles
from sonyc_ml.node.worker import Worker
from tests.conftest import write_recording
from tests.support.bundles import configure
from tests.support.journals import Clock


class Node:
    """A folder of recordings with a journal and a worker, as the daemon puts them together."""

    def __init__(self, folder: Path, *models: Path, more: str = "") -> None:
        self.config = configure(folder, *models, more=more)
        self.recordings, self.out = folder / "recordings", self.config.output.folder
        self.recordings.mkdir(exist_ok=True)
        self.clock = Clock(time.time())
        self.writing: set[str] = set()
        self.is_being_written: Callable[[str], bool] = self.writing.__contains__
        self.events: list[NodeEvent] = []
        self.bundles = RunningBundles(self.config.model, self.config.output)
        self.journal: Journal
        self.start()

    def start(self) -> None:
        """Start, as after a restart."""
        self.journal = open_journal(self.config.state_folder, self.clock)
        self.worker = Worker(
            self.recordings,
            self.journal,
            self.bundles,
            self._asked,
            output=self.config.output,
            recordings=self.config.recordings,
            overload=self.config.overload,
            node=self.config.node,
            emit=self.events.append,
            clock=self.clock,
        )
        self.worker.start()

    def _asked(self, name: str) -> bool:
        return self.is_being_written(name)

    def restart(self) -> None:
        self.journal.close()
        self.start()

    def found(self) -> list[Identity]:
        """Every recording that is in the folder now."""
        paths = sorted(path for path in self.recordings.rglob("*.wav") if path.is_file())
        return [self.identity(path.relative_to(self.recordings).as_posix()) for path in paths]

    def identity(self, name: str) -> Identity:
        return Identity(name, *state_of((self.recordings / name).stat()))

    def write(self, name: str = "a.wav", seconds: float = 1.0, seed: int = 0) -> Path:
        return write_recording(self.recordings / name, seconds, seed=seed)

    def run(self) -> None:
        """Embed all that is due."""
        self.worker.step(self.found())
        for _ in range(20):
            if not self.worker.step():
                return
        raise AssertionError("there is always something due")

    def entry(self, name: str = "a.wav") -> Entry:
        (entry,) = self.journal.find(name)
        return entry

    def outputs(self) -> list[str]:
        return sorted(
            path.relative_to(self.out).as_posix()
            for path in self.out.rglob("*")
            if path.is_file() and ".sonyc-ml" not in path.parts
        )
