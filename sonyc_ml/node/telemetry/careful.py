"""A connection to a broker that is not trusted: what it may send, and how it is encrypted."""

from __future__ import annotations

import ipaddress
import logging
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sonyc_ml.errors import ConfigError
from sonyc_ml.node.telemetry.config import MqttConfig

if TYPE_CHECKING:
    from paho.mqtt.client import Client

logger = logging.getLogger(__name__)

MAX_PACKET_BYTES = 1024  # what answers a publisher has 4 bytes
PUBLISH = 0x30
NOTHING = b""  # what paho reads where the other side has hung up


def careful(base: type[Client], on_refused: Callable[[], None]) -> type[Client]:
    """A client that subscribes to nothing, and so hangs up on whoever sends it messages, or packets that are large.

    paho reads whatever the other side sends, up to 256 MB a packet, into memory. It has no limit of its own, so its
    reads are looked at where they are made.

    Parameters
    ----------
    base : type
        paho's client.
    on_refused : callable
        Called on paho's thread before it hangs up.
    """

    class CarefulClient(base):  # type: ignore[misc, valid-type]
        def _sock_recv(self, bufsize: int) -> bytes:
            command = self._in_packet["command"] & 0xF0
            if bufsize > MAX_PACKET_BYTES or (command == PUBLISH and self._in_packet["have_remaining"]):
                on_refused()
                return NOTHING
            received: bytes = super()._sock_recv(bufsize)
            return received

    return CarefulClient


def encrypt(client: Any, config: MqttConfig) -> None:
    """Turn encryption on where the configuration wants it; a password that goes without it is told.

    Raises
    ------
    ConfigError
        A certificate or a key cannot be used.
    """
    if not config.is_encrypted:
        if config.password_file is not None and not _is_here(config.host or ""):
            logger.warning(
                "the password for the MQTT broker %s is sent without encryption, and can be read on the way; "
                "set mqtt.tls = true, or mqtt.ca_file",
                config.host,
            )
        return
    given = {name: getattr(config, name) for name in ("ca_file", "cert_file", "key_file")}
    try:
        # A key with a password is refused: nobody could be asked for it.
        client.tls_set(*(path and str(path) for path in given.values()), keyfile_password="")
    except (OSError, ValueError) as error:
        named = ", ".join(f"mqtt.{name} = {path}" for name, path in given.items() if path) or "mqtt.tls"
        why = "it is no certificate or key, or has a password" if isinstance(error, ssl.SSLError) else None
        raise ConfigError(f"{named} cannot be used: {why or getattr(error, 'strerror', None) or error}") from error


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
