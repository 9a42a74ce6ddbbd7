"""The routes of the hub that fetching a bundle needs, on loopback, over a folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORY = "someone/street-sounds"
REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A hub with one repository of one revision.

    Attributes
    ----------
    folder : Path
        What is in the repository.
    address : str
        Of the server.
    says_revision : str
        What it says that it gives.
    asked : list of str
        Method and path of each request.
    """

    folder: Path
    address: str = ""
    says_revision: str = REVISION
    asked: list[str] = field(default_factory=list)

    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        prefix = f"GET /{REPOSITORY}/resolve/{REVISION}/"
        return {unquote(line.removeprefix(prefix)) for line in self.asked if line.startswith(prefix)}


class Handler(BaseHTTPRequestHandler):
    """Answers what fetching asks."""

    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *arguments: Any) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer with the content."""
        self.answer()

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self.answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        """Say what there is, or that it is not there."""
        path, folder = unquote(urlsplit(self.path).path), self.hub.folder
        self.hub.asked.append(f"{self.command} {path}")
        resolve = f"/{REPOSITORY}/resolve/{REVISION}/"
        if path == f"/api/models/{REPOSITORY}/revision/{REVISION}":
            self.send(200, json.dumps(listing(self.hub)).encode(), {"Content-Type": "application/json"})
        elif path.startswith(resolve) and (folder / path.removeprefix(resolve)).is_file():
            content = (folder / path.removeprefix(resolve)).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            self.send(200, content, {"X-Repo-Commit": self.hub.says_revision, "ETag": f'"{digest}"'})
        else:
            error = "EntryNotFound" if path.startswith(resolve) else "RepoNotFound"
            self.send(404, b"", {"X-Error-Code": error, "X-Error-Message": "it is not here"})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        """Send an answer, with its content where that was asked for."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@contextmanager
def serve_hub(folder: Path) -> Iterator[Hub]:
    """Serve a folder as a repository of the hub, until the context ends."""
    hub = Hub(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, hub)) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def listing(hub: Hub) -> dict[str, object]:
    """What the hub says of the repository, with its files."""
    files = sorted(path for path in hub.folder.iterdir() if path.is_file())
    siblings = [{"rfilename": path.name, "size": path.stat().st_size, "blobId": "0" * 40} for path in files]
    return {
        "_id": "1",
        "id": REPOSITORY,
        "modelId": REPOSITORY,
        "sha": hub.says_revision,
        "siblings": siblings,
        "tags": [],
    }
