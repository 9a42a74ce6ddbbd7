"""Pictures of the page of a real node, for its documentation; see ``scripts/page-pictures``."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from scripts.plot_pictures import ESC10, ROOT, heard_at, sign
from scripts.simulate_recorder import SAMPLE_RATE, street

TABLES = f"""
[node]
name = "street-12"

[spool]
folder = "recordings"
[output]
folder = "embeddings"
[model]
path = "{ROOT}/models/quantized_default_int8.tflite"
[detections]
enabled = true
threshold = 0.5
[levels]
enabled = true
[serve]
predict = false
"""
EVERY, HOURS, GAP = timedelta(minutes=6), 48, (26.0, 27.3)  # hours ago: the recorder was away
LOUD = range(6, 20)  # hours of the day
N_COLOURS = 128  # of a picture: half the bytes, and nobody sees it


class Shot(NamedTuple):
    """A picture: its name, the page, and the screen."""

    name: str
    path: str
    size: tuple[int, int]
    scheme: str


DESK, PHONE = (1100, 760), (390, 780)
SHOTS = (
    Shot("page-now", "", DESK, "light"),
    Shot("page-now-phone", "", PHONE, "dark"),
    Shot("page-health-phone", "condition", PHONE, "dark"),
    Shot("page-day", "day", (1100, 1000), "light"),
    Shot("page-recording", "recording", (1100, 1000), "light"),
)


def main(folder: Path) -> None:
    """Make a node, and draw its pages into a folder."""
    with ExitStack() as stack:
        node = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "node"
        node.mkdir()
        (node / "sonyc-ml.toml").write_text(TABLES)
        n_recordings = record(node / "recordings")
        stack.enter_context(running(node, "watch"))
        wait(lambda: len(list((node / "embeddings").glob("*.npz"))) == n_recordings)
        port = stack.enter_context(running(node, "serve", "--port", "0"))
        playwright = stack.enter_context(sync_playwright())
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for shot in SHOTS:
            draw(browser, f"http://127.0.0.1:{port}/", shot, folder)
        browser.close()


def record(folder: Path) -> int:
    """Write the recordings of a day, and one that is none; returns how many."""
    folder.mkdir()
    clips, rng = sorted(ESC10.glob("*/*.ogg")), random.Random(5)
    now, n_recordings = datetime.now(UTC).replace(second=0, microsecond=0), 0
    start = now - timedelta(hours=HOURS)
    while start < now - timedelta(minutes=1):
        if not GAP[0] < (now - start) / timedelta(hours=1) < GAP[1]:
            gain = rng.uniform(0.2, 0.9) if start.hour in LOUD else rng.uniform(0.02, 0.1)
            path = folder / start.strftime("street_%Y%m%dT%H%M%SZ.wav")
            soundfile.write(path, gain * sound(heard_at(start.hour, clips), rng), SAMPLE_RATE, subtype="PCM_16")
            n_recordings += 1
        start += EVERY
    (folder / (now - timedelta(hours=3)).strftime("street_%Y%m%dT%H%M31Z.wav")).write_bytes(b"no sound")
    return n_recordings


def sound(clips: list[Path], rng: random.Random) -> Any:
    """Ten seconds: two clips, one after another; or a synthetic street."""
    if not clips:
        return street(np.random.default_rng(rng.randrange(1 << 30)), 10.0)
    return np.concatenate([soundfile.read(rng.choice(clips), always_2d=True)[0].mean(axis=1) for _ in range(2)])


@contextmanager
def running(node: Path, *arguments: str) -> Iterator[int]:
    """A command of the node while the context lasts; the port where it listens, or 0."""
    command = [sys.executable, "-m", "sonyc_ml", *arguments, "--config", str(node / "sonyc-ml.toml")]
    log = node / f"{arguments[0]}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file)
    try:
        wait(lambda: re.search("watching|ready: ", log.read_text()))
        found = re.search(r"http://127.0.0.1:(\d+)", log.read_text())
        yield int(found[1]) if found else 0
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def wait(is_there: Any, seconds: float = 600.0) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not there after {seconds:g} s")
        time.sleep(0.1)


def draw(browser: Browser, address: str, shot: Shot, folder: Path) -> None:
    """Draw one page."""
    width, height = shot.size
    scheme: Any = shot.scheme
    with browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme) as context:
        page = context.new_page()
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
        paths = {"recording": "", "day": f"day?from={yesterday}&to={yesterday}"}
        page.goto(address + paths.get(shot.path, shot.path))
        if shot.path == "recording":
            page.locator("td.name a").first.click()
        page.wait_for_load_state("networkidle")
        page.locator("[data-soon]").wait_for(state="detached", timeout=120_000)  # the doctor is asked
        image = Image.open(io.BytesIO(page.screenshot()))
    path = folder / f"{shot.name}.png"
    image.convert("RGB").quantize(N_COLOURS, dither=Image.Dither.NONE).save(path)
    sign(path)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
