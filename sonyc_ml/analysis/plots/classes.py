"""Which classes a picture shows, and by what names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.human import shown

MOST_CLASSES = 20
LONGEST_LABEL = 30  # characters
FEWEST_CLASSES = 5
HEARD = 0.05  # a score below this is not worth a row, where rows are few
LIKELY = 0.5  # a class that reaches this score has its name in bold


def shortened(label: str) -> str:
    """A label as a figure has room for it."""
    text = shown(label).replace("_", " ")
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1].rstrip(" ,") + "…"


def class_names(labels: Sequence[str], n_classes: int) -> list[str]:
    """The labels, or numbers where there is not one for each class."""
    return list(labels) if len(labels) == n_classes else [f"class {number}" for number in range(n_classes)]


def loudest(peaks: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Which classes are shown: all in their own order where there is room, else the highest first.

    Parameters
    ----------
    peaks : np.ndarray [shape=(n_classes,)]
        The highest score of each.

    Returns
    -------
    np.ndarray [shape=(n_shown,)]
        Numbers of the classes; of many, no more than :data:`MOST_CLASSES`, and few of those that are never heard.
    """
    if len(peaks) <= MOST_CLASSES:
        return np.arange(len(peaks))
    n_heard = int((peaks >= HEARD).sum())
    return np.argsort(-peaks, kind="stable")[: min(MOST_CLASSES, max(FEWEST_CLASSES, n_heard))]
