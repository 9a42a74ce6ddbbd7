"""State, lag and scores to an MQTT broker; no embedding, and no sound, leaves the node this way.

The worker's thread only puts events into a queue of bounded length. A thread of its own takes them out while the broker
is there, asks the journal how things are, and hands it all to paho, whose thread talks to the network::

    worker ─ events ─▶ queue (the oldest go when it is full) ── publisher ──▶ paho (a few unacknowledged) ──▶ broker
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from sonyc_ml.base.human import count, iso
from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.errors import StoreError
from sonyc_ml.node.events import (
    NodeEvent,
    OutputPublished,
    PeriodMeasured,
    RecordingEnded,
    RecordingPostponed,
    WindowHeard,
    periods_of,
)
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.journal import Journal
from sonyc_ml.node.telemetry.config import MqttConfig

if TYPE_CHECKING:
    from sonyc_ml.node.telemetry.broker import Broker

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 10  # sent and not acknowledged; paho queues nothing below 20, so the order and the bound are ours
MAX_DETAIL = 1000  # characters: an extractor's complaint may be of any length
LOOK_S = 5.0  # how soon a change of the state is published
DRAIN_S, STOP_S = 3.0, 5.0  # what is waiting goes out at the end, but a daemon that is to stop stops
OFFLINE = {"state": "offline"}
Message: TypeAlias = OutputPublished | PeriodMeasured | RecordingEnded | WindowHeard
TOPICS = {OutputPublished: "recording", PeriodMeasured: "levels", RecordingEnded: "ended", WindowHeard: "window"}
SURROGATES = re.compile("[\ud800-\udfff]")


class MqttPublisher:
    """Publishes what happens, while it is entered; starts nothing where no broker is configured.

    Parameters
    ----------
    settings : MqttConfig
    state_folder : Path
        Where the journal lies.

    Raises
    ------
    ConfigError
        paho-mqtt is missing, or the broker, the password or the certificates cannot be meant.
    """

    def __init__(self, settings: MqttConfig, state_folder: Path) -> None:
        self._settings, self._state_folder = settings, state_folder
        self._topic = settings.topic
        self._waiting: deque[Message] = deque(maxlen=settings.max_waiting)
        self._counts: Counter[str] = Counter()
        self._n_dropped = 0
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._stopping = False
        self._fields: dict[str, Any] = {}
        self._published: dict[str, Any] | None = None
        self._next_look_s = self._next_state_s = -math.inf
        self._broker = None if settings.host is None else self._make_broker(settings)
        self._thread = threading.Thread(target=self._run, args=(self._broker,), name="mqtt", daemon=True)

    @property
    def waiting(self) -> tuple[Message, ...]:
        """The events that wait for the broker, the oldest first."""
        with self._lock:
            return tuple(self._waiting)

    @property
    def n_dropped(self) -> int:
        """How many events were dropped because too many waited."""
        return self._n_dropped

    @property
    def n_in_flight(self) -> int:
        """How many messages the broker has not acknowledged."""
        return self._broker.n_in_flight if self._broker else 0

    def _make_broker(self, settings: MqttConfig) -> Broker:
        from sonyc_ml.node.telemetry.broker import Broker  # noqa: PLC0415  and ssl: 8 ms that most nodes do without

        return Broker(settings, (f"{self._topic}/state", encoded(OFFLINE)), self._there, self._wake.set)

    def on_event(self, event: NodeEvent) -> None:
        """Take note of an event; returns at once, whatever the broker does."""
        if self._broker is None or isinstance(event, RecordingPostponed):
            return
        if isinstance(event, RecordingEnded) and len(event.detail) > MAX_DETAIL:
            event = dataclasses.replace(event, detail=event.detail[:MAX_DETAIL] + "…")
        with self._lock:
            if isinstance(event, RecordingEnded):
                self._counts[event.state] += 1
                if event.state == "done":
                    return  # its outputs are published
            for one in (event, *(periods_of(event) if isinstance(event, OutputPublished) else ())):
                self._n_dropped += len(self._waiting) == self._waiting.maxlen
                self._waiting.append(one)
        self._wake.set()

    def __enter__(self) -> Self:
        if self._broker is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._broker is not None:
            self._stopping = True
            self._wake.set()
            self._thread.join(STOP_S)  # a name server that does not answer holds paho for longer

    # Below, on the publisher's thread

    def _run(self, broker: Broker) -> None:
        broker.open()
        while not self._stopping:
            self._wake.wait(max(0.0, self._next_look_s - time.monotonic()))
            self._wake.clear()
            try:
                if time.monotonic() >= self._next_look_s:
                    self._look(broker)
                self._send(broker)
            except Exception:
                # A mistake of ours costs a message, not the node's connection.
                logger.exception("something could not be published over MQTT")
        self._finish(broker)

    def _there(self) -> None:
        """The broker is there, from paho's thread: it has published the last will, that nobody is here."""
        self._published, self._next_look_s = None, -math.inf
        self._wake.set()

    def _send(self, broker: Broker) -> None:
        """Hand over what is waiting, as far as the broker keeps up."""
        while broker.is_connected and broker.n_in_flight < MAX_IN_FLIGHT:
            with self._lock:
                if not self._waiting:
                    return
                event = self._waiting.popleft()
            broker.publish(f"{self._topic}/{TOPICS[type(event)]}", encoded(message(event)))

    def _look(self, broker: Broker) -> None:
        """Publish the state where it has changed, and now and then."""
        every_s = self._settings.every_s
        now_s = time.monotonic()
        self._next_look_s = now_s + min(LOOK_S, every_s)
        if not broker.is_connected or broker.n_in_flight > MAX_IN_FLIGHT:
            return
        facts = self._ask(Journal.facts)
        if facts is not None:
            self._fields = state_fields(facts)
        if self._fields != self._published or now_s >= self._next_state_s:
            self._published, self._next_state_s = self._fields, now_s + every_s
            broker.publish(f"{self._topic}/state", encoded(self._state()), retain=True)

    def _state(self) -> dict[str, Any]:
        backlog = self._ask(Journal.backlog)
        lag_s = n_pending = None
        if backlog is not None:
            oldest_s = min((found_s for *_, found_s, _ in backlog), default=math.inf)
            lag_s = round(max(0.0, time.time() - oldest_s), 1)
            n_pending = sum(n for _, _, n, _, _ in backlog)
        with self._lock:
            counts = {state: self._counts[state] for state in ("done", "quarantined", "shed")}
            dropped, waiting = self._n_dropped, len(self._waiting)
        return {
            "state": "online",
            "at": iso(time.time()),
            **self._fields,
            "backlog": n_pending,
            "lag_s": lag_s,
            "counts": counts,
            "waiting": waiting,
            "dropped": dropped,
            "clock_synchronised": is_clock_synchronised(),
        }

    def _ask(self, question: Callable[[Journal], Any]) -> Any:
        """Ask the journal, which the daemon may make anew at any time; None where it cannot be asked."""
        try:
            with closing(Journal(self._state_folder, read_only=True)) as journal:
                return question(journal)
        except StoreError:
            return None

    def _finish(self, broker: Broker) -> None:
        """Say goodbye; what is waiting goes out where the broker takes it soon."""
        end_s = time.monotonic() + DRAIN_S
        while broker.is_connected and (self._waiting or broker.n_in_flight) and time.monotonic() < end_s:
            self._wake.clear()
            self._send(broker)
            if self._waiting or broker.n_in_flight:
                self._wake.wait(max(0.0, end_s - time.monotonic()))
        if undelivered := len(self._waiting) + broker.n_in_flight:
            logger.warning("%s did not reach the MQTT broker", count(undelivered, "message"))
        if broker.is_connected:
            broker.publish(f"{self._topic}/state", encoded({**OFFLINE, "stopped": iso(time.time())}), retain=True)
        broker.close()


