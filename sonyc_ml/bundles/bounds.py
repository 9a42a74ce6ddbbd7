"""How large the numbers of an extractor may be: more than any network of a node reads is a mistake, or an attack."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAX_SAMPLE_RATE = 10_000_000  # Hz
MAX_SECONDS = 3600.0
MIN_HOP_S = 0.0005
MAX_CHANNELS = 64
MAX_SAMPLES = 1 << 26  # of a window, and of all that is computed of one

# Of the parameters that say how much is computed. Whether they fit each other is the extractor's to say.
LARGEST: Mapping[str, float] = {
    "target_sr": MAX_SAMPLE_RATE,
    "duration": MAX_SECONDS,
    "hop_size": 24 * MAX_SECONDS,
    "n_fft": 1 << 20,
    "n_mels": 1 << 14,
    "mel_hop_len": 1 << 24,
    "fmin": MAX_SAMPLE_RATE,
    "fmax": MAX_SAMPLE_RATE,
    "mel_sr": MAX_SAMPLE_RATE,
    "win_length": 1 << 20,
    "n_mfcc": 1 << 14,
    "lead_s": MAX_SECONDS,
    "shortest_s": MAX_SECONDS,
    "n_channels": MAX_CHANNELS,
}
DEFAULTS: Mapping[str, float] = {"target_sr": 8000, "duration": 1.0, "n_fft": 1024, "n_mels": 64, "mel_hop_len": 160}


def check_numbers(parameters: Mapping[str, Any]) -> None:
    """Refuse numbers of an extractor that would take more memory or time than there is.

    Parameters
    ----------
    parameters : mapping
        Keywords of :class:`~sonyc_ml.features.LogMel` or of windows of samples; others are not looked at.

    Raises
    ------
    ValueError
        Says which, and what is allowed.
    """
    if "preset" in parameters:
        from sonyc_ml.features import PRESETS, with_preset  # noqa: PLC0415  imports numpy; who only configures has none

        if parameters["preset"] in tuple(PRESETS):
            parameters = with_preset(parameters)
    for name, largest in LARGEST.items():
        value = parameters.get(name)
        if isinstance(value, (int, float)) and abs(value) > largest:
            raise ValueError(f"{name} must be at most {largest:g}, not {_short(value)}")
    hop_size = parameters.get("hop_size", 1)
    if _is_number(hop_size) and 0 < hop_size < MIN_HOP_S:
        raise ValueError(f"hop_size must be at least {MIN_HOP_S:g} s, not {hop_size!r}")
    known = {name: parameters[name] if _is_number(parameters.get(name)) else DEFAULTS[name] for name in DEFAULTS}
    n_samples = known["duration"] * known["target_sr"]
    n_frames = n_samples / max(1, known["mel_hop_len"])
    for what, size in (
        ("duration and target_sr: a window", n_samples),
        ("n_fft and n_mels: the mel bands", known["n_fft"] / 2 * known["n_mels"]),
        ("n_mels, duration, target_sr and mel_hop_len: the features of a window", n_frames * known["n_mels"]),
        ("n_fft, duration, target_sr and mel_hop_len: the spectra of a window", n_frames * known["n_fft"]),
    ):
        if size > MAX_SAMPLES:
            raise ValueError(f"{what} would have {size:.3g} values; at most {MAX_SAMPLES:,} are computed")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: float) -> str:
    return repr(value) if abs(value) < 10**15 else f"a number of {len(f'{int(value):x}') * 4} bits"
