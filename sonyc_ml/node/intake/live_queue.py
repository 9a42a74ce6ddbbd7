"""The worker's side of live sound: it comes into the journal, and to its end, as recordings of a folder do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from sonyc_ml.base.human import date_of
from sonyc_ml.base.identity import Identity
from sonyc_ml.node.events import NodeEvent, RecordingEnded, WindowHeard
from sonyc_ml.node.intake.ahead import Ahead
from sonyc_ml.node.intake.buffer import SPOOLED, Buffer, News, SourceStopped, Waiting
from sonyc_ml.node.journal.journal import Entry, Journal
from sonyc_ml.node.journal.live import Heard, add_live, drop_live, write_end
from sonyc_ml.node.running_bundles import LoadedBundle
from sonyc_ml.sound.live.segment import LiveSegment

if TYPE_CHECKING:
    from sonyc_ml.node.intake.keeping.keeper import Keeper


class LiveQueue:
    """Takes up recordings of streams, and hands them to the worker.

    Parameters
    ----------
    buffer : Buffer
    hears : bool
        Whether what is heard in windows is told as they come.
    keeper : Keeper, optional
        Keeps clips.
    """

    def __init__(self, buffer: Buffer, *, hears: bool = False, keeper: Keeper | None = None) -> None:
        self.buffer, self._hears, self._keeper = buffer, hears, keeper
        self._ahead: dict[LiveSegment, list[Ahead]] = {}

    def work_ahead(
        self, begin: Callable[[LiveSegment, LoadedBundle, bool], Ahead], bundles: Iterable[LoadedBundle]
    ) -> Iterator[WindowHeard]:
        """Embed what has come of recordings that are open, where there is nothing else to do; yield what is heard.

        Parameters
        ----------
        begin : callable
            Begins with one, through one bundle; the last says whether what is heard is wanted as it comes.
        bundles : iterable of LoadedBundle
        """
        for segment in self.buffer.coming():
            if segment.is_open and segment not in self._ahead:
                able = [bundle for bundle in bundles if Ahead.can_be(segment, bundle)]
                self._ahead[segment] = [begin(segment, bundle, self._hears) for bundle in able]
            for ahead in self._ahead.get(segment, ()):
                ahead.go_on()
                yield from ahead.heard()

    def close(self) -> None:
        """Let go of what was begun."""
        for some in self._ahead.values():
            for ahead in some:
                ahead.drop()
        self._ahead.clear()

    def take_up(self, journal: Journal, now_s: float) -> list[News]:
        """Write what has come into the journal, for a transaction of it; returns it, for :meth:`Buffer.known`."""
        news = self.buffer.news()
        for one in news:
            if isinstance(one, SourceStopped):
                write_end(journal, one.source, one.reason, one.detail)
            else:
                _take_up(journal, one, now_s)
        return news

    def take(self, journal: Journal, *, newest_first: bool) -> Entry | None:
        """Begin the next recording of a stream that is due: before those of a folder, which do not get lost."""
        for identity in self.buffer.in_order(newest_first=newest_first):
            if entry := journal.begin(identity):
                return entry
        return None

    def find(self, entry: Entry) -> Waiting | None:
        """The recording of an entry, where it is in memory."""
        return self.buffer.find(entry.identity)

    def begin(self, entry: Entry) -> Waiting | None:
        """The same, and its sound stays there until the recording has come to its end, unless it was given up."""
        waiting = self.find(entry)
        if waiting is not None:
            self.buffer.begin(waiting)
            waiting.ahead = waiting.ahead or self._ahead.pop(waiting.segment, [])
        return waiting

    def on_event(self, event: NodeEvent) -> None:
        """Let go of what has come to its end."""
        if isinstance(event, RecordingEnded) and (waiting := self.buffer.release(event)):
            for ahead in (*waiting.ahead, *self._ahead.pop(waiting.segment, ())):
                ahead.drop()
            if self._keeper is not None and event.state == "done":
                self._keeper.keep(waiting.segment, event.recording, waiting.outputs)

    def excess(self, journal: Journal) -> Iterator[tuple[Entry, str, str]]:
        """Yield what there was no room for: the entry, a word or two why, and a sentence."""
        for waiting in self.buffer.given_up():
            assert waiting.identity is not None
            entries = [one for one in journal.find(waiting.identity.name) if one.identity == waiting.identity]
            if waiting.reason == SPOOLED:  # the file is a recording of its own
                drop_live(journal, waiting.identity)
                self.on_event(RecordingEnded(waiting.identity.name, SPOOLED, SPOOLED, waiting.detail))
            elif entries and entries[0].state == "pending":
                yield entries[0], waiting.reason, waiting.detail


def name_of(journal: Journal, source: str, start_s: float) -> str:
    """What a recording is called: ``street_20261128T170000Z``, with a fraction where that name is taken."""
    date = date_of(start_s)
    for stamp in (f"{date:%Y%m%dT%H%M%S}Z", f"{date:%Y%m%dT%H%M%S.%f}Z"):
        if not journal.find(name := f"{source}_{stamp}"):
            return name
    return name


def _take_up(journal: Journal, waiting: Waiting, now_s: float) -> None:
    segment = waiting.segment
    if waiting.identity is None:
        name = name_of(journal, segment.source, segment.start_s)
        n_bytes = segment.n_own * segment.layout.frame_size if waiting.reason else len(segment.content)
        waiting.identity = Identity(name, n_bytes, segment.mtime_ns)
    heard = Heard(segment.source, segment.start_s, segment.duration_s, segment.reason, segment.detail)
    add_live(journal, waiting.identity, heard, now_s, salvaged=segment.salvaged)
