"""How far the resamplers are from the ideal, and what they cost, for each pair of sample rates."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from scripts.benchmarks.figures import Figure, progress, spread
from sonyc_ml.features import make_resampler

PAIRS = (
    *((8000, 16000), (16000, 48000), (22050, 16000), (32000, 8000), (44100, 8000), (44100, 16000), (44100, 48000)),
    *((48000, 8000), (48000, 16000), (48000, 24000), (96000, 48000), (192000, 16000), (250000, 22050), (384000, 48000)),
)
SHARES = (0.003, 0.2, 0.5, 0.77, 0.9, 1.002, 1.3, 1.9)  # of the lower half rate
SECONDS = 10
BAR_DB, BAR_TIMES = 100.0, 1.5


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Resample sines and noise with each resampler, in turn."""
    rows: list[tuple[str, ...]] = [("rates", "sinc dB", "kaiser_best dB", "sinc ms", "kaiser_best ms", "times")]
    levels, ratios = [], []
    for sr, target_sr in PAIRS:
        progress(f"resample {sr} Hz to {target_sr} Hz")
        worst = {name: _worst_db(name, sr, target_sr) for name in ("sinc", "kaiser_best")}
        costs_ms = _costs_ms(sr, target_sr, parsed.repeats)
        levels.append(-worst["sinc"])
        ratios.append(costs_ms["sinc"] / costs_ms["kaiser_best"])
        numbers = (-worst["sinc"], -worst["kaiser_best"], costs_ms["sinc"], costs_ms["kaiser_best"], ratios[-1])
        rows.append((f"{sr} to {target_sr} Hz", *(f"{value:.2f}" for value in numbers)))
    figures = [
        Figure("sinc from the ideal, worst sine", spread([min(levels)]), "dB", BAR_DB, at_least=True),
        Figure("time of sinc beside kaiser_best", spread(ratios), "x", BAR_TIMES),
    ]
    return {"figures": figures, "tables": {f"{SECONDS} s of sound, one thread of numpy": rows}}


def _worst_db(name: str, sr: int, target_sr: int) -> float:
    """The largest difference from the ideal of any sine, which is silence beyond the new half rate (in dB)."""
    low, n_samples = min(sr, target_sr) / 2, min(max(sr // 10, 6000), 80_000)
    edge = 60 + 100 * target_sr // min(sr, target_sr)
    levels = []
    for share in SHARES:
        if share * low >= sr / 2:
            continue
        y = _sine(share * low, sr, n_samples).astype(np.float32)
        resampled = np.concatenate(list(make_resampler(sr, target_sr, name).stream([y], n_samples)))
        ideal = _sine(share * low, target_sr, len(resampled)) if share < 1 else 0
        levels.append(10 * np.log10(2 * np.mean((resampled - ideal)[edge:-edge] ** 2)))
    return float(max(levels))


def _sine(hz: float, rate: int, n_samples: int) -> npt.NDArray[np.float64]:
    return np.asarray(np.sin(2 * np.pi * hz * np.arange(n_samples) / rate + 0.3))


def _costs_ms(sr: int, target_sr: int, repeats: int) -> dict[str, float]:
    """Processor time of each resampler, the least of several turns (in ms)."""
    y = np.random.default_rng(0).normal(0, 0.1, SECONDS * sr).astype(np.float32)
    resamplers = {name: make_resampler(sr, target_sr, name) for name in ("sinc", "kaiser_best")}
    times_ms: dict[str, list[float]] = {name: [] for name in resamplers}
    for _ in range(repeats):
        for name, resampler in resamplers.items():
            start_s = time.process_time()
            for _block in resampler.stream([y], len(y)):
                pass
            times_ms[name].append(1000 * (time.process_time() - start_s))
    return {name: min(values) for name, values in times_ms.items()}
