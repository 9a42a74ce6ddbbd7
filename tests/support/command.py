"""Commands as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def sonyc_ml(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``sonyc-ml`` in a process of its own."""
    command = [sys.executable, "-m", "sonyc_ml", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=60)


def run_ssh_keygen(*arguments: object) -> None:
    """Run ``ssh-keygen``, which must succeed, and ask nothing."""
    command = ["ssh-keygen", "-q", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
