"""How far this process's numbers are off the maker's and the oracle's: the cells of one row, as JSON."""

from __future__ import annotations

import ctypes
import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from scripts.arm.agreement import agreement
from sonyc_ml import load_model

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
DEFAULT = ROOT / "models" / "quantized_default_int8.tflite"
LOUD_DB = 20


def main() -> None:
    """Write what OpenBLAS says it is, the golden vector's differences, the oracle's."""
    print(json.dumps([_core_name(), *_golden(), *_oracle()]))


def _core_name() -> str:
    """The kernels that numpy's OpenBLAS has taken, in its own words."""
    libraries = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "openblas" in line}
    for library in libraries:
        for name in ("scipy_openblas_get_corename64_", "openblas_get_corename64_", "openblas_get_corename"):
            with suppress(AttributeError):
                function = getattr(ctypes.CDLL(library), name)
                function.restype = ctypes.c_char_p
                return str(function().decode())
    return "nothing"


def _golden() -> list[str]:
    with np.load(DEFAULT.with_suffix(".golden.npz"), allow_pickle=False) as golden:
        wanted, y, sample_rate = golden["features"], golden["y"], int(golden["sample_rate"])
    difference = np.abs(load_model(DEFAULT, golden="never").get_features(y, sample_rate) - wanted)
    is_loud = wanted >= wanted.max(axis=(1, 2), keepdims=True) - LOUD_DB
    return [f"{difference.max():.1e}", f"{difference[is_loud].max():.1e}"]


def _oracle() -> list[str]:
    if not (SHARED / "oracle").is_dir():
        return ["", "", ""]
    oracle = {}
    for path in sorted((SHARED / "oracle").glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            oracle[f"oracle/{path.stem}"] = dict(arrays)
    wanted = {name: arrays["embedding"] for name, arrays in oracle.items()}
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        network = shutil.copy(SHARED / "models" / DEFAULT.name, folder)
        for reference_kernels in (True, False):
            model = load_model(network, input_kind="log_mel", golden="never", reference_kernels=reference_kernels)
            ours = {name: model.get_embedding(arrays["y"], 8000) for name, arrays in oracle.items()}
            found = agreement(ours, wanted, "oracle/")
            cells.append(f"{100 * found.equal:.2f} %, {found.n_steps:.2f}, {found.cosine:.5f}")
    off_db = [float(np.abs(model.get_features(a["y"], 8000) - a["features"]).max()) for a in oracle.values()]
    return [f"{max(off_db):.1e}", *cells]


if __name__ == "__main__":
    main()
