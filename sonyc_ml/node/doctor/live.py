"""Checks of live sound: whether its sources can be had, and whether memory is memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sonyc_ml.node.config import Config
from sonyc_ml.node.doctor.access import existing, may, name_of
from sonyc_ml.node.doctor.machine import BAD, OK, WARN, Finding

if TYPE_CHECKING:
    from sonyc_ml.node.intake.config import SourceConfig

PACKAGES = {
    "arecord": "alsa-utils",
    "sox": "sox",
    "rec": "sox",
    "ffmpeg": "ffmpeg",
    "gst-launch-1.0": "gstreamer1.0-tools",
}
SWAPS = Path("/proc/swaps")


def of_live(config: Config) -> list[tuple[str, Callable[[], Finding]]]:
    """The checks of a node that listens; none of one that does not."""
    if config.listen is None:
        return []
    return [*((f"source {one.name}", partial(source, one)) for one in config.listen.source), ("swap", swap)]


def source(settings: SourceConfig) -> Finding:
    """Whether a source of live sound can be had."""
    name, command, path = f"source {settings.name}", settings.command, settings.socket
    if command and shutil.which(command[0]) is None:
        package = PACKAGES.get(Path(command[0]).name)
        remedy = f"sudo apt-get install {package}" if package else "install it, or give its whole path"
        return Finding(name, BAD, f"there is no command {command[0]}", remedy)
    if command:
        return Finding(name, OK, f"{command[0]} is {shutil.which(command[0])}")
    if path is not None and not may(existing(path.parent), os.W_OK | os.X_OK):
        remedy = "choose another place, or install the drop-in sound-card.conf, which makes /run/sonyc-ml"
        return Finding(name, BAD, f"{name_of()} cannot make a socket in {path.parent}", remedy)
    return Finding(name, OK, f"listens at {path or settings.port or 'standard input'}")


def swap(swaps: Path = SWAPS) -> Finding:
    """Whether memory may be written to a disk: live sound is in memory alone."""
    try:
        devices = [line.split()[0] for line in swaps.read_text().splitlines()[1:] if line.strip()]
    except OSError:
        devices = []
    on_disk = [device for device in devices if "zram" not in device]
    if on_disk:
        remedy = "sudo systemctl disable --now dphys-swapfile, or MemorySwapMax=0 for the service (sound-card.conf)"
        return Finding("swap", WARN, f"memory, and live sound in it, may be written to {', '.join(on_disk)}", remedy)
    return Finding("swap", OK, "memory is not written to a disk")
