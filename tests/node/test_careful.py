"""A broker is not trusted: what it sends costs no memory, and what it is sent is encrypted where that is wanted."""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.errors import ConfigError
from sonyc_ml.node.config import MqttConfig
from sonyc_ml.node.telemetry.mqtt import MqttPublisher
from tests.conftest import PATIENCE_S, needs

pytestmark = needs("paho")
CONNACK, LARGE = b"\x20\x02\x00\x00", 250 << 20


def length(n: int) -> bytes:
    """A number of bytes as MQTT has it."""
    digits = bytearray()
    while True:
        n, digit = divmod(n, 128)
        digits.append(digit | (128 if n else 0))
        if not n:
            return bytes(digits)


ATTACKS = {
    "a message of 250 MB": b"\x30" + length(LARGE),
    "an answer of 250 MB": b"\x40" + length(LARGE),
    "an answer of 250 MB before we are let in": b"\x20" + length(LARGE),
    "small messages that wait for their release": b"".join(
        b"\x34" + length(3 + 100 + 2) + b"\x00\x01t" + number.to_bytes(2, "big") + bytes(100)
        for number in range(1, 60000)
    ),
}


@contextmanager
def hostile(attack: bytes) -> Iterator[tuple[int, list[int]]]:
    """A server that lets everybody in and then sends; yields its port, and how much each connection took."""
    taken: list[int] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            taken.append(0)
            with connection, suppress(OSError):
                connection.recv(4096)
                if not attack.startswith(b"\x20"):
                    connection.sendall(CONNACK)
                connection.sendall(attack)
                while taken[-1] < LARGE:
                    taken[-1] += connection.send(bytes(1 << 16))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], taken
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE_S)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_hostile_broker_is_hung_up_on(attack: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a broker sends that nobody asked for, it is hung up on at once, and the log says so once."""
    with hostile(attack) as (port, taken), MqttPublisher(MqttConfig(host="127.0.0.1", port=port), tmp_path, "a"):
        end_s = time.monotonic() + PATIENCE_S
        while len(taken) < 2:  # it was hung up on, and is tried again
            assert time.monotonic() < end_s
            time.sleep(0.01)
    assert taken[0] < 16 << 20  # what fits into the kernel's buffers
    assert caplog.text.count("sends messages that nobody asked for, and is hung up on") == 1


def certificate(folder: Path, *flags: str) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    cert, key = folder / "node.pem", folder / "node.key"
    usual = (
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    )
    subprocess.run(
        ["openssl", "req", *usual, *(flags or ("-nodes",)), "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.mark.parametrize("more", [{"tls": True}, {"cert": True}, {"cert": True, "ca": True}])
def test_certificates_are_taken(more: dict[str, bool], tmp_path: Path) -> None:
    """The system's authorities, our own, and a certificate of the node turn encryption on."""
    cert, key = certificate(tmp_path)
    files: dict[str, Any] = ({"cert_file": cert, "key_file": key} if "cert" in more else {}) | (
        {"ca_file": cert} if "ca" in more else {}
    )
    config = MqttConfig(host="localhost", tls=more.get("tls", False), **files)
    assert config.is_encrypted
    MqttPublisher(config, tmp_path, "a")


@pytest.mark.parametrize("kind", ["no certificate", "missing", "a key with a password"])
def test_a_certificate_that_cannot_be_used_is_told(kind: str, tmp_path: Path) -> None:
    """A sentence names the keys; nobody is asked for a password."""
    cert, key = certificate(tmp_path, *(("-passout", "pass:secret") if "password" in kind else ()))
    if kind == "no certificate":
        cert.write_text("nothing")
    elif kind == "missing":
        cert.unlink()
    with pytest.raises(ConfigError, match=r"mqtt\.cert_file = .*, mqtt\.key_file = .* cannot be used: "):
        MqttPublisher(MqttConfig(host="localhost", cert_file=cert, key_file=key), tmp_path, "a")
    with pytest.raises(ValueError, match="key_file belongs to a cert_file"):
        MqttConfig(host="localhost", key_file=key)


@pytest.mark.parametrize(
    ("host", "tls", "is_told"),
    [("broker.example", False, True), ("192.0.2.1", False, True), ("broker.example", True, False)]
    + [(host, False, False) for host in ("localhost", "127.0.0.1", "::1")],
)
def test_a_password_without_encryption_is_told(
    host: str, tls: bool, is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever listens on the way could read it; on this machine nobody does."""
    (tmp_path / "password").write_text("secret")
    (tmp_path / "password").chmod(0o600)
    with caplog.at_level(logging.WARNING):
        MqttPublisher(
            MqttConfig(host=host, username="node", password_file=tmp_path / "password", tls=tls), tmp_path, "a"
        )
    assert ("is sent without encryption" in caplog.text) == is_told
    assert "secret" not in caplog.text
