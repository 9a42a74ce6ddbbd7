"""Scores to detections: when a class was heard, from when to when; as the scores come, or from those of an output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass
from sonyc_ml.outputs.rows import RowsByName
from sonyc_ml.outputs.rules import DetectionRules

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]

TOUCHING_S = 1e-3  # windows are cut at whole samples: what is no further apart than this follows without a gap
ROUNDING_S = 1e-9  # 0.1 s three times is not quite 0.3 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """A class, heard from one moment to another.

    Attributes
    ----------
    start_s, end_s : float
        In seconds from the recording's first sample.
    label : str
        Of the class; ``scores_0``, as in a csv, where the bundle has no labels.
    score_mean, score_max : float
        The mean of all windows from its first to its last, those in merged gaps too; the highest of those that count.
    class_number : int
        Which column of the scores it is, from 0; -1 where nobody knows.
    """

    start_s: float
    end_s: float
    label: str
    score_mean: float
    score_max: float
    class_number: int = -1


class Detector:
    """Finds detections in scores that come a few windows at a time; memory holds the windows that count.

    The result does not depend on how many windows come at once.

    Parameters
    ----------
    rules : DetectionRules
    labels : sequence of str
        Of all classes, in the order of the scores' columns.
    scratch : Path, optional
        A folder for what is too much for memory; see :class:`~sonyc_ml.outputs.rows.Rows`.
    expected : np.ndarray [shape=(n_classes,), dtype=bool], optional
        Which classes can be heard; all where not given.

    Raises
    ------
    ValueError
        The rules name a class that is not among the labels.
    """

    def __init__(
        self,
        rules: DetectionRules,
        labels: Sequence[str],
        scratch: Path | None = None,
        expected: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        check_classes(rules, labels)
        self._rules, self._labels = rules, labels
        asked = frozenset(rules.classes or labels)
        # As scores are, so that 0.7 is 0.7; no score reaches infinity.
        self._thresholds = np.array(
            [rules.thresholds.get(label, rules.threshold) if label in asked else np.inf for label in labels], np.float32
        )
        if expected is not None:
            self._thresholds[~expected] = np.inf
        self._rows = RowsByName(scratch)
        self._sums = np.zeros(len(labels))
        self._n_windows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.__exit__()

    def add(self, scores: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Take the scores of the next windows, `(n_windows, n_classes)`.

        Returns
        -------
        dict of str to np.ndarray [shape=(n,)]
            Those that count: ``window`` from the first that was added on, ``class`` and ``score``.

        Raises
        ------
        StoreError
            `scratch` cannot hold them.
        """
        scores = np.asarray(scores, np.float32)
        counts = scores >= self._thresholds
        if self._rules.top_k is not None:
            is_asked = np.isfinite(self._thresholds)
            counts &= is_highest(np.where(is_asked, scores, -np.inf), self._rules.top_k)
        windows, classes = np.nonzero(counts)
        found: dict[str, npt.NDArray[Any]] = {
            "window": windows + self._n_windows,
            "class": classes.astype(np.int32),
            "score": scores[windows, classes],
        }
        if self._rules.gap_s is not None and len(scores):
            found["sum"] = self._summed(scores)[windows, classes]
        if len(windows):
            self._rows.append(found)
        self._n_windows += len(scores)
        return found

    def _summed(self, scores: npt.NDArray[np.float32]) -> Floats:
        """The sum of each class's scores up to each window: of a span, the mean is the difference of two."""
        sums = scores.astype(np.float64)
        sums[~np.isfinite(sums)] = 0
        sums[0] += self._sums
        np.cumsum(sums, axis=0, out=sums)
        self._sums = sums[-1].copy()
        return sums

    def detections(self, timestamps: Floats, window_size_s: float, duration_s: float) -> tuple[Detection, ...]:
        """What was found, in the order of its beginning; without merging windows overlap, else those of a class do not.

        Parameters
        ----------
        timestamps : np.ndarray [shape=(n_windows,), dtype=float64]
            Where each window begins (in seconds), rising; as many as were added.
        window_size_s, duration_s : float
            Of a window, and of the recording (in seconds).
        """
        found = self._rows.arrays()
        if not found:
            return ()
        merge_s = self._rules.gap_s
        spans_of = window_spans if merge_s is not None else whole_windows
        starts_s, ends_s = (ends[found["window"]] for ends in spans_of(timestamps, window_size_s, duration_s))
        order = np.argsort(found["class"], kind="stable")  # windows come in their order
        order = order[ends_s[order] > starts_s[order]]
        starts_s, ends_s = starts_s[order], ends_s[order]
        found = {name: array[order] for name, array in found.items()}
        firsts, lasts = _joined(starts_s, ends_s, merge_s, found["class"])
        if not len(firsts):
            return ()
        highest = np.maximum.reduceat(found["score"], firsts).astype(np.float64)
        means = highest
        if merge_s is not None:
            sums = found["sum"][lasts] - found["sum"][firsts] + found["score"][firsts]
            means = np.minimum(sums / (found["window"][lasts] - found["window"][firsts] + 1), highest)
        classes, starts_s, ends_s = found["class"][firsts], starts_s[firsts], ends_s[lasts]
        is_kept = ends_s - starts_s >= self._rules.min_duration_s - ROUNDING_S
        columns = [column[is_kept].tolist() for column in (classes, starts_s, ends_s, highest, means)]
        return tuple(self._in_order(zip(*columns, strict=True)))

    def _in_order(self, rows: Any) -> list[Detection]:
        """By their beginnings, without what follows too soon upon another."""
        kept = []
        cool_until_s: dict[int, float] = {}
        for number, start_s, end_s, highest, mean in rows:  # class by class, each in the order of time
            if start_s < cool_until_s.get(number, -np.inf) - ROUNDING_S:
                continue
            if self._rules.cool_down_s:
                cool_until_s[number] = end_s + self._rules.cool_down_s
            label = self._labels[number]
            kept.append(
                Detection(
                    start_s=start_s,
                    end_s=end_s,
                    label=label,
                    score_mean=mean,
                    score_max=highest,
                    class_number=number,
                )
            )
        return sorted(kept, key=lambda detection: (detection.start_s, detection.end_s))


