"""When there were recordings, and what a span of time held: outputs one after another, reduced to bins.

Outputs are many. None of them is kept: what grows with their number is two times and a number each. Nothing is drawn
here.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta, tzinfo

import numpy as np
import numpy.typing as npt

from sonyc_ml.analysis.plots.components import Floats, Indices, Numbers, Reservoir
from sonyc_ml.base.human import FIRST_S, LAST_S, seconds_of
from sonyc_ml.base.records import dataclass
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.start_time.words import in_words

BIN_WIDTHS_S = (60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
MOST_BINS = 288  # five minutes each in a day
USUAL_PAUSES = 1.5  # so many times as long as usual from one recording to the next is a gap
LONGEST_PAUSE_S = 3600.0  # and an hour always is
PIECE_S = 60.0  # a point of the map is a recording, or a piece of this length of a longer one
MAP_SIZE = 2000


@dataclass(frozen=True, slots=True)
class Timetable:
    """When the recordings of some outputs were made, and by which bundle they were embedded.

    Attributes
    ----------
    starts_s, ends_s : np.ndarray [shape=(n_recordings,), dtype=float64]
        In seconds since 1970.
    bundle : np.ndarray [shape=(n_recordings,)]
        Number of its bundle.
    bundles : tuple of str
        SHA-256 of each bundle.
    hop_size_s : float
        The longest distance between windows (in seconds).
    sources, doubts : tuple of str
        Of each start time; see :class:`sonyc_ml.sound.start_time.StartTime`.
    """

    starts_s: Numbers
    ends_s: Numbers
    bundle: Indices
    bundles: tuple[str, ...]
    hop_size_s: float
    sources: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def note_on_starts(self, there: npt.NDArray[np.bool_]) -> str:
        """What is to be said of the start times of some recordings; empty where all is well."""
        chosen = np.flatnonzero(there).tolist()
        sources, doubts = (Counter(words[i] for i in chosen) for words in (self.sources, self.doubts))
        return in_words(sources, doubts, "start_time_source in the outputs")

    def within(self, start_s: float, end_s: float) -> npt.NDArray[np.bool_]:
        """Which recordings have some sound in a span, `(n_recordings,)`."""
        return (self.starts_s < end_s) & (self.ends_s > start_s)

    def days(self, zone: tzinfo) -> Counter[date]:
        """How many recordings begin on each day of a time zone."""
        # The first and the last day that there are have no date in some zones.
        starts_s = np.clip(self.starts_s, FIRST_S + 86400, LAST_S - 86400)
        return Counter(datetime.fromtimestamp(start_s, zone).date() for start_s in starts_s.tolist())


def read_timetable(outputs: Iterable[Output]) -> Timetable:
    """When the recordings of some outputs were made."""
    starts_s, ends_s, numbers = [], [], []
    sources: list[str] = []
    doubts: list[str] = []
    bundles: dict[str, int] = {}
    hop_size_s = 0.0
    for output in outputs:
        start_s, end_s = span_of(output)
        starts_s.append(start_s)
        ends_s.append(end_s)
        numbers.append(bundles.setdefault(output.provenance.bundle_sha256, len(bundles)))
        hop_size_s = max(hop_size_s, output.provenance.hop_size_s)
        sources.append(sys.intern(output.provenance.start_time_source))
        doubts.append(sys.intern(output.provenance.start_time_doubt))
    return Timetable(
        np.array(starts_s, np.float64), np.array(ends_s, np.float64), np.array(numbers, np.intp), tuple(bundles),
        hop_size_s, tuple(sources), tuple(doubts),
    )  # fmt: skip


def span_of(output: Output) -> tuple[float, float]:
    """When a recording begins and ends, in seconds since 1970."""
    start_s = seconds_of(output.provenance.start_time)
    return start_s, start_s + output.provenance.duration_s


def span_of_day(day: date, zone: tzinfo) -> tuple[float, float]:
    """From midnight to midnight in a time zone, in seconds since 1970: 23, 24 or 25 hours."""
    midnights = (datetime.combine(day + timedelta(days=n), time(), zone).astimezone(UTC) for n in (0, 1))
    start, end = (midnight.timestamp() for midnight in midnights)
    return start, end


def bin_edges(start_s: float, end_s: float, starts_s: Numbers, hop_size_s: float, most: int = MOST_BINS) -> Numbers:
    """Bins for a span, so long that one without a window is a gap in the recordings.

    Parameters
    ----------
    start_s, end_s : float
        The span (in seconds since 1970).
    starts_s : np.ndarray [shape=(n_recordings,), dtype=float64]
        When the recordings in it begin.
    hop_size_s : float
        Distance between windows (in seconds).
    most : int > 0
        So many bins at most.

    Returns
    -------
    np.ndarray [shape=(n_bins + 1,), dtype=float64]
        From `start_s` on, equally far apart, the last at or behind `end_s`.
    """
    wanted_s = max((end_s - start_s) / most, longest_pause_s(starts_s), hop_size_s)
    days_s = 86400 * math.ceil(wanted_s / 86400)
    width_s = next((width_s for width_s in BIN_WIDTHS_S if width_s >= wanted_s), days_s)
    n_bins = max(1, math.ceil((end_s - start_s) / width_s))
    edges_s: Numbers = start_s + np.arange(n_bins + 1, dtype=np.float64) * width_s
    return edges_s


def longest_pause_s(starts_s: Numbers) -> float:
    """Longest time between the starts of two recordings without a gap: 1.5 times the median, at most an hour."""
    begins_s = np.unique(starts_s)
    usual_s = float(np.median(np.diff(begins_s))) if len(begins_s) > 1 else 0.0
    return min(USUAL_PAUSES * usual_s, LONGEST_PAUSE_S)


def merged(starts_s: Numbers, ends_s: Numbers, pause_s: float = 0.0) -> Numbers:
    """Join spans that overlap, or that no more than `pause_s` lies between: `(n_spans, 2)`, in their order."""
    if not len(starts_s):
        return np.empty((0, 2))
    order = np.argsort(starts_s, kind="stable")
    starts_s, reached_s = starts_s[order], np.maximum.accumulate(ends_s[order])
    begins = np.flatnonzero(np.concatenate([[True], starts_s[1:] > reached_s[:-1] + pause_s]))
    lasts = np.append(begins[1:] - 1, len(starts_s) - 1)
    return np.stack([starts_s[begins], reached_s[lasts]], axis=1)


class Bins:
    """What the bins of a span hold: mean scores, mean embeddings, and points for a map.

    Parameters
    ----------
    edges_s : np.ndarray [shape=(n_bins + 1,), dtype=float64]
        In seconds since 1970, equally far apart.

    Attributes
    ----------
    n_windows : np.ndarray [shape=(n_bins,)]
        Windows whose middle lies in each bin.
    map : Reservoir
        Mean embeddings of recordings, or of a minute of longer ones, with the number of the likeliest class (-1 where
        there are no scores) and the time.
    """

    def __init__(self, edges_s: Numbers) -> None:
        self.edges_s = edges_s
        self.n_windows = np.zeros(len(edges_s) - 1, np.int64)
        self.map = Reservoir(MAP_SIZE)
        self._sums: dict[str, Numbers] = {}
        self._counts: dict[str, npt.NDArray[np.int64]] = {}

    def add(self, output: Output) -> None:
        """Add the windows of an output whose middles lie in the span.

        Raises
        ------
        ValueError
            It has other dimensions or classes than those before it, or not a row for each window.
        """
        for array in output.computed().values():
            if len(array) != len(output.timestamps):
                raise ValueError(
                    f"{output.provenance.recording} has {len(array)} rows for {len(output.timestamps)} windows"
                )
        middles_s = span_of(output)[0] + output.timestamps + output.provenance.window_size_s / 2
        bins = np.floor((middles_s - self.edges_s[0]) / (self.edges_s[1] - self.edges_s[0])).astype(np.intp)
        inside = (bins >= 0) & (bins < len(self.n_windows))
        bins, middles_s = bins[inside], middles_s[inside]
        values = {kind: rows[inside] for kind, rows in output.computed().items()}
        counts = np.bincount(bins, minlength=len(self.n_windows))
        for kind, rows in values.items():
            sums = self._sums.setdefault(kind, np.zeros((len(self.n_windows), rows.shape[1])))
            if sums.shape[1] != rows.shape[1]:
                raise ValueError(f"{output.provenance.recording} has {rows.shape[1]} {kind}, others {sums.shape[1]}")
            for number in np.unique(bins):
                sums[number] += rows[bins == number].sum(axis=0)
            self._counts[kind] = self._counts.get(kind, 0) + counts
        self.n_windows += counts
        if "embedding" in values:
            self._add_to_map(values["embedding"], values.get("scores"), middles_s)

    def means(self, kind: str) -> Floats | None:
        """Means of a bin's ``scores`` or ``embedding``, `(n_bins, n)`; NaN where a bin is empty, None without any."""
        if kind not in self._sums:
            return None
        counts = np.where(self._counts[kind] == 0, np.nan, self._counts[kind])
        return (self._sums[kind] / counts[:, None]).astype(np.float32)

    def _add_to_map(self, embedding: Floats, scores: Floats | None, middles_s: Numbers) -> None:
        if not len(middles_s):
            return
        pieces = np.floor((middles_s - middles_s[0]) / PIECE_S)
        for piece in np.unique(pieces):
            rows = pieces == piece
            kind = -1 if scores is None else int(scores[rows].mean(axis=0).argmax())
            self.map.add(embedding[rows].mean(axis=0), kind, float(middles_s[rows].mean()))
