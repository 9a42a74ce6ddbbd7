"""What the node does now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonyc_ml.node.operate.status import status
from sonyc_ml.web.page.visit import Visit

N_LAST = 20  # recordings that are shown


def content(visit: Visit) -> Mapping[str, Any]:
    """Return what the daemon does, and the last recordings."""
    return {
        "status": visit.ask(lambda journal: status(journal, visit.now_s)),
        "last": visit.ask(lambda journal: journal.latest(("done", "quarantined", "shed"), N_LAST)) or [],
    }
