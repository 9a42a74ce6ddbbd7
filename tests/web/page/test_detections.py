"""The page of detections: what a form may ask for, pages without gaps and doubles, and a csv that computes nothing."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sonyc_ml.base.cells import from_cell
from sonyc_ml.node.journal.heard import Heard
from sonyc_ml.node.journal.journal import Journal, OutputSummary
from tests.conftest import needs
from tests.support.bundles import configure
from tests.support.journals import NOON_S, Clock, an_identity

pytestmark = [needs("starlette"), needs("jinja2")]

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

from sonyc_ml.web.page import detections  # noqa: E402
from sonyc_ml.web.page.node import Node  # noqa: E402
from sonyc_ml.web.page.visit import PageError, Query, Visit  # noqa: E402

N = 60
LABELS = ("Turdus merula_Eurasian Blackbird", "=SUM(A1)", "rain")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node with three classes in each of 60 recordings, of which every three began at once."""
    config = configure(tmp_path, tmp_path / "m.tflite")
    clock = Clock(NOON_S)
    journal = Journal(config.state_folder, clock=clock)
    for number in range(N):
        start_s = NOON_S - 600.0 * (number // 3)
        heard = tuple(Heard(label, 0.01 * number, 1.0, 2.5) for label in LABELS)
        name = f"-{number:02}.wav"
        journal.adopt([(an_identity(name, start_s), OutputSummary(start_s, 10.0, 0.1, heard=heard))])
    journal.close()
    return Node(tmp_path / "sonyc-ml.toml", config, clock)


def shown(node: Node, query: str) -> dict[str, Any]:
    with Visit(node, Query(query.encode())) as visit:
        return {**detections.content(visit), "problems": visit.problems}


def texts(rows: list[Any]) -> list[tuple[str, str]]:
    return [(row.identity.name, row.heard.label) for row in rows]


@pytest.mark.parametrize("n_rows", [1, 2, 7, 50])
def test_pages_follow_each_other_without_gaps(node: Node, n_rows: int) -> None:
    """From page to page everything comes once, the latest first, also where many begin at once."""
    found: list[Any] = []
    query = f"rows={n_rows}"
    while query:
        page = shown(node, query)
        found += page["rows"]
        query = urlsplit(page["older"]).query
    assert len(set(texts(found))) == len(found) == N * len(LABELS)
    times = [row.at_s for row in found]
    assert times == sorted(times, reverse=True)


def test_a_form_narrows_it(node: Node) -> None:
    """By a class, by one of its names, by score and by time."""
    assert {row.heard.label for row in shown(node, "label=eurasian+blackbird")["rows"]} == {LABELS[0]}
    assert min(row.heard.score_max for row in shown(node, "score=0.5&rows=500")["rows"]) >= 0.5
    narrow = shown(node, "since=2023-11-14T21:00&until=2023-11-14T21:30&rows=500")["rows"]
    assert {row.at_s // 600 for row in narrow} == {(NOON_S + 1 - 600 * n) // 600 for n in (5, 6, 7)}
    assert shown(node, "label=nothing")["is_known"] is False
    assert shown(node, "")["problems"] == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("score=high", "score must be a number from 0 to"),
        ("score=nan", "score must be a number"),
        ("rows=0", "rows must be a number from 1 to 500"),
        ("rows=1.5", "rows must be a whole number"),
        ("since=yesterday", "since: 'yesterday' is no time"),
        ("before=x", "before must be a number"),
        ("&".join(f"a{n}=1" for n in range(60)), "more than 50 fields"),
    ],
)
def test_what_is_no_question_is_refused(node: Node, query: str, says: str) -> None:
    """In a sentence that names the field."""
    with pytest.raises(PageError, match=says) as refused:
        shown(node, query)
    assert refused.value.status == 400


def test_the_csv_is_what_is_shown_and_computes_nothing(node: Node) -> None:
    """All rows of all pages; a name or a class that would be a formula is none in a spreadsheet."""
    with Visit(node, Query(b"score=0.3")) as visit:
        answer = detections.table(visit)
    rows = list(csv.DictReader(io.StringIO(bytes(answer.body).decode())))
    wanted = shown(node, "score=0.3&rows=500")["rows"]
    assert [(from_cell(row["recording"]), from_cell(row["label"])) for row in rows] == texts(wanted)
    assert not any(cell.startswith(("=", "-", "+", "@")) for row in rows for cell in row.values())
    assert [row["time"] for row in rows] == sorted((row["time"] for row in rows), reverse=True)
    assert answer.headers["content-disposition"] == 'attachment; filename="detections_20231114T221320Z.csv"'


def test_a_csv_that_is_cut_says_so(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its last line; a journal that cannot be read gives no empty table."""
    monkeypatch.setattr(detections, "N_CSV", 10)
    with Visit(node, Query(b"")) as visit:
        lines = bytes(detections.table(visit).body).decode().splitlines()
    assert len(lines) == 1 + 10 + 1
    assert lines[-1].startswith("# cut: there are more than 10 rows")
    (node.state_folder / "journal.sqlite").write_bytes(b"no journal")
    with Visit(node, Query(b"")) as visit:
        assert detections.table(visit).status_code == 503
