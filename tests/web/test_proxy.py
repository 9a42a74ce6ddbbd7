"""docs/proxy.md: its nginx and its Caddy, in front of a real service."""

from __future__ import annotations

import base64
import http.client
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sonyc_ml.base.identity import Identity
from tests.conftest import PATIENCE_S, ROOT
from tests.support.metrics import journal_of, make_config
from tests.support.serving import served

PAGE = ROOT / "docs" / "proxy.md"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
PASSWORD = "open sesame"
# What Debian's /etc/nginx/nginx.conf has around a site, in a folder of the test's own.
AROUND = """
daemon off; user root; pid {0}/pid; error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/a; uwsgi_temp_path {0}/b;
    scgi_temp_path {0}/c;
    {1}
}}
"""


def shown(language: str) -> str:
    """The page's only text in a language."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(text)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def replaced(text: str, changes: dict[str, str]) -> str:
    """A text with other paths, each of which is in it."""
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(folder: Path, upstream: Path) -> Iterator[int]:
    """The page's nginx on a port of its own, with a certificate of its own, in front of a socket."""
    if NGINX is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not here; scripts/setup-debian nginx-light openssl gets them")
    folder.mkdir()
    key, certificate, passwords, port = folder / "key", folder / "certificate", folder / "passwords", free_port()
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=node.example.org"
    command = [*make.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True, timeout=60
    )
    passwords.write_text(f"operator:{hashed.stdout}")
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/ssl/certs/node.pem": str(certificate),
        "/etc/ssl/private/node.key": str(key),
        "/etc/nginx/sonyc-ml.passwords": str(passwords),
        "/run/sonyc-ml-serve/http.sock": str(upstream),
    }
    (folder / "nginx.conf").write_text(AROUND.format(folder, replaced(shown("nginx"), changes)))
    run = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with (folder / "log").open("w") as log, subprocess.Popen(run, stderr=log) as process:
        try:
            wait_for_port(port, process, folder / "log")
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"nobody listens: {log.read_text()}")


def connection(port: int) -> http.client.HTTPSConnection:
    """One over TLS; the certificate is the test's own."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE_S, context=context)


def ask(port: int, path: str, password: str | None = PASSWORD) -> tuple[int, bytes]:
    """Status and body."""
    asking = connection(port)
    headers = {"Host": "node.example.org"}
    if password is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(f"operator:{password}".encode()).decode()
    asking.request("GET", path, headers=headers)
    answer = asking.getresponse()
    body = answer.read()
    asking.close()
    return answer.status, body


def test_nginx_lets_in_who_knows_the_password(tmp_path: Path) -> None:
    """Over TLS, to the page and to the figures, by a name that the service itself does not answer to; nobody else."""
    config = make_config(tmp_path)
    place = tmp_path / "http.sock"
    (tmp_path / "c.toml").write_text(
        '[spool]\nfolder = "in"\n[output]\nfolder = "out"\n[model]\npath = "tiny.tflite"\n'
        f'[serve]\npredict = false\nsocket = "{place}"\n'
    )
    with (
        journal_of(config) as journal,
        served("--config", tmp_path / "c.toml") as service,
        nginx(tmp_path / "n", place) as port,
    ):
        journal.add([Identity("a.wav", 1, 1)])
        for password in (None, "wrong"):
            assert ask(port, "/metrics", password)[0] == 401
        status, body = ask(port, "/")
        assert status == 200, "".join(service.lines)
        assert b"<html" in body
        status, body = ask(port, "/metrics")
        assert status == 200
        assert b"\nsonyc_ml_backlog_recordings 1.0\n" in body
        plain = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        plain.request("GET", "/metrics")
        assert plain.getresponse().status == 400
        plain.close()


class Events:
    """Sends one event, and the next when it is told to; where nobody has asked when it is closed, none."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.go_on, self.request = threading.Event(), b""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            asked, _ = self._listener.accept()
        except OSError:  # it was closed
            return
        with asked, suppress(ConnectionError):  # nginx may hang up, and the test says what it then lacks
            self.request = asked.recv(10_000)
            asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n")
            self.go_on.wait(PATIENCE_S)
            asked.sendall(b"data: 2\n\n")

    def close(self) -> None:
        """End."""
        self.go_on.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing it wakes nobody who accepts
        self._thread.join(PATIENCE_S)
        self._listener.close()


def test_nginx_sends_events_on_at_once(tmp_path: Path) -> None:
    """One is there before there is another; the password does not go on."""
    events = Events(tmp_path / "s")
    try:
        with nginx(tmp_path / "n", tmp_path / "s") as port:
            asking = connection(port)
            basic = base64.b64encode(f"operator:{PASSWORD}".encode()).decode()
            asking.request("GET", "/events", headers={"Authorization": f"Basic {basic}"})
            answer = asking.getresponse()
            assert answer.readline() == b"data: 1\n"
            assert not events.go_on.is_set()
            events.go_on.set()
            assert [answer.readline() for _ in range(2)] == [b"\n", b"data: 2\n"]
            asking.close()
        assert b"authorization" not in events.request.lower()
        assert b"\r\nHost: localhost\r\n" in events.request
    finally:
        events.close()


def test_caddy_understands_its_text(tmp_path: Path) -> None:
    """As far as caddy itself says so."""
    if shutil.which("caddy") is None:
        pytest.skip("caddy is not here, so its text in docs/proxy.md is not checked")
    hashed = subprocess.run(
        ["caddy", "hash-password", "--plaintext", PASSWORD], check=True, capture_output=True, text=True, timeout=60
    )
    path = tmp_path / "Caddyfile"
    path.write_text(replaced(shown("caddy"), {"NAME HASH": f"operator {hashed.stdout.strip()}"}))
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
