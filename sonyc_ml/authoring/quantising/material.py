"""Recordings of the user's, to measure a network with: which of them, and which of their windows."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sonyc_ml.base.records import dataclass, field
from sonyc_ml.errors import ConfigError, RecordingError, UnavailableRecordingError
from sonyc_ml.model import Model
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.kinds import EXTENSIONS, in_words, skipped_kind

Floats = npt.NDArray[np.float32]

MAX_SECONDS = 60  # of each recording: one of a day counts as much as one of a minute
NUMBERED = re.compile(r"\d+[-_. ]+")  # 001-dog_bark


@dataclass(frozen=True, slots=True)
class Choice:
    """How much of a folder is used.

    Attributes
    ----------
    n_windows : int > 0
        To measure ranges on.
    n_calibrating, n_held_out : int > 0
        Recordings, at most: to measure ranges on, and to judge by.
    seed : int
        Another one chooses others.
    """

    n_windows: int = 200
    n_calibrating: int = 50
    n_held_out: int = 150
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_windows", "n_calibrating", "n_held_out"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Material:
    """Recordings in two parts that have none in common.

    Attributes
    ----------
    folder : Path
    calibrating, held_out : tuple of Path
        To measure ranges on, and to judge by. Which of the two a recording belongs to depends on its path below the
        folder alone, so that it stays there when others come.
    n_found : int
        Recordings in the folder, of which these are some.
    skipped : str
        Sound files of kinds that are not read, as in ``12 .mp3``.
    """

    folder: Path
    calibrating: tuple[Path, ...]
    held_out: tuple[Path, ...]
    n_found: int
    skipped: str


@dataclass(slots=True)
class Sounds:
    """Recordings as they are read one after another, and what became of those that could not be.

    Attributes
    ----------
    unreadable : list of str
        Why, one sentence for each.
    n_cut : int
        How many were longer than :data:`MAX_SECONDS`, and were read that far.
    n_doubles : int
        How many that were held out are copies of one that ranges were measured on, and do not count.
    measured : set of bytes
        Digests of those that ranges were measured on.
    """

    unreadable: list[str] = field(default_factory=list)
    n_cut: int = 0
    n_doubles: int = 0
    measured: set[bytes] = field(default_factory=set)

    def read(self, path: Path, channel: int | None) -> tuple[Floats, int] | None:
        """Samples `(n,)` and their rate in Hz; None where it cannot be read."""
        try:
            with open_recording(path, channel) as recording:
                limit, blocks, n_read = MAX_SECONDS * recording.sample_rate, [], 0
                for block in recording.blocks():
                    blocks.append(block[: limit - n_read])
                    n_read += len(blocks[-1])
                    if n_read == limit:
                        break
                self.n_cut += n_read < recording.n_samples
                return np.concatenate(blocks), recording.sample_rate
        except (RecordingError, UnavailableRecordingError) as error:
            self.unreadable.append(str(error))
            return None


def find_material(folder: str | Path, choice: Choice) -> Material:
    """Choose recordings below a folder, from each of its folders in turn.

    Raises
    ------
    ConfigError
        There are fewer than two.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"--recordings {root} is not a folder")
    paths, skipped = _sound_files(root)
    if len(paths) < 2:
        raise ConfigError(
            f"there {'is 1 recording' if paths else 'are no recordings'} in {root}, and two are the least: one to "
            "measure ranges on, another to judge by"
        )
    parts: tuple[list[Path], list[Path]] = ([], [])
    for key, path in sorted((_key(path.relative_to(root), choice.seed), path) for path in paths):
        parts[key[-1] % 2].append(path)
    for one, other in (parts, parts[::-1]):
        if not one:
            one.append(other.pop())
    first, second = (_in_turn(part) for part in parts)
    return Material(root, first[: choice.n_calibrating], second[: choice.n_held_out], len(paths), skipped)


def _sound_files(root: Path) -> tuple[list[Path], str]:
    paths, skipped = [], Counter[str]()
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                paths.append(Path(parent, name))
            elif kind := skipped_kind(name):
                skipped[kind] += 1
    return paths, in_words(skipped)


def _key(path: Path, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {path.as_posix()}".encode(errors="surrogateescape")).digest()


def _in_turn(paths: Iterable[Path]) -> tuple[Path, ...]:
    """One of each folder, then the next of each: classes are there in equal numbers as far as they go."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    rounds = zip_longest(*(folders[name] for name in sorted(folders)))
    return tuple(path for path in chain.from_iterable(rounds) if path is not None)


def class_of(path: Path, labels: Sequence[str]) -> int | None:
    """The class that a recording's folder is named as, by its number: ``dog_bark`` or ``001-dog_bark``."""
    name = path.parent.name
    for candidate in (name, NUMBERED.sub("", name, count=1)):
        if candidate in labels:
            return labels.index(candidate)
    return None


def calibration_windows(model: Model, material: Material, n_windows: int, sounds: Sounds) -> tuple[Floats, int]:
    """What the network reads of the calibrating recordings: a few windows of each, spread over it.

    Returns
    -------
    windows : np.ndarray [shape=(n_windows, …), dtype=float32]
    n_recordings : int
        That they are of.

    Raises
    ------
    ConfigError
        None can be read.
    """
    n_of_each = -(-n_windows // len(material.calibrating))
    rows = []
    for path in material.calibrating:
        sound = sounds.read(path, model.channel)
        if sound is not None:
            sounds.measured.add(digest_of(sound[0]))
            rows.append(spread(model.get_features(*sound, hop_without_overlap(model)), n_of_each))
    if not rows:
        raise ConfigError(f"no recording in {material.folder} can be read: {sounds.unreadable[0]}")
    return np.concatenate(rows)[:n_windows], len(rows)


def hop_without_overlap(model: Model) -> float | None:
    """Distance between windows that have nothing in common, in seconds; the extractor's own where it says no length."""
    return model.extractor.window_size_s or None


def held_out_sounds(model: Model, material: Material, sounds: Sounds) -> Iterator[tuple[Path, Floats, int]]:
    """The recordings to judge by, with their samples and rate in Hz; copies of what has calibrated are left out."""
    for path in material.held_out:
        sound = sounds.read(path, model.channel)
        if sound is not None and digest_of(sound[0]) in sounds.measured:
            sounds.n_doubles += 1
        elif sound is not None:
            yield path, *sound


def digest_of(samples: Floats) -> bytes:
    """Of samples, whatever file they are from."""
    return hashlib.sha256(samples.tobytes()).digest()


def spread(rows: Floats, n: int) -> Floats:
    """So many of the rows, as far from each other as they can be."""
    numbers = np.unique(np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int))
    chosen: Floats = rows[numbers]
    return chosen
