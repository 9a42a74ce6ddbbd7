"""Whole clips through a network: features, embeddings and class scores of every clip's windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scripts.training.clips import Clip
from sonyc_ml.features import LogMel

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Windowed:
    """The windows of all clips, one behind the other, 0.1 s apart.

    Attributes
    ----------
    features : np.ndarray [shape=(n_windows, 64, 51), dtype=float32]
    n_windows : np.ndarray [shape=(n_clips,)]
        How many of them each clip has.
    labels, folds : np.ndarray [shape=(n_clips,)]
        Each clip's class and fold.
    """

    features: Floats
    n_windows: Integers
    labels: Integers
    folds: Integers

    def by_clip(self, rows: Floats) -> list[Floats]:
        """Split rows that belong to windows into clips."""
        return np.split(rows, np.cumsum(self.n_windows)[:-1])

    def windows_of(self, clips: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which windows belong to the chosen clips."""
        return np.repeat(clips, self.n_windows)


def listen(clips: Sequence[Clip]) -> Windowed:
    """Compute the features of every clip, exactly as a node does."""
    extractor = LogMel()
    features = [extractor(clip.y, clip.sample_rate) for clip in clips]
    return Windowed(
        np.concatenate(features),
        np.array([len(windows) for windows in features]),
        np.array([clip.label for clip in clips]),
        np.array([clip.fold for clip in clips]),
    )


def save(windowed: Windowed, path: Path) -> None:
    """Keep the windows for several processes."""
    np.savez(
        path,
        features=windowed.features,
        n_windows=windowed.n_windows,
        labels=windowed.labels,
        folds=windowed.folds,
    )


def load(path: Path) -> Windowed:
    """Read what :func:`save` wrote."""
    kept = np.load(path)
    return Windowed(*(kept[name] for name in ("features", "n_windows", "labels", "folds")))
