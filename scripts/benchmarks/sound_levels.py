"""What sound levels cost, beside the embedding of the same recording, at each sample rate."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from scripts.benchmarks.figures import Figure, progress, spread
from sonyc_ml.base.blas import one_blas_thread
from sonyc_ml.model.loading import load_model
from sonyc_ml.sound.levels.meter import Meter
from sonyc_ml.sound.levels.settings import LevelSettings

BUNDLE = Path(__file__).resolve().parents[2] / "models" / "quantized_default_int8.tflite"
RATES = (44100, 48000, 32000, 96000)
SECONDS, BLOCK_LENGTH = 10, 1 << 16
BAR_WEIGHTED, BAR_BANDS = 0.2, 0.4


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Embed noise, and measure its levels without and with bands, in turn."""
    model = load_model(BUNDLE)
    rows: list[tuple[str, ...]] = [("sample rate", "bundle ms", "levels ms", "x", "with bands ms", "x")]
    shares: dict[str, list[float]] = {"none": [], "third-octave": []}
    with tempfile.TemporaryDirectory() as folder, one_blas_thread():
        for sample_rate in RATES:
            progress(f"levels at {sample_rate} Hz")
            samples = np.random.default_rng(0).normal(0, 0.05, SECONDS * sample_rate).astype(np.float32)
            path = Path(folder, f"{sample_rate}.wav")
            soundfile.write(path, samples, sample_rate, subtype="PCM_16")
            times: dict[str, list[float]] = {"bundle": [], **{bands: [] for bands in shares}}
            for _ in range(parsed.repeats):
                times["bundle"].append(_took_ms(model.embed_file, path))
                for bands in shares:
                    times[bands].append(_took_ms(_measured, samples, sample_rate, bands))
            medians = {name: spread(some).median for name, some in times.items()}
            ratios = {bands: medians[bands] / medians["bundle"] for bands in shares}
            if sample_rate == RATES[0]:
                for bands, some in shares.items():
                    some += [one / all_ for one, all_ in zip(times[bands], times["bundle"], strict=True)]
            numbers = (medians["bundle"], medians["none"], ratios["none"], medians["third-octave"])
            rows.append((f"{sample_rate} Hz", *(f"{value:.2f}" for value in (*numbers, ratios["third-octave"]))))
    figures = [
        Figure("A-weighted levels beside the default bundle", spread(shares["none"]), "x", BAR_WEIGHTED),
        Figure("with third octaves", spread(shares["third-octave"]), "x", BAR_BANDS),
    ]
    return {"figures": figures, "tables": {f"{SECONDS} s of sound, processor time": rows}}


def _measured(samples: Any, sample_rate: int, bands: str) -> None:
    meter = Meter(sample_rate, LevelSettings(bands=bands))
    for start in range(0, len(samples), BLOCK_LENGTH):
        meter.add(samples[start : start + BLOCK_LENGTH])
    meter.finish()


def _took_ms(call: Callable[..., Any], *given: Any) -> float:
    start_s = time.process_time()
    call(*given)
    return (time.process_time() - start_s) * 1e3
