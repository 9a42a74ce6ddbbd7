"""Embeddings of the oracle's samples and of recordings, to a file: run by the Python of each platform.

``embeddings.py NETWORK.tflite DATA OUT.npz N [BACKEND]``: of the N smallest files of DATA/oracle and DATA/recordings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sonyc_ml import load_model


def main(network: str, data: str, out: str, n: int, backend: str | None = None) -> None:
    """Write arrays ``oracle/NAME`` and ``recordings/NAME``, and the runtime's name as ``runtime``."""
    model = load_model(network, golden="never", **({"backend": backend} if backend else {}))
    found = {}
    for path in _smallest(Path(data, "oracle").glob("*.npz"), n):
        with np.load(path) as arrays:
            found[f"oracle/{path.stem}"] = model.get_embedding(arrays["y"], int(arrays["sample_rate"]))
    for path in _smallest(Path(data, "recordings").glob("*.wav"), n):
        found[f"recordings/{path.stem}"] = model.embed_file(path).embedding
    np.savez(out, runtime=np.array(model.interpreter.backend), **found)


def _smallest(paths: Iterable[Path], n: int) -> list[Path]:
    return sorted(paths, key=lambda path: (path.stat().st_size, path.name))[:n]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
