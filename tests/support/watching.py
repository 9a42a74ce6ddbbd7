"""The daemon as a node runs it: a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sonyc_ml.node.journal.journal import Entry, Journal

LONG_S = 120.0  # emulated, a minute of sound in small steps takes as long


class Watch:
    """A running ``sonyc-ml watch``."""

    def __init__(self, folder: Path, output: Path, *flags: object) -> None:
        self.folder, self.output, self.state = folder, output, output / ".sonyc-ml"
        self._log = output.with_name("log")
        command = [sys.executable, "-m", "sonyc_ml", "watch", *map(str, flags)]
        paths = [str(output.with_name("site")), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, env=environment, cwd=folder.parent)

    def log(self) -> str:
        return self._log.read_text()

    def wait_for_line(self, text: str) -> None:
        self.wait(lambda: text in self.log(), f"{text!r} in the log")

    def wait_for_output(self, name: str) -> Path:
        path = self.output / name
        self.wait(path.exists, f"{path}")
        return path

    def ask(self, question: Callable[[Journal], Any]) -> Any:
        """Ask the journal, as others do."""
        journal = Journal(self.state, read_only=True)
        try:
            return question(journal)
        finally:
            journal.close()

    def wait_for_state(self, name: str, state: str) -> Entry:
        """Wait until a recording has come into a state."""
        found: list[Entry] = []

        def is_there() -> bool:
            found[:] = self.ask(lambda journal: [e for e in journal.find(name) if e.state == state])
            return bool(found)

        self.wait(is_there, f"{name} {state}")
        return found[0]

    def outputs(self) -> list[str]:
        return sorted(
            path.relative_to(self.output).as_posix()
            for path in self.output.rglob("*")
            if path.is_file() and self.state not in path.parents
        )

    def wait(self, is_there: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + LONG_S
        while not is_there():
            assert self.process.poll() is None, f"ended before {what}: {self.log()}"
            assert time.monotonic() < end_s, f"no {what} after {LONG_S} s: {self.log()}"
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(LONG_S)


StartWatch = Callable[..., Watch]
