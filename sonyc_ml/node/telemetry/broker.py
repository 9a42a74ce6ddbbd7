"""The connection to an MQTT broker, which may come and go."""

from __future__ import annotations

import logging
import re
import secrets
import socket
import stat
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonyc_ml.base.human import to_install
from sonyc_ml.errors import ConfigError
from sonyc_ml.node.telemetry.careful import careful, encrypt
from sonyc_ml.node.telemetry.config import MqttConfig

if TYPE_CHECKING:
    from paho.mqtt.client import Client

logger = logging.getLogger(__name__)

MAX_RECONNECT_S = 60
PATIENCE = "trying again; what happens meanwhile is sent then"
MAX_ACKNOWLEDGED = 1000  # far more than are in flight


class Broker:
    """The connection to a broker; that it comes and goes is logged, once each.

    Parameters
    ----------
    config : MqttConfig
    will : tuple of (str, bytes)
        Topic and message that the broker publishes where this process is gone without a word.
    there, wake : callable
        Called on paho's thread: the broker has let us in; something has happened.

    Raises
    ------
    ConfigError
    """

    def __init__(
        self, config: MqttConfig, will: tuple[str, bytes], there: Callable[[], None], wake: Callable[[], object]
    ) -> None:
        self._there, self._wake = there, wake
        self._name = f"the MQTT broker {config.host}:{config.port}"
        self._n_sent = self._n_acknowledged = 0
        self._acknowledged: deque[int] = deque(maxlen=MAX_ACKNOWLEDGED)
        self._complaints: set[str] = set()
        self._is_well = self._is_closing = False
        self.is_connected = False
        self._client = _client(config, will, self._on_refused)
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

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Hand over a message, which arrives at least once; return the number by which it is acknowledged."""
        mid = self._client.publish(topic, payload, qos=1, retain=retain).mid
        self._n_sent += 1  # each number is written by one thread alone
        return int(mid)

    def acknowledged(self) -> list[int]:
        """The numbers of the messages that were acknowledged since this was asked last."""
        return [self._acknowledged.popleft() for _ in range(len(self._acknowledged))]

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
        self._complain("away", f"{self._name} cannot be reached ({why}); {PATIENCE}")

    def _on_disconnect(self, *_: Any) -> None:
        was_connected, self.is_connected, self._is_well = self.is_connected, False, False
        self._wake()
        if not self._is_closing and "refused" not in self._complaints:
            did = "went away" if was_connected else "closes the connection"
            self._complain("away", f"{self._name} {did}; {PATIENCE}")

    def _on_refused(self) -> None:
        self._complain("hostile", f"{self._name} sends messages that nobody asked for, and is hung up on")

    def _on_publish(self, _client: Any, _data: Any, mid: int, *_: Any) -> None:
        self._acknowledged.append(mid)
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


def _client(config: MqttConfig, will: tuple[str, bytes], on_refused: Callable[[], None]) -> Client:
    try:
        from paho.mqtt.client import Client  # noqa: PLC0415  an extra, of no use without a broker
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415  which 1.x, Debian 12's, does not have
    except ImportError as error:
        raise ConfigError(
            f"mqtt.host needs paho-mqtt of version 2, which is not installed; {to_install('mqtt')}"
        ) from error
    client = careful(Client, on_refused)(CallbackAPIVersion.VERSION2, client_id(socket.gethostname()))
    client.reconnect_delay_set(1, MAX_RECONNECT_S)
    client.will_set(*will, qos=1, retain=True)
    if config.password_file is not None:
        client.username_pw_set(config.username, _password(config.password_file))
    encrypt(client, config)
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
