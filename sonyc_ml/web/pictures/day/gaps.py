"""When there were recordings in a span, what became of them, and when and why there were none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sonyc_ml.analysis.plots.bins import longest_pause_s, merged
from sonyc_ml.base.human import count, seconds_of, span
from sonyc_ml.web.clock import short
from sonyc_ml.web.pictures.drawing import svg
from sonyc_ml.web.pictures.drawing.figures import Figure, Table, key, legend, rows_left

if TYPE_CHECKING:
    from sonyc_ml.web.pictures.day.making import Day

FINEST = 1000  # shares of the span: shorter pauses are not seen
STATES = {
    "done": ("done", "embedded"),
    "pending": ("pending", "pending"),
    "quarantined": ("bad", "quarantined"),
    "shed": ("shed", "shed"),
}


class Gap(NamedTuple):
    """A time without recordings: from when to when (in seconds since 1970), of which source, and why."""

    start_s: float
    end_s: float
    source: str
    why: str


def gaps_of(audit: dict[str, Any]) -> list[Gap]:
    """The gaps of a span, of the folder and of live sources, in the order of time."""
    found = [Gap(seconds_of(gap["start"]), seconds_of(gap["end"]), "", _why(gap)) for gap in audit["gaps"]]
    for source in audit["sources"]:
        for gap in source["gaps"]:
            why = f"{gap['reason']}: {gap['detail']}" if gap["detail"] else gap["reason"]
            found.append(Gap(seconds_of(gap["start"]), seconds_of(gap["end"]), source["source"], why))
    return sorted(found)


def _why(gap: dict[str, Any]) -> str:
    """What is known of a gap between files: no recorder says why it stopped."""
    parts = ["no recording was found"]
    if gap["open"]:
        parts = ["up to now: a recording that is being made is not known yet"]
    if gap["unmeasured"]:
        parts.append(f"{count(gap['unmeasured'])} of unknown length may lie in it")
    if gap["known_by_day"]:
        parts.append(f"{count(gap['known_by_day'])} of these days known by the day only")
    return "; ".join(parts)


def gap_table(gaps: list[Gap]) -> Table:
    """Gaps, one in each row."""
    heading = ("from", "to", "length", "source", "why")
    rows = [(short(gap.start_s), short(gap.end_s), span(gap.end_s - gap.start_s), gap.source, gap.why) for gap in gaps]
    return Table(name="gaps", heading=heading, rows=list(rows))


def figure_of_recordings(day: Day) -> Figure:
    """When there were recordings, and in which state they are."""
    start_s, end_s = float(day.edges_s[0]), float(day.edges_s[-1])
    starts_s = np.array([one.start_s for one in day.made])
    pause_s = max((end_s - start_s) / FINEST, longest_pause_s(starts_s))
    bars, shown = [], []
    for state, (css, words) in STATES.items():
        own = [one for one in day.made if one.state == state]
        if not own:
            continue
        begins_s = np.array([one.start_s for one in own])
        ends_s = begins_s + np.array([one.duration_s for one in own])
        ends = np.clip(
            (merged(begins_s, ends_s, pause_s if state == "done" else 0) - start_s) / (end_s - start_s), 0, 1
        )
        bars.append(svg.spans(ends.tolist(), f"made {css}", 2, svg.ROW_HEIGHT - 4, f"{count(len(own))} {words}"))
        shown.append((key(f"made {css}"), f"{words}: {len(own):,}"))
    content = (
        svg.ground(0, svg.ROW_HEIGHT) + svg.hatched("hatch-recordings", [(0, 1)], 0, svg.ROW_HEIGHT) + "".join(bars)
    )
    plot = svg.plot(
        content + svg.day_axis(start_s, end_s, svg.ROW_HEIGHT), svg.ROW_HEIGHT + svg.AXIS_HEIGHT, _said(day)
    )
    return Figure(
        title="Recordings",
        note="Hatched: not recorded.",
        left=rows_left(["recordings"], [False]),
        plot=plot,
        below=legend(shown),
        table=_table(day),
    )


def _said(day: Day) -> str:
    n_gaps = len(day.audit["gaps"])
    return f"{count(len(day.made))} over the span; {count(n_gaps, 'gap')}, listed below"


def _table(day: Day) -> Table:
    """How many recordings begin in each bin, by state."""
    counts = {state: np.zeros(len(day.edges_s) - 1, int) for state in STATES}
    for one in day.made:
        counts[one.state][day.bin_of(one.start_s)] += 1
    rows = [
        (short(float(edge_s)), *(str(counts[state][place]) for state in STATES))
        for place, edge_s in enumerate(day.edges_s[:-1])
    ]
    return Table(name="recordings", heading=("from", *(words for _, words in STATES.values())), rows=list(rows))
