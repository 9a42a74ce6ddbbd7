"""One recording through the journal and the worker, call for call the same each time: ``one_recording.py CONFIG``.

Prints a line of JSON for each attempt: what went wrong, and what was there by then. The temporary file always has the
name :data:`TEMPORARY`, so that it can be told before it is made.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sonyc_ml.base.identity import Identity
from sonyc_ml.base.lock import Lock
from sonyc_ml.errors import JournalDamagedError, StoreError
from sonyc_ml.node.config import Config, load_config
from sonyc_ml.node.journal.journal import open_journal
from sonyc_ml.node.running_bundles import RunningBundles
from sonyc_ml.node.worker import Worker
from sonyc_ml.outputs import files as store

DIGITS = "0123456789abcdef"
TEMPORARY = f".{DIGITS}.tmp"
NAME = "site/a.wav"
N_ATTEMPTS = 2  # the fault has passed by the second


def embed(config: Config) -> list[dict[str, Any]]:
    """Do what the daemon does for one recording, and again if there was trouble; returns how each attempt went."""
    reports: list[dict[str, Any]] = []
    with ExitStack() as house:

        def clock() -> float:
            return time.time() + 3600 * len(reports)  # what was postponed is due

        house.callback(Lock(config.state_folder).release)
        bundles = RunningBundles(config.model, config.output)
        journal = open_journal(config.state_folder, clock)
        house.callback(journal.close)
        worker = Worker(config.spool.folder, journal, bundles, lambda _name: False, output=config.output, clock=clock)
        worker.start()
        status = (config.spool.folder / NAME).stat()
        while len(reports) < N_ATTEMPTS and (not reports or reports[-1]["trouble"]):
            trouble = ""
            try:
                worker.step([Identity(NAME, status.st_size, status.st_mtime_ns)])
            except (StoreError, JournalDamagedError) as error:
                trouble = str(error)
            reports.append({"trouble": trouble, "left": what_is_wrong(config.output.folder) if trouble else []})
    return reports


def what_is_wrong(outputs: Path) -> list[str]:
    """Temporary files, and outputs that cannot be read."""
    found = [path.name for path in outputs.rglob("*.tmp")]
    for path in outputs.rglob("*.npz"):
        try:
            store.read_output(path)
        except ValueError as error:
            found.append(str(error))
    return found


def main(config: Path) -> int:
    """Embed it; 3 where it could not begin and said why."""
    secrets.token_hex = lambda nbytes=None: DIGITS  # noqa: ARG005  its own name
    try:
        reports = embed(load_config(config, {}))
    except StoreError as error:
        print(json.dumps({"trouble": f"it cannot begin: {error}", "left": []}))
        return 3
    for report in reports:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(status)  # how the interpreter ends is not of interest
