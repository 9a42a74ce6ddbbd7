"""What a journal is tested with: a clock, identities, and disks that are full."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sonyc_ml.base.identity import Identity
from sonyc_ml.errors import StoreError
from sonyc_ml.node.facts import Facts
from sonyc_ml.node.journal.journal import Journal

NOON_S = 1_700_000_000.0  # 2023-11-14, 22:13:20 in UTC


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now_s: float = NOON_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def an_identity(name: str = "a.wav", mtime_s: float = NOON_S, n_bytes: int = 100) -> Identity:
    return Identity(name, n_bytes, round(mtime_s * 1e9))


@contextmanager
def mounted(size: str = "512k") -> Iterator[Path]:
    """A small disk in memory; skips the test where it may not be mounted. Not in pytest's folder, which is cleared."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="sonyc-ml-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        folder.rmdir()
        pytest.skip("this root may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def fill(folder: Path) -> Path:
    """Fill a disk to the last byte; what is removed to make room again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def fill_for_changes(journal: Journal, disk: Path) -> Path:
    """Fill the journal's disk, so that not one more change fits."""
    ballast = fill(disk)
    for number in itertools.count():  # what was reserved is used up first
        try:
            journal.write_facts(Facts(stopped=str(number) * 100))
        except StoreError:
            return ballast
    raise AssertionError("there is always room")
