"""State, lag and scores to an MQTT broker; no embedding, and no sound, leaves the node this way.

The worker's thread only takes notes. A thread of its own reads in the journal what happened, while the broker is there,
and hands it to paho, whose thread talks to the network. What the broker has not acknowledged is sent again, after an
outage or a restart, so that an outage takes no memory::

    journal's events ─▶ messages of a few events ── publisher ──▶ paho (a few unacknowledged) ──▶ broker
    worker ─ outputs just made, windows of live sound ─▶ notes ──┘
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sonyc_ml.base.human import count, iso
from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.errors import StoreError
from sonyc_ml.node.events import NodeEvent, OutputPublished, RecordingEnded, WindowHeard
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.telemetry.config import DEFAULT_TOPIC, MqttConfig

if TYPE_CHECKING:
    from sonyc_ml.node.telemetry.broker import Broker
    from sonyc_ml.node.telemetry.messages import Message
    from sonyc_ml.node.telemetry.unsent import Unsent

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 10  # sent and not acknowledged; paho queues nothing below 20, so the order and the bound are ours
LOOK_S = 5.0  # how soon a change of the state is published
DRAIN_S, STOP_S = 3.0, 5.0  # what is waiting goes out at the end, but a daemon that is to stop stops
OFFLINE = {"state": "offline"}


class MqttPublisher:
    """Publishes what happens, while it is entered; starts nothing where no broker is configured.

    Parameters
    ----------
    settings : MqttConfig
    state_folder : Path
        Where the journal lies.
    node : str
        Its name.

    Raises
    ------
    ConfigError
        paho-mqtt is missing, or the broker, the password or the certificates cannot be meant.
    """

    def __init__(self, settings: MqttConfig, state_folder: Path, node: str) -> None:
        self._settings, self._state_folder, self._node = settings, state_folder, node
        self._topic = settings.topic_of(node)
        self._windows: deque[WindowHeard] = deque(maxlen=settings.max_waiting)
        self._counts: Counter[str] = Counter()
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._stopping = self._has_moved = False
        self._fields: dict[str, Any] = {}
        self._published: dict[str, Any] | None = None
        self._next_look_s = self._next_state_s = -math.inf
        if settings.host is not None:
            self._unsent, self._broker = self._make_parts(settings)

    def _make_parts(self, settings: MqttConfig) -> tuple[Unsent, Broker]:
        from sonyc_ml.node.telemetry.broker import Broker  # noqa: PLC0415  and ssl: 8 ms that most nodes do without
        from sonyc_ml.node.telemetry.messages import encoded  # noqa: PLC0415
        from sonyc_ml.node.telemetry.unsent import Unsent  # noqa: PLC0415

        will = (f"{self._topic}/state", encoded(OFFLINE))
        return Unsent(self._state_folder, self._node), Broker(settings, will, self._there, self._wake.set)

    @property
    def is_on(self) -> bool:
        """Whether there is a broker to talk to."""
        return self._settings.host is not None

    @property
    def n_held(self) -> int:
        """How many recordings' outputs are held in memory for the broker."""
        return self._unsent.n_held

    @property
    def n_lost(self) -> int:
        """How many events the journal dropped before the broker was there."""
        return self._unsent.n_lost

    @property
    def n_in_flight(self) -> int:
        """How many messages the broker has not acknowledged."""
        return self._broker.n_in_flight

    def on_event(self, event: NodeEvent) -> None:
        """Take note of an event; returns at once, whatever the broker does."""
        if not self.is_on:
            return
        if isinstance(event, OutputPublished):
            self._unsent.note(event)  # the journal has it as soon as the recording has ended
        elif isinstance(event, RecordingEnded):
            with self._lock:
                self._counts[event.state] += 1
            self._unsent.expect()
            self._wake.set()
        elif isinstance(event, WindowHeard):
            self._windows.append(event)
            self._wake.set()

    def __enter__(self) -> Self:
        if self.is_on:
            self._has_moved = self._ran_without_a_name()
            self._unsent.begin()
            self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_on:
            self._stopping = True
            self._wake.set()
            self._thread.join(STOP_S)  # a name server that does not answer holds paho for longer

    def _ran_without_a_name(self) -> bool:
        """Whether a version ran here whose topics had no name of a node, and they have one now."""
        facts = None if self._settings.topic is not None else self._ask(Journal.facts)
        return facts is not None and facts.daemon is not None and not facts.daemon.node

    # Below, on the publisher's thread

    def _run(self) -> None:
        self._broker.open()
        while not self._stopping:
            self._wake.wait(max(0.0, self._next_look_s - time.monotonic()))
            self._wake.clear()
            try:
                if time.monotonic() >= self._next_look_s:
                    self._look()
                self._send()
                self._unsent.keep()
            except Exception:
                # A mistake of ours costs a message, not the node's connection.
                logger.exception("something could not be published over MQTT")
        self._finish()

    def _there(self) -> None:
        """The broker is there, from paho's thread: it has published the last will, that nobody is here."""
        self._published, self._next_look_s = None, -math.inf
        self._wake.set()

    def _send(self) -> bool:
        """Hand over what is waiting, as far as the broker keeps up; whether that was all."""
        broker, unsent = self._broker, self._unsent
        unsent.acknowledge(broker.acknowledged())
        while broker.is_connected and broker.n_in_flight < MAX_IN_FLIGHT:
            message = self._window() or unsent.next()
            if message is None:
                return True
            unsent.handed_over(message, broker.publish(f"{self._topic}/{message.kind}", message.payload))
        return False

    def _window(self) -> Message | None:
        """A window of live sound, which is of use at once or not at all: the journal does not have it."""
        from sonyc_ml.node.telemetry.messages import WINDOW, Message, encoded, said_of_window  # noqa: PLC0415

        with suppress(IndexError):
            event = self._windows.popleft()
            name = f"{self._node}-{event.source}-{event.bundle}-{event.start_time}"
            return Message(WINDOW, encoded({"id": name, "node": self._node, **said_of_window(event)}))
        return None

    def _look(self) -> None:
        """Publish the state where it has changed, and now and then."""
        from sonyc_ml.node.telemetry.messages import state_fields  # noqa: PLC0415

        every_s = self._settings.every_s
        now_s = time.monotonic()
        self._next_look_s = now_s + min(LOOK_S, every_s)
        if not self._broker.is_connected or self._broker.n_in_flight > MAX_IN_FLIGHT:
            return
        self._say_where_it_moved()
        facts = self._ask(Journal.facts)
        if facts is not None:
            self._fields = state_fields(facts)
        if self._fields != self._published or now_s >= self._next_state_s:
            self._published, self._next_state_s = self._fields, now_s + every_s
            self._say(self._state())

    def _say(self, state: dict[str, Any], topic: str = "") -> None:
        """Publish a state, which the broker keeps."""
        from sonyc_ml.node.telemetry.messages import encoded  # noqa: PLC0415

        self._broker.publish(f"{topic or self._topic}/state", encoded(state), retain=True)

    def _say_where_it_moved(self) -> None:
        """Replace, once, the state that brokers keep of a version whose topics had no name of a node."""
        if self._has_moved:
            self._has_moved = False
            self._say({**OFFLINE, "moved_to": self._topic}, DEFAULT_TOPIC)
            logger.warning(
                "MQTT topics begin with %s now, and not with %s; see docs/operations.md", self._topic, DEFAULT_TOPIC
            )

    def _state(self) -> dict[str, Any]:
        backlog = self._ask(Journal.backlog)
        lag_s = n_pending = None
        if backlog is not None:
            oldest_s = min((found_s for *_, found_s, _ in backlog), default=math.inf)
            lag_s = round(max(0.0, time.time() - oldest_s), 1)
            n_pending = sum(n for _, _, n, _, _ in backlog)
        with self._lock:
            counts = {state: self._counts[state] for state in ("done", "quarantined", "shed")}
        return {
            "state": "online",
            "node": self._node,
            "at": iso(time.time()),
            **self._fields,
            "backlog": n_pending,
            "lag_s": lag_s,
            "counts": counts,
            "waiting": self._unsent.n_waiting(),
            "dropped": self._unsent.n_lost,
            "clock_synchronised": is_clock_synchronised(),
        }

    def _ask(self, question: Callable[[Journal], Any]) -> Any:
        """Ask the journal, which the daemon may make anew at any time; None where it cannot be asked."""
        try:
            with closing(Journal(self._state_folder, read_only=True)) as journal:
                return question(journal)
        except StoreError:
            return None

    def _finish(self) -> None:
        """Say goodbye; what is waiting goes out where the broker takes it soon, and else at the next start."""
        broker, end_s = self._broker, time.monotonic() + DRAIN_S
        while broker.is_connected and time.monotonic() < end_s:
            self._wake.clear()
            if self._send() and not broker.n_in_flight:
                break
            self._wake.wait(max(0.0, end_s - time.monotonic()))
        self._unsent.acknowledge(broker.acknowledged())
        self._unsent.keep(at_once=True)
        if left := self._unsent.n_waiting() + broker.n_in_flight:
            logger.warning("%s did not reach the MQTT broker; sent at the next start", count(left, "message"))
        if broker.is_connected:
            self._say({**OFFLINE, "stopped": iso(time.time())})
        broker.close()