def message(event: Message) -> dict[str, Any]:
    """What is published of a recording, or of a period of it."""
    if isinstance(event, PeriodMeasured):
        return {"recording": event.recording, "start_time": event.start_time or None, **event.fields}
    if isinstance(event, WindowHeard):
        return {
            "source": event.source,
            "bundle": event.bundle,
            "start_time": event.start_time,
            "window_s": event.window_s,
            "scores": {label: _rounded(score) for label, score in event.scores.items()},
        }
    if isinstance(event, RecordingEnded):
        return {
            "recording": event.recording,
            "state": event.state,
            "reason": event.reason,
            "detail": event.detail,
            "duration_s": event.duration_s,
        }
    said: dict[str, Any] = {
        "recording": event.recording,
        "bundle": event.bundle,
        "start_time": event.start_time,
        "duration_s": event.duration_s,
        "hop_size_s": event.hop_size_s,
        "n_windows": event.n_windows,
        "scores": {label: _rounded(score) for label, score in event.scores.items()},
        "highest": [
            {"label": one.label, "class": one.class_number, "start_s": one.start_s, "score": _rounded(one.score)}
            for one in event.highest
        ],
    }
    if event.detections is not None:
        said["n_detections"] = event.n_detections
        said["detections"] = [
            {"label": one.label, "start_s": one.start_s, "end_s": one.end_s, "score": _rounded(one.score_max)}
            for one in event.detections
        ]
    return said


def _rounded(score: float) -> float | None:
    return round(score, 4) if math.isfinite(score) else None


def state_fields(facts: Facts) -> dict[str, Any]:
    """What is published of the state as soon as it changes; nothing where the facts are those of another process."""
    daemon = facts.daemon
    if daemon is None or not facts.is_of(os.getpid()):
        return {}
    return {
        "since": daemon.since,
        "version": daemon.version,
        "folder": facts.folder_word or None,
        "quiet": facts.is_quiet,
        "silent": facts.is_silent,
        "trouble": facts.trouble.detail if facts.trouble else None,
        "bundles": [{"name": one.name, "version": one.version, "sha256": one.sha256} for one in daemon.bundles],
    }


def encoded(values: dict[str, Any]) -> bytes:
    r"""JSON in UTF-8; the bytes of a name that is not UTF-8 are spelt out, as in ``caf\udce9.wav``."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    # As the journal spells them. A lone surrogate in an escape of JSON's own is refused by many who read JSON.
    return SURROGATES.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text).encode()
