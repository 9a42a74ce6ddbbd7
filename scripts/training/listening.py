"""Whole clips through a network: features, embeddings and class scores of every clip's windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scripts.training.clips import Clip
from scripts.training.sounds import augment, negatives
from sonyc_ml.features import LogMel

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


NEGATIVES_SEED, N_NEGATIVES = 1917, 3600  # an hour of single seconds


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

    def presence(self) -> Floats:
        """How surely each window has its clip's class, `(n_windows,)`: by its level below the clip's loudest window."""
        # The features are levels of magnitudes: twice as many decibels are levels of power.
        levels_db = 10 * np.log10(np.mean(10 ** (self.features / 5), axis=(1, 2)))
        below_db = [levels - levels.max() for levels in self.by_clip(levels_db.astype(np.float32))]
        return augment.presence(np.concatenate(below_db)).astype(np.float32)


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


def seconds_of_nothing(n_windows: int = N_NEGATIVES, seed: int = NEGATIVES_SEED) -> Iterator[Floats]:
    """Yield sounds of no class in blocks `(n, 8000)` of single seconds, at levels between silence and full scale."""
    extractor, rng = LogMel(), np.random.default_rng(seed)
    for start in range(0, n_windows, 500):
        rows = negatives.negatives(min(500, n_windows - start), augment.WINDOW_LENGTH, rng)
        levels = 10 ** (rng.uniform(-40, 0, (len(rows), 1)) / 20)
        yield augment.seconds_of((rows * levels).astype(np.float32), extractor)


def negatives_path(folder: Path) -> Path:
    """Where the features of sounds of no class are kept that tests and calibrations use, and no training."""
    return folder / "negatives.npy"


def save_negatives(folder: Path) -> None:
    """Make them: as many for every fold, from a seed that no training has."""
    extractor = LogMel()
    blocks = (extractor(block.reshape(-1), extractor.sample_rate, 1.0) for block in seconds_of_nothing())
    np.save(negatives_path(folder), np.concatenate(list(blocks)))


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
