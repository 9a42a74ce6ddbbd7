"""``GET /events``: what happens, as Server-Sent Events, to readers that read."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sonyc_ml.base.identity import Identity
from sonyc_ml.node.journal.journal import Journal
from tests.conftest import PATIENCE_S, needs
from tests.support.serving import Served, served

pytestmark = [needs("starlette"), needs("uvicorn"), needs("prometheus_client"), needs("jinja2")]

TABLES = '[spool]\nfolder = "in"\n[output]\nfolder = "out"\n[serve]\npredict = false\n'


class Node(NamedTuple):
    """The service of a node, and its journal, which no daemon writes here."""

    service: Served
    journal: Journal


@contextmanager
def started(folder: Path) -> Iterator[Node]:
    """A service that has begun before there is a journal."""
    config = folder / "sonyc-ml.toml"
    config.write_text(TABLES)
    with served("--config", config, "--port", 0) as service:
        service.connection()
        with closing(Journal(folder / "out" / ".sonyc-ml")) as journal:
            yield Node(service, journal)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One for those who leave it as it is."""
    with started(tmp_path_factory.mktemp("node")) as node:
        yield node


class Reader:
    """Somebody who reads events."""

    def __init__(self, service: Served, query: str = "", **headers: str) -> None:
        self._connection = service.connection()
        self._connection.timeout = PATIENCE_S
        self._connection.request("GET", f"/events{query}", headers=headers)
        self.answer = self._connection.getresponse()

    def next(self) -> tuple[str, str, dict[str, Any]]:
        """The next event: its id, its kind, and its data."""
        said: dict[str, str] = {}
        while line := self.answer.readline().decode():
            name, colon, value = line.rstrip("\n").partition(": ")
            if colon:
                said[name] = value
            elif "data" in said:
                return said["id"], said["event"], json.loads(said["data"])
        raise EOFError

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def add(journal: Journal, name: str) -> None:
    journal.add([Identity(name, 1, 1)])


def test_events_come(node: Node) -> None:
    """From now on, and for a reader that comes again, from where it was."""
    add(node.journal, "before.wav")
    reader = Reader(node.service)
    assert reader.answer.headers["Content-Type"].startswith("text/event-stream")
    time.sleep(0.6)  # the reader begins with what comes next
    add(node.journal, "a.wav")
    number, kind, data = reader.next()
    assert (kind, data["recording"], data["id"]) == ("found", "a.wav", int(number))
    reader.close()
    add(node.journal, "b.wav")
    again = Reader(node.service, **{"Last-Event-ID": number})
    assert again.next()[2]["recording"] == "b.wav"
    again.close()


@pytest.mark.parametrize(("query", "first"), [("?after=0", "journal"), ("?since=1h", "journal")])
def test_where_a_reader_begins(node: Node, query: str, first: str) -> None:
    """Behind an event, or since a time."""
    add(node.journal, "a.wav")
    reader = Reader(node.service, query)
    assert reader.next()[1] == first
    while reader.next()[2]["recording"] != "a.wav":
        pass
    reader.close()


@pytest.mark.parametrize("query", ["?after=x", "?after=-1", "?since=soon", "?after=99999999999999999999"])
def test_no_beginning_is_refused(node: Node, query: str) -> None:
    """In a sentence."""
    reply = node.service.ask("GET", f"/events{query}")
    assert (reply.status, list(reply.json())) == (400, ["error"])


def test_what_was_dropped_is_told(node: Node) -> None:
    """A reader whose last event is of another journal."""
    reader = Reader(node.service, "?after=100000000000000000")
    assert reader.next()[1] == "missed"
    assert reader.next()[1] == "journal"
    reader.close()


def test_the_service_ends_at_once(tmp_path: Path) -> None:
    """Readers do not hold it up."""
    with started(tmp_path) as node:
        end_with_readers(node)


def end_with_readers(node: Node) -> None:
    readers = [Reader(node.service) for _ in range(3)]
    before_s = time.monotonic()
    node.service.process.terminate()
    assert node.service.process.wait(PATIENCE_S) is not None
    assert time.monotonic() - before_s < 10
    for reader in readers:
        with pytest.raises((EOFError, http.client.HTTPException)):
            reader.next()
        reader.close()


def test_a_reader_that_does_not_read_is_hung_up_on(node: Node) -> None:
    """Others go on; those that left make room."""
    connection = node.service.connection()
    connection.connect()
    deaf = connection.sock
    assert isinstance(deaf, socket.socket)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.sendall(b"GET /events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    reader = Reader(node.service)
    end_s = time.monotonic() + 60
    number = 0
    while not any("hung up" in line for line in node.service.lines):
        assert time.monotonic() < end_s
        node.journal.add(Identity(f"{number + i}{'x' * 200}.wav", 1, 1) for i in range(2_000))
        number += 2_000
        time.sleep(0.2)
    assert reader.next()[1] == "found"
    reader.close()
    deaf.close()


def test_more_readers_than_there_may_be(node: Node) -> None:
    """Are told to try later; one that leaves makes room."""
    readers = [Reader(node.service) for _ in range(33)]
    statuses = [reader.answer.status for reader in readers]
    assert statuses == sorted(statuses)
    assert 25 < statuses.count(200) <= 32  # those that have just left may count still
    for reader in readers:
        reader.close()
    end_s = time.monotonic() + PATIENCE_S
    while (last := Reader(node.service)).answer.status != 200:
        last.close()
        assert time.monotonic() < end_s
        time.sleep(0.2)
    last.close()
