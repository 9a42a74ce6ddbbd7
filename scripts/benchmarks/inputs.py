"""What is measured with: a network with its extractor, and recordings."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from scripts.benchmarks import environments
from sonyc_ml.bundles.bundle import read_bundle
from sonyc_ml.features import LogMel
from sonyc_ml.sound.kinds import EXTENSIONS

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
    BundleError
        The network that was given cannot be used; nothing vouches for its extractor, for one.
    """
    network, folder = model or NETWORK, folder or RECORDINGS
    if not network.is_file():
        raise MissingError(f"there is no network {network}: give one with --model NAME.tflite")
    durations = _durations(folder)
    if not durations:
        raise MissingError(f"there are no recordings in {folder}: give a folder of them with --recordings FOLDER")
    chosen = {path: length for path, length in durations.items() if abs(length - WANTED_S) <= TOLERANCE_S} or durations
    network = _with_extractor(network.resolve(), work)
    return Inputs(network, _log_mel_parameters(network), list(chosen), sum(chosen.values()) / len(chosen))


def _durations(folder: Path) -> dict[Path, float]:
    paths = sorted(path.resolve() for path in folder.glob("*") if path.suffix.lower() in EXTENSIONS)
    return {path: soundfile.info(path).duration for path in paths}


def _with_extractor(network: Path, work: Path) -> Path:
    """The network itself if it is a bundle, else a copy of it with the built-in extractor and a manifest.

    What is exported here was made here, so the manifest may vouch for it; a bundle that was given vouches for itself.
    """
    if any(network.with_suffix(suffix).exists() for suffix in (".pkl", ".json")):
        return network
    copy = Path(shutil.copy(network, work))
    for words in (("features", "export", copy.with_suffix(".pkl")), ("bundle", "make", copy)):
        command: list[str | Path] = [environments.ours(), "-m", "sonyc_ml", *words]
        subprocess.run(command, env=environments.variables(), stdout=subprocess.DEVNULL, check=True)
    return copy


def _log_mel_parameters(network: Path) -> dict[str, Any] | None:
    """Parameters of a bundle's extractor if it is the built-in log-mel one, by pickle or by manifest."""
    bundle = read_bundle(network)
    described, manifest = bundle.description, bundle.manifest
    if described is not None:
        return described.parameters if described.function == LOG_MEL else None
    if manifest is not None and manifest.input.kind == "log_mel":
        return LogMel(**manifest.input.parameters).parameters
    return None
