"""A day, or any span of days: what was recorded and heard, how loud it was, gaps, and a map of the embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from starlette.responses import Response

from sonyc_ml.base.records import dataclass
from sonyc_ml.node.journal.between import first_and_last, stamp_of
from sonyc_ml.web.clock import local, midnight_s
from sonyc_ml.web.page import links
from sonyc_ml.web.page.pictured import Pictured
from sonyc_ml.web.page.visit import PageError, Query, Visit
from sonyc_ml.web.pictures.jobs import PAGE, DayJob

MINUTE_S = 60
FIRST, LAST = date(1900, 1, 1), date(2261, 12, 31)  # of what the journal can hold


@dataclass(frozen=True, slots=True)
class Days:
    """A span of days of the node's place, the last one too; a day there may have 23 or 25 hours."""

    first: date
    last: date

    @classmethod
    def of(cls, query: Query, newest: date) -> Days:
        """What an address asks for: a ``date``, or ``from`` and ``to``; the newest day there is where it says nothing.

        Raises
        ------
        PageError
            It is no day.
        """
        only = query.text("date")
        first = _day("from", query.text("from") or only) or newest
        last = _day("to", query.text("to") or only) or max(first, newest)
        if last < first:
            raise PageError(400, f"the span ends, on {last}, before it begins, on {first}")
        return cls(first, last)

    @property
    def n_days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    @property
    def start_s(self) -> float:
        """When it begins (in seconds since 1970)."""
        return midnight_s(self.first)

    @property
    def end_s(self) -> float:
        """When it ends (in seconds since 1970)."""
        return midnight_s(self.last + timedelta(days=1))

    def moved(self, by: int) -> Days:
        """The span of as many days before or behind it."""
        shift = timedelta(days=by * self.n_days)
        return Days(self.first + shift, self.last + shift)

    def fields(self) -> dict[str, str]:
        """Itself as the fields of an address."""
        if self.n_days == 1:
            return {"date": self.first.isoformat()}
        return {"from": self.first.isoformat(), "to": self.last.isoformat()}

    def __str__(self) -> str:
        return self.first.isoformat() if self.n_days == 1 else f"{self.first} to {self.last}"


def _day(name: str, text: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise PageError(400, f"{name} must be a day, as in 2026-11-21, not {text!r}") from None
    if not FIRST <= day <= LAST:
        raise PageError(400, f"{name} must be a day from {FIRST} to {LAST}, not {day}")
    return day


def _newest(visit: Visit) -> date:
    """The day of the newest recording; today where there is none, or one is of a clock that runs ahead."""
    known = visit.ask(first_and_last)
    return local(min(known[1], visit.now_s) if known else visit.now_s).date()


class Day(Pictured):
    """Shows a span of days; see :class:`~sonyc_ml.web.page.pictured.Pictured`."""

    def content(self, visit: Visit) -> Mapping[str, Any]:
        """Return what the template ``day.html`` shows."""
        newest = _newest(visit)
        days, bundle = Days.of(visit.query, newest), self.bundle(visit)
        job = self._job(visit, days, bundle)
        parts = self.made_for_page(visit, job) if job is not None else None
        chosen = {"bundle": bundle or None}
        return {
            "days": days,
            "newest": newest,
            "before": links.address("day", **days.moved(-1).fields(), **chosen),
            "behind": links.address("day", **days.moved(1).fields(), **chosen) if days.last < newest else "",
            "bundle": bundle,
            "bundles": self.bundle_names(visit),
            "csv": lambda table: links.address("day.csv", **days.fields(), **chosen, table=table),
            "day": None if parts is None else json.loads(parts[PAGE]),
        }

    def table(self, visit: Visit) -> Response:
        """Return the numbers behind a picture as a csv: all of them."""
        days = Days.of(visit.query, _newest(visit))
        job = self._job(visit, days, self.bundle(visit))
        return self.csv(visit, job, str(days).replace(" ", "_"))

    def _job(self, visit: Visit, days: Days, bundle: int) -> DayJob | None:
        """What is asked of the process that makes pictures; None where the journal cannot be read."""
        stamp = visit.ask(lambda journal: stamp_of(journal, days.start_s, days.end_s))
        if stamp is None:
            return None
        if days.end_s > visit.now_s:  # what is missing up to now grows
            stamp += f" {visit.now_s // MINUTE_S:.0f}"
        return DayJob(start_s=days.start_s, end_s=days.end_s, bundle=bundle, stamp=stamp)
