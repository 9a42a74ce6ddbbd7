"""The confusion matrix and the reliability curves as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

mpl.use("agg")

from matplotlib import pyplot as plt

from scripts.training.calibrate import Reliability


def draw_confusion(counts: npt.NDArray[np.int64], labels: Sequence[str], path: Path) -> None:
    """Draw clip counts `[true class, predicted class]` as shades with their numbers."""
    names = [label.replace("_", " ") for label in labels]
    share = counts / counts.sum(axis=1, keepdims=True)
    figure, axes = plt.subplots(figsize=(5.4, 4.8), layout="constrained")
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="0.85", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.tick_params(which="major", length=2)
    # Metadata would name the version of the drawing library: left out, the same counts give the same file.
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def draw_reliability(curves: Sequence[Reliability], labels: Sequence[str], path: Path) -> None:
    """Draw, for each class, how often it is heard against the score that it gets; the grey line is a perfect head."""
    figure, grid = plt.subplots(
        2, -(-len(curves) // 2), figsize=(8, 3.8), sharex=True, sharey=True, layout="constrained"
    )
    for axes, curve, label in zip(grid.flat, curves, labels, strict=False):
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        filled = ~np.isnan(curve.share)
        axes.plot(curve.score[filled], curve.share[filled], "o-", color="tab:blue", markersize=3, linewidth=1)
        axes.set_title(label.replace("_", " "), fontsize=9)
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
        axes.set_aspect("equal")
    figure.supxlabel("score", fontsize=9)
    figure.supylabel("share of windows that are of the class", fontsize=9)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
