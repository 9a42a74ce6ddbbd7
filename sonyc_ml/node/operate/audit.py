"""How much was recorded in a span, what became of it, and when there was nothing."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from sonyc_ml.base.human import iso, seconds_of
from sonyc_ml.base.lock import holder
from sonyc_ml.node.journal.journal import STATES, Journal, Recorded
from sonyc_ml.node.journal.nodes import node_history
from sonyc_ml.node.operate.sources import audit_sources
from sonyc_ml.sound.node import read_record

Answer: TypeAlias = dict[str, Any]
Span: TypeAlias = tuple[float, float]

DAY_S = 86400


def audit(
    journal: Journal,
    since_s: float,
    until_s: float | None = None,
    gap_s: float = 60.0,
    clock: Callable[[], float] = time.time,
) -> Answer:
    """Add up what was recorded in a span.

    Parameters
    ----------
    journal : Journal
    since_s, until_s, clock
        The span, in seconds since 1970; until now where not given. What returns that.
    gap_s : float
        A pause between two recordings counts as a gap where it is longer.

    Returns
    -------
    dict
        For each of ``recorded``, ``embedded``, ``salvaged`` (a part of the embedded), ``quarantined``, ``shed`` and
        ``pending``: how many recordings and seconds, and of how many recordings the length is not known (no seconds);
        ``gaps``, each with how many recordings of unknown length may lie in it, also where a triggered recorder left
        something out, and before the first only where the history is ``whole``; live ``sources``; ``nodes``.
    """
    now_s = clock()
    until_s = now_s if until_s is None else until_s
    totals, covered, unmeasured = _recorded(journal, since_s, until_s)
    days = _days(journal, since_s, until_s, totals)
    first_s, first = _history(journal.begins_s(), days["first"])
    gaps = find_gaps(covered, since_s if first_s <= since_s else None, until_s, gap_s)
    return {
        "since": iso(since_s),
        "until": iso(until_s),
        "running": holder(journal.path.parent) is not None,
        "history_begins": first,
        "whole": first_s <= since_s,
        "gap_s": gap_s,
        **totals.answer(),
        "gaps": [_gap(gap, unmeasured, days["all"], gap_s, now_s) for gap in gaps],
        "sources": audit_sources(journal, since_s, until_s, now_s),
        "nodes": _nodes(journal, since_s, until_s),
        "days": {"counted": days["counted"], "cut": days["cut"]},
    }


def _nodes(journal: Journal, since_s: float, until_s: float) -> list[Answer]:
    """What the node was called and where it stood in a span, since when."""
    history = [(at_s, record) for at_s, record in node_history(journal) if at_s < until_s]
    n_before = sum(at_s <= since_s for at_s, _ in history)
    return [{"since": iso(at_s), **read_record(record)} for at_s, record in history[max(0, n_before - 1) :]]


def find_gaps(covered: Iterable[Span], since_s: float | None, until_s: float, gap_s: float) -> list[Span]:
    """Where no span covers anything for longer than `gap_s`; from `since_s`, or from the first span where None."""
    gaps = []
    end_s = since_s
    for start_s, stop_s in sorted(covered):
        if end_s is not None and start_s - end_s > gap_s:
            gaps.append((end_s, start_s))
        end_s = stop_s if end_s is None else max(end_s, stop_s)
    if end_s is not None and until_s - end_s > gap_s:
        gaps.append((end_s, until_s))
    return gaps


class _Totals:
    """Recordings and seconds, by what became of them."""

    def __init__(self) -> None:
        self._recordings: Counter[str] = Counter()
        self._unmeasured: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {state: Counter() for state in STATES}
        self._seconds = dict.fromkeys((*STATES, "salvaged"), 0.0)

    def add(self, state: str, reason: str, duration_s: float | None, *, salvaged: bool, n: int = 1) -> None:
        """Count recordings that are so long together."""
        for kind in (state, "salvaged") if salvaged else (state,):
            self._recordings[kind] += n
            self._unmeasured[kind] += n if duration_s is None else 0
            self._seconds[kind] += duration_s or 0.0
        if reason:
            self._reasons[state][reason] += n

    def answer(self) -> Answer:
        """The totals as plain values, and what share was embedded."""
        kinds = {"embedded": "done", **{kind: kind for kind in ("salvaged", "quarantined", "shed", "pending")}}
        totals = {name: self._total((kind,)) for name, kind in kinds.items()}
        for kind in ("quarantined", "shed"):
            totals[kind]["reasons"] = dict(self._reasons[kind].most_common())
        recorded = self._total(STATES)
        return {
            "recorded": recorded,
            **totals,
            "embedded_share": _share(totals["embedded"]["recordings"], recorded["recordings"]),
            "embedded_share_of_seconds": _share(totals["embedded"]["seconds"], recorded["seconds"]),
        }

    def _total(self, kinds: tuple[str, ...]) -> Answer:
        return {
            "recordings": sum(self._recordings[kind] for kind in kinds),
            "seconds": round(sum(self._seconds[kind] for kind in kinds), 3),
            "unmeasured": sum(self._unmeasured[kind] for kind in kinds),
        }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _recorded(journal: Journal, since_s: float, until_s: float) -> tuple[_Totals, list[Span], list[float]]:
    """Totals of what is known by itself, the spans that it covers, and the times of files whose span is not known."""
    totals = _Totals()
    covered: list[Span] = []
    unmeasured: list[float] = []
    for row in journal.recorded(since_s, until_s):
        if (row.mtime_s if row.start_s is None else row.start_s) >= since_s:
            totals.add(row.state, row.reason, _recorded_s(row), salvaged=row.salvaged)
        if row.start_s is not None and row.duration_s is not None:
            covered += _spans(row.start_s, row.duration_s, row.pauses)
        else:
            unmeasured.append(row.mtime_s)
    return totals, covered, unmeasured


def _recorded_s(row: Recorded) -> float | None:
    paused_s = sum(end_s - start_s for start_s, end_s in row.pauses)
    return None if row.duration_s is None else row.duration_s - paused_s


def _spans(start_s: float, duration_s: float, pauses: Sequence[Span]) -> list[Span]:
    """What a recording covers, in seconds since 1970: all of it but its pauses."""
    begins_s = [0.0, *(end_s for _, end_s in pauses)]
    ends_s = [*(begin_s for begin_s, _ in pauses), duration_s]
    spans = zip(begins_s, ends_s, strict=True)
    return [(start_s + begin_s, start_s + end_s) for begin_s, end_s in spans if begin_s < end_s or not pauses]


def _days(journal: Journal, since_s: float, until_s: float, totals: _Totals) -> Answer:
    """Add what is known by its day alone, of days that lie wholly in the span; name those that are cut."""
    all_days: Counter[str] = Counter()
    counted: set[str] = set()
    cut: Counter[str] = Counter()
    for day, state, reason, salvaged, n, duration_s in journal.days(""):
        start_s = day_s(day)
        all_days[day] += n
        if since_s <= start_s and start_s + DAY_S <= until_s:
            counted.add(day)
            # A length that was not known was compacted as 0.
            totals.add(state, reason, duration_s or None, salvaged=salvaged, n=n)
        elif start_s < until_s and start_s + DAY_S > since_s:
            cut[day] += n
    return {"all": all_days, "first": min(all_days, default=None), "counted": sorted(counted), "cut": dict(cut)}


def day_s(day: str) -> float:
    """When a day begins (in seconds since 1970), in UTC."""
    return seconds_of(f"{day}T00:00")


def _history(begins_s: float | None, first_day: str | None) -> tuple[float, str | None]:
    """When the history begins: a time, or a day where only that is known."""
    if first_day is not None and (begins_s is None or day_s(first_day) <= begins_s):
        return day_s(first_day), first_day
    return (math.inf, None) if begins_s is None else (begins_s, iso(begins_s))


def _gap(gap: Span, unmeasured: list[float], days: Counter[str], gap_s: float, now_s: float) -> Answer:
    """A gap, with what may lie in it: of some recordings only the file's time is known, which is that of their end."""
    start_s, end_s = gap
    return {
        "start": iso(start_s),
        "end": iso(end_s),
        "seconds": round(end_s - start_s, 3),
        "open": end_s >= now_s,
        "unmeasured": sum(start_s < time_s <= end_s + gap_s for time_s in unmeasured),
        "known_by_day": sum(n for day, n in days.items() if day_s(day) < end_s and day_s(day) + DAY_S > start_s),
    }
