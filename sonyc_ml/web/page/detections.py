"""What was heard: by class, score and time; as a page, and as a csv of the same."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response

from sonyc_ml.base.cells import to_cell
from sonyc_ml.base.human import date_of, iso
from sonyc_ml.base.records import dataclass
from sonyc_ml.node.journal.heard import HeardIn, find_heard, heard_labels, matching
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.web.page import links
from sonyc_ml.web.page.visit import Query, Visit

SINCE = "7d"  # where nothing else is asked for
N_ROWS, MAX_ROWS = 50, 500  # of a page
N_CSV = 20_000
HEADING = ("recording", "time", "start_s", "end_s", "label", "score_max")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a form asks for.

    Attributes
    ----------
    label : str
        Of a class, or one of its names; all classes where empty.
    score : float
        The lowest that is shown.
    since_s, until_s : float
        Of the sound (in seconds since 1970).
    n_rows : int
    before_s, n_seen : float, int
        Where a page goes on: at the time of the last row of the one before, which had so many rows of just that time.
    """

    label: str
    score: float
    since_s: float
    until_s: float
    n_rows: int
    before_s: float
    n_seen: int

    @classmethod
    def of(cls, query: Query, now_s: float) -> Wanted:
        """What an address asks for.

        Raises
        ------
        PageError
            A field is none of its kind.
        """
        return cls(
            query.text("label"),
            query.number("score", 0.0, 0.0, math.inf),
            query.moment("since", now_s, SINCE),
            query.moment("until", now_s, "0s") if query.text("until") else math.inf,
            query.whole("rows", N_ROWS, 1, MAX_ROWS),
            query.number("before", math.inf, -math.inf, math.inf),
            query.whole("seen", 0, 0, 1_000_000),
        )


def content(visit: Visit) -> Mapping[str, Any]:
    """Return what the template ``detections.html`` shows."""
    wanted = Wanted.of(visit.query, visit.now_s)
    labels = visit.ask(heard_labels) or []
    rows = visit.ask(lambda journal: find(journal, wanted, wanted.n_rows + 1)) or []
    shown = rows[: wanted.n_rows]
    asked = {name: visit.query.text(name) for name in ("label", "score", "since", "until", "rows")}
    return {
        "wanted": wanted,
        "asked": asked,
        "since": SINCE,
        "labels": labels,
        "is_known": not wanted.label or bool(matching(labels, wanted.label)),
        "rows": shown,
        "first": links.address("detections", **asked) if visit.query.text("before") else "",
        "older": _older(wanted, asked, shown) if len(rows) > len(shown) else "",
        "csv": links.address("detections.csv", **{name: asked[name] for name in ("label", "score", "since", "until")}),
        "n_csv": N_CSV,
    }


def find(journal: Journal, wanted: Wanted, n_rows: int) -> list[HeardIn]:
    """What is wanted, the latest first, at most so many."""
    known = heard_labels(journal)
    rows = find_heard(
        journal,
        matching(known, wanted.label) if wanted.label else known,
        since_s=wanted.since_s,
        until_s=min(wanted.until_s, wanted.before_s),
        min_score=wanted.score,
        limit=wanted.n_seen + n_rows,
    )
    return rows[wanted.n_seen :]


def _older(wanted: Wanted, asked: Mapping[str, str], shown: list[HeardIn]) -> str:
    """The address of the next page."""
    last_s = shown[-1].at_s
    n_seen = sum(row.at_s == last_s for row in shown)
    n_seen += wanted.n_seen if last_s == wanted.before_s else 0
    return links.address("detections", **asked, before=repr(last_s), seen=n_seen)


def table(visit: Visit) -> Response:
    """Return what is wanted as a csv: all of it, up to so many rows, and then its last line says so."""
    wanted = Wanted.of(visit.query, visit.now_s)
    rows = visit.ask(lambda journal: find(journal, wanted, N_CSV + 1))
    if rows is None:
        return Response(f"{'; '.join(visit.problems)}\n", 503, media_type="text/plain")
    text = _csv(rows[:N_CSV])
    if len(rows) > N_CSV:
        text += f"# cut: there are more than {N_CSV} rows; ask for a shorter span\n"
    name = date_of(visit.now_s).strftime("detections_%Y%m%dT%H%M%SZ.csv")
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(os.fsencode(text), media_type="text/csv; charset=utf-8", headers=headers)


def _csv(rows: Iterable[HeardIn]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADING)
    for row in rows:
        heard = row.heard
        numbers = f"{heard.start_s:.6f}", f"{heard.end_s:.6f}"
        cells = to_cell(row.identity.name), iso(row.at_s), *numbers, to_cell(heard.label), f"{heard.score_max:.6g}"
        writer.writerow(cells)
    return text.getvalue()
