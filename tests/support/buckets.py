"""A store for tests: S3 as moto's server speaks it, on loopback."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "a-key-of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "never-to-be-shown-9d1e",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of an S3 server, for as long as the context lasts."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # that of an earlier test would go on asking its own server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()  # buckets are of the process
    yield f"http://{host}:{port}"
    server.stop()


def fetched(system: Any, address: str, folder: Path) -> Path:
    """Everything that a folder in a store shows, as a folder here."""
    root = address.partition("://")[2]
    for key in system.find(root) if system.exists(root) else ():
        name = key[len(root) :].strip("/")
        if not name.startswith("."):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(system.cat_file(key))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
