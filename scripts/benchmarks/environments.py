"""The virtual environments of the variants, made with scripts/setup-venv when they are first needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

OURS = ".venv-test"
TFLITE_RUNTIME = ".venv-tflite-runtime"
ORIGINAL = ".venv-original"

# Those of scripts/test must stay the same as there, or the two would make the environment anew in turn.
# .venv-original has both runtimes, so that the two rows of the original differ in nothing else, and the resampy whose
# kaiser_best SONYC's nodes ran: later ones have another filter under that name, and other embeddings.
ARGUMENTS = {
    TFLITE_RUNTIME: ("numpy<2", "tflite-runtime==2.14.0", "soundfile", "watchdog", "dill"),
    ORIGINAL: ("numpy<2", "tflite-runtime==2.14.0", "librosa", "resampy==0.2.2", "soundfile", "ai-edge-litert"),
}


def ours() -> Path:
    """Python of the environment that scripts/bench itself runs in."""
    return _python(OURS)


def make(name: str) -> Path | None:
    """Make or refresh an environment of tflite-runtime, which ends at Python 3.11; None where that is absent."""
    if shutil.which("python3.11") is None:
        return None
    subprocess.run([ROOT / "scripts/setup-venv", name, "python3.11", *ARGUMENTS[name]], check=True)
    return _python(name)


def existing() -> dict[str, Path]:
    """The environments there are, with their Pythons."""
    return {name: _python(name) for name in (OURS, *ARGUMENTS) if _python(name).exists()}


def variables() -> dict[str, str]:
    """Environment variables of what is measured: the package is found in the check-out, coverage is not at work."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(ROOT)}


def _python(name: str) -> Path:
    return ROOT / name / "bin" / "python"
