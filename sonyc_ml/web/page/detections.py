"""What was heard: by class, score and time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sonyc_ml.node.journal.heard import heard_labels
from sonyc_ml.web.page.visit import Visit


def content(visit: Visit) -> Mapping[str, Any]:
    """Return detections."""
    return {"labels": visit.ask(heard_labels) or []}
