"""Detections as files hold them: arrays of one length each, or lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.outputs.detections import Detection, label_lookup

COLUMNS: Mapping[str, np.dtype[Any]] = {
    "class": np.dtype(np.int32),
    "start_s": np.dtype(np.float64),
    "end_s": np.dtype(np.float64),
    "score_max": np.dtype(np.float32),  # it is one of the network's
    "score_mean": np.dtype(np.float64),
}
FIELDS = {"class": "class_number"}  # of a Detection, where it has another name
HEADING = "start_s,end_s,score_max,score_mean,class,label"  # of the lines in a csv


def to_arrays(detections: Sequence[Detection]) -> dict[str, npt.NDArray[Any]]:
    """The arrays by their names, as in ``detection_start_s``, each `(n_detections,)`."""
    return {
        f"detection_{name}": np.array([getattr(one, FIELDS.get(name, name)) for one in detections], dtype)
        for name, dtype in COLUMNS.items()
    }


def from_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], labels: Sequence[str], numbers: Sequence[int]
) -> tuple[Detection, ...] | None:
    """What :func:`to_arrays` was given; None where the arrays are not there.

    Parameters
    ----------
    arrays : mapping
        Of the file, others too.
    labels, numbers
        See :func:`sonyc_ml.outputs.detections.label_lookup`.

    Raises
    ------
    ValueError
        They are not of one length.
    """
    if "detection_class" not in arrays:
        return None
    columns = [arrays[f"detection_{name}"].tolist() for name in COLUMNS]
    names = [FIELDS.get(name, name) for name in COLUMNS]
    label = label_lookup(labels, numbers)
    rows = (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))
    return tuple(Detection(label=label(row["class_number"]), **row) for row in rows)


def to_lines(detections: Iterable[Detection]) -> list[str]:
    """One line for each, of :data:`HEADING`'s values; a label may hold commas, as it comes last."""
    return [f"{d.start_s},{d.end_s},{d.score_max},{d.score_mean},{d.class_number},{d.label}" for d in detections]


def from_lines(lines: Iterable[str]) -> tuple[Detection, ...]:
    """What :func:`to_lines` was given.

    Raises
    ------
    ValueError
        A line is not one of them.
    """
    found = []
    for line in lines:
        start_s, end_s, score_max, score_mean, number, label = line.split(",", 5)
        found.append(
            Detection(
                start_s=float(start_s),
                end_s=float(end_s),
                label=label,
                score_mean=float(score_mean),
                score_max=float(score_max),
                class_number=int(number),
            )
        )
    return tuple(found)


def occurring(
    label: Callable[[int], str],
    top_classes: npt.NDArray[Any] | None,
    detections: Iterable[Detection] | None,
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The labels that an output without the scores of all classes needs, and which classes they are of.

    Parameters
    ----------
    label : callable
        Returns the label of a class by its number.
    top_classes, detections
        Of the output.
    """
    numbers = {one.class_number for one in detections or ()}
    if top_classes is not None:
        numbers.update(np.unique(top_classes).tolist())
    in_order = tuple(sorted(numbers))
    return tuple(map(label, in_order)), in_order
