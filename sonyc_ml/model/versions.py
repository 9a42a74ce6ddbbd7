"""What computes the numbers of an output, by name and version."""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path

import numpy as np
import soundfile

from sonyc_ml import __version__


def versions(runtime: str, res_type: str) -> str:
    """Of the package and of what computes with it, ``name version`` joined by ``; ``.

    Parameters
    ----------
    runtime : str
        The runtime and its version.
    res_type : str
        The extractor's resampler.
    """
    sndfile = f"soundfile {soundfile.__version__} (libsndfile {soundfile.__libsndfile_version__})"
    parts = (f"sonyc-ml {__version__}", runtime, f"numpy {np.__version__}", sndfile, _package(res_type))
    return "; ".join(part for part in parts if part)


def resampler(res_type: str) -> str:
    """A resampler's name, and the package that it is from; empty where only the extractor knows."""
    package = _package(res_type)
    return f"{res_type}, by {package}" if package else res_type


def _package(res_type: str) -> str:
    """The package that resamples and its version; empty where it is numpy, or a class of the user's own has it."""
    soxr = sys.modules.get("soxr") if res_type.startswith("soxr") else None
    return f"soxr {soxr.__version__}" if soxr else ""


def python_and_processor() -> str:
    """A card moved to another board is another machine."""
    known = ("model name", "CPU part", "Features", "flags", "Model")
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    facts = sorted({line for line in lines if line.startswith(known)})
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
    return f"Python {platform.python_version()} {platform.machine()} {digest}"
