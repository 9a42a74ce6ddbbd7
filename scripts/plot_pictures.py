"""The pictures of docs/pictures.md, by ``sonyc-ml plot`` with the shipped bundle; see ``scripts/pictures``."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).resolve().parents[1]
ESC10 = ROOT.parent / "shared" / "data" / "esc10"
MODEL = ROOT / "models" / "quantized_default_int8.tflite"
MADE_OF = "Made of bundle"  # the text in a picture that says of which, by the SHA-256 of its manifest
DOG = "001-dog_bark/1-30226-A.ogg"
DAY, EVERY = datetime(2026, 11, 21, tzinfo=UTC), timedelta(minutes=5)
GAPS = ((2.8, 4.2), (13.9, 15.2))  # hours of the day
# When a sound is heard mostly: a day on which every class is heard at every hour shows nothing.
USUAL = {
    "dog_bark": (7, 20),
    "rain": (9, 13),
    "sea_waves": (0, 24),
    "baby_cry": (5, 8),
    "clock_tick": (0, 5),
    "person_sneeze": (6, 9),
    "helicopter": (12, 16),
    "chainsaw": (14, 18),
    "rooster": (4, 7),
    "fire_crackling": (19, 24),
}


def main(folder: Path) -> None:
    """Draw a recording and a day into a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        recording = work / "1-30226-A_20261121T074500Z.ogg"
        shutil.copy(ESC10 / DOG, recording)
        plot(recording, "--model", str(MODEL), into=folder / "picture-recording.png")
        (work / "day").mkdir()
        record_day(work / "day")
        sonyc_ml("embed", work / "day", "--model", MODEL, "--output", work / "embeddings", "--quiet")
        plot(work / "embeddings", into=folder / "picture-day.png")


def record_day(folder: Path) -> None:
    """Copy a clip for every five minutes outside the gaps."""
    clips, rng = sorted(ESC10.glob("*/*.ogg")), random.Random(5)
    for start in starts():
        clip = rng.choice(heard_at(start.hour, clips))
        shutil.copy(clip, folder / f"{clip.stem}_{start:%Y%m%dT%H%M%SZ}.ogg")


def starts() -> Iterator[datetime]:
    """When a recording begins."""
    for number in range(timedelta(days=1) // EVERY):
        start = DAY + number * EVERY
        hour = (start - DAY) / timedelta(hours=1)
        if not any(first < hour < last for first, last in GAPS):
            yield start


def heard_at(hour: int, clips: list[Path]) -> list[Path]:
    """Those clips whose class is heard at an hour."""
    usual = {name: range(*hours) for name, hours in USUAL.items()}
    return [clip for clip in clips if hour in usual[clip.parent.name.partition("-")[2]]]


def plot(what: Path, *arguments: str, into: Path) -> None:
    """Draw, and write into the picture of which bundle it is."""
    sonyc_ml("plot", what, *arguments, "--dpi", "130", "--output", into)
    sign(into)
    print(f"{into}: {into.stat().st_size:,} bytes")


def sign(picture: Path) -> None:
    """Write into a picture of which bundle it is made."""
    text = PngInfo()
    text.add_text(MADE_OF, hashlib.sha256(MODEL.with_suffix(".json").read_bytes()).hexdigest())
    with Image.open(picture) as image:
        image.load()
    image.save(picture, optimize=True, pnginfo=text)


def sonyc_ml(command: str, *arguments: str | os.PathLike[str]) -> None:
    """Run a command of ours."""
    subprocess.run([sys.executable, "-m", "sonyc_ml", command, *map(str, arguments)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
