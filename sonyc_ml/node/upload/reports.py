"""Once a day, what ``audit`` and ``status`` answer, as files that leave the node with the outputs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.human import date_of, seconds_of
from sonyc_ml.node.config import Config
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.upload.ledger import Ledger

REPORTS = ("audit", "status")
FOLDER_NAME, FACT = "reports", "reports"
GAP_S = 60.0


def write_reports(config: Config, folder: Path, ledger: Ledger, clock: Callable[[], float] = time.time) -> list[Path]:
    """Write the reports of the day that is over, in UTC, that are asked for and not written yet; returns them.

    Raises
    ------
    StoreError
        The journal cannot be read, or a report cannot be written, for now.
    """
    wanted = [name for name in REPORTS if name in config.upload.also]
    day = (date_of(clock()) - timedelta(days=1)).date().isoformat()
    written = ledger.fact(FACT) or {}
    due = [name for name in wanted if written.get(name) != day]
    if not due:
        return []
    paths = []
    with closing(Journal(config.state_folder, read_only=True)) as journal:
        for name in due:
            path = folder / f"{day}-{name}.json"
            write_atomically(path, json.dumps(_report(name, journal, day), indent=1).encode())
            paths.append(path)
    ledger.remember(FACT, written | dict.fromkeys(due, day))
    return paths


def _report(name: str, journal: Journal, day: str) -> dict[str, Any]:
    if name == "audit":
        from sonyc_ml.node.operate.audit import audit  # noqa: PLC0415

        since_s = seconds_of(day)
        return audit(journal, since_s, since_s + 86400, GAP_S)
    from sonyc_ml.node.operate.status import status  # noqa: PLC0415

    return status(journal)
