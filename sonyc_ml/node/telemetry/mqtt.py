"""State, lag and scores to an MQTT broker; no embedding, and no sound, leaves the node this way.

The worker's thread only puts events into a queue of bounded length. A thread of its own takes them out while the broker
is there, asks the journal how things are, and hands it all to paho, whose thread talks to the network::

    worker ── hear ──▶ queue (the oldest go when it is full) ── publisher ──▶ paho (a few unacknowledged) ──▶ broker
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import re
import secrets
import socket
import stat
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sonyc_ml.base.human import count, iso
from sonyc_ml.base.process import is_clock_synchronised
from sonyc_ml.errors import ConfigError, StoreError
from sonyc_ml.node.config import Config, MqttConfig
from sonyc_ml.node.events import Ended, Event, Postponed, Published
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.journal import Journal

if TYPE_CHECKING:
    from paho.mqtt.client import Client

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 10  # sent and not acknowledged; paho queues nothing below 20, so the order and the bound are ours
MAX_DETAIL = 1000  # characters: an extractor's complaint may be of any length
LOOK_S = 5.0  # how soon a change of the state is told
MAX_RECONNECT_S = 60
DRAIN_S, STOP_S = 3.0, 5.0  # what is waiting goes out at the end, but a daemon that is told to stop stops
OFFLINE = {"state": "offline"}
SURROGATES = re.compile("[\ud800-\udfff]")


class MqttPublisher:
    """Publishes what happens, while it is entered; starts nothing where no broker is configured.

    Parameters
    ----------
    config : Config

    Raises
    ------
    ConfigError
        paho-mqtt is missing, or the broker, the password or the certificates cannot be meant.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._topic = config.mqtt.topic
        self._waiting: deque[Published | Ended] = deque(maxlen=config.mqtt.max_waiting)
        self._counts: Counter[str] = Counter()
        self._n_dropped = 0
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._stopping = False
        self._words: dict[str, Any] = {}
        self._told: dict[str, Any] | None = None
        self._next_look_s = self._next_state_s = -math.inf
        self._broker = None if config.mqtt.host is None else Broker(config.mqtt, self._there, self._wake.set)
        self._thread = threading.Thread(target=self._run, args=(self._broker,), name="mqtt", daemon=True)

    def hear(self, event: Event) -> None:
        """Take note of an event; returns at once, whatever the broker does."""
        if self._broker is None or isinstance(event, Postponed):
            return
        if isinstance(event, Ended) and len(event.detail) > MAX_DETAIL:
            event = dataclasses.replace(event, detail=event.detail[:MAX_DETAIL] + "…")
        with self._lock:
            if isinstance(event, Ended):
                self._counts[event.state] += 1
                if event.state == "done":
                    return  # its outputs were heard of
            self._n_dropped += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(event)
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
        """The broker is there, from paho's thread: it was told by the last will that nobody is here."""
        self._told, self._next_look_s = None, -math.inf
        self._wake.set()

    def _send(self, broker: Broker) -> None:
        """Hand over what is waiting, as far as the broker keeps up."""
        while broker.is_connected and broker.n_in_flight < MAX_IN_FLIGHT:
            with self._lock:
                if not self._waiting:
                    return
                event = self._waiting.popleft()
            kind = "recording" if isinstance(event, Published) else "ended"
            broker.publish(f"{self._topic}/{kind}", encoded(message(event)))

    def _look(self, broker: Broker) -> None:
        """Publish the state where it has changed, and now and then."""
        every_s = self._config.mqtt.every_s
        now_s = time.monotonic()
        self._next_look_s = now_s + min(LOOK_S, every_s)
        if not broker.is_connected or broker.n_in_flight > MAX_IN_FLIGHT:
            return
        facts = self._ask(Journal.facts)
        if facts is not None:
            self._words = state_words(facts)
        if self._words != self._told or now_s >= self._next_state_s:
            self._told, self._next_state_s = self._words, now_s + every_s
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
            **self._words,
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
            with closing(Journal(self._config.state_folder, read_only=True)) as journal:
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


