"""How often a class is reported that is not there: runs of windows whose score is 0.5 or more, in an hour."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scripts.training import clips, listening
from scripts.training.sounds import street
from sonyc_ml.features import LogMel

if TYPE_CHECKING:
    from sonyc_ml.model.base import Model

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

THRESHOLD = 0.5
STREET, NOTHING, CLIPS = "an hour of a street", "an hour of sounds of no class", "an hour of clips of other classes"


def n_alarms(scores: Floats) -> npt.NDArray[np.int64]:
    """Count each class's runs of windows at or above the threshold: what ``--detect 0.5`` makes of them.

    Parameters
    ----------
    scores : np.ndarray [shape=(n_windows, n_classes), dtype=float32]
        Of one recording, in the order of its windows.
    """
    counts = (scores >= THRESHOLD).astype(np.int8)
    return np.asarray((np.diff(counts, axis=0, prepend=np.zeros_like(counts[:1])) == 1).sum(axis=0), np.int64)


def counted(model_path: Path, esc10: Path | None) -> dict[str, dict[str, float]]:
    """Count a bundle's false alarms in an hour of each kind of sound, class by class; of clips only where there are."""
    from sonyc_ml import load_model

    model = load_model(model_path)
    counts = {STREET: on_the_street(model), NOTHING: on_nothing(model)}
    if esc10:
        counts[CLIPS] = on_clips(model, esc10)
    return {kind: dict(zip(model.labels, hourly.tolist(), strict=True)) for kind, hourly in counts.items()}


def on_the_street(model: Model) -> Doubles:
    """False alarms of each class in the hour of ``street``."""
    return _alarms(model, ((y, street.SAMPLE_RATE_HZ) for y in street.minutes()))


def on_nothing(model: Model) -> Doubles:
    """False alarms of each class in an hour of sounds of no class, each a recording of one second."""
    seconds = (second for block in listening.seconds_of_nothing() for second in block)
    return _alarms(model, ((y, LogMel().sample_rate) for y in seconds))


def on_clips(model: Model, esc10: Path) -> Doubles:
    """False alarms of each class in an hour of clips of other classes."""
    alarms, hours = np.zeros(len(model.labels)), np.zeros(len(model.labels))
    labels = clips.read_labels(esc10)
    for clip in clips.read_clips(esc10):
        others = np.array([label != labels[clip.label] for label in model.labels])
        alarms += others * _alarms(model, [(clip.y, clip.sample_rate)])
        hours += others * len(clip.y) / clip.sample_rate / 3600
    return np.asarray(alarms / hours)


def table(columns: dict[str, dict[str, float]]) -> str:
    """Classes and their false alarms an hour, a column for each kind of sound, as Markdown."""
    lines = [f"| class | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for label in next(iter(columns.values())):
        cells = " | ".join(f"{column[label]:.1f}".removesuffix(".0") for column in columns.values())
        lines.append(f"| {label.replace('_', ' ')} | {cells} |")
    return "\n".join(lines)


def _alarms(model: Model, recordings: Iterable[tuple[Floats, int]]) -> Doubles:
    counts = (n_alarms(model.get_outputs(y, sample_rate)["scores"]) for y, sample_rate in recordings)
    return np.asarray(sum(counts), np.float64)
