"""The page's times are those of the node's place: days of 23 and 25 hours, ticks, tables, and what a form means."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import needs

pytestmark = [needs("starlette"), needs("jinja2")]

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

from sonyc_ml.node.config import load_config  # noqa: E402
from sonyc_ml.web.clock import local, short, shown_in, spelt  # noqa: E402
from sonyc_ml.web.page.day import Days  # noqa: E402
from sonyc_ml.web.page.frame import Frame  # noqa: E402
from sonyc_ml.web.page.node import Node  # noqa: E402
from sonyc_ml.web.page.texts import time_text  # noqa: E402
from sonyc_ml.web.page.visit import Query, Visit  # noqa: E402
from sonyc_ml.web.pictures.drawing import svg  # noqa: E402

BERLIN, HOUR_S = "Europe/Berlin", 3600.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("zone", "day", "hours", "begins"),
    [
        ("", "2026-03-29", 24, "2026-03-29T00:00"),
        (BERLIN, "2026-03-29", 23, "2026-03-28T23:00"),
        (BERLIN, "2026-10-25", 25, "2026-10-24T22:00"),
        ("Asia/Kathmandu", "2026-10-25", 24, "2026-10-24T18:15"),
    ],
)
def test_days_are_those_of_the_place(zone: str, day: str, hours: int, begins: str) -> None:
    """A day begins at its own midnight, and ends at the next, however many hours that takes; its axis says so."""
    with shown_in(zone):
        days = Days.of(Query(f"date={day}".encode()), datetime(2026, 11, 1, tzinfo=UTC).date())
        assert (days.start_s, days.end_s - days.start_s) == (at(begins), hours * HOUR_S)
        labels = re.findall(r">(\d\d:\d\d)<", svg.day_axis(days.start_s, days.end_s, 0))
        several = Days.of(Query(b"from=2026-03-27&to=2026-03-31"), days.first)
        dates = re.findall(r">(\d\d-\d\d)<", svg.day_axis(several.start_s, several.end_s, 0))
    assert labels[0] == "00:00"
    assert labels[-1] == {23: "22:00", 24: "24:00", 25: "23:00"}[hours]
    assert dates == ["03-27", "03-28", "03-29", "03-30", "03-31", "04-01"]


def test_each_time_names_its_zone() -> None:
    """Programs get UTC; people the time of the place, twice in the night in which an hour comes twice."""
    twice_s = at("2026-10-25T00:30")
    assert short(twice_s) == "2026-10-25 00:30:00"
    with shown_in(BERLIN):
        assert [spelt(twice_s + n * HOUR_S)[11:] for n in (0, 1)] == ["02:30:00 CEST", "02:30:00 CET"]
        assert [short(twice_s + n * HOUR_S)[11:] for n in (0, 1)] == ["02:30:00+02:00", "02:30:00+01:00"]
        assert str(time_text(0.0)) == '<time datetime="1970-01-01T00:00:00+00:00">1970-01-01 01:00:00 CET</time>'
        assert Query(b"since=2026-10-25T01:30").moment("since", 0.0, "") == twice_s - HOUR_S
        assert Query(b"since=2026-10-25T01:30Z").moment("since", 0.0, "") == twice_s + HOUR_S
        for far_s in (-1e15, 1e15):  # of a broken clock
            assert local(far_s)
    assert spelt(twice_s) == "2026-10-25 00:30:00 UTC"


def test_a_page_shows_the_zone_of_its_node(tmp_path: Path) -> None:
    """What the configuration names is what every page is rendered in."""
    path = tmp_path / "c.toml"
    path.write_text(
        '[spool]\nfolder = "in"\n[output]\nfolder = "out"\n[model]\npath = "a.tflite"\n'
        f'[node]\nname = "a"\ntime_zone = "{BERLIN}"\n'
    )
    frame = Frame(Node(path, load_config(path, {}), lambda: at("2026-07-01T10:00")))
    try:
        with shown_in(BERLIN), Visit(frame.node, Query(b"")) as visit:
            assert spelt(visit.now_s) == "2026-07-01 12:00:00 CEST"
        text = bytes(frame.refusal(404, "there is none").body).decode()
    finally:
        frame.pictures.close()
    assert f"Times are in {BERLIN}." in text
    assert f'data-zone="{BERLIN}"' in text
