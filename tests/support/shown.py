"""Outputs that pages show, and what commands print, without what varies."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
# What differs from run to run and machine to machine.
VARYING = (
    (r"\d{4}-\d\d-\d\dT[\d:.]+(?:\+00:00|Z)", "TIME"),
    (r"(?<![\w.])\S*/\S+", "PATH"),
    (r"\S+\.(?:wav|tflite|npz)\b", "NAME"),
    (r"\b\d[\d,.]*(?:e-\d+)?\b", "N"),
    (r"\s+", " "),
)


def shape(line: str) -> str:
    """A line without what varies."""
    for pattern, word in VARYING:
        line = re.sub(pattern, word, line)
    return line.strip()


def shown(page: str, beginning: str) -> list[str]:
    """Lines of the page's block of output that begins so."""
    text = (DOCS / page).read_text()
    (block,) = [found for found in re.findall(r"```text\n(.*?)```", text, re.DOTALL) if found.startswith(beginning)]
    return str(block).splitlines()


def printed(folder: Path, *arguments: str) -> str:
    """What a command prints, whatever its status."""
    command = [sys.executable, "-m", "sonyc_ml", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr
