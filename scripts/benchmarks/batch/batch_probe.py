"""Whether what a batch writes is of use: the probe of the model card, fitted to a Parquet dataset of ESC-10."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scripts.benchmarks.batch.batch_speed import check_whole
from scripts.benchmarks.batch.embedding import run
from scripts.benchmarks.figures import progress


def measure(network: Path, esc10: Path, work: Path, name: str) -> dict[str, Any]:
    """Embed ESC-10 to Parquet, read it back, and tell its folds apart; accuracies are in percent, fold by fold."""
    progress(f"batch: ESC-10, {name}")
    output = work / f"esc10_{network.stem}"
    outcome = run(esc10, network, output, ("--format", "parquet", "--workers", "2"))
    check_whole(outcome)
    progress(f"batch: the probe of ESC-10, {name}")
    began, ended = outcome.events[0], outcome.events[-1]
    accuracies, n_clips = _accuracies(output, esc10)
    return {
        "n_embedded": ended["n_embedded"],
        "n_recordings": began["n_recordings"],
        "n_clips": n_clips,
        "accuracies": accuracies,
        "mean": sum(accuracies) / len(accuracies),
    }


def _accuracies(dataset: Path, esc10: Path) -> tuple[list[float], int]:
    """Share of clips that a probe tells right which was fitted to the other folds."""
    import numpy as np

    from scripts.training import probe
    from scripts.training.clips import N_FOLDS, clips_left_out
    from sonyc_ml.outputs.reading import iter_outputs

    left_out = clips_left_out(esc10)
    embeddings, folds, classes = [], [], []
    for output in iter_outputs(dataset):
        folder, _, clip = output.provenance.recording.rpartition("/")
        if clip in left_out or output.embedding is None:
            continue
        embeddings.append(output.embedding)
        folds.append(int(clip.split("-")[0]))
        classes.append(folder)
    rows, fold = probe.pooled(embeddings), np.array(folds)
    labels = np.unique(classes, return_inverse=True)[1].astype(np.int64)
    accuracies = []
    for number in range(1, N_FOLDS + 1):
        test = fold == number
        predicted = probe.predicted(rows[~test], labels[~test], rows[test])
        accuracies.append(100 * float(np.mean(predicted == labels[test])))
    return accuracies, len(rows)
