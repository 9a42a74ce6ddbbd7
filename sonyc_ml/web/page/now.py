"""What the node does now: the daemon, its last recordings, and what was heard last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonyc_ml.node.journal.heard import find_heard, heard_labels, heard_of
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.operate.status import status
from sonyc_ml.web.page.visit import Visit

N_RECORDINGS, N_DETECTIONS = 12, 8
N_CLASSES = 3  # of a recording, those with the highest scores
ENDED = ("done", "quarantined", "shed")


def content(visit: Visit) -> Mapping[str, Any]:
    """Return what the template ``now.html`` shows."""
    return {
        "status": visit.ask(lambda journal: status(journal, visit.now_s)),
        "recordings": visit.ask(_recordings) or [],
        "detections": visit.ask(lambda journal: find_heard(journal, heard_labels(journal), limit=N_DETECTIONS)) or [],
    }


def _recordings(journal: Journal) -> list[tuple[Any, list[Any]]]:
    """The recordings that were through last, each with what was heard in it best."""
    entries = journal.latest(ENDED, N_RECORDINGS)
    return [(entry, heard_of(journal, entry.identity)[:N_CLASSES]) for entry in entries]
