"""Folders of recordings to embed: real ones repeated, and tiny ones by the thousand."""

from __future__ import annotations

import random
import shutil
import wave
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

TINY_RATE_HZ = 8000
TINY_S = (0.1, 1.0)
N_ORIGINALS = 100
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
N_PER_FOLDER = 1440  # one a minute: a day's


def repeat(originals: Sequence[Path], n_recordings: int, folder: Path) -> Path:
    """Fill a folder with recordings, the same ones over and over under new names."""
    folder.mkdir()
    copies = [Path(shutil.copy(path, folder / f"{i:05}{path.suffix}")) for i, path in enumerate(originals)]
    for i in range(len(copies), n_recordings):
        original = copies[i % len(copies)]
        (folder / f"{i:05}{original.suffix}").hardlink_to(original)
    for path in copies[n_recordings:]:
        path.unlink()
    return folder


def tiny(n_recordings: int, folder: Path) -> Path:
    """Fill a folder with short noises named like a node's that hears something every minute."""
    originals = folder.with_name(f"{folder.name}_originals")
    originals.mkdir()
    generator = random.Random(0)
    sources = [_write_noise(originals / f"{i}.wav", generator) for i in range(min(N_ORIGINALS, n_recordings))]
    for i in range(n_recordings):
        begin = BEGIN + timedelta(minutes=i)
        below = folder / f"{i // N_PER_FOLDER:03}"
        if not i % N_PER_FOLDER:
            below.mkdir(parents=True)
        (below / f"{begin:%Y%m%dT%H%M%SZ}.wav").hardlink_to(sources[i % len(sources)])
    shutil.rmtree(originals)
    return folder


def _write_noise(path: Path, generator: random.Random) -> Path:
    n_samples = round(generator.uniform(*TINY_S) * TINY_RATE_HZ)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, TINY_RATE_HZ, 0, "NONE", ""))
        file.writeframes(generator.randbytes(2 * n_samples))
    return path