def label_lookup(labels: Sequence[str], numbers: Sequence[int] = ()) -> Callable[[int], str]:
    """A function from a class's number to its label; to ``scores_0`` where it has none.

    Parameters
    ----------
    labels : sequence of str
    numbers : sequence of int
        Which classes the labels are of; of all, in their order, where empty.
    """
    known = dict(zip(numbers, labels, strict=True)) if numbers else dict(enumerate(labels))
    return lambda number: known.get(number, f"scores_{number}")


def check_classes(rules: DetectionRules, labels: Sequence[str]) -> None:
    """Refuse rules that name a class which there is not.

    Raises
    ------
    ValueError
        Says which, and which there are.
    """
    known = frozenset(labels)
    unknown = [name for name in (*rules.classes, *rules.thresholds) if name not in known]
    if unknown:
        raise ValueError(f"no class {named(unknown)}; its classes are {named(labels)}")


def named(labels: Sequence[str], n: int = 20) -> str:
    """Some labels for a message, at most so many."""
    return f"{', '.join(labels[:n])}{' and so on' if len(labels) > n else ''}"


def is_highest(scores: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.bool_]:
    """Whether each score is among the `k` highest of its window; of equal ones the first classes are.

    Parameters
    ----------
    scores : np.ndarray [shape=(n_windows, n_classes)]
        Those that are no numbers are no higher than any other.
    k : int > 0

    Returns
    -------
    np.ndarray [shape=(n_windows, n_classes), dtype=bool]
    """
    highest = np.zeros(scores.shape, bool)
    classes, _ = highest_of(scores, k)
    highest[np.arange(len(scores))[:, None], classes] = True
    return highest


