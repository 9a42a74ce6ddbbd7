"""What a network loses by being quantised: its outputs before and after, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.authoring.quantising.material import (
    Material,
    Sounds,
    class_of,
    held_out_sounds,
    hop_without_overlap,
    spread,
)
from sonyc_ml.base.records import dataclass, field
from sonyc_ml.bundles.about import Quantisation
from sonyc_ml.model import Model

Floats = npt.NDArray[np.float32]

MAX_LOSS = 1.0  # points of accuracy
MIN_COSINE, MIN_AGREEMENT = 0.95, 0.9
N_TIMED, N_PASSES = 20, 7  # windows, and how often they run


@dataclass(frozen=True, slots=True)
class Report:
    """What quantising changed; shares are from 0 to 1, None where nothing could be measured.

    Attributes
    ----------
    path : str
        Of the new network.
    quantisation : Quantisation
        What the manifest keeps.
    bytes_before, bytes_after : int
        Size of the network.
    ms_before, ms_after : float
        For one window of the network alone, on this machine: the fastest of a few times.
    n_held_out_windows : int
    held_out : tuple of str
        The recordings that it was judged by, below their folder.
    lost_recordings : tuple of str
        Recordings that could not be read, and why.
    notes : tuple of str
        What else was cut, left out or skipped.
    """

    path: str
    quantisation: Quantisation
    bytes_before: int
    bytes_after: int
    ms_before: float
    ms_after: float
    n_held_out_windows: int
    held_out: tuple[str, ...]
    lost_recordings: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def accuracy_lost(self) -> float | None:
        """In points (hundredths); None where no folder is named as a class. Below 0 where accuracy was won."""
        before, after = self.quantisation.accuracy_before, self.quantisation.accuracy_after
        return None if before is None or after is None else round(100 * (before - after), 4)

    def table(self) -> dict[str, Any]:
        """The report as plain values."""
        found = asdict(self)
        found |= found.pop("quantisation") | {"accuracy_lost": self.accuracy_lost}
        return found

    def refusal(
        self, max_loss: float = MAX_LOSS, min_cosine: float = MIN_COSINE, min_agreement: float = MIN_AGREEMENT
    ) -> str:
        """Why the bundle is not to be used, in a sentence; empty where nothing speaks against it.

        Parameters
        ----------
        max_loss : float
            Of accuracy (in points).
        min_cosine : float
            That the mean over all windows must have.
        min_agreement : float
            Share of windows whose top class must be the same; asked where no accuracy is known.
        """
        found, lost = self.quantisation, self.accuracy_lost
        reasons = []
        if lost is not None and not lost <= max_loss:
            reasons.append(f"{lost:.2f} points of accuracy are lost, allowed are {max_loss:g} (--max-loss)")
        if found.cosine is not None and not found.cosine >= min_cosine:
            reasons.append(f"the mean cosine is {found.cosine:.4f}, allowed is {min_cosine:g} (--min-cosine)")
        if lost is None and found.agreement is not None and not found.agreement >= min_agreement:
            reasons.append(
                f"the top class is the same in {found.agreement:.1%} of the windows, allowed is {min_agreement:.1%} "
                "(--min-agreement)"
            )
        if not reasons:
            return ""
        return (
            f"the recipe {found.recipe} loses too much of {found.source}: {'; '.join(reasons)}; nothing was written: "
            "try another recipe, more recordings like those that it will hear, or allow it"
        )


@dataclass(slots=True)
class Comparison:
    """Outputs of two models on the same windows, as far as they have come."""

    names: list[str] = field(default_factory=list)
    n_windows: int = 0
    cosine_sum: float = 0.0
    lowest_cosine: float = 1.0
    n_agreeing: int = 0
    has_scores: bool = False
    n_of_classes: int = 0
    n_right_before: int = 0
    n_right_after: int = 0

    def add(self, name: str, before: Mapping[str, Floats], after: Mapping[str, Floats], wanted: int | None) -> None:
        """Add one recording; `wanted` is its class, where that is known."""
        kind = "embedding" if "embedding" in before else next(name for name in before if name != "timestamps")
        cosines = _cosines(before[kind], after[kind])
        self.names.append(name)
        self.n_windows += len(cosines)
        self.cosine_sum += float(cosines.sum())
        self.lowest_cosine = min(self.lowest_cosine, float(cosines.min()))
        if "scores" not in before:
            return
        self.has_scores = True
        tops = [rows["scores"].argmax(axis=1) for rows in (before, after)]
        self.n_agreeing += int((tops[0] == tops[1]).sum())
        if wanted is not None:
            self.n_of_classes += 1
            self.n_right_before += int(before["scores"].mean(axis=0).argmax() == wanted)
            self.n_right_after += int(after["scores"].mean(axis=0).argmax() == wanted)

    def figures(self) -> dict[str, Any]:
        """What a manifest keeps of it; rounded downwards, so that none is better than it was."""
        n = self.n_of_classes
        return {
            "n_held_out": len(self.names),
            "cosine": _rounded(self.cosine_sum / self.n_windows),
            "lowest_cosine": _rounded(self.lowest_cosine),
            "agreement": _rounded(self.n_agreeing / self.n_windows) if self.has_scores else None,
            "n_of_classes": n,
            "accuracy_before": round(self.n_right_before / n, 6) if n else None,
            "accuracy_after": round(self.n_right_after / n, 6) if n else None,
        }


def _rounded(value: float) -> float:
    return max(-1.0, math.floor(value * 1e6) / 1e6)


def compare(before: Model, after: Model, material: Material, sounds: Sounds) -> Comparison:
    """Run two models on the recordings that were held out, on windows that do not overlap."""
    compared, hop_size = Comparison(), hop_without_overlap(before)
    for path, y, sr in held_out_sounds(before, material, sounds):
        outputs, others = (model.get_outputs(y, sr, hop_size) for model in (before, after))
        name = path.relative_to(material.folder).as_posix()
        compared.add(name, outputs, others, class_of(path, before.labels))
    return compared


def _cosines(before: Floats, after: Floats) -> npt.NDArray[np.float64]:
    """Of each window; 1 where both outputs are 0, and 0 where one is."""
    a, b = before.astype(np.float64), after.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    are_zero = ~a.any(axis=1) & ~b.any(axis=1)
    cosines: npt.NDArray[np.float64] = np.where(are_zero, 1.0, (a * b).sum(axis=1) / np.maximum(norms, 1e-300))
    return np.minimum(cosines, 1.0)


def times_of(models: list[Model], windows: Floats) -> list[float]:
    """Milliseconds for one window of each model's network: the fastest pass, taken in turn."""
    rows, fastest = spread(windows, N_TIMED), [math.inf] * len(models)
    for _ in range(N_PASSES):
        for i, model in enumerate(models):
            start_s = time.perf_counter()
            model.interpreter(rows)
            fastest[i] = min(fastest[i], time.perf_counter() - start_s)
    return [1e3 * seconds / len(rows) for seconds in fastest]
