"""What is measured with: a network with its extractor, and recordings."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import soundfile

from sonyc_ml.audio import EXTENSIONS
from sonyc_ml.bundle import read_bundle

SHARED = environments.ROOT.parent / "shared" / "data"
NETWORK = SHARED / "models" / "quantized_default_int8.tflite"
RECORDINGS = SHARED / "recordings"
LOG_MEL = "sonyc_ml.features:LogMel"
WANTED_S, TOLERANCE_S = 10.0, 0.5  # the bars are for recordings of ten seconds


class MissingError(Exception):
    """There is nothing to measure with; says what to give."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A bundle and recordings.

    Attributes
    ----------
    network : Path
        With its extractor beside it.
    parameters : dict or None
        Of the built-in log-mel extractor; None where the bundle has another one.
    recordings : list of Path
    duration_s : float
        Of the recordings, on average.
    """

    network: Path
    parameters: dict[str, Any] | None
    recordings: list[Path]
    duration_s: float


def find(model: Path | None, folder: Path | None, work: Path) -> Inputs:
    """Take what was given, or SONYC's own where it lies beside the check-out.

    Raises
    ------
    MissingError
    """
    network, folder = model or NETWORK, folder or RECORDINGS
    if not network.is_file():
        raise MissingError(f"there is no network {network}: give one with --model NAME.tflite")
    durations = _durations(folder)
    if not durations:
        raise MissingError(f"there are no recordings in {folder}: give a folder of them with --recordings FOLDER")
    chosen = {path: length for path, length in durations.items() if abs(length - WANTED_S) <= TOLERANCE_S} or durations
    network = _with_extractor(network.resolve(), work)
    described = read_bundle(network).description
    parameters = described.parameters if described is not None and described.function == LOG_MEL else None
    return Inputs(network, parameters, list(chosen), sum(chosen.values()) / len(chosen))


def _durations(folder: Path) -> dict[Path, float]:
    paths = sorted(path.resolve() for path in folder.glob("*") if path.suffix.lower() in EXTENSIONS)
    return {path: soundfile.info(path).duration for path in paths}


def _with_extractor(network: Path, work: Path) -> Path:
    """The network itself if it has an extractor, else a copy with the built-in one exported beside it."""
    if network.with_suffix(".pkl").exists():
        return network
    copy = Path(shutil.copy(network, work))
    command: list[str | Path] = [
        environments.ours(),
        "-m",
        "sonyc_ml.cli",
        "features",
        "export",
        copy.with_suffix(".pkl"),
    ]
    subprocess.run(command, env=environments.variables(), stdout=subprocess.DEVNULL, check=True)
    return copy
