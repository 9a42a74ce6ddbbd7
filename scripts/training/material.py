"""What a network is trained on: for every fold, windows' features, what the teacher hears in them, and their labels.

Made once for each fold and kept in a folder, because six trainings read it. A fold's material depends on nothing but
its own clips, the number of windows and the seed. Delete the folder after a change to how it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scripts.training import teacher
from scripts.training.clips import N_FOLDS, Clip, read_clips, read_labels
from scripts.training.sounds.augment import features_of, make_windows, middle_of
from sonyc_ml.features import LogMel

Floats = npt.NDArray[np.float32]

SEED = 2026
N_WINDOWS_A_FOLD = 16_000
N_AT_ONCE = 2_000  # windows of 1.2 s at 16 kHz: 150 MB


@dataclass(frozen=True, slots=True)
class Material:
    """Training windows.

    Attributes
    ----------
    features : np.ndarray [shape=(n_windows, 64, 51), dtype=float32]
        What the student reads.
    targets : np.ndarray [shape=(n_windows, 2057), dtype=float32]
        What three of the teacher's layers make of it.
    labels : np.ndarray [shape=(n_windows, n_classes), dtype=float32]
        How surely each class is heard, 0 to 1.
    """

    features: Floats
    targets: Floats
    labels: Floats

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` file, under its name only when it is whole."""
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(unfinished, features=self.features, targets=self.targets, labels=self.labels)
        unfinished.replace(path)


def load(paths: Sequence[Path]) -> Material:
    """Read several folds' material as one."""
    folds = [np.load(path) for path in paths]
    return Material(*(np.concatenate([fold[name] for fold in folds]) for name in ("features", "targets", "labels")))


def path_of(folder: Path, fold: int) -> Path:
    """Where a fold's material is kept."""
    return folder / f"fold-{fold}-seed-{SEED}-{N_WINDOWS_A_FOLD}.npz"


def paths_of(folder: Path, without_fold: int | None = None) -> list[Path]:
    """Where the material of all folds, or all but one, is kept."""
    return [path_of(folder, fold) for fold in range(1, N_FOLDS + 1) if fold != without_fold]


def make_file(esc10: Path, yamnet: Path, folder: Path, fold: int) -> None:
    """Make a fold's material and keep it in `folder`."""
    own = [clip for clip in read_clips(esc10) if clip.fold == fold]
    make(own, len(read_labels(esc10)), yamnet, np.random.default_rng([SEED, fold])).save(path_of(folder, fold))


def make(own: Sequence[Clip], n_classes: int, yamnet: Path, rng: np.random.Generator) -> Material:
    """Make material of the clips of one fold."""
    hears, extractor = teacher.Teacher(yamnet), LogMel()
    parts = []
    for _ in range(N_WINDOWS_A_FOLD // N_AT_ONCE):
        windows = make_windows(own, N_AT_ONCE, n_classes, rng)
        targets = hears(middle_of(windows.samples, teacher.WINDOW_LENGTH))
        parts.append((features_of(windows.samples, extractor), targets, windows.labels))
    return Material(*(np.concatenate(part) for part in zip(*parts, strict=True)))
