"""What a head's score means: per class, a slope and an offset for its logit, from clips that its network never heard.

Platt, J. "Probabilistic outputs for support vector machines", *Advances in Large Margin Classifiers*, 1999: a logistic
regression with one input. It is fitted on windows of held-out clips, and on sounds of no class that weigh as much as
all clips together. A class is rarer on a street than in a data set: its own windows weigh `SHARE` of the whole.
So of windows with a score of 0.5 where a class is heard that often, half are of the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

Floats = npt.NDArray[np.float32]
Booleans = npt.NDArray[np.bool_]

SHARE = 0.002  # of a street's windows have a given class: seven seconds per hour
WEAK = 1e-3  # of the regression's prior: only so that separable classes get a finite slope
BIN_EDGES = np.array([0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1])


@dataclass(frozen=True, slots=True)
class Held:
    """Windows that a fold's network never heard.

    Attributes
    ----------
    logits : np.ndarray [shape=(n_windows, n_classes), dtype=float32]
        The head's sums before the sigmoid.
    heard, certain : np.ndarray [shape=(n_windows, n_classes), dtype=bool]
        Whether a window is of a class, and whether that is known: a quiet window of a clip is not.
    weights : np.ndarray [shape=(n_windows,)]
        Sounds of no class weigh as much as all windows of clips together.
    """

    logits: Floats
    heard: Booleans
    certain: Booleans
    weights: Floats


@dataclass(frozen=True, slots=True)
class Calibration:
    """Slope and offset of each class's logit, each `(n_classes,)`."""

    slopes: Floats
    offsets: Floats

    def scores(self, logits: Floats) -> Floats:
        """Scores in [0, 1] of logits `(n_windows, n_classes)`."""
        return np.asarray(1 / (1 + np.exp(-(logits * self.slopes + self.offsets))), np.float32)


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often a class is heard where its score lies in a bin.

    Attributes
    ----------
    score, share : np.ndarray [shape=(n_bins,)]
        Mean score of the windows in a bin, and the share of them that are of the class; nan for an empty bin.
    error : float
        Mean distance of the two over all windows (the expected calibration error).
    """

    score: Floats
    share: Floats
    error: float


def held(logits: Floats, presence: Floats, labels: npt.NDArray[np.int64], negatives: Floats) -> Held:
    """Gather a fold's test windows, with their clips' labels and levels, and its answers to sounds of no class."""
    n_windows, n_classes = logits.shape
    own = np.arange(n_classes) == labels[:, None]
    heard = own & (presence[:, None] == 1)
    certain = ~own | (presence[:, None] == 1) | (presence[:, None] == 0)
    none = np.zeros((len(negatives), n_classes), bool)
    weights = np.concatenate([np.ones(n_windows), np.full(len(negatives), n_windows / len(negatives))])
    return Held(
        np.concatenate([logits, negatives]),
        np.concatenate([heard, none]),
        np.concatenate([certain, ~none]),
        weights.astype(np.float32),
    )


def joined(folds: Sequence[Held]) -> Held:
    """Several folds' windows as one."""
    names = ("logits", "heard", "certain", "weights")
    return Held(*(np.concatenate([getattr(fold, name) for fold in folds]) for name in names))


def fitted(windows: Held, share: float = SHARE) -> Calibration:
    """Fit each class's slope and offset, for a place where the class is heard in `share` of the windows."""
    pairs = [_platt(windows, number, share) for number in range(windows.logits.shape[1])]
    return Calibration(*(np.array(column, np.float32) for column in zip(*pairs, strict=True)))


def rare(heard: Booleans, weights: Floats, share: float = SHARE) -> Floats:
    """Weigh windows `(n_windows,)` such that those of a class are `share` of the whole, whose sum stays."""
    own, others = weights[heard].sum(), weights[~heard].sum()
    factors = np.where(heard, share / max(own, 1e-9), (1 - share) / others)
    return np.asarray(weights * factors * weights.sum(), np.float32)


def reliability(scores: Floats, heard: Booleans, weights: Floats) -> Reliability:
    """Bin one class's scores, each `(n_windows,)`."""
    numbers = np.clip(np.digitize(scores, BIN_EDGES) - 1, 0, len(BIN_EDGES) - 2)
    n_bins = len(BIN_EDGES) - 1
    total = np.bincount(numbers, weights, n_bins)
    with np.errstate(invalid="ignore"):
        score = np.bincount(numbers, weights * scores, n_bins) / total
        share = np.bincount(numbers, weights * heard, n_bins) / total
    error = float(np.nansum(total * np.abs(score - share)) / total.sum())
    return Reliability(score.astype(np.float32), share.astype(np.float32), error)


def _platt(windows: Held, number: int, share: float) -> tuple[float, float]:
    certain = windows.certain[:, number]
    heard = windows.heard[certain, number]
    regression = LogisticRegression(C=1 / WEAK, max_iter=1000)
    weights = rare(heard, windows.weights[certain], share)
    regression.fit(windows.logits[certain, number, None], heard, weights)
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])
