"""Embeddings of the oracle's samples and of recordings, to a file: run by the Python of each platform.

Of the N smallest files of DATA/oracle and DATA/recordings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sonyc_ml import load_model


def main() -> None:
    """Write arrays ``oracle/NAME`` and ``recordings/NAME``, and the runtime's name as ``runtime``."""
    parsed = _parser().parse_args()
    model = load_model(
        parsed.network, golden="never", backend=parsed.backend, reference_kernels=parsed.reference_kernels
    )
    found: dict[str, Any] = {}
    for path in _smallest((parsed.data / "oracle").glob("*.npz"), parsed.n):
        with np.load(path) as arrays:
            found[f"oracle/{path.stem}"] = model.get_embedding(arrays["y"], int(arrays["sample_rate"]))
    for path in _smallest((parsed.data / "recordings").glob("*.wav"), parsed.n):
        found[f"recordings/{path.stem}"] = model.embed_file(path).embedding
    runtime = f"{model.interpreter.backend}{', reference kernels' if parsed.reference_kernels else ''}"
    found["runtime"] = np.array(runtime)
    np.savez(parsed.out, **found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Write embeddings to a file.")
    parser.add_argument("network", metavar="NETWORK.tflite")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", metavar="OUT.npz")
    parser.add_argument("n", type=int, metavar="N")
    parser.add_argument("--backend")
    parser.add_argument("--reference_kernels", action="store_true")
    return parser


def _smallest(paths: Iterable[Path], n: int) -> list[Path]:
    return sorted(paths, key=lambda path: (path.stat().st_size, path.name))[:n]


if __name__ == "__main__":
    main()
