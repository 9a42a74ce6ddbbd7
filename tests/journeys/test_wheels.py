"""Every declared dependency is there for the processors of nodes: no release loses a platform unnoticed."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

pytestmark = pytest.mark.x86  # asks a registry about other processors than the one it runs on

GLIBC_OF_DEBIAN = {"3.11": 36, "3.13": 41}  # Debian 12 and 13
GLIBCS = (17, 24, 26, 27, 28, 31, 34, 35, 36, 38, 39, 41)
# Debian's own there: PyPI has no wheels for 32-bit ARM.
OF_DEBIAN_ARMHF = {"numpy"}


def declared(machine: str, *extras: str) -> list[str]:
    """What pyproject.toml requires on a machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    required = [Requirement(text) for group in groups for text in group]
    wanted = [r for r in required if r.marker is None or r.marker.evaluate({"platform_machine": machine})]
    return [f"{r.name}{r.specifier}" for r in wanted]


def resolve(
    required: Sequence[str], folder: Path, machine: str, python: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """What pip would install from wheels alone; nothing is installed."""
    newest = GLIBC_OF_DEBIAN[python]
    tags = [f"manylinux_2_{glibc}_{machine}" for glibc in GLIBCS if glibc <= newest]
    platforms = [word for tag in (*tags, f"manylinux2014_{machine}") for word in ("--platform", tag)]
    number = python.replace(".", "")
    abis = [word for abi in (f"cp{number}", "abi3", "none") for word in ("--abi", abi)]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command += ["--target", str(folder), "--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    return subprocess.run(
        [*command, *abis, *platforms, *options, *required], capture_output=True, text=True, check=False, timeout=300
    )


@functools.cache
def why_no_registry() -> str:
    """Why pip finds nothing at all, as a clause; empty where it finds something."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    done = subprocess.run(
        [*command, "--retries=1", "--timeout=20", "dill"], capture_output=True, text=True, check=False, timeout=120
    )
    return f"no registry can be asked: {done.stderr.strip().rpartition(chr(10))[2]}" if done.returncode else ""


@pytest.fixture(autouse=True)
def _registry() -> None:
    if reason := why_no_registry():
        pytest.skip(reason)


def names(done: subprocess.CompletedProcess[str]) -> set[str]:
    assert done.returncode == 0, done.stderr
    return {one["metadata"]["name"].lower() for one in json.loads(done.stdout)["install"]}


@pytest.mark.parametrize("python", GLIBC_OF_DEBIAN)
def test_arm64_has_a_wheel_of_everything(python: str, tmp_path: Path) -> None:
    """What is required, soxr and MQTT too, comes as wheels for aarch64 and the Pythons of Debian 12 and 13."""
    required = declared("aarch64", "soxr", "mqtt")
    found = names(resolve(required, tmp_path, "aarch64", python))
    assert {"ai-edge-litert", "numpy", "soundfile", "watchdog", "dill", "soxr", "paho-mqtt"} <= found
    assert "tflite-runtime" not in found


def test_armhf_has_a_wheel_of_all_but_debians(tmp_path: Path) -> None:
    """What is required, numpy and what it is required by aside, comes as wheels for armv7l and Debian 12's Python."""
    required = [one for one in declared("armv7l", "mqtt") if Requirement(one).name not in OF_DEBIAN_ARMHF]
    found = names(resolve(required, tmp_path, "armv7l", "3.11", "--no-deps"))
    assert found == {"tflite-runtime", "soundfile", "watchdog", "dill", "paho-mqtt"}


def test_a_platform_that_is_missing_is_seen(tmp_path: Path) -> None:
    """The control: LiteRT has no wheels for 32-bit ARM, and that is no success."""
    done = resolve(["ai-edge-litert>=2.0.2"], tmp_path, "armv7l", "3.11", "--no-deps")
    assert done.returncode != 0
    assert "ai-edge-litert" in done.stderr
