"""A dataset apart by node or by bundle: how much each has heard, and how sure it was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.output import Output

BY = ("node", "bundle")
HIGH = 0.5  # a score from which on a window counts as one of its class


@dataclass(kw_only=True, slots=True)
class Heard:
    """What some outputs hold of one class.

    Attributes
    ----------
    score_sum : float
        Of all windows.
    n_high : int
        Windows with a score of at least :data:`HIGH`.
    n_detections : int
    """

    score_sum: float = 0.0
    n_high: int = 0
    n_detections: int = 0


@dataclass(kw_only=True, slots=True)
class Group:
    """The outputs of a node or a bundle.

    Attributes
    ----------
    n_recordings, n_windows, n_scored : int
        Windows of all outputs, and of those with the scores of all classes.
    sound_s : dict of str to float
        By node (in seconds).
    first, last : str
        When the first and the last recording begin, in ISO 8601; empty where nobody knows.
    heard : dict of str to Heard
        By class.
    detections : dict of str to Counter of str
        How many of each class, by node: nodes differ, and a bundle on a few of them says as much of these.
    n_without_detections : int
        Recordings for which no detections were asked: their sound counts in no rate.
    """

    n_recordings: int = 0
    n_windows: int = 0
    n_scored: int = 0
    sound_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    listened_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    first: str = ""
    last: str = ""
    heard: dict[str, Heard] = field(default_factory=lambda: defaultdict(Heard))
    detections: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    n_without_detections: int = 0

    def add(self, output: Output, node: str) -> None:
        """Count an output."""
        made = output.provenance
        self.n_recordings += 1
        self.n_windows += len(output.timestamps)
        self.sound_s[node] += made.duration_s
        if made.start_time:
            self.first = min(filter(None, (self.first, made.start_time)))
            self.last = max(self.last, made.start_time)
        if output.scores is not None:
            self.n_scored += len(output.scores)
            sums, high = output.scores.sum(axis=0, dtype=np.float64), (output.scores >= HIGH).sum(axis=0)
            for label, total, n in zip(output.labels, sums, high, strict=True):
                self.heard[label].score_sum += float(total)
                self.heard[label].n_high += int(n)
        if output.detections is None:
            self.n_without_detections += 1
            return
        self.listened_s[node] += made.duration_s
        for found in output.detections:
            self.heard[found.label].n_detections += 1
            self.detections[node][found.label] += 1

    def rate_per_h(self, label: str) -> float | None:
        """Detections of a class per hour of sound; None where none were asked for."""
        listened_s = sum(self.listened_s.values())
        return self.heard[label].n_detections / listened_s * 3600 if listened_s else None

    def rates_per_h(self, label: str) -> list[float]:
        """The rate of each node, from the lowest to the highest."""
        return sorted(self.detections[node][label] / s * 3600 for node, s in self.listened_s.items() if s)

    def table(self) -> dict[str, Any]:
        """All of it by name, for programs."""
        return {
            "nodes": sorted(self.sound_s),
            "recordings": self.n_recordings,
            "recordings_without_detections": self.n_without_detections,
            "windows": self.n_windows,
            "sound_h": sum(self.sound_s.values()) / 3600,
            "first": self.first,
            "last": self.last,
            "classes": {label: self._class_table(label) for label in sorted(self.heard)},
        }

    def _class_table(self, label: str) -> dict[str, Any]:
        heard, rates = self.heard[label], self.rates_per_h(label)
        return {
            "mean_score": heard.score_sum / self.n_scored if self.n_scored else None,
            "share_of_windows": heard.n_high / self.n_scored if self.n_scored else None,
            "detections": heard.n_detections,
            "detections_per_h": self.rate_per_h(label),
            "lowest_node_per_h": rates[0] if rates else None,
            "highest_node_per_h": rates[-1] if rates else None,
        }


def group_outputs(outputs: Iterable[tuple[str, Output]], by: str) -> dict[str, Group]:
    """Put outputs apart by their node or their bundle, and count what each group has heard.

    Numbers of different sound cannot be compared one by one, as :func:`sonyc_ml.analysis.compare.compare` does; how
    often a class was heard can, where the groups were recorded at the same time and there are enough nodes in each.

    Parameters
    ----------
    outputs : iterable of tuple of (str, Output)
        With their nodes, as :func:`sonyc_ml.analysis.by_node.outputs_by_node` gives them. Read once; memory holds one.
    by : {"node", "bundle"}

    Returns
    -------
    dict of str to Group
        By the name of the node, or by the bundle's name and the beginning of its SHA-256; in order.

    Raises
    ------
    ConfigError
        There are none.
    """
    if by not in BY:
        raise ValueError(f"outputs are put apart by {' or '.join(BY)}, not by {by!r}")
    groups: defaultdict[str, Group] = defaultdict(Group)
    for node, output in outputs:
        made = output.provenance
        groups[node if by == "node" else f"{made.bundle} {made.bundle_sha256[:12]}"].add(output, node)
    if not groups:
        raise ConfigError("there are no outputs of these nodes and this time")
    return dict(sorted(groups.items()))
