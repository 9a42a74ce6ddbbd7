"""How well the node is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonyc_ml.node.operate.status import status
from sonyc_ml.web.page.visit import Visit


def content(visit: Visit) -> Mapping[str, Any]:
    """Return what needs attention."""
    return {"status": visit.ask(lambda journal: status(journal, visit.now_s))}
