"""What the node does now: the daemon, its last recordings, and what was heard last."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from starlette.responses import PlainTextResponse, Response

from sonyc_ml.base.identity import Identity
from sonyc_ml.base.records import dataclass
from sonyc_ml.node.journal.heard import Heard, find_heard, heard_labels, heard_of
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.operate.status import status
from sonyc_ml.web.page.node import Node
from sonyc_ml.web.page.visit import Visit

N_RECORDINGS, N_DETECTIONS = 12, 8
N_CLASSES = 3  # of a recording, those with the highest scores
N_LEVELS = 500  # recordings whose levels are remembered: an output does not change
ENDED = ("done", "quarantined", "shed")
SCALES = {"dBFS": (-90.0, 0.0), "dB re 20 µPa": (20.0, 110.0)}  # ends of the bar that shows a level


@dataclass(frozen=True, slots=True)
class Level:
    """How loud a recording was.

    Attributes
    ----------
    laeq, lafmax : float
        In dB.
    reference : str
        What 0 dB is.
    """

    laeq: float
    lafmax: float
    reference: str

    @property
    def share(self) -> float:
        """LAeq as a share of the bar's length, from 0 to 1."""
        low, high = SCALES.get(self.reference, SCALES["dBFS"])
        return min(1.0, max(0.0, (self.laeq - low) / (high - low)))


@dataclass(frozen=True, slots=True)
class Row:
    """A recording as the page lists it."""

    entry: Entry
    heard: list[Heard]
    level: Level | None


class Now:
    """The page, with what it remembers.

    Parameters
    ----------
    node : Node
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._levels: OrderedDict[Identity, Level | None] = OrderedDict()
        self._lock = threading.Lock()
        self._has_levels = node.config.levels.is_asked_for
        if self._has_levels:  # that takes numpy, and whoever comes first should not wait for it
            import_module("sonyc_ml.outputs.files")

    def content(self, visit: Visit) -> Mapping[str, Any]:
        """Return what the template ``now.html`` shows."""
        rows = visit.ask(self._rows) or []
        heard = visit.ask(lambda journal: find_heard(journal, heard_labels(journal), limit=N_DETECTIONS))
        return {
            "status": visit.ask(lambda journal: status(journal, visit.now_s)),
            "recordings": rows,
            "level": next((row.level for row in rows if row.level), None),
            "has_levels": self._has_levels,
            "detections": heard or [],
        }

    def _rows(self, journal: Journal) -> list[Row]:
        """The recordings that were through last."""
        return [
            Row(entry, heard_of(journal, entry.identity)[:N_CLASSES], self._level(entry))
            for entry in journal.latest(ENDED, N_RECORDINGS)
        ]

    def _level(self, entry: Entry) -> Level | None:
        """How loud a recording was, where its output says so."""
        if not self._has_levels or entry.state != "done":
            return None
        with self._lock:
            if entry.identity not in self._levels:
                self._levels[entry.identity] = _read_level(self._node, entry.identity)
                while len(self._levels) > N_LEVELS:
                    self._levels.popitem(last=False)
            return self._levels[entry.identity]


def stamp(visit: Visit) -> Response:
    """Return what is another text once the page has news: who has no events asks for it every few seconds."""
    return PlainTextResponse(visit.node.stamp(), headers={"Cache-Control": "no-store"})


def _read_level(node: Node, identity: Identity) -> Level | None:
    """The levels in the first of a recording's outputs; None where it has none, or cannot be read."""
    from sonyc_ml.outputs.files import find_output, read_output  # noqa: PLC0415  imports numpy

    path = find_output(identity, node.output_folders[0], node.config.output.format)
    try:
        levels = read_output(path).levels if path else None
    except (OSError, ValueError):  # the page of the recording says more
        return None
    if levels is None or math.isnan(levels["LAeq_total"]):
        return None
    return Level(levels["LAeq_total"], levels["LAFmax_total"], levels.reference)
