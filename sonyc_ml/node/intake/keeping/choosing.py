"""Which parts of a recording may be kept, by what its outputs say was heard in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sonyc_ml.node.intake.config import ClipsConfig
from sonyc_ml.outputs.output import Output

TOUCHING_S = 1e-3  # windows are cut at whole samples


class Clip(NamedTuple):
    """A part of a recording.

    Attributes
    ----------
    start_s, end_s : float
        From the recording's first sample.
    scores : dict of str to float
        The classes that were detected in it, each with its highest score.
    """

    start_s: float
    end_s: float
    scores: dict[str, float]


class Span(NamedTuple):
    """From one moment of a recording to another (in seconds)."""

    start_s: float
    end_s: float

    def meets(self, start_s: float, end_s: float) -> bool:
        """Whether it has a moment in common with another."""
        return self.start_s < end_s and start_s < self.end_s


def choose(config: ClipsConfig, outputs: Sequence[Output]) -> list[Clip]:
    """The clips to keep of a recording; none where nobody can say that no forbidden class is in them.

    Parameters
    ----------
    config : ClipsConfig
    outputs : sequence of Output
        Of all bundles.
    """
    forbidden = forbidden_spans(config, outputs)
    return (
        []
        if forbidden is None
        else [clip for clip in _wanted(config, outputs) if not any(span.meets(*clip[:2]) for span in forbidden)]
    )


def forbidden_spans(config: ClipsConfig, outputs: Iterable[Output]) -> list[Span] | None:
    """Where a class is heard that forbids to keep anything, or might be; None where that is not known."""
    found, known = list[Span](), set[str]()
    for output in outputs:
        names = [name for name in config.never_keep if name in output.labels]
        known.update(names)
        if not names:
            continue
        if output.scores is None or len(output.scores) != len(output.timestamps):
            return None
        columns = [output.labels.index(name) for name in names]
        is_silent = np.all(np.asarray(output.scores, np.float64)[:, columns] < config.never_score, axis=1)
        found += _spans(output, [bool(one) for one in is_silent])  # what is no number is not silent
    return None if set(config.never_keep) - known else found


def _spans(output: Output, is_silent: list[bool]) -> Iterator[Span]:
    """Windows that are not silent, and what no window has heard."""
    window_s, heard_until_s = output.provenance.window_size_s, 0.0
    for start_s, is_allowed in zip(output.timestamps.tolist(), is_silent, strict=True):
        if start_s > heard_until_s + TOUCHING_S:
            yield Span(heard_until_s, start_s)
        heard_until_s = start_s + window_s
        if not is_allowed:
            yield Span(start_s, heard_until_s)
    if output.provenance.duration_s > heard_until_s + TOUCHING_S:
        yield Span(heard_until_s, output.provenance.duration_s)


def _wanted(config: ClipsConfig, outputs: Iterable[Output]) -> list[Clip]:
    """What was detected, with its margins; what overlaps is one clip."""
    clips = list[Clip]()
    detected = [
        (one, output.provenance.duration_s)
        for output in outputs
        for one in output.detections or ()
        if one.label not in config.never_keep and (not config.classes or one.label in config.classes)
    ]
    for one, duration_s in sorted(detected, key=lambda pair: pair[0].start_s):
        start_s, end_s = max(0.0, one.start_s - config.before_s), min(duration_s, one.end_s + config.after_s)
        scores = {one.label: one.score_max}
        if clips and start_s <= clips[-1].end_s:
            last = clips.pop()
            highest = max(one.score_max, last.scores.get(one.label, 0.0))
            start_s, end_s, scores = last.start_s, max(end_s, last.end_s), {**last.scores, one.label: highest}
        clips.append(Clip(start_s, end_s, scores))
    return clips
