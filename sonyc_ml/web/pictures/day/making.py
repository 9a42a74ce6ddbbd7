"""A span of time of a node: what was recorded, what was heard, how loud it was, and a map of the embeddings."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sonyc_ml.analysis.plots.bins import bin_edges, longest_pause_s
from sonyc_ml.base.human import count, span
from sonyc_ml.base.records import dataclass
from sonyc_ml.node.journal.between import HeardBin, Made, find_between, heard_between
from sonyc_ml.node.operate.audit import audit
from sonyc_ml.web.pictures.day.classes import figure_of_heard, figure_of_scores
from sonyc_ml.web.pictures.day.gaps import figure_of_recordings, gap_table, gaps_of
from sonyc_ml.web.pictures.day.levels import figure_of_levels
from sonyc_ml.web.pictures.day.maps import figure_of_map
from sonyc_ml.web.pictures.drawing.figures import Figure, csv_parts
from sonyc_ml.web.pictures.jobs import PAGE, DayJob
from sonyc_ml.web.pictures.summaries import Summary, spread

if TYPE_CHECKING:
    from sonyc_ml.analysis.plots.components import Numbers
    from sonyc_ml.web.pictures.making import Maker

MOST_BINS = 96  # a quarter of an hour each in a day
MOST_READ, READ_S = 2000, 1.0  # outputs that are read for a picture, and how long that may take (in seconds)
SHORTEST_GAP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What there is to show of a span.

    Attributes
    ----------
    edges_s : np.ndarray [shape=(n_bins + 1,), dtype=float64]
        In seconds since 1970, equally far apart.
    made : list of Made
        Every recording, in the order of time.
    n_made : np.ndarray [shape=(n_bins,)]
        In how many recordings each bin is.
    read : list of (Made, Summary)
        Those whose outputs were read.
    heard : list of HeardBin
    audit : dict
        See :func:`sonyc_ml.node.operate.audit.audit`.
    """

    edges_s: Numbers
    made: list[Made]
    n_made: Numbers
    read: list[tuple[Made, Summary]]
    heard: list[HeardBin]
    audit: dict[str, Any]

    def bin_of(self, time_s: float) -> int:
        """In which bin a time is; outside, the first or the last."""
        place = int((time_s - self.edges_s[0]) // (self.edges_s[1] - self.edges_s[0]))
        return min(max(place, 0), len(self.edges_s) - 2)


def make_day(maker: Maker, job: DayJob) -> dict[str, bytes]:
    """Return the page's values and the csv files of a span; see :meth:`sonyc_ml.web.pictures.making.Maker.make`."""
    day = _collect(maker, job)
    figures: list[Figure] = [figure_of_recordings(day)]
    done = [one for one in day.made if one.state == "done"]
    figures += figure_of_heard(day) if day.heard else figure_of_scores(day)
    figures += figure_of_levels(day)
    figures += figure_of_map(day.read)
    gaps = gap_table(gaps_of(day.audit))
    values = {
        "figures": [figure.shown() for figure in figures],
        "gaps": gaps.shown(),
        "totals": {name: day.audit[name] for name in ("recorded", "embedded", "quarantined", "shed", "pending")},
        "whole": day.audit["whole"],
        "history_begins": day.audit["history_begins"],
        "gap_s": day.audit["gap_s"],
        "bin_s": float(day.edges_s[1] - day.edges_s[0]),
        "read": _how_many_read(len(day.read), len(done)),
    }
    parts = {PAGE: json.dumps(values).encode()}
    return parts | csv_parts([*(figure.table for figure in figures), gaps])


def _collect(maker: Maker, job: DayJob) -> Day:
    with maker.journal() as journal:
        made = find_between(journal, job.start_s, job.end_s)
        starts_s = np.array([one.start_s for one in made])
        edges_s = bin_edges(job.start_s, job.end_s, starts_s, 0.0, MOST_BINS)
        width_s = float(edges_s[1] - edges_s[0])
        heard = heard_between(journal, job.start_s, float(edges_s[-1]), width_s)
        gap_s = max(SHORTEST_GAP_S, longest_pause_s(starts_s))
        answer = audit(journal, job.start_s, min(job.end_s, time.time()), gap_s)
    return Day(
        edges_s=edges_s,
        made=made,
        n_made=_counted(made, edges_s),
        read=_read(maker, job.bundle, [one for one in made if one.state == "done"]),
        heard=heard,
        audit=answer,
    )


def _read(maker: Maker, bundle: int, done: Sequence[Made]) -> list[tuple[Made, Summary]]:
    """Outputs of some of the recordings that are done, evenly over all of them; those of the most frequent bundle."""
    chosen = {done[place].identity: done[place] for place in spread(len(done), MOST_READ)}
    until_s = time.monotonic() + READ_S
    read = maker.summaries(bundle).read(chosen, until_s, with_levels=True)
    found = [(chosen[identity], summary) for identity, summary in read]
    bundles = Counter(summary.bundle_sha256 for _, summary in found)
    if len(bundles) > 1:  # embeddings of two bundles cannot be compared
        most, _ = bundles.most_common(1)[0]
        found = [pair for pair in found if pair[1].bundle_sha256 == most]
    return sorted(found, key=lambda pair: pair[0].start_s)


def _counted(made: Sequence[Made], edges_s: Numbers) -> Numbers:
    """In how many recordings each bin is."""
    n_bins, width_s = len(edges_s) - 1, edges_s[1] - edges_s[0]
    changes = np.zeros(n_bins + 1)
    starts_s = np.array([one.start_s for one in made])
    ends_s = starts_s + np.array([one.duration_s for one in made])
    firsts = np.clip(np.floor((starts_s - edges_s[0]) / width_s), 0, n_bins - 1).astype(np.intp)
    lasts = np.clip(np.ceil((ends_s - edges_s[0]) / width_s), firsts + 1, n_bins).astype(np.intp)
    np.add.at(changes, firsts, 1)
    np.add.at(changes, lasts, -1)
    return np.cumsum(changes)[:-1]


def _how_many_read(n_read: int, n_done: int) -> str:
    """Of how many outputs levels and map are, in words; empty where of all."""
    if n_read >= n_done:
        return ""
    return f"{count(n_read, 'output')} of {n_done:,} were read, evenly over the span ({span(READ_S)} at most)"
