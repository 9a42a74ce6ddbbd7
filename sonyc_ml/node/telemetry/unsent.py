"""Messages that a broker has not acknowledged: made of the journal's events, so that none is lost with the process.

A message has the number of its event in its id, so that it is the same message however often it is sent. The number of
the last event whose messages were all acknowledged is kept in a file, now and then; after a kill, what was acknowledged
since is sent once more, by the same ids::

    journal's events ─▶ rows, a few at a time ─▶ messages ─▶ broker ─ acknowledged ─▶ number in a file
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from sonyc_ml.base.durable import write_atomically
from sonyc_ml.base.human import count
from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import OutputNameError, StoreError
from sonyc_ml.node.events import OutputPublished, published
from sonyc_ml.node.facts import DaemonFacts
from sonyc_ml.node.journal.event_log import MISSED, LoggedEvent, number_before, read_events
from sonyc_ml.node.journal.file import stamp_of_files, store_errors
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.telemetry.messages import SAYING, Message, encoded, said_of_outputs, said_of_row
from sonyc_ml.outputs.files import find_output, read_output

logger = logging.getLogger(__name__)

FILE_NAME = "mqtt-acknowledged"  # beside the journal
KEEP_S = 60.0  # how often the file is written, at most: every flush wears a card
N_AT_ONCE = 100  # events
MAX_HELD, MAX_PERIODS = 16, 100  # recordings in memory, and periods of their sound levels
WHICH = "SELECT mtime_ns, n_bytes, duration_s FROM recordings WHERE name = ? AND changed_s = ?"


class Row(NamedTuple):
    """An event of the journal, and which recording it is about; None where that cannot be found any more."""

    event: LoggedEvent
    identity: Identity | None = None
    duration_s: float | None = None


class Unsent:
    """The messages that are due, the oldest first; but for :meth:`note`, for one thread.

    Parameters
    ----------
    state_folder : Path
        Where the journal lies.
    node : str
        Its name, with which every id begins.
    """

    def __init__(self, state_folder: Path, node: str) -> None:
        self._state_folder, self._node = state_folder, node
        self._path = state_folder / FILE_NAME
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, int], list[OutputPublished]] = OrderedDict()
        self._after: int | None = None  # the last event that was read
        self._reading = self._complete = self._kept = 0  # events: being sent, sent as a whole, kept in the file
        self._stamp, self._has_news = "none", True
        self._daemon = DaemonFacts()
        self._rows: deque[Row] = deque()
        self._messages: Iterator[Message] = iter(())
        self._outstanding: dict[int, int] = {}
        self._next_keep_s = 0.0
        self.n_lost = 0

    @property
    def n_held(self) -> int:
        """How many recordings' outputs are held in memory."""
        return len(self._held)

    def note(self, event: OutputPublished) -> None:
        """Hold what was just published, so that it need not be read again; returns at once, on any thread.

        Only the last few are held: what waits for a broker is on the disk.
        """
        if event.levels is not None and len(event.levels.start_s) > MAX_PERIODS:
            return
        with self._lock:
            self._held.setdefault((event.recording, event.mtime_ns), []).append(event)
            while len(self._held) > MAX_HELD:
                self._held.popitem(last=False)

    def expect(self) -> None:
        """The journal has something new; its files may have shown it already while it could not be read yet."""
        self._has_news = True

    def begin(self) -> None:
        """Go on where the last process was; the first begins with what comes now."""
        try:
            number = int(self._path.read_text())
        except FileNotFoundError:
            with suppress(StoreError), closing(Journal(self._state_folder, read_only=True)) as journal:
                self._start_at(number_before(journal))
                self.keep(at_once=True, anew=True)
        except (OSError, ValueError):
            self._start_at(0)  # what was sent before is sent again, by the same ids
        else:
            self._start_at(number)
            self._kept = number

    def _start_at(self, number: int) -> None:
        self._after = self._reading = self._complete = number

    def next(self) -> Message | None:
        """The next message; None where there is none."""
        while True:
            if (message := next(self._messages, None)) is not None:
                return message
            self._complete = self._reading
            if not self._rows:
                self._refill()
            if not self._rows:
                return None
            row = self._rows.popleft()
            self._reading = row.event.number
            if row.event.kind in SAYING:
                self._messages = self._messages_of(row)

    def handed_over(self, message: Message, mid: int) -> None:
        """The broker was sent a message, by a number of the connection's own."""
        if message.number:
            self._outstanding[mid] = message.number

    def acknowledge(self, mids: list[int]) -> None:
        """The broker has acknowledged messages."""
        for mid in mids:
            self._outstanding.pop(mid, None)

    def keep(self, *, at_once: bool = False, anew: bool = False) -> None:
        """Write down how far the broker has acknowledged, now and then."""
        number = min([self._complete, *(one - 1 for one in self._outstanding.values())])
        if (number == self._kept and not anew) or (time.monotonic() < self._next_keep_s and not at_once):
            return
        self._next_keep_s = time.monotonic() + KEEP_S
        with suppress(StoreError):  # again later
            write_atomically(self._path, f"{number}\n".encode())
            self._kept = number

    def n_waiting(self) -> int:
        """How many events have messages that were not sent yet."""
        kinds = ", ".join(f"'{kind}'" for kind in sorted(SAYING))
        query = f"SELECT count(*) FROM events WHERE id > ? AND kind IN ({kinds})"  # noqa: S608  of constants
        with (
            suppress(StoreError),
            closing(Journal(self._state_folder, read_only=True)) as journal,
            store_errors(journal.path),
        ):
            return int(journal.connection.execute(query, (self._reading,)).fetchone()[0])
        return 0

    def _refill(self) -> None:
        """Read the next events, where anything was written to the journal since all were read."""
        seen = stamp_of_files(self._state_folder)
        if seen == self._stamp and not self._has_news:
            return
        self._has_news = False
        try:
            with closing(Journal(self._state_folder, read_only=True)) as journal:
                if self._after is None:
                    self._start_at(number_before(journal))
                events = read_events(journal, self._after or 0, N_AT_ONCE)
                self._rows = deque(self._row(journal, event) for event in self._whole(events))
                self._daemon = journal.facts().daemon or DaemonFacts()
        except StoreError:
            self._has_news = True  # it is read at the next look
            return
        if events:
            self._after = events[-1].number
        if len(events) < N_AT_ONCE:
            self._stamp = seen
        else:
            self._has_news = True

    def _whole(self, events: list[LoggedEvent]) -> list[LoggedEvent]:
        """The events; of those that were lost, how many is not known where the journal is another one."""
        if not events or events[0].kind != MISSED:
            return events
        lost, *rest = events
        is_new = bool(rest) and rest[0].kind == "journal"
        n_lost = None if is_new else int(lost.value or 0)
        self.n_lost += n_lost or 0
        how_many = "what happened before the journal was made again" if n_lost is None else count(n_lost, "event")
        logger.warning("the MQTT broker may not hear of %s: the journal does not hold that any more", how_many)
        return [LoggedEvent(lost.number, lost.at_s, MISSED, value=None if n_lost is None else float(n_lost)), *rest]

    @staticmethod
    def _row(journal: Journal, event: LoggedEvent) -> Row:
        if event.kind not in SAYING or event.kind == MISSED:
            return Row(event)
        with store_errors(journal.path):
            found = journal.connection.execute(WHICH, (os.fsencode(event.name), event.at_s)).fetchone()
        return Row(event, Identity(event.name, found[1], found[0]), found[2]) if found else Row(event)

    def _messages_of(self, row: Row) -> Iterator[Message]:
        outputs = self._outputs(row) if row.event.kind == "published" else []
        said = said_of_outputs(outputs) if outputs else iter([said_of_row(row.event, row.duration_s)])
        for k, (kind, values) in enumerate(said):
            identity = {"id": f"{self._node}-{row.event.number}-{k}", "node": self._node}
            try:
                yield Message(kind, encoded({**identity, **values}), row.event.number)
            except ValueError:  # a mistake of ours costs a message, not the node's connection
                logger.exception("something could not be published over MQTT")

    def _outputs(self, row: Row) -> list[OutputPublished]:
        """What was published of a recording: from memory, else read again; empty where it has gone."""
        identity, bundles = row.identity, self._daemon.bundles
        if identity is None:
            return []
        with self._lock:
            held = self._held.pop((identity.name, identity.mtime_ns), [])
        if held and len(held) >= len(bundles):
            return held
        try:
            paths = [find_output(identity, Path(bundle.output), self._daemon.format) for bundle in bundles]
            return [published(read_output(path), path, {}) for path in paths if path is not None]
        except (OSError, ValueError, OutputNameError):
            return []
