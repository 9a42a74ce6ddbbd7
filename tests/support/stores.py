"""Stores of the tests' own, on loopback or in a folder, and what makes them fail."""

from __future__ import annotations

import logging
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

BUCKET, PREFIX = "archive", "fleet"
SECRETS = {"key": "AKIAHIDDENHIDDEN0001", "secret": "wJalrHIDDENsecret/key+0001", "password": "horse-HIDDEN:battery/1"}
SSHD, RCLONE = shutil.which("sshd", path="/usr/sbin"), shutil.which("rclone")


@dataclass
class StoreHere:
    """A store: its address, what a process is told of it by the environment, and what is in it."""

    kind: str
    to: str
    environment: dict[str, str]
    folder: Path | None = None
    endpoint: str = ""
    listing: Any = field(default=None, repr=False)

    def objects(self, *, hidden: bool = False) -> dict[str, bytes]:
        """What is in it, by name below the address; what is hidden only where that is asked for."""
        if self.folder is None:
            found: dict[str, bytes] = self.listing()
            return found
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        names = {path.relative_to(self.folder).as_posix(): path for path in paths}
        return {name: path.read_bytes() for name, path in names.items() if hidden or not path.name.startswith(".")}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody answers."""
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, "the server has ended"
        time.sleep(0.05)
    raise AssertionError("the server does not answer")


@contextmanager
def running(command: list[str], port: int, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server, until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def s3_store(port: int | None = None) -> Iterator[StoreHere]:
    """moto's S3, in this process; `port` is that of a proxy before it."""
    server_module = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()  # that of an earlier test would ask its own server
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, real_port = server.get_host_and_port()
    urllib.request.urlopen(f"http://{host}:{real_port}/moto-api/reset", data=b"").close()  # it is of the process
    keys = {"aws_access_key_id": SECRETS["key"], "aws_secret_access_key": SECRETS["secret"]}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{real_port}", region_name="us-east-1", **keys)
    client.create_bucket(Bucket=BUCKET)

    def listing() -> dict[str, bytes]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{PREFIX}/")
        names = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return {
            name.removeprefix(f"{PREFIX}/"): client.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in names
        }

    environment = {
        "AWS_ACCESS_KEY_ID": SECRETS["key"],
        "AWS_SECRET_ACCESS_KEY": SECRETS["secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or real_port}",
    }
    try:
        yield StoreHere("s3", f"s3://{BUCKET}/{PREFIX}", environment, endpoint=f"{real_port}", listing=listing)
    finally:
        client.close()
        server.stop()


@contextmanager
def sftp_store(folder: Path, port: int | None = None) -> Iterator[StoreHere]:
    """OpenSSH's own server, with keys of the test's own; `port` is that of a proxy before it."""
    if SSHD is None:
        pytest.skip("sshd is not installed: scripts/setup-debian openssh-server")
    root, keys = folder / "sftp root", folder / "ssh"
    root.mkdir(parents=True, exist_ok=True)
    keys.mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    shutil.copy(keys / "user.pub", keys / "authorized")
    here = free_port()
    (keys / "sshd_config").write_text(
        f"HostKey {keys / 'host'}\nAuthorizedKeysFile {keys / 'authorized'}\nPidFile none\nStrictModes no\n"
        "UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
        "MaxStartups 100\nPermitRootLogin prohibit-password\n"
    )
    asked = port or here
    host_key = (keys / "host.pub").read_text().split()
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{asked} {host_key[0]} {host_key[1]}\n")
    with suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)
    command = [SSHD, "-D", "-f", str(keys / "sshd_config"), "-p", str(here), "-o", "ListenAddress=127.0.0.1"]
    environment = {
        "SONYC_ML_UPLOAD_USER": os.environ.get("USER") or "root",
        "SONYC_ML_UPLOAD_KEY_FILE": str(keys / "user"),
        "SONYC_ML_UPLOAD_KNOWN_HOSTS": str(keys / "known_hosts"),
    }
    with running(command, here):
        address = f"sftp://127.0.0.1:{asked}{root}".replace(" ", "%20")
        yield StoreHere("sftp", address, environment, root, str(here))


@contextmanager
def webdav_store(folder: Path, port: int | None = None) -> Iterator[StoreHere]:
    """Rclone's WebDAV server; `port` is that of a proxy before it."""
    if RCLONE is None:
        pytest.skip("rclone is not installed: scripts/setup-debian rclone")
    root, here = folder / "webdav root", free_port()
    root.mkdir(parents=True, exist_ok=True)
    command = [RCLONE, "serve", "webdav", str(root), "--addr", f"127.0.0.1:{here}", "--user", "node"]
    options = [
        *command,
        "--pass",
        SECRETS["password"],
        "--config",
        str(folder / "no-rclone.conf"),
        "--dir-cache-time",
        "0s",
    ]
    environment = {"SONYC_ML_UPLOAD_USER": "node", "SONYC_ML_UPLOAD_PASSWORD": SECRETS["password"]}
    with running(options, here):
        yield StoreHere("webdav", f"http://127.0.0.1:{port or here}/", environment, root, str(here))


@contextmanager
def folder_store(folder: Path) -> Iterator[StoreHere]:
    """A folder of another disk, so to speak."""
    root = folder / "disk"
    root.mkdir(parents=True, exist_ok=True)
    yield StoreHere("file", f"file://{root}", {}, root)


class FaultyProxy:
    """Before a server: cuts a share of the connections somewhere, so that requests or their answers are lost.

    Parameters
    ----------
    share : float
        Of connections that are cut.
    most_bytes : int
        After which they are.
    seed : int
    """

    def __init__(self, share: float, most_bytes: int = 60_000, seed: int = 0) -> None:
        self.share, self._most_bytes, self._random = share, most_bytes, random.Random(seed)
        self.target, self.n_cut, self.n_connections = 0, 0, 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._is_open = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True, name="proxy").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while self._is_open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.n_connections += 1
            limits = [1 << 60, 1 << 60]
            if self._random.random() < self.share:
                self.n_cut += 1
                limits[self._random.randrange(2)] = self._random.randrange(self._most_bytes)
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                client.close()
                continue
            for source, sink, limit in ((client, server, limits[0]), (server, client, limits[1])):
                threading.Thread(target=_pass_on, args=(source, sink, limit), daemon=True, name="proxy").start()


def _pass_on(source: socket.socket, sink: socket.socket, limit: int) -> None:
    n_bytes = 0
    with suppress(OSError):
        while block := source.recv(65536):
            sink.sendall(block[: max(0, limit - n_bytes)])
            n_bytes += len(block)
            if n_bytes >= limit:
                break
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