def highest_of(scores: npt.NDArray[Any], k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """The `k` highest scores of each window, the highest first, and of equal ones the first class first.

    Parameters
    ----------
    scores : np.ndarray [shape=(n_windows, n_classes)]
        Those that are no numbers come last.
    k : int > 0
        More than there are classes is all of them.

    Returns
    -------
    classes : np.ndarray [shape=(n_windows, min(k, n_classes)), dtype=int32]
    scores : np.ndarray [shape=(n_windows, min(k, n_classes))]
        Of the dtype they had.
    """
    n_windows, n_classes = scores.shape
    k = min(k, n_classes)
    compared = np.where(np.isnan(scores), -np.inf, scores)
    lowest = np.partition(compared, n_classes - k, axis=1)[:, n_classes - k : n_classes - k + 1]
    windows, classes = np.nonzero(compared >= lowest)  # k of each window, or more where some are equal
    order = np.lexsort((classes, -compared[windows, classes], windows))
    windows, classes = windows[order], classes[order]
    rank = np.arange(len(windows)) - np.searchsorted(windows, windows)
    best = classes[rank < k].reshape(n_windows, k)
    return best.astype(np.int32), np.take_along_axis(scores, best, axis=1)


def window_spans(timestamps: Floats, window_size_s: float, duration_s: float) -> tuple[Floats, Floats]:
    """What time each window stands for.

    Windows that overlap stand for one hop around their middles, so that together they tile the time and a short sound
    is not smeared over a window's length; the first and the last reach to the edges of what the windows cover. Windows
    that do not overlap stand for all of their own.

    Parameters
    ----------
    timestamps : np.ndarray [shape=(n_windows,), dtype=float64]
        Where each window begins (in seconds), rising.
    window_size_s : float
        Length of a window (in seconds).
    duration_s : float
        Length of the recording (in seconds); nothing lies before 0 or behind it.

    Returns
    -------
    starts_s, ends_s : np.ndarray [shape=(n_windows,), dtype=float64]
        In seconds. Neighbours without a gap share the very same number. Of a window that lies outside the recording
        both are equal.
    """
    starts_s = np.array(timestamps, np.float64)
    ends_s = starts_s + window_size_s
    borders_s = (ends_s[:-1] + starts_s[1:]) / 2  # as far from the one middle as from the other
    follow = starts_s[1:] - ends_s[:-1] <= TOUCHING_S
    ends_s[:-1][follow] = borders_s[follow]
    starts_s[1:][follow] = borders_s[follow]
    return np.clip(starts_s, 0, duration_s), np.clip(ends_s, 0, duration_s)


def whole_windows(timestamps: Floats, window_size_s: float, duration_s: float) -> tuple[Floats, Floats]:
    """Where each window begins and ends, as :func:`window_spans`, whether they overlap or not."""
    starts_s = np.asarray(timestamps, np.float64)
    return np.clip(starts_s, 0, duration_s), np.clip(starts_s + window_size_s, 0, duration_s)


def runs(
    kept: npt.NDArray[np.bool_], starts_s: Floats, ends_s: Floats, merge_s: float = 0.0, min_duration_s: float = 0.0
) -> Numbers:
    """Windows that count to runs of them: first merged, then the short ones left out.

    Parameters
    ----------
    kept : np.ndarray [shape=(n_windows,), dtype=bool]
        Whether each window counts.
    starts_s, ends_s : np.ndarray [shape=(n_windows,), dtype=float64]
        What they stand for; see :func:`window_spans`.
    merge_s, min_duration_s : float
        See :class:`~sonyc_ml.outputs.rules.DetectionRules`.

    Returns
    -------
    np.ndarray [shape=(n_runs, 2), dtype=intp]
        The first and the last window of each, in their order.
    """
    heard = np.flatnonzero(kept & (ends_s > starts_s))
    firsts, lasts = _joined(starts_s[heard], ends_s[heard], merge_s)
    pairs = np.stack([heard[firsts], heard[lasts]], axis=1)
    long: Numbers = pairs[ends_s[pairs[:, 1]] - starts_s[pairs[:, 0]] >= min_duration_s - ROUNDING_S]
    return long


def _joined(
    starts_s: Floats, ends_s: Floats, merge_s: float | None, classes: npt.NDArray[Any] | None = None
) -> tuple[Numbers, Numbers]:
    """The first and last of those that become one: of one class, and close together."""
    if merge_s is None:
        is_apart = np.ones(max(0, len(starts_s) - 1), bool)
    else:
        is_apart = starts_s[1:] - ends_s[:-1] > merge_s + ROUNDING_S
        if classes is not None:
            is_apart |= classes[1:] != classes[:-1]
    firsts = np.flatnonzero(np.concatenate([[True], is_apart])[: len(starts_s)])
    lasts = np.flatnonzero(np.concatenate([is_apart, [True]])[: len(starts_s)])
    return firsts, lasts
