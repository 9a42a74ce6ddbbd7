"""The data set's own five folds: train without a fold, quantise, and see how well that fold is told apart.

Nothing of the test fold is seen before: not in the material, not in the statistics of the teacher's targets or of batch
normalisation, not in the calibration of the quantisation, not in the probe. Every training runs for the same number of
epochs, so nothing is selected either. A fold's scores are calibrated with the other four folds' held-out clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from scripts.training import listening, material, network, probe, quantise
from scripts.training.clips import N_FOLDS
from scripts.training.sounds import street
from sonyc_ml.features import LogMel

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

CALIBRATION_SEED, N_CALIBRATION_WINDOWS = 7, 500


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training leaves behind.

    Attributes
    ----------
    float_embedder, embedder : bytes
        The embedder as a ``.tflite`` file, in float32 and in int8.
    head : keras.Model
        Not calibrated yet. Float32: quantising its 2570 weights would save nothing.
    """

    float_embedder: bytes
    embedder: bytes
    head: keras.Model


@dataclass(frozen=True, slots=True)
class Tested:
    """A test fold's clips, as a network heard them that was trained on the other folds.

    Attributes
    ----------
    fold : int
    labels, n_windows : np.ndarray [shape=(n_clips,)]
        The clips' classes and their numbers of windows.
    presence : np.ndarray [shape=(n_windows,)]
        How surely each window has its clip's class.
    probe_float, probe_int8 : np.ndarray [shape=(n_clips,)]
        What the probe takes the clips for, on the embedding before and after quantisation.
    logits_float, logits_int8 : np.ndarray [shape=(n_windows, n_classes)]
        The head's sums.
    negatives, street : np.ndarray [shape=(n_windows, n_classes)]
        The head's sums on the int8 embedding, for sounds of no class and for the hour of a street.
    """

    fold: Integers
    labels: Integers
    n_windows: Integers
    presence: Floats
    probe_float: Integers
    probe_int8: Integers
    logits_float: Floats
    logits_int8: Floats
    negatives: Floats
    street: Floats

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` file, under its name only when it is whole."""
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(unfinished, **{one.name: getattr(self, one.name) for one in fields(self)})
        unfinished.replace(path)


def read(path: Path) -> Tested:
    """Read what :meth:`Tested.save` wrote."""
    with np.load(path) as kept:
        return Tested(*(kept[one.name] for one in fields(Tested)))


def path_of(output: Path, fold: int) -> Path:
    """Where a fold's result is kept."""
    return output / f"tested-{fold}.npz"


def path_of_all(output: Path) -> Path:
    """Where the network of all folds is kept, before its calibration."""
    return output / "trained-on-all.npz"


def train_on_all(folder: Path, output: Path) -> None:
    """Train on all folds' material in `folder`, and keep network and head."""
    files = train(folder, listening.load(folder / "clips.npz"), without_fold=None)
    kernel, bias = files.head.get_weights()
    embedder = np.frombuffer(files.embedder, np.uint8)
    unfinished = path_of_all(output).with_suffix(".unfinished.npz")
    np.savez(unfinished, embedder=embedder, kernel=kernel, bias=bias)
    unfinished.replace(path_of_all(output))


def read_trained(path: Path) -> tuple[bytes, keras.Model]:
    """Read what :func:`train_on_all` kept: the int8 embedder, and the head, which is not calibrated yet."""
    with np.load(path) as kept:
        head = network.build_head(len(kept["bias"]))
        head.set_weights([kept["kernel"], kept["bias"]])
        return kept["embedder"].tobytes(), head


def evaluate_fold(fold: int, folder: Path, output: Path) -> None:
    """Train on the other folds' material in `folder`, test on this one, and keep the result."""
    windowed = listening.load(folder / "clips.npz")
    files = train(folder, windowed, without_fold=fold)
    (output / f"embedder-without-{fold}.tflite").write_bytes(files.embedder)
    test = windowed.folds == fold
    own = windowed.windows_of(test)
    found: dict[str, Any] = {}
    for kind, embedder in (("float", files.float_embedder), ("int8", files.embedder)):
        embeddings = quantise.run(embedder, windowed.features)
        rows = probe.pooled(windowed.by_clip(embeddings))
        found[f"probe_{kind}"] = probe.predicted(rows[~test], windowed.labels[~test], rows[test])
        found[f"logits_{kind}"] = network.logits(files.head, embeddings[own])
    nothing = quantise.run(files.embedder, np.load(listening.negatives_path(folder)))
    Tested(
        fold=np.array(fold),
        labels=windowed.labels[test],
        n_windows=windowed.n_windows[test],
        presence=windowed.presence()[own],
        negatives=network.logits(files.head, nothing),
        street=_on_the_street(files),
        **found,
    ).save(path_of(output, fold))


def probe_of(embedder: Path, folder: Path) -> list[float]:
    """Probe accuracy, in percent fold by fold, of another network that reads the same features."""
    windowed = listening.load(folder / "clips.npz")
    rows = probe.pooled(windowed.by_clip(quantise.run(embedder.read_bytes(), windowed.features)))
    accuracies = []
    for fold in range(1, N_FOLDS + 1):
        test = windowed.folds == fold
        labels = probe.predicted(rows[~test], windowed.labels[~test], rows[test])
        accuracies.append(100 * float(np.mean(labels == windowed.labels[test])))
    return accuracies


def train(folder: Path, windowed: listening.Windowed, without_fold: int | None) -> Trained:
    """Train and quantise, on all folds or all but one."""
    network.make_repeatable()
    embedder, head = network.trained(material.load(material.paths_of(folder, without_fold)))
    int8 = quantise.to_int8(embedder, _calibration(windowed, without_fold))
    return Trained(quantise.to_float(embedder), int8, head)


def _on_the_street(files: Trained) -> Floats:
    """The head's sums for the hour, windows 0.1 s apart within each minute."""
    extractor = LogMel()
    embedded = [quantise.run(files.embedder, extractor(y, street.SAMPLE_RATE_HZ)) for y in street.minutes()]
    return network.logits(files.head, np.concatenate(embedded))


def _calibration(windowed: listening.Windowed, without_fold: int | None) -> Floats:
    """Some windows of the training folds' clips, as they are recorded."""
    allowed = np.flatnonzero(windowed.windows_of(windowed.folds != without_fold))
    chosen = np.random.default_rng(CALIBRATION_SEED).choice(allowed, N_CALIBRATION_WINDOWS, replace=False)
    return np.asarray(windowed.features[np.sort(chosen)][..., None])


def confusion(labels: Integers, predicted: Integers, n_classes: int) -> Integers:
    """Count clips, `[true class, predicted class]`."""
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def joined(tested: Sequence[Tested], name: str) -> npt.NDArray[np.generic]:
    """One of the arrays of several folds, one behind the other."""
    return np.concatenate([getattr(one, name) for one in tested])
