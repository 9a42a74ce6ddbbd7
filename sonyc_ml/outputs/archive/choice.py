"""What of an archive is asked for: whose, and of what time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.human import date_of, seconds_of
from sonyc_ml.base.records import dataclass
from sonyc_ml.outputs.archive.layout import UNKNOWN
from sonyc_ml.outputs.output import Output, Provenance
from sonyc_ml.sound.node import read_record

Moment = datetime | np.datetime64 | str
MAX_LISTED_DAYS = 62  # of a span, that are asked for one by one; of a longer one a node's whole folder is listed


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked for; see :func:`choice_of`.

    Attributes
    ----------
    nodes : frozenset of str or None
    since_s, until_s : float
        In seconds since 1970; windows that begin from the first on, and before the second.
    """

    nodes: frozenset[str] | None = None
    since_s: float = -math.inf
    until_s: float = math.inf

    @property
    def is_span(self) -> bool:
        """Whether not all of time is asked for; what nobody knows the time of is then left out."""
        return math.isfinite(self.since_s) or math.isfinite(self.until_s)

    @property
    def is_all(self) -> bool:
        """Whether everything is asked for."""
        return self.nodes is None and not self.is_span

    def has_date(self, date: str) -> bool:
        """Whether recordings that begin on a day, or outside of all days, may have windows in the span.

        A recording is taken to end within a day of its beginning.
        """
        if not self.is_span or not date:
            return True
        if date == UNKNOWN:
            return False
        start_s = seconds_of(date)
        return start_s < self.until_s and start_s + 2 * 86400 > self.since_s

    def dates(self) -> list[str] | None:
        """The days that may have windows in the span; None where they are too many to ask for each."""
        if not math.isfinite(self.since_s) or not self.until_s - self.since_s < MAX_LISTED_DAYS * 86400:
            return None
        first = date_of(self.since_s).date() - timedelta(days=1)
        n_days = (date_of(self.until_s).date() - first).days + 1
        dates = [(first + timedelta(days=n)).isoformat() for n in range(n_days)]
        return [date for date in dates if self.has_date(date)]

    def may_have(self, made: Provenance) -> bool:
        """Whether windows of a recording may be in the span: its first may begin before it does."""
        if not self.is_span:
            return True
        if not made.start_time:
            return False
        start_s = seconds_of(made.start_time)
        return start_s - made.window_size_s < self.until_s and start_s + made.duration_s >= self.since_s

    def has_node(self, node: str) -> bool:
        """Whether a node's outputs are asked for."""
        return self.nodes is None or node in self.nodes

    def rows(self, times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
        """Which windows are in the span, by when they begin, `(n_windows,)`."""
        moments_us = times.astype("datetime64[us]")
        kept = np.ones(len(times), np.bool_)
        if self.is_span:
            kept &= ~np.isnat(moments_us)
        if math.isfinite(self.since_s):
            kept &= moments_us >= _moment_us(self.since_s)
        if math.isfinite(self.until_s):
            kept &= moments_us < _moment_us(self.until_s)
        return kept

    def has_some_of(self, output: Output) -> bool:
        """Whether any window of an output is asked for."""
        if not self.has_node(node_of(output.provenance)):
            return False
        return not self.is_span or bool(self.rows(output.times()).any())


def choice_of(nodes: str | Iterable[str] | None, since: Moment | None, until: Moment | None) -> Choice:
    """What is asked for.

    Parameters
    ----------
    nodes : str or iterable of str, optional
        Names; all where not given.
    since, until : datetime, np.datetime64 or str in ISO 8601, optional
        In UTC where they have no zone.

    Raises
    ------
    ValueError
        One of them is no time.
    """
    names = None if nodes is None else frozenset([nodes] if isinstance(nodes, str) else nodes)
    return Choice(
        names,
        -math.inf if since is None else _seconds(since),
        math.inf if until is None else _seconds(until),
    )


def node_of(made: Provenance) -> str:
    """The name of the node that an output says it is of; empty where it does not."""
    return str(read_record(made.node).get("name", ""))


def _seconds(moment: Moment) -> float:
    if isinstance(moment, np.datetime64):
        return float(moment.astype("datetime64[us]").astype(np.int64)) / 1e6
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return seconds_of(moment)


def _moment_us(time_s: float) -> np.datetime64:
    return np.datetime64(round(time_s * 1e6), "us")
