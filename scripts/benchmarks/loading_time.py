"""What it costs to load a bundle that is checked, against one that is not."""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.benchmarks.figures import Figure, Spread, progress, spread
from scripts.benchmarks.inputs import MissingError
from sonyc_ml.bundles.bundle import Bundle
from sonyc_ml.bundles.integrity import make_signature
from sonyc_ml.bundles.manifest import parse_manifest
from sonyc_ml.model.loading import load_model, make_model

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "models" / "quantized_default_int8.tflite"
BAR_MS = 30.0


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Load the same bundle in each way, one after another, many times."""
    path = parsed.model or DEFAULT
    if not path.with_suffix(".json").exists():
        raise MissingError(
            f"{path} has no manifest; make one with `sonyc-ml bundle make`, or give another with --model"
        )
    with tempfile.TemporaryDirectory(prefix="sonyc-ml-bench-") as work:
        os.environ["XDG_STATE_HOME"] = str(Path(work, "state"))
        signed, keys = _signed_copy(path, Path(work))
        ways: dict[str, Callable[[], object]] = {
            "unverified": lambda: _load_unverified(path),
            "owners, modes, digests": lambda: load_model(path, golden="never"),
            "and the golden vector, remembered": lambda: load_model(path),
            "and a signature": lambda: load_model(signed, trusted_keys=keys),
            "the golden vector computed each time": lambda: load_model(path, golden="always"),
        }
        times_ms: dict[str, list[float]] = {way: [] for way in ways}
        for load in ways.values():
            load()  # once, so that files are in the cache and the golden vectors are remembered
        for i in range(parsed.repeats):
            progress(f"load {i + 1}/{parsed.repeats}")
            for way, load in ways.items():
                start_s = time.perf_counter()
                load()
                times_ms[way].append((time.perf_counter() - start_s) * 1e3)
    progress("")
    return {"command": "load", "figures": _figures(times_ms), "times_ms": times_ms}


def _load_unverified(path: Path) -> object:
    """What a load would be that trusts everything: read, unpickle, build."""
    manifest = parse_manifest(path.with_suffix(".json").read_bytes(), str(path))
    files = {name: path.with_name(name).read_bytes() for name in manifest.files}
    return make_model(Bundle(path.stem, path, manifest, files, ""))


def _signed_copy(path: Path, folder: Path) -> tuple[Path, Path]:
    manifest = parse_manifest(path.with_suffix(".json").read_bytes(), str(path))
    for name in (*manifest.files, path.with_suffix(".json").name):
        (folder / name).write_bytes(path.with_name(name).read_bytes())
        (folder / name).chmod(0o644)
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    make_signature(folder / path.with_suffix(".json").name, key)
    return folder / path.name, key.with_suffix(".pub")


def _figures(times_ms: dict[str, list[float]]) -> list[Figure]:
    unverified = times_ms["unverified"]
    figures = [Figure("load, unverified", spread(unverified), "ms")]
    for way, values in times_ms.items():
        if way == "unverified":
            continue
        beyond: Spread = spread(value - base for value, base in zip(values, unverified, strict=True))
        bar = None if "each time" in way else BAR_MS
        figures.append(Figure(f"beyond that: {way}", beyond, "ms", bar))
    return figures
