"""Outputs with detections, and a network that gives the scores that are written into a recording."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from sonyc_ml.authoring.make import make_bundle
from sonyc_ml.errors import RawScoresWarning
from sonyc_ml.outputs.detection_arrays import occurring
from sonyc_ml.outputs.detections import Detection, Detector, highest_of, label_lookup
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.rules import DetectionRules
from tests.support import networks
from tests.support.outputs import PROVENANCE


def scored(
    name: str, scores: npt.NDArray[np.float32], labels: Sequence[str], *, window_size_s: float = 3.0, hop_s: float = 3.0
) -> Output:
    """An output of these scores, its windows from the beginning of a recording that they cover."""
    n_windows = len(scores)
    duration_s = (n_windows - 1) * hop_s + window_size_s if n_windows else 0.0
    provenance = replace(
        PROVENANCE,
        recording=name,
        sample_rate=8000,
        n_samples=round(8000 * duration_s),
        window_size_s=window_size_s,
        hop_size_s=hop_s,
    )
    timestamps = np.arange(n_windows, dtype=np.float64) * hop_s
    return Output(timestamps=timestamps, scores=scores, labels=tuple(labels), provenance=provenance)


def detected(output: Output, rules: DetectionRules) -> tuple[Detection, ...]:
    """The detections of an output's scores, which come all at once."""
    assert output.scores is not None
    with Detector(rules, output.labels) as detector:
        detector.add(output.scores)
        return detector.detections(output.timestamps, output.provenance.window_size_s, output.provenance.duration_s)


def sparse(output: Output, rules: DetectionRules | None, k: int | None) -> Output:
    """The output as one is that keeps the detections, and the highest scores or none, instead of all scores."""
    assert output.scores is not None
    detections = None if rules is None else detected(output, rules)
    classes, scores = (None, None) if k is None else highest_of(output.scores, k)
    labels, numbers = occurring(label_lookup(output.labels), classes, detections)
    return replace(
        output,
        scores=None,
        top_classes=classes,
        top_scores=scores,
        detections=detections,
        labels=labels,
        label_numbers=numbers,
    )


def make_echo(path: Path, labels: Sequence[str], **more: Any) -> Path:
    """A bundle whose scores are the samples of a recording at 8 kHz, one window after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (1, len(labels))
    path.write_bytes(networks.reshaping(networks.Spec(shape), networks.Spec(shape)))
    hop_s = len(labels) / 8000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RawScoresWarning)  # a recording holds scores, the golden signal does not
        make_bundle(
            path, input_kind="pcm", outputs={"scores": 0}, labels=tuple(labels), target_sr=8000, hop_size=hop_s, **more
        )
    return path


def write_scores(path: Path, scores: npt.NDArray[np.float32]) -> Path:
    """A recording that such a bundle gives these scores for, `(n_windows, n_classes)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, scores.ravel(), 8000, subtype="FLOAT")
    return path
