"""Outputs to labels: when a class was heard, by the detections that are stored, or by others of the same scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

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

__all__ = ["Asked", "Detection", "Rules", "Span", "class_names", "label_output", "runs", "window_spans"]

Rules = DetectionRules
Span = Detection
Asked: TypeAlias = Rules | Mapping[str, Any] | None


def label_output(output: Output, rules: Asked = None) -> list[Span]:
    """Label one recording.

    Of an output without the scores of all classes, labels are some of the detections that it holds: by a threshold that
    is not lower than theirs, by class, by duration.

    Parameters
    ----------
    output : Output
    rules : Rules, mapping or None
        None: the detections that the output holds; by the usual rules where it holds none. A mapping says some of the
        rules by their names; the others are those of the output's detections, or the usual ones where it holds none.

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
    if output.detections is not None:
        if not rules:
            return list(output.detections)
        if output.scores is None:
            return list(_chosen(output, output.detections, rules))
    if output.scores is None:
        provenance = output.provenance
        raise ConfigError(
            f"the output of {provenance.recording} has no scores, as its bundle {provenance.bundle} has no classes; "
            "a head gives them: sonyc-ml bundle make --head"
        )
    try:
        with Detector(_rules(output, rules), class_names(output)) as detector:
            for scores in chunks(output.scores):
                detector.add(scores)
            provenance = output.provenance
            return list(detector.detections(output.timestamps, provenance.window_size_s, provenance.duration_s))
    except ValueError as error:
        raise ConfigError(f"the output of {output.provenance.recording} has {error}") from error


def _rules(output: Output, asked: Asked) -> Rules:
    """All rules, where some are asked for."""
    if isinstance(asked, DetectionRules):
        return asked
    rules = {**_made_with(output), **(asked or {})}
    if "place" in rules and "classes" not in (asked or {}):
        raise ConfigError(
            f"the detections of {output.provenance.recording} are of classes that are expected at a place, which the "
            "output does not name: give --classes, or embed again with other rules"
        )
    rules = {name: value for name, value in rules.items() if name not in ("place", "week")}
    for name in ("classes", "thresholds"):
        if isinstance(rules.get(name), str):  # a digest
            raise ConfigError(
                f"the output of {output.provenance.recording} does not name the {name} of its detections one by one, "
                f"as they are many ({rules[name]}): give all rules again, the {name} too"
            )
    return DetectionRules(**rules)


def _made_with(output: Output) -> dict[str, Any]:
    """The rules of an output's detections, as its provenance has them."""
    made: dict[str, Any] = json.loads(output.provenance.parameters or "{}").get("detections", {})
    return made | ({"classes": tuple(made["classes"])} if isinstance(made.get("classes"), list) else {})


def _chosen(output: Output, detections: Iterable[Detection], asked: Rules | Mapping[str, Any]) -> Iterator[Detection]:
    """Those of an output's detections that the rules leave."""
    given = asked.recorded() if isinstance(asked, DetectionRules) else asked
    where = f"the output of {output.provenance.recording} has detections and not the scores of all classes"
    for name, flag in (("merge_s", "--merge or --no-merge"), ("top_k", "--top-k"), ("cool_down_s", "--cool-down")):
        if name in given:
            raise ConfigError(f"{where}: leave out {flag}, or embed again with {name} in [detections]")
    rules = DetectionRules(**{"threshold": 0.0, **given})
    lowest = float(_made_with(output).get("threshold", 0.0))
    for value in (given.get("threshold", lowest), *rules.thresholds.values()):
        if value < lowest:
            raise ConfigError(
                f"{where}: they were made with a threshold of {lowest:g}, and {value:g} is lower; give one that is not "
                f"lower, or embed again with --detect {value:g}"
            )
    for one in detections:
        if rules.classes and one.label not in rules.classes:
            continue
        is_long = one.end_s - one.start_s >= rules.min_duration_s - ROUNDING_S
        threshold = np.float32(rules.thresholds.get(one.label, rules.threshold))  # as scores are: 0.7 is 0.7
        if is_long and one.score_max >= threshold:
            yield one


def class_names(output: Output) -> tuple[str, ...]:
    """The names of the scores' columns; ``scores_0``, as in a csv, where the bundle has none."""
    n_classes = 0 if output.scores is None else output.scores.shape[1]
    return output.labels or tuple(f"scores_{i}" for i in range(n_classes))
