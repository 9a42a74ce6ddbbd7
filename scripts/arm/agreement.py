"""How far two sets of embeddings agree, in the words of the bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

# SONYC's network averages three cells of an int8 map with this step: values one step apart differ by a third of it.
STEP = 0.1530602 / 3


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of the embeddings of SONYC's network.

    Attributes
    ----------
    n_windows : int
    n_steps : float
        The largest difference of two values, in quantisation steps.
    cosine : float
        The lowest, of two windows.
    equal : float
        Share of the values that are equal, to a hundredth of a step.
    """

    n_windows: int
    n_steps: float
    cosine: float
    equal: float

    def __str__(self) -> str:
        steps, equal = f"{self.n_steps:.2f} steps at most", f"{100 * self.equal:.2f} % of values equal"
        return f"{self.n_windows} windows: {steps}, lowest cosine {self.cosine:.6f}, {equal}"


def agreement(ours: Arrays, theirs: Arrays, prefix: str) -> Agreement:
    """Compare the embeddings whose names begin with a prefix and that both have."""
    names = [name for name in ours if "/" in name and name.startswith(prefix) and name in theirs]
    a = np.concatenate([ours[name] for name in names]).astype(np.float64)
    b = np.concatenate([theirs[name] for name in names]).astype(np.float64)
    steps = np.abs(a - b) / STEP
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.maximum(norms, 1e-30)
    return Agreement(len(a), float(steps.max()), float(cosines.min()), float((steps <= 0.01).mean()))


def oracle(shared: Path) -> dict[str, npt.NDArray[Any]]:
    """The oracle's embeddings, under the names of the samples and of the recordings that they are of."""
    found = {}
    for path in sorted((shared / "oracle").glob("*.npz")):
        with np.load(path) as arrays:
            found[f"oracle/{path.stem}"] = found[f"recordings/{path.stem}"] = arrays["embedding"]
    return found


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a file."""
    with np.load(path) as arrays:
        return dict(arrays)
