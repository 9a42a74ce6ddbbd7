"""Live sound in the journal: taken up by name, handed out in order, let go of when it has come to its end."""

from __future__ import annotations

import threading

import pytest

from sonyc_ml.node.events import RecordingEnded
from sonyc_ml.node.intake.buffer import BUFFER_FULL, SPOOLED, Buffer, Waiting
from sonyc_ml.node.intake.live_queue import LiveQueue, name_of
from sonyc_ml.node.journal.journal import Entry, Journal, OutputSummary
from sonyc_ml.node.journal.live import source_ends
from sonyc_ml.sound.live.formats import raw_layout
from sonyc_ml.sound.live.segment import LiveSegment
from tests.support.live import START_S

RATE = 8000


def a_segment(after_s: float = 0.0, seconds: float = 1.0, source: str = "street") -> LiveSegment:
    n_samples = round(seconds * RATE)
    return LiveSegment(source, raw_layout(RATE), bytearray(2 * n_samples), START_S + after_s, n_samples)


class Node:
    """A buffer, a queue, and the journal that knows what is in them."""

    def __init__(self, journal: Journal, max_buffer_s: float = 10.0) -> None:
        self.journal, self.awake = journal, threading.Event()
        self.buffer = Buffer(max_buffer_s, self.awake.set)
        self.queue = LiveQueue(self.buffer)

    def put(self, *segments: LiveSegment) -> None:
        """Have recordings come, and be taken up."""
        for segment in segments:
            self.buffer.put(Waiting(segment))
        self.take_up()

    def take_up(self) -> None:
        with self.journal.transaction():
            news = self.queue.take_up(self.journal, START_S + 100)
        self.buffer.known(news)

    def take(self) -> Entry:
        """Begin the next recording, the oldest."""
        entry = self.queue.take(self.journal, newest_first=False)
        assert entry is not None
        return entry

    def finish_all(self, *, newest_first: bool = False) -> list[str]:
        """Have all of them come to their end, one after another; their names."""
        names = []
        while entry := self.queue.take(self.journal, newest_first=newest_first):
            names.append(entry.identity.name)
            self.journal.finish(entry.identity, OutputSummary(START_S, 1.0, 0.1))
            self.queue.on_event(RecordingEnded(names[-1], "done"))
        return names


@pytest.fixture
def node(journal: Journal) -> Node:
    return Node(journal)


def test_two_recordings_of_one_second_have_two_names(node: Node) -> None:
    """The second has a fraction in its name."""
    node.put(a_segment(0.25, 0.25), a_segment(0.5, 0.25))
    assert node.finish_all() == ["street_20261128T170000Z", "street_20261128T170000.500000Z"]
    assert name_of(node.journal, "street", START_S + 1) == "street_20261128T170001Z"


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_order(node: Node, newest_first: bool) -> None:
    """As for recordings of a folder; then there is nothing more."""
    node.put(a_segment(0), a_segment(1), a_segment(2))
    taken = node.finish_all(newest_first=newest_first)
    assert taken == sorted(taken, reverse=newest_first)
    assert len(set(taken)) == 3
    assert node.buffer.is_empty()


def test_a_recording_is_held_until_it_has_come_to_its_end(node: Node) -> None:
    """Its sound cannot be given up while it is embedded; it can be found, and is gone afterwards."""
    segment = a_segment(0, 5.0)
    node.put(segment)
    entry = node.take()
    assert node.queue.find(entry) is node.queue.begin(entry)
    node.put(a_segment(5, 8.0))
    node.buffer.make_room("street", 5.0)
    assert len(segment.content) == 10 * RATE
    node.queue.on_event(RecordingEnded(entry.identity.name, "done"))
    assert node.queue.find(entry) is None
    assert node.queue.begin(entry) is None


def test_what_there_was_no_room_for_is_told(node: Node) -> None:
    """The oldest, by its entry and why."""
    node.put(*(a_segment(5.0 * n, 5.0) for n in range(3)))
    node.buffer.make_room("street", 0.0)
    ((entry, reason, detail),) = node.queue.excess(node.journal)
    assert (entry.identity.name, reason) == ("street_20261128T170000Z", BUFFER_FULL)
    assert "listen.max_buffer_s" in detail
    node.journal.shed(entry.identity, reason, detail)
    assert list(node.queue.excess(node.journal)) == []


def test_what_was_written_into_the_spool_is_forgotten(node: Node) -> None:
    """The file is a recording of its own, of the same name."""
    node.put(a_segment())
    waiting = node.buffer.find(node.buffer.in_order(newest_first=False)[0])
    assert waiting is not None
    waiting.give_up(SPOOLED, "written into the spool")
    assert list(node.queue.excess(node.journal)) == []
    assert node.journal.find("street_20261128T170000Z") == []
    assert node.buffer.is_empty()


def test_a_source_that_stopped_is_on_record(node: Node) -> None:
    """With the reason, up to when there is sound of it."""
    node.put(a_segment(0, 5.0))
    node.buffer.stopped("street", "closed", "the connection was closed")
    node.take_up()
    end = source_ends(node.journal)["street"]
    assert end[1:] == (START_S + 5.0, "closed", "the connection was closed")
