"""The data set's own five folds: train without a fold, quantise, and see how well that fold is told apart.

Nothing of the test fold is seen before: not in the material, not in the statistics of the teacher's targets or of batch
normalisation, not in the calibration of the quantisation, not in the probe. Every training runs for the same number of
epochs, so nothing is selected either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from scripts.training import listening, material, network, probe, quantise
from scripts.training.clips import N_FOLDS

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

CALIBRATION_SEED, N_CALIBRATION_WINDOWS = 7, 500
KINDS = ("probe_float", "probe_int8", "head_float", "head_int8")


@dataclass(frozen=True, slots=True)
class Files:
    """What a training leaves behind: an embedder and a head, each as a ``.tflite`` file.

    Attributes
    ----------
    float_embedder, embedder : bytes
        The embedder in float32 and in int8.
    head : bytes
        Float32: it has 2570 weights, quantising them would save nothing.
    """

    float_embedder: bytes
    embedder: bytes
    head: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test fold.

    Attributes
    ----------
    fold : int
    labels : list of int
        The classes of its clips.
    predicted : dict of str to list of int
        What each of :data:`KINDS` takes them for.
    """

    fold: int
    labels: list[int]
    predicted: dict[str, list[int]] = field(default_factory=dict)

    def accuracy(self, kind: str) -> float:
        """Share of clips told right, in percent."""
        return 100 * float(np.mean(np.array(self.predicted[kind]) == np.array(self.labels)))


def evaluate_fold(fold: int, folder: Path) -> Outcome:
    """Train on the other folds' material in `folder` and test on this one; a process of its own, please."""
    windowed = listening.load(folder / "clips.npz")
    files = make_files(folder, windowed, without_fold=fold)
    test = windowed.folds == fold
    outcome = Outcome(fold, windowed.labels[test].tolist())
    for kind, embedder in (("float", files.float_embedder), ("int8", files.embedder)):
        embeddings = quantise.run(embedder, windowed.features)
        scores = windowed.by_clip(quantise.run(files.head, embeddings))
        rows = probe.pooled(windowed.by_clip(embeddings))
        by_probe = probe.predicted(rows[~test], windowed.labels[~test], rows[test])
        by_head = np.array([clip.mean(axis=0).argmax() for clip in scores])[test]
        outcome.predicted[f"probe_{kind}"] = by_probe.tolist()
        outcome.predicted[f"head_{kind}"] = by_head.tolist()
    return outcome


def probe_of(network: Path, folder: Path) -> list[float]:
    """Probe accuracy, in percent fold by fold, of another network that reads the same features."""
    windowed = listening.load(folder / "clips.npz")
    rows = probe.pooled(windowed.by_clip(quantise.run(network.read_bytes(), windowed.features)))
    accuracies = []
    for fold in range(1, N_FOLDS + 1):
        test = windowed.folds == fold
        labels = probe.predicted(rows[~test], windowed.labels[~test], rows[test])
        accuracies.append(100 * float(np.mean(labels == windowed.labels[test])))
    return accuracies


def make_files(folder: Path, windowed: listening.Windowed, without_fold: int | None) -> Files:
    """Train and quantise, on all folds or all but one."""
    network.make_repeatable()
    embedder, head = network.trained(material.load(material.paths_of(folder, without_fold)))
    return _converted(embedder, head, _calibration(windowed, without_fold))


def confusion(outcomes: list[Outcome], kind: str, n_classes: int) -> Integers:
    """Count clips, `[true class, predicted class]`, over all folds."""
    counts = np.zeros((n_classes, n_classes), np.int64)
    for outcome in outcomes:
        np.add.at(counts, (outcome.labels, outcome.predicted[kind]), 1)
    return counts


def table(outcomes: list[Outcome]) -> str:
    """Fold by fold, as Markdown."""
    lines = [
        "| test fold | clips | probe, float | probe, int8 | head, float | head, int8 |",
        "|---|---|---|---|---|---|",
    ]
    for outcome in sorted(outcomes, key=lambda outcome: outcome.fold):
        cells = " | ".join(f"{outcome.accuracy(kind):.1f}" for kind in KINDS)
        lines.append(f"| {outcome.fold} | {len(outcome.labels)} | {cells} |")
    means = " | ".join(f"**{np.mean([o.accuracy(kind) for o in outcomes]):.1f}**" for kind in KINDS)
    n_clips = sum(len(outcome.labels) for outcome in outcomes)
    return "\n".join([*lines, f"| mean of {N_FOLDS} | {n_clips} | {means} |"])


def _calibration(windowed: listening.Windowed, without_fold: int | None) -> Floats:
    """Some windows of the training folds' clips, as they are recorded."""
    allowed = np.flatnonzero(windowed.windows_of(windowed.folds != without_fold))
    chosen = np.random.default_rng(CALIBRATION_SEED).choice(allowed, N_CALIBRATION_WINDOWS, replace=False)
    return np.asarray(windowed.features[np.sort(chosen)][..., None])


def _converted(embedder: keras.Model, head: keras.Model, calibration: Floats) -> Files:
    return Files(quantise.to_float(embedder), quantise.to_int8(embedder, calibration), quantise.to_float(head))