class Broker:
    """The connection to a broker, which may come and go; says so in the log, once each.

    Parameters
    ----------
    config : MqttConfig
    there, wake : callable
        Called on paho's thread: the broker has let us in; something has happened.

    Raises
    ------
    ConfigError
    """

    def __init__(self, config: MqttConfig, there: Callable[[], None], wake: Callable[[], object]) -> None:
        self._there, self._wake = there, wake
        self._name = f"the MQTT broker {config.host}:{config.port}"
        self._max_waiting = config.max_waiting
        self._n_sent = self._n_acknowledged = 0
        self._complaints: set[str] = set()
        self._is_well = self._is_closing = False
        self.is_connected = False
        self._client = _client(config)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish

    @property
    def n_in_flight(self) -> int:
        """How many messages were handed over and are not acknowledged; paho sends them again after a break."""
        return self._n_sent - self._n_acknowledged

    def open(self) -> None:
        """Connect, as soon as the broker is there."""
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand over a message, which arrives at least once."""
        self._client.publish(topic, payload, qos=1, retain=retain)
        self._n_sent += 1  # each number is written by one thread alone

    def close(self) -> None:
        """Disconnect, so that the broker does not publish the last will."""
        self._is_closing = True
        self._client.disconnect()
        self._client.loop_stop()

    # Below, on paho's thread: nothing may be raised here

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._complain("refused", f"{self._name} refuses the connection ({reason}); trying again now and then")
        else:
            self.is_connected = True
            self._there()

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        error = sys.exc_info()[1]  # paho calls this where it handles the error
        why = (isinstance(error, OSError) and error.strerror) or error
        self._complain("away", f"{self._name} cannot be reached ({why}); {self._patience()}")

    def _on_disconnect(self, *_: Any) -> None:
        was_connected, self.is_connected, self._is_well = self.is_connected, False, False
        self._wake()
        if not self._is_closing and "refused" not in self._complaints:
            did = "went away" if was_connected else "closes the connection"
            self._complain("away", f"{self._name} {did}; {self._patience()}")

    def _on_publish(self, *_: Any) -> None:
        self._n_acknowledged += 1
        if not self._is_well:  # only now: a broker may let us in and throw us out at the first message
            self._is_well = True
            logger.log(
                logging.WARNING if self._complaints else logging.INFO,
                "%s takes messages%s",
                self._name,
                " again" if self._complaints else "",
            )
            self._complaints.clear()
        self._wake()

    def _complain(self, kind: str, sentence: str) -> None:
        if kind not in self._complaints:
            self._complaints.add(kind)
            logger.warning("%s", sentence)

    def _patience(self) -> str:
        return f"trying again, and keeping the last {count(self._max_waiting, 'message')}"


def message(event: Published | Ended) -> dict[str, Any]:
    """What is published of a recording."""
    if isinstance(event, Ended):
        return {
            "recording": event.recording,
            "state": event.state,
            "reason": event.reason,
            "detail": event.detail,
            "duration_s": event.duration_s,
        }
    return {
        "recording": event.recording,
        "bundle": event.bundle,
        "start_time": event.start_time,
        "duration_s": event.duration_s,
        "hop_size_s": event.hop_size_s,
        "n_windows": event.n_windows,
        "scores": {label: round(score, 4) if math.isfinite(score) else None for label, score in event.scores.items()},
    }


def state_words(facts: Facts) -> dict[str, Any]:
    """What is published of the state as soon as it changes; nothing where the facts are those of another process."""
    daemon = facts.daemon
    if daemon is None or not facts.is_of(os.getpid()):
        return {}
    return {
        "since": daemon.since,
        "version": daemon.version,
        "folder": facts.folder_word or None,
        "quiet": facts.is_quiet,
        "trouble": facts.trouble.detail if facts.trouble else None,
        "bundles": [{"name": one.name, "version": one.version, "sha256": one.sha256} for one in daemon.bundles],
    }


def encoded(values: dict[str, Any]) -> bytes:
    r"""JSON in UTF-8; the bytes of a name that is not UTF-8 are spelt out, as in ``caf\udce9.wav``."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    # As the journal spells them. A lone surrogate in an escape of JSON's own is refused by many who read JSON.
    return SURROGATES.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text).encode()


def _client(config: MqttConfig) -> Client:
    try:
        from paho.mqtt.client import Client  # noqa: PLC0415  an extra, of no use without a broker
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415  which 1.x, Debian 12's, does not have
    except ImportError as error:
        raise ConfigError(
            "mqtt.host needs paho-mqtt of version 2, which is not installed: pip install 'sonyc-ml[mqtt]'"
        ) from error
    client = Client(CallbackAPIVersion.VERSION2, client_id(socket.gethostname()))
    client.reconnect_delay_set(1, MAX_RECONNECT_S)
    client.will_set(f"{config.topic}/state", encoded(OFFLINE), qos=1, retain=True)
    if config.password_file is not None:
        client.username_pw_set(config.username, _password(config.password_file))
    if config.ca_file is not None:
        try:
            client.tls_set(ca_certs=str(config.ca_file))
        except OSError as error:
            raise ConfigError(f"mqtt.ca_file = {config.ca_file} cannot be used: {error.strerror or error}") from error
    client.connect_async(_host(config.host or ""), config.port)
    return client


def _host(host: str) -> str:
    """A name that can be looked up: another one would end paho's thread."""
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise ConfigError(f"mqtt.host = {host!r} is no name of a host") from error
    if not host or not host.isprintable():
        raise ConfigError(f"mqtt.host = {host!r} is no name of a host")
    return host


def _password(path: Path) -> str:
    try:
        if path.stat().st_mode & stat.S_IROTH:
            logger.warning("mqtt.password_file = %s can be read by everybody; run: chmod o= %s", path, path)
        password = path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = (isinstance(error, OSError) and error.strerror) or "it is not UTF-8"
        raise ConfigError(f"mqtt.password_file = {path} cannot be read: {why}") from error
    if not password:
        raise ConfigError(f"mqtt.password_file = {path} is empty")
    return password


def client_id(hostname: str) -> str:
    """A name that the broker knows this process by: letters, digits and dashes, 23 at most, which all brokers take."""
    name = re.sub("[^0-9A-Za-z-]", "-", hostname)[:14] or "sonyc-ml"
    return f"{name}-{secrets.token_hex(4)}"
