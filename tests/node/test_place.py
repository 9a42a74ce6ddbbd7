"""A node's name and place: in outputs, facts, events, audit and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sonyc_ml.cli.events import said_of
from sonyc_ml.cli.node_text import audit_text, status_text
from sonyc_ml.node.facts import DaemonFacts, Facts
from sonyc_ml.node.journal.event_log import read_events
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.journal.nodes import node_history
from sonyc_ml.node.operate.audit import audit
from sonyc_ml.node.operate.status import status
from sonyc_ml.node.telemetry.collector import Collector
from sonyc_ml.node.telemetry.exposition import render
from sonyc_ml.outputs.files import read_output
from sonyc_ml.outputs.parquet import read_part, write_part, write_waiting
from sonyc_ml.sound.node import Node as Place
from sonyc_ml.sound.node import read_record
from tests.support import wavs
from tests.support.journals import NOON_S, Clock, an_identity
from tests.support.metrics import parse
from tests.support.node import Node

MakeNode = Callable[..., Node]
SOUND = bytes(range(200)) * 80  # a second at 8 kHz
NAMED = '[node]\nname = "street-12"\nmicrophone = "MEMS"\n'
PLACED = f"{NAMED}latitude = 48.1\nlongitude = 11.5\n"


def with_guano(text: str) -> bytes:
    return wavs.wav(SOUND, before=[(b"guan", f"GUANO|Version: 1.0\n{text}\n".encode())])


@pytest.mark.parametrize("output_format", ["npz", "csv"])
@pytest.mark.parametrize(
    ("table", "said", "record"),
    [
        (NAMED, "Make: X", {"name": "street-12", "microphone": "MEMS"}),
        (
            NAMED,
            "Loc Position: -33.8 151.2\nLoc Elevation: 20",
            {"name": "street-12", "latitude": -33.8, "longitude": 151.2, "elevation_m": 20.0, "microphone": "MEMS"}
            | {"position_source": "guano"},
        ),
        (
            PLACED,
            "Loc Position: -33.8 151.2\nLoc Elevation: 20",
            {"name": "street-12", "latitude": 48.1, "longitude": 11.5, "microphone": "MEMS"}
            | {"position_source": "configuration"},
        ),
        (NAMED, "Loc Position: 0.0 0.0", {"name": "street-12", "microphone": "MEMS"}),
        (NAMED, "Loc Position: 95 0.5", {"name": "street-12", "microphone": "MEMS"}),
        (NAMED, "Loc Position: 1.2.3 4", {"name": "street-12", "microphone": "MEMS"}),
    ],
)
def test_outputs_hold_the_node(
    make_node: MakeNode, output_format: str, table: str, said: str, record: dict[str, object]
) -> None:
    """By name and place; GUANO gives a place where the configuration gives none, and the output says who did."""
    node = make_node(more=f'format = "{output_format}"\n{table}')
    (node.recordings / "a.wav").write_bytes(with_guano(said))
    node.run()
    output = read_output(node.out / f"a.wav.{output_format}")
    assert list(read_record(output.provenance.node).items()) == list(record.items())


def test_parquet_holds_the_node(make_node: MakeNode, tmp_path: Path) -> None:
    """Its metadata have the same record; what was written before there was one is read as before."""
    node = make_node(more=PLACED)
    node.write()
    node.run()
    output = read_output(node.out / "a.wav.npz")
    write_waiting(output, tmp_path / "waiting")
    write_part(tmp_path / "part.parquet", [tmp_path / "waiting"])
    (again,) = read_part(tmp_path / "part.parquet")
    assert again.provenance == output.provenance
    assert read_record(again.provenance.node)["latitude"] == 48.1


def test_records_that_cannot_be_read_say_nothing() -> None:
    """Of an output from before there were any, or of a damaged fact."""
    assert read_record("") == read_record("[1]") == read_record("{") == {}


def run_as(journal: Journal, clock: Clock, place: Place | None, n: int) -> None:
    """A daemon starts, of a version without names where there is no place."""
    clock.now_s = NOON_S + n * 3600
    node = place.record() if place else ""
    journal.write_facts(Facts(daemon=DaemonFacts(since=f"2026-11-21T1{n}:00:00+00:00", version="1", node=node)))


def test_another_name_or_place_is_on_record(journal: Journal, clock: Clock) -> None:
    """An event has old and new, audit says since when, and a start as before says nothing."""
    old, new = Place("old", latitude=1.0, longitude=2.0), Place("new")
    for n, place in enumerate((None, old, old, new)):
        run_as(journal, clock, place, n)
    changes = [event.to_plain() for event in read_events(journal, 0) if event.kind == "node"]
    at = {"latitude": 1.0, "longitude": 2.0, "position_source": "configuration"}
    assert [(one["before"], one["node"]) for one in changes] == [
        ({}, {"name": "old", **at}),
        ({"name": "old", **at}, {"name": "new"}),
    ]
    assert '"old"' in said_of(changes[1])
    assert '"new"' in said_of(changes[1])
    assert [json.loads(record)["name"] for _, record in node_history(journal)] == ["old", "new"]
    told = audit(journal, NOON_S + 2 * 3600, clock=clock)["nodes"]
    assert [one["name"] for one in told] == ["old"]  # the change is now, at the end of the span
    clock.now_s += 1
    answer = audit(journal, NOON_S + 2 * 3600, clock=clock)
    assert [one["name"] for one in answer["nodes"]] == ["old", "new"]
    journal.add([an_identity()])
    assert "old, 1.0, 2.0, since" in audit_text(audit(journal, NOON_S, clock=clock))
    assert status(journal)["node"] == {"name": "new"}
    assert "new" in status_text(status(journal))


def test_a_node_that_never_had_a_name_before_has_not_changed_it(journal: Journal, clock: Clock) -> None:
    """The first start of all is no change; what it began with is on record."""
    run_as(journal, clock, Place("first"), 0)
    assert "node" not in [event.kind for event in read_events(journal, 0)]
    assert [json.loads(record) for _, record in node_history(journal)] == [{"name": "first"}]


def test_metrics_name_the_node(tmp_path: Path, journal: Journal, clock: Clock) -> None:
    """One metric has it as labels, whether a daemon runs or not; to the others it is joined by the instance."""
    run_as(journal, clock, Place("street-12", latitude=48.1, longitude=11.5, note="behind the tree"), 0)
    samples = parse(render(Collector(tmp_path).families()))
    labels = [dict(pairs) for name, pairs in samples if name == "sonyc_ml_node_info"]
    place = {"latitude": "48.1", "longitude": "11.5", "position_source": "configuration"}
    assert labels == [{"node": "street-12", **place}]
