"""How far the numbers of two outputs of one recording lie apart."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.outputs.kinds import COMPUTED, KINDS
from sonyc_ml.outputs.output import Output

Floats = npt.NDArray[np.float32]

PARTS = COMPUTED
MAX_LEVELS = 256  # of a network that is quantised to eight bits
MIN_LEVELS = 8  # fewer lie on a grid by chance
ON_GRID = 0.02  # of a step: float32 moves a level of eight bits by far less
ROUNDING = 1e-5  # of the largest value: runtimes compute the same level to the last bits but a few
SPACING_S = 1e-9  # of rounding
TIME_S = 1e-3  # windows that begin no further apart are the same


class Extreme(NamedTuple):
    """A number, and the window it was found in."""

    value: float
    recording: str
    window: int
    start_s: float

    def table(self) -> dict[str, Any]:
        """All of it by name; JSON knows no number that is infinite, and has null for it."""
        return self._asdict() | {"value": self.value if math.isfinite(self.value) else None}


@dataclass(kw_only=True)
class Difference:
    """How far one part of all outputs, such as the embedding, lies apart so far.

    Attributes
    ----------
    n_windows, n_values, n_equal, n_close : int
        Compared, how many of the values are the same number, and how many are but for rounding in their last bits.
    largest : Extreme or None
        The largest absolute difference of two values; infinite where only one of them is a number.
    lowest_cosine : Extreme or None
        Of two windows; 1 where they are equal, -1 where one holds values that are no numbers.
    n_top_equal : int
        Windows whose highest value is at the same place.
    levels : np.ndarray [shape=(n_levels,), dtype=float32] or None
        The distinct values there are; None once they are more than a quantised network has.
    """

    n_windows: int = 0
    n_values: int = 0
    n_equal: int = 0
    n_close: int = 0
    largest: Extreme | None = None
    lowest_cosine: Extreme | None = None
    n_top_equal: int = 0
    levels: Floats | None = field(default_factory=lambda: np.empty(0, np.float32))

    def add(self, a: Floats, b: Floats, output: Output) -> tuple[float, float]:
        """Add those of one recording; returns its largest difference and its lowest cosine.

        Parameters
        ----------
        a, b : np.ndarray [shape=(n_windows, n_columns), dtype=float32]
        output : Output
            Either: says where the windows are.
        """
        if not a.size:
            return 0.0, 1.0
        is_equal = (a == b) | (np.isnan(a) & np.isnan(b))
        gaps = _gaps(a, b, is_equal)
        highest = np.nanmax(np.abs(a), axis=1, initial=0, keepdims=True)
        self.n_close += int((is_equal | (gaps <= ROUNDING * highest) & np.isfinite(gaps)).sum())
        gaps = gaps.max(axis=1)
        cosines = _cosines(a, b, is_equal)
        self.n_windows += len(a)
        self.n_values += a.size
        self.n_equal += int(is_equal.sum())
        self.n_top_equal += int((a.argmax(axis=1) == b.argmax(axis=1)).sum())
        furthest, lowest = _extreme(gaps, int(gaps.argmax()), output), _extreme(cosines, int(cosines.argmin()), output)
        if self.largest is None or furthest.value > self.largest.value:
            self.largest = furthest
        if self.lowest_cosine is None or lowest.value < self.lowest_cosine.value:
            self.lowest_cosine = lowest
        self._add_levels(a, b)
        return furthest.value, lowest.value

    def _add_levels(self, a: Floats, b: Floats) -> None:
        if self.levels is None:
            return
        levels = np.unique(np.concatenate([self.levels, a.ravel(), b.ravel()]))
        self.levels = None
        if np.isfinite(levels).all():
            levels = levels[np.diff(levels, prepend=-np.inf) > ROUNDING * np.abs(levels).max()]
            self.levels = levels if len(levels) <= MAX_LEVELS else None

    def step(self) -> float | None:
        """What all values lie a whole number of apart, as those of a quantised network do: the smallest gap of two.

        None where they do not, as where the two networks are quantised differently. It is twice the network's own
        step, or more, where no two values are next to each other.
        """
        if self.levels is None or len(self.levels) < MIN_LEVELS:
            return None
        gaps = np.diff(self.levels.astype(np.float64))
        n_steps = gaps / gaps.min()
        return float(gaps.min()) if (np.abs(n_steps - np.rint(n_steps)) < ON_GRID).all() else None

    def table(self, part: str) -> dict[str, Any]:
        """All of it by name; steps are those of an embedding, agreement is that of scores."""
        step, largest = self.step(), self.largest
        table: dict[str, Any] = {
            "windows": self.n_windows,
            "largest_difference": None if largest is None else largest.table(),
            "lowest_cosine": None if self.lowest_cosine is None else self.lowest_cosine.table(),
            "equal_share": self.n_equal / self.n_values if self.n_values else None,
            "equal_share_but_for_rounding": self.n_close / self.n_values if self.n_values else None,
        }
        if part == "scores":
            return table | {"top_class_agreement": self.n_top_equal / self.n_windows if self.n_windows else None}
        n_steps = round(largest.value / step) if step and largest is not None and math.isfinite(largest.value) else None
        return table | {"quantisation_step": step, "largest_difference_steps": n_steps}


def spacing_apart(a: Output, b: Output) -> str:
    """Why the windows of two outputs are of another kind; empty where they are not."""
    for name, form in (("window_size_s", "windows of {:g} s"), ("hop_size_s", "a window every {:g} s")):
        ours, theirs = getattr(a.provenance, name), getattr(b.provenance, name)
        if abs(ours - theirs) > SPACING_S:
            return f"{form.format(ours)} against {theirs:g} s"
    return ""


def windows_apart(a: Output, b: Output) -> str:
    """Why the windows of two outputs do not lie in the same places; empty where they do."""
    if len(a.timestamps) != len(b.timestamps):
        return f"{len(a.timestamps)} windows against {len(b.timestamps)}"
    apart_s = float(np.abs(a.timestamps - b.timestamps).max(initial=0))
    return f"windows that begin up to {apart_s:g} s apart" if apart_s > TIME_S else ""


def part_apart(part: str, a: Output, b: Output) -> str:
    """Why a part of two outputs cannot be compared; empty where it can, or neither has it."""
    shapes = [KINDS[part].describe(output.by_kind().get(part)) for output in (a, b)]
    if shapes[0] != shapes[1]:
        return f"{shapes[0]} against {shapes[1]}"
    if KINDS[part].is_labelled and a.scores is not None and a.labels != b.labels:
        if not (a.labels and b.labels):
            return "classes with names against classes without"
        pairs = zip(a.labels, b.labels, strict=True)
        number, ours, theirs = next((number, *pair) for number, pair in enumerate(pairs) if pair[0] != pair[1])
        return f"other classes: number {number} is {ours} against {theirs}"
    return ""


def _gaps(a: Floats, b: Floats, is_equal: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The absolute differences, `(n_windows, n_columns)`; infinite where only one of two is a number."""
    with np.errstate(invalid="ignore"):
        gaps = np.abs(a.astype(np.float64) - b)
    gaps[np.isnan(gaps)] = np.inf
    gaps[is_equal] = 0
    return gaps


def _cosines(a: Floats, b: Floats, is_equal: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The cosine of each pair of windows, `(n_windows,)`."""
    ours, theirs = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosines = (ours * theirs).sum(axis=1) / np.maximum(norms, sys.float_info.min)
    cosines[np.isnan(cosines)] = -1
    cosines[is_equal.all(axis=1)] = 1
    clipped: npt.NDArray[np.float64] = np.clip(cosines, -1, 1)
    return clipped


def _extreme(values: npt.NDArray[np.float64], window: int, output: Output) -> Extreme:
    return Extreme(float(values[window]), output.provenance.recording, window, float(output.timestamps[window]))
