"""ESC-10 as a folder: which clips there are, their folds and labels, and their samples.

The folder is the one its author publishes: ten class folders such as ``001 - Dog bark`` with clips named
``FOLD-FREESOUNDID-TAKE.ogg`` inside, and a ``README.txt`` that names the author and the licence of every clip. Clips
marked CC-Sampling+ are left out of everything, because that licence asks for more than attribution.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

Floats = npt.NDArray[np.float32]

N_FOLDS = 5
LEFT_OUT_LICENCE = "CC-Sampling+"


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of the data set.

    Attributes
    ----------
    name : str
        File name, ``FOLD-FREESOUNDID-TAKE.ogg``.
    fold : int
        1 to 5, fixed by the data set's author.
    label : int
        Number of its class, from 0.
    y : np.ndarray [shape=(n_samples,), dtype=float32]
        Mono samples.
    sample_rate : int
        In Hz.
    loudest : float
        Root mean square of its loudest second.
    """

    name: str
    fold: int
    label: int
    y: Floats
    sample_rate: int
    loudest: float


def read_labels(esc10: Path) -> list[str]:
    """Class names in the order of their numbers, such as ``dog_bark``."""
    return [_class_name(folder) for folder in _class_folders(esc10)]


def read_clips(esc10: Path) -> list[Clip]:
    """Read every clip of the data set that may be used, in an order that depends on names alone."""
    left_out = clips_left_out(esc10)
    return [
        _read_clip(path, label)
        for label, folder in enumerate(_class_folders(esc10))
        for path in sorted(folder.glob("*.ogg"))
        if path.name not in left_out
    ]


def clips_left_out(esc10: Path) -> frozenset[str]:
    """File names of the clips whose licence keeps them out."""
    lines = (esc10 / "README.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    marked = (re.search(r"\[(\S+\.ogg)\]", line) for line in lines if LEFT_OUT_LICENCE in line)
    return frozenset(match.group(1) for match in marked if match)


def _class_folders(esc10: Path) -> list[Path]:
    folders = sorted(folder for folder in esc10.iterdir() if re.match(r"\d{3}\b", folder.name))
    if not folders:
        raise FileNotFoundError(f"{esc10} holds no folder named like '001 - Dog bark': is it ESC-10?")
    return folders


def _class_name(folder: Path) -> str:
    return re.sub(r"^\d{3}\W+", "", folder.name).strip().lower().replace(" ", "_")


def _read_clip(path: Path, label: int) -> Clip:
    y, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = y.mean(axis=1)
    return Clip(path.name, int(path.name.split("-")[0]), label, mono, sample_rate, _loudest(mono, sample_rate))


def _loudest(y: Floats, sample_rate: int) -> float:
    """Root mean square of the loudest second, in steps of a tenth."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(y, dtype=np.float64))])
    length = min(sample_rate, len(y))
    starts = np.arange(0, len(y) - length + 1, max(1, sample_rate // 10))
    return float(np.sqrt((energy[starts + length] - energy[starts]).max() / length))
