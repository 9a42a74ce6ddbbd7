"""How often a class is reported that is not there: runs of windows whose score is 0.5 or more, in an hour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from scripts.training.sounds import street

Floats = npt.NDArray[np.float32]

THRESHOLD = 0.5


def n_alarms(scores: Floats) -> npt.NDArray[np.int64]:
    """Count each class's runs of windows at or above the threshold: what ``--detect 0.5`` makes of them.

    Parameters
    ----------
    scores : np.ndarray [shape=(n_windows, n_classes), dtype=float32]
        Of one recording, in the order of its windows.
    """
    counts = (scores >= THRESHOLD).astype(np.int8)
    return np.asarray((np.diff(counts, axis=0, prepend=np.zeros_like(counts[:1])) == 1).sum(axis=0), np.int64)


def on_the_street(model_path: Path) -> dict[str, float]:
    """False alarms of a bundle in the hour of ``street``, class by class."""
    from sonyc_ml import load_model

    model = load_model(model_path)
    counts = sum(n_alarms(model.get_outputs(y, street.SAMPLE_RATE_HZ)["scores"]) for y in street.minutes())
    return dict(zip(model.labels, np.asarray(counts).tolist(), strict=True))


def table(columns: dict[str, dict[str, float]]) -> str:
    """Classes and their false alarms an hour, a column for each kind of sound, as Markdown."""
    lines = [f"| class | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for label in next(iter(columns.values())):
        cells = " | ".join(f"{column[label]:.1f}".removesuffix(".0") for column in columns.values())
        lines.append(f"| {label.replace('_', ' ')} | {cells} |")
    return "\n".join(lines)
