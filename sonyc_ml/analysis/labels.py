"""Scores to labels: when a class was heard, from when to when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.output import Output

Floats = npt.NDArray[np.float64]

TOUCHING_S = 1e-3  # windows are cut at whole samples: what is no further apart than this follows without a gap
MAX_NAMED = 20  # classes, in a message
ROUNDING_S = 1e-9  # 0.1 s three times is not quite 0.3 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which windows count, and what becomes of those that lie close together.

    Attributes
    ----------
    threshold : float
        A window counts where its score is no lower, in [0, 1].
    thresholds : mapping of str to float
        Of classes that have one of their own.
    classes : tuple of str
        Those that are labelled; all where empty.
    merge_s : float >= 0
        Spans of a class no further apart become one (in seconds); those that touch always do.
    min_duration_s : float >= 0
        What is shorter is left out (in seconds), after merging.

    Raises
    ------
    ValueError
        A value is out of its range.
    """

    threshold: float = 0.5
    thresholds: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    merge_s: float = 0.0
    min_duration_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in {"": self.threshold, **self.thresholds}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"a threshold must be in [0, 1]: {name and f'that of {name} '}is {value:g}")
        for name in ("merge_s", "min_duration_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(
                    f"{name} must be a number of seconds that is not below 0, and is {getattr(self, name):g}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A class, heard from one moment to another.

    Attributes
    ----------
    start_s, end_s : float
        In seconds from the recording's first sample.
    label : str
    score_mean, score_max : float
        Of all windows from its first to its last, those in merged gaps too.
    """

    start_s: float
    end_s: float
    label: str
    score_mean: float
    score_max: float


def label_output(output: Output, rules: Rules) -> list[Span]:
    """Label one recording.

    Returns
    -------
    list of Span
        In the order of their beginnings; those of one class do not overlap.

    Raises
    ------
    ConfigError
        The output has no scores, or no class that the rules name.
    """
    provenance = output.provenance
    if output.scores is None:
        raise ConfigError(
            f"the output of {provenance.recording} has no scores, as its bundle {provenance.bundle} has no classes; "
            "a head gives them: sonyc-ml bundle make --head"
        )
    names = class_names(output)
    unknown = [name for name in (*rules.classes, *rules.thresholds) if name not in names]
    if unknown:
        known = f"{', '.join(names[:MAX_NAMED])}{' and so on' if len(names) > MAX_NAMED else ''}"
        raise ConfigError(
            f"the output of {provenance.recording} has no class {', '.join(unknown)}; its classes are {known}"
        )
    duration_s = provenance.duration_s
    starts_s, ends_s = window_spans(output.timestamps, provenance.window_size_s, duration_s)
    spans = []
    for column, name in enumerate(names):
        if rules.classes and name not in rules.classes:
            continue
        scores = output.scores[:, column]
        kept = scores >= np.float32(rules.thresholds.get(name, rules.threshold))  # as scores are: 0.7 is 0.7
        for first, last in runs(kept, starts_s, ends_s, rules.merge_s, rules.min_duration_s):
            of_span = scores[first : last + 1].astype(np.float64)
            start_s, end_s = float(starts_s[first]), float(ends_s[last])
            mean, highest = float(of_span.mean()), float(of_span.max())
            spans.append(Span(start_s=start_s, end_s=end_s, label=name, score_mean=mean, score_max=highest))
    return sorted(spans, key=lambda span: (span.start_s, span.end_s))


def class_names(output: Output) -> tuple[str, ...]:
    """The names of the scores' columns; ``scores_0``, as in a csv, where the bundle has none."""
    n_classes = 0 if output.scores is None else output.scores.shape[1]
    return output.labels or tuple(f"scores_{i}" for i in range(n_classes))


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


def runs(
    kept: npt.NDArray[np.bool_], starts_s: Floats, ends_s: Floats, merge_s: float = 0.0, min_duration_s: float = 0.0
) -> npt.NDArray[np.intp]:
    """Windows that count to runs of them: first merged, then the short ones left out.

    Parameters
    ----------
    kept : np.ndarray [shape=(n_windows,), dtype=bool]
        Whether each window counts.
    starts_s, ends_s : np.ndarray [shape=(n_windows,), dtype=float64]
        What they stand for; see :func:`window_spans`.
    merge_s, min_duration_s : float
        See :class:`Rules`.

    Returns
    -------
    np.ndarray [shape=(n_runs, 2), dtype=intp]
        The first and the last window of each, in their order.
    """
    heard = np.flatnonzero(kept & (ends_s > starts_s))
    gaps_s = starts_s[heard[1:]] - ends_s[heard[:-1]]
    is_apart = gaps_s > merge_s + ROUNDING_S
    is_first = np.concatenate([[True], is_apart])[: len(heard)]
    is_last = np.concatenate([is_apart, [True]])[: len(heard)]
    pairs = np.stack([heard[is_first], heard[is_last]], axis=1)
    is_long = ends_s[pairs[:, 1]] - starts_s[pairs[:, 0]] >= min_duration_s - ROUNDING_S
    long: npt.NDArray[np.intp] = pairs[is_long]
    return long
