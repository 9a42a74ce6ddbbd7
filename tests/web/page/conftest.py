"""A node that runs, its page, and one browser for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT, write_recording
from tests.support.pictured import PicturedNode
from tests.support.serving import Served, served
from tests.support.watching import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TABLES = """
[spool]
folder = "recordings"
settle_s = 0.1
[output]
folder = "out"
[model]
path = "{}"
[detections]
enabled = true
threshold = 0.0
top_k = 1
[levels]
enabled = true
[serve]
predict = false
"""
BUNDLE = ROOT / "models" / "quantized_default_int8.tflite"
CHROMIUM = shutil.which("chromium") or ""
# Recordings that are none, and whose names would do something where they are put into a page as they are.
NO_SOUND = (
    "<img src=x onerror=document.title='owned'>.wav",
    "two\nlines\u202eback.wav",
    b"not\xffutf8.wav".decode(errors="surrogateescape"),
)
SOUND = ('"><script>document.title="owned"<!--.wav', "plain_20261128T120000Z.wav")


class LiveNode:
    """A daemon that runs, and its page."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "sonyc-ml.toml"
        self.config.write_text(TABLES.format(BUNDLE))
        self.recordings = folder / "recordings"
        self.recordings.mkdir()
        for number, name in enumerate(SOUND):
            write_recording(self.recordings / name, seconds=2, seed=number)
        for name in NO_SOUND:
            (self.recordings / name).write_bytes(b"no sound")
        self.watch = Watch(self.recordings, folder / "out", "--config", self.config)


@pytest.fixture(scope="session")
def live_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node that has embedded some recordings and quarantined others."""
    node = LiveNode(tmp_path_factory.mktemp("live-node"))
    try:
        node.watch.wait_for_line("watching")
        for name in SOUND:
            node.watch.wait_for_state(name, "done")
        for name in NO_SOUND:
            node.watch.wait_for_state(name, "quarantined")
        yield node
    finally:
        node.watch.stop()


@pytest.fixture(scope="session")
def page_service(live_node: LiveNode) -> Iterator[Served]:
    """The page of that node."""
    with served("--config", live_node.config, "--port", 0) as service:
        yield service


@pytest.fixture(scope="session")
def address(page_service: Served) -> str:
    """Where the page is."""
    return f"http://127.0.0.1:{page_service.connection().port}"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skips the tests, saying so, where there is none."""
    if not CHROMIUM:
        pytest.skip("there is no chromium here: scripts/setup-debian chromium")
    api = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictured_node(tmp_path_factory: pytest.TempPathFactory) -> PicturedNode:
    """A node with a day of recordings; whoever changes a file puts it back."""
    return PicturedNode(tmp_path_factory.mktemp("pictured-node"), BUNDLE)


@pytest.fixture(scope="session")
def pictured_service(pictured_node: PicturedNode) -> Iterator[Served]:
    """The page of that node."""
    with served("--config", pictured_node.config, "--port", 0) as service:
        yield service
