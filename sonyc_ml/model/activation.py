"""What turns the numbers of a network's last layer into scores from 0 to 1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LARGEST_LOGIT = np.float32(80)  # beyond, float32's exponential function overflows, and no score changes any more
SLACK = 1e-3  # a quantised score of 1 may be a step more


def activated(logits: Floats, activation: str, sensitivity: float = 1.0) -> Floats:
    """Scores of logits.

    Parameters
    ----------
    logits : np.ndarray [shape=(n_windows, n_classes), dtype=float32]
    activation : {"sigmoid", "softmax", "none", ""}
        Of classes that are heard side by side, of classes of which one is heard at a time; the last two change nothing.
    sensitivity : float
        Of a sigmoid, from 0.5 to 1.5, as BirdNET counts it: a logit is multiplied by ``2 - sensitivity``, so that with
        a higher one what is less certain scores higher.

    Returns
    -------
    np.ndarray [shape=(n_windows, n_classes), dtype=float32]
    """
    if activation == "sigmoid":
        steep = logits * np.float32(sensitivity - 2)
        return np.asarray(1 / (1 + np.exp(np.clip(steep, -LARGEST_LOGIT, LARGEST_LOGIT))), np.float32)
    if activation == "softmax":
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
    return logits


def reconstruction_error(features: Floats, output: Floats) -> Floats:
    """How far an autoencoder's output is from what it has read: the mean of the squared differences.

    Parameters
    ----------
    features : np.ndarray [shape=(n_windows, …), dtype=float32]
    output : np.ndarray [shape=(n_windows, …), dtype=float32]
        As many numbers for each window.

    Returns
    -------
    np.ndarray [shape=(n_windows, 1), dtype=float32]
        In the square of the features' unit; the larger, the less a window is like those that it was trained on.
    """
    differences = output.reshape(len(features), -1) - features.reshape(len(features), -1)
    return np.asarray((differences.astype(np.float64) ** 2).mean(axis=1, keepdims=True), np.float32)


def lie_outside(scores: Floats) -> bool:
    """Whether numbers that are called scores are none: less than 0 or more than 1."""
    return bool(scores.size) and not (scores.min() >= -SLACK and scores.max() <= 1 + SLACK)
