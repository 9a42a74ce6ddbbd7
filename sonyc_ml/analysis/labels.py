"""Outputs to labels: when a class was heard, by the detections that are stored, or by others of the same scores."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.detections import (
    ROUNDING_S,
    Detection,
    Detector,
    runs,
    window_spans,
)
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.rows import chunks
from sonyc_ml.outputs.rules import DetectionRules

__all__ = ["Detection", "Rules", "Span", "class_names", "label_output", "runs", "window_spans"]

Rules = DetectionRules
Span = Detection


def label_output(output: Output, rules: Rules | None = None) -> list[Span]:
    """Label one recording.

    Parameters
    ----------
    output : Output
    rules : Rules, optional
        Where not given, the detections that the output holds are its labels; those of the usual rules where it holds
        none. Given, labels are made of its scores. Of an output without the scores of all classes only some of the
        detections that it holds can be taken: by a higher threshold, by class, by duration.

    Returns
    -------
    list of Span
        In the order of their beginnings.

    Raises
    ------
    ConfigError
        The output has neither scores nor detections, or no class that the rules name, or the rules ask for what its
        detections cannot give.
    """
    if rules is None and output.detections is not None:
        return list(output.detections)
    rules = rules or Rules()
    if output.scores is None:
        return _chosen(output, rules)
    try:
        with Detector(rules, class_names(output)) as detector:
            for scores in chunks(output.scores):
                detector.add(scores)
            provenance = output.provenance
            return list(detector.detections(output.timestamps, provenance.window_size_s, provenance.duration_s))
    except ValueError as error:
        raise ConfigError(f"the output of {output.provenance.recording} has {error}") from error


def _chosen(output: Output, rules: Rules) -> list[Span]:
    """Those of an output's detections that the rules leave."""
    provenance = output.provenance
    if output.detections is None:
        raise ConfigError(
            f"the output of {provenance.recording} has no scores, as its bundle {provenance.bundle} has no classes; "
            "a head gives them: sonyc-ml bundle make --head"
        )
    made_with: dict[str, Any] = json.loads(provenance.parameters or "{}").get("detections", {})
    _check_possible(output, rules, made_with)
    return list(_filtered(output.detections, rules))


def _check_possible(output: Output, rules: Rules, made_with: dict[str, Any]) -> None:
    where = f"the output of {output.provenance.recording} has detections and not the scores of all classes"
    usual = DetectionRules()
    for name, flag in (("merge_s", "--merge"), ("top_k", "--top-k"), ("cool_down_s", "--cool-down")):
        if getattr(rules, name) != getattr(usual, name):
            raise ConfigError(f"{where}: leave out {flag}, or embed again with it, as {name} of [detections]")
    lowest = float(made_with.get("threshold", 0.0))
    for value in (rules.threshold, *rules.thresholds.values()):
        if value < lowest:
            raise ConfigError(
                f"{where}: they were made with a threshold of {lowest:g}, and {value:g} is lower; give one that is not "
                f"lower, or embed again with --detect {value:g}"
            )


def _filtered(detections: Iterable[Detection], rules: Rules) -> Iterable[Detection]:
    for detection in detections:
        if rules.classes and detection.label not in rules.classes:
            continue
        is_long = detection.end_s - detection.start_s >= rules.min_duration_s - ROUNDING_S
        if is_long and detection.score_max >= rules.thresholds.get(detection.label, rules.threshold):
            yield detection


def class_names(output: Output) -> tuple[str, ...]:
    """The names of the scores' columns; ``scores_0``, as in a csv, where the bundle has none."""
    n_classes = 0 if output.scores is None else output.scores.shape[1]
    return output.labels or tuple(f"scores_{i}" for i in range(n_classes))
