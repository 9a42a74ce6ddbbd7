"""How far what was detected in two outputs of one recording lies apart."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from sonyc_ml.base.records import dataclass
from sonyc_ml.outputs.detections import Detection
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.outputs.rules import DetectionRules


@dataclass(kw_only=True)
class DetectionDifference:
    """How far the detections of all outputs lie apart so far.

    Attributes
    ----------
    n_a, n_b, n_both : int
        Detections of each, and those that are in both: of one class, at the same time or partly so.
    largest_score : float
        The largest difference of two highest scores, of those in both.
    largest_s : float
        The largest difference of two beginnings or ends, of those in both (in seconds).
    """

    n_a: int = 0
    n_b: int = 0
    n_both: int = 0
    largest_score: float = 0.0
    largest_s: float = 0.0

    def add(self, a: Output, b: Output, tolerance: float, *, exact: bool) -> bool:
        """Add those of one recording; returns whether they are the same.

        Scores may differ by `tolerance`, and so may what reaches its threshold: a detection that one output alone has
        counts as different where its score is further above it than that. What begins and ends sooner or later follows
        from the scores, and counts where all is to be `exact`.
        """
        ours, theirs = a.detections or (), b.detections or ()
        pairs, alone = matched(ours, theirs)
        self.n_a, self.n_b, self.n_both = self.n_a + len(ours), self.n_b + len(theirs), self.n_both + len(pairs)
        score = max((abs(one.score_max - other.score_max) for one, other in pairs), default=0.0)
        apart_s = max((_apart_s(*pair) for pair in pairs), default=0.0)
        self.largest_score, self.largest_s = max(self.largest_score, score), max(self.largest_s, apart_s)
        if exact:
            return not alone and score == 0 and apart_s == 0
        limits = [_threshold(output.provenance, one.label) + tolerance for one in alone for output in (a, b)]
        return score <= tolerance and all(
            one.score_max <= max(limits[2 * i : 2 * i + 2]) for i, one in enumerate(alone)
        )

    def table(self) -> dict[str, Any]:
        """All of it by name."""
        return {
            "in_a": self.n_a,
            "in_b": self.n_b,
            "in_both": self.n_both,
            "largest_difference_of_scores": self.largest_score,
            "largest_difference_of_times_s": self.largest_s,
        }


def matched(
    a: tuple[Detection, ...], b: tuple[Detection, ...]
) -> tuple[list[tuple[Detection, Detection]], list[Detection]]:
    """Detections of one class that overlap, in pairs, and those that have no counterpart."""
    waiting: dict[str, list[Detection]] = defaultdict(list)
    for other in b:
        waiting[other.label].append(other)
    pairs, alone = [], []
    for one in a:
        at_that_time = [other for other in waiting[one.label] if _overlap_s(one, other) > 0]
        if not at_that_time:
            alone.append(one)
            continue
        best = max(at_that_time, key=lambda other, one=one: _overlap_s(one, other))  # type: ignore[misc]
        waiting[one.label].remove(best)
        pairs.append((one, best))
    return pairs, [*alone, *(other for others in waiting.values() for other in others)]


def detections_apart(a: Output, b: Output) -> str:
    """Why the detections of two outputs cannot be compared; empty where they can, or neither has any."""
    if (a.detections is None) == (b.detections is None):
        return ""
    return "no detections against detections" if a.detections is None else "detections against none"


def _overlap_s(one: Detection, other: Detection) -> float:
    return min(one.end_s, other.end_s) - max(one.start_s, other.start_s)


def _apart_s(one: Detection, other: Detection) -> float:
    return max(abs(one.start_s - other.start_s), abs(one.end_s - other.end_s))


def _threshold(provenance: Provenance, label: str) -> float:
    """From which score on a class was detected; the lowest there is where that is not recorded."""
    rules = json.loads(provenance.parameters or "{}").get("detections") or {}
    thresholds = rules.get("thresholds", {})
    if not isinstance(thresholds, dict):  # of many classes an output has a digest
        return 0.0
    return float(thresholds.get(label, rules.get("threshold", DetectionRules().threshold)))
