"""The flags of an extractor's parameters, for every command that takes them; imports nothing that takes time."""

from __future__ import annotations

import argparse
import ast
from typing import Any

# Flag, what it takes, what it is. The default is LogMel's; of samples it is said in PCMModel.
WINDOWS = (
    ("--duration", "SECONDS", "length of a window (default 1, or what a network that reads samples asks for)"),
    ("--hop-size", "SECONDS", "distance between windows (default 0.1; of a network that reads samples a window)"),
    ("--target-sr", "HZ", "sample rate (default 8000)"),
    ("--res-type", "NAME", "resampler: sinc, kaiser_best (SONYC's), soxr_vhq, soxr_hq or soxr_mq"),
    ("--align", "WHERE", "where windows begin: middle (of the padded recording; default) or start"),
    ("--lead-s", "SECONDS", "silence in front of the first sample, with --align start (default 0)"),
    ("--shortest-s", "SECONDS", "least sound that a window holds, with --align start (default: as few windows as do)"),
)
LOG_MEL = (
    (
        "--preset",
        "NAME",
        "a front end by name, for what is not given: sonyc_published, yamnet, mlperf_kws, micro_speech",
    ),
    ("--n-fft", "SAMPLES", "length of a transform (default 1024)"),
    ("--n-mels", "N", "number of mel bands (default 64)"),
    ("--mel-hop-len", "SAMPLES", "distance between frames (default 160)"),
    ("--fmin", "HZ", "lowest frequency (default 0)"),
    ("--fmax", "HZ", "highest frequency, or None for half of the sample rate (default None)"),
    ("--layout", "NAME", "mels_first or time_first (default: what the network reads, else mels_first)"),
    ("--flat", "BOOL", "whether features are one row (default: what the network reads)"),
    ("--center", "BOOL", "whether the first frame lies around the first sample (default true)"),
    ("--pad-mode", "NAME", "what lies beyond a window: constant (silence; default) or reflect"),
    ("--win-length", "SAMPLES", "samples of a frame that are weighted (default: n_fft)"),
    ("--win-pad", "WHERE", "where zeros fill them up: both (librosa; default) or end (TensorFlow)"),
    ("--window", "NAME", "of frames: hann (default) or hamming; of waveform's chunks: hann, triangle or rectangle"),
    ("--power", "N", "1, magnitudes (default), or 2"),
    ("--mel-scale", "NAME", "htk (default), slaney, or none for the bins of the FFT"),
    ("--mel-norm", "NAME", "slaney, filters of unit area (default), or none"),
    ("--mel-slopes", "NAME", "filters straight over hz (librosa; default) or mel (TensorFlow)"),
    ("--mel-sr", "HZ", "sample rate that the filters are made for (default: target_sr)"),
    ("--log", "NAME", "10log10 (default), 20log10, log10, ln or none"),
    ("--amin", "X", "least that the logarithm is taken of (default 1e-10)"),
    ("--log-offset", "X", "added before the logarithm (default 0)"),
    ("--ref", "X", "what levels are relative to: a number (default 1) or max, the window's"),
    ("--top-db", "DB", "how far below its maximum a window is cut, or None (default 80)"),
    ("--n-mfcc", "N", "so many cepstral coefficients instead of bands (default None)"),
    ("--dct-norm", "NAME", "of those: ortho (librosa; default) or htk (TensorFlow)"),
    ("--normalise", "NAME", "windows: none (default), mean_variance or min_max; waveform's chunks: none or mean_std"),
    ("--mean", "X", "constant that is taken off (default 0)"),
    ("--std", "X", "constant that all is divided by (default 1)"),
    ("--front-end", "NAME", "float (default), or micro: the integers of TensorFlow Lite Micro"),
    ("--pcan", "BOOL", "of the latter: whether the gain follows the noise (default true)"),
)


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Add the flags of an extractor; what was not given is not in the namespace."""
    for title, flags in (("windows", WINDOWS), ("log-mel", LOG_MEL)):
        group = parser.add_argument_group(title)
        for flag, metavar, text in flags:
            group.add_argument(flag, metavar=metavar, type=value_of, default=argparse.SUPPRESS, help=text)


def given_parameters(parsed: argparse.Namespace) -> dict[str, Any]:
    """Those of them that were given."""
    names = [flag.removeprefix("--").replace("-", "_") for flag, _, _ in WINDOWS + LOG_MEL]
    return {name: getattr(parsed, name) for name in names if name in parsed}


def value_of(text: str) -> Any:
    """``0.1``, ``None``, ``true``, ``[1, 2]``; anything else is a string."""
    try:
        return ast.literal_eval(text.capitalize() if text in {"true", "false"} else text)
    except (ValueError, SyntaxError):
        return text
