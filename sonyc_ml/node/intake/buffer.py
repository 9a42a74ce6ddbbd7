"""What was heard and is not embedded yet, in memory alone: filled by the reader, emptied by the worker, bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from sonyc_ml.base.human import span
from sonyc_ml.base.identity import Identity
from sonyc_ml.base.records import dataclass
from sonyc_ml.sound.live.segment import LiveSegment

if TYPE_CHECKING:
    from sonyc_ml.node.events import OutputPublished, RecordingEnded
    from sonyc_ml.node.intake.ahead import Ahead
    from sonyc_ml.outputs.output import Output

BUFFER_FULL, NOT_STORED, SPOOLED = "buffer full", "not stored", "spooled"


class Peer(Protocol):
    """Whoever sent the sound of a recording, and hears what became of it; called by the worker."""

    def published(self, event: OutputPublished, output: Output) -> None:
        """An output is on the disk."""
        ...

    def ended(self, event: RecordingEnded) -> None:
        """The recording has come to its end."""
        ...


@dataclass(slots=True)
class Waiting:
    """A recording of a stream, until it is embedded or given up.

    Attributes
    ----------
    segment : LiveSegment
    peer : Peer or None
        Who hears what becomes of it.
    identity : Identity or None
        In the journal, once it is there.
    is_begun : bool
        Whether it is being embedded.
    reason, detail : str
        Why its sound was given up; empty while it is there.
    ahead : list of Ahead
        What has embedded it as far as it had come.
    outputs : list of Output
        What it became, where clips of it may be kept.
    """

    segment: LiveSegment
    peer: Peer | None = None
    identity: Identity | None = None
    is_begun: bool = False
    reason: str = ""
    detail: str = ""
    ahead: list[Ahead] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    __eq__, __hash__ = object.__eq__, object.__hash__  # each is one of its own

    def give_up(self, reason: str, detail: str) -> None:
        """Let go of the sound."""
        self.reason, self.detail = reason, detail
        self.segment.content = bytearray()


@dataclass(frozen=True, slots=True)
class SourceStopped:
    """No more sound comes of a source for now, and why."""

    source: str
    reason: str
    detail: str


News: TypeAlias = Waiting | SourceStopped


@dataclass(slots=True)
class Buffer:
    """What is held of every source.

    Parameters
    ----------
    max_buffer_s : float
        How much of each (in seconds).
    wake : callable
        Called where there is something for the worker.
    take_away : callable, optional
        Where a recording goes that there is no room for; returns whether it was taken. It is given up where it was not.
    takes_all : bool
        Whether every recording goes there.
    """

    max_buffer_s: float
    wake: Callable[[], None]
    take_away: Callable[[Waiting], bool] = lambda _waiting: False
    takes_all: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _news: list[News] = field(default_factory=list)  # what the journal does not know yet
    _held: dict[str, list[Waiting]] = field(default_factory=dict)  # of each source, the oldest first
    _open: dict[str, LiveSegment] = field(default_factory=dict)  # of each source, what comes now
    _known: dict[str, Waiting] = field(default_factory=dict)  # by their names in the journal

    # For the reader

    def put(self, waiting: Waiting) -> None:
        """Hold a recording."""
        with self._lock:
            self._news.append(waiting)
            if not (self.takes_all and self.take_away(waiting)):
                self._held.setdefault(waiting.segment.source, []).append(waiting)
        self.wake()

    def comes(self, segment: LiveSegment | None, source: str) -> None:
        """More has come of the recording that is open; or none is open."""
        with self._lock:
            if segment is None:
                self._open.pop(source, None)
                return
            self._open[source] = segment
        self.wake()

    def stopped(self, source: str, reason: str, detail: str) -> None:
        """No more sound comes of a source for now."""
        with self._lock:
            self._news.append(SourceStopped(source, reason, detail))
        self.wake()

    def is_full(self, source: str, open_s: float) -> bool:
        """Whether a source has more in here than it may, with so many seconds that are in no recording yet."""
        with self._lock:
            return self._held_s(source) + open_s > self.max_buffer_s

    def make_room(self, source: str, open_s: float) -> None:
        """Give up recordings of a source, the oldest first, until there is no more of it than there may be."""
        with self._lock:
            while self._held_s(source) + open_s > self.max_buffer_s:
                oldest = next((one for one in self._held.get(source, ()) if not one.is_begun), None)
                if oldest is None:
                    return
                self._held[source].remove(oldest)
                if not self.take_away(oldest):
                    detail = f"{span(self.max_buffer_s)} of newer sound waited too (listen.max_buffer_s)"
                    oldest.give_up(BUFFER_FULL, detail)

    def _held_s(self, source: str) -> float:
        return sum(waiting.segment.duration_s for waiting in self._held.get(source, ()))

    # For the worker

    def coming(self) -> list[LiveSegment]:
        """The recording of each source whose samples come now."""
        with self._lock:
            return list(self._open.values())

    def news(self) -> list[News]:
        """What the journal does not know yet, in order."""
        with self._lock:
            return list(self._news)

    def known(self, news: Iterable[News]) -> None:
        """The journal knows these now."""
        with self._lock:
            for one in news:
                self._news.remove(one)
                if isinstance(one, Waiting) and one.identity is not None:
                    self._known[one.identity.name] = one

    def unknown(self) -> None:
        """The journal is another one, which knows none of them."""
        with self._lock:
            self._news[:0] = self._known.values()
            self._known.clear()

    def find(self, identity: Identity) -> Waiting | None:
        """A recording that the journal knows; None where it is not in here."""
        waiting = self._known.get(identity.name)
        return waiting if waiting is not None and waiting.identity == identity else None

    def begin(self, waiting: Waiting) -> None:
        """Keep its sound until it is released, unless it was given up."""
        with self._lock:
            waiting.is_begun = not waiting.reason

    def given_up(self) -> list[Waiting]:
        """Recordings that the journal knows as pending and whose sound was given up."""
        with self._lock:
            return [waiting for waiting in self._known.values() if waiting.reason]

    def release(self, event: RecordingEnded) -> Waiting | None:
        """Let go of a recording that has come to its end; return it, if it was in here."""
        with self._lock:
            waiting = self._known.pop(event.recording, None)
            held = self._held.get(waiting.segment.source, []) if waiting else []
            if waiting in held:
                held.remove(waiting)
        if waiting is not None and waiting.peer is not None:
            waiting.peer.ended(event)
        return waiting

    def in_order(self, *, newest_first: bool) -> list[Identity]:
        """What has a name in the journal and its sound in here, in the order in which it is embedded."""
        with self._lock:
            waiting = [one for held in self._held.values() for one in held if not one.reason]
        waiting.sort(key=lambda one: one.segment.end_s, reverse=newest_first)
        return [one.identity for one in waiting if one.identity is not None]

    def give_up_all(self, reason: str, detail: str) -> None:
        """Let go of the sound of everything that waits."""
        with self._lock:
            for one in (*self._known.values(), *self._news):
                if isinstance(one, Waiting) and not one.reason:
                    one.give_up(reason, detail)

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        with self._lock:
            return not self._news and not self._known

    def held_s(self) -> dict[str, float]:
        """How much of each source is in here (in seconds)."""
        with self._lock:
            return {source: self._held_s(source) for source in self._held}
