"""What five tested folds say together: accuracies, reliability and false alarms, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from scripts.training import calibrate, evaluate, false_alarms
from scripts.training.evaluate import Tested
from scripts.training.sounds import street

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

KINDS = ("probe, float", "probe, int8", "head, float", "head, int8")
CLIP_LENGTH_S = 5.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A fold with the calibration that the other folds give."""

    tested: Tested
    calibration: calibrate.Calibration

    def scores(self) -> list[Floats]:
        """Calibrated scores on the int8 embedding, clip by clip."""
        return self._by_clip(self.tested.logits_int8)

    def predicted(self) -> tuple[Integers, ...]:
        """What each of :data:`KINDS` takes the clips for; the head's class is the one with the highest mean score."""
        heads = (self._by_clip(logits) for logits in (self.tested.logits_float, self.tested.logits_int8))
        by_head = (np.array([clip.mean(axis=0).argmax() for clip in clips]) for clips in heads)
        return self.tested.probe_float, self.tested.probe_int8, *by_head

    def accuracies(self) -> list[float]:
        """Share of clips told right by each of :data:`KINDS`, in percent."""
        return [100 * float(np.mean(predicted == self.tested.labels)) for predicted in self.predicted()]

    def alarms_in_clips(self) -> Integers:
        """False alarms of each class in the clips of other classes."""
        counts = np.zeros(self.tested.logits_int8.shape[1], np.int64)
        for label, scores in zip(self.tested.labels, self.scores(), strict=True):
            alarms = false_alarms.n_alarms(scores)
            alarms[label] = 0
            counts += alarms
        return counts

    def _by_clip(self, logits: Floats) -> list[Floats]:
        return np.split(self.calibration.scores(logits), np.cumsum(self.tested.n_windows)[:-1])


def held(tested: Tested) -> calibrate.Held:
    """A fold's windows, for a calibration."""
    labels = np.repeat(tested.labels, tested.n_windows)
    return calibrate.held(tested.logits_int8, tested.presence, labels, tested.negatives)


def judged(tested: Sequence[Tested]) -> list[Judged]:
    """Each fold with the calibration of the others."""
    windows = [held(one) for one in tested]
    others = [[other for j, other in enumerate(windows) if j != i] for i in range(len(windows))]
    return [Judged(one, calibrate.fitted(calibrate.joined(other))) for one, other in zip(tested, others, strict=True)]


def accuracy_table(folds: Sequence[Judged]) -> str:
    """Fold by fold."""
    lines = [f"| test fold | clips | {' | '.join(KINDS)} |", "|---" * (2 + len(KINDS)) + "|"]
    for fold in folds:
        cells = " | ".join(f"{accuracy:.1f}" for accuracy in fold.accuracies())
        lines.append(f"| {fold.tested.fold} | {len(fold.tested.labels)} | {cells} |")
    means = " | ".join(f"**{mean:.1f}**" for mean in np.mean([fold.accuracies() for fold in folds], axis=0))
    n_clips = sum(len(fold.tested.labels) for fold in folds)
    return "\n".join([*lines, f"| mean of {len(folds)} | {n_clips} | {means} |"])


def reliabilities(folds: Sequence[Judged]) -> list[calibrate.Reliability]:
    """Each class's, over all folds' windows."""
    windows = [held(fold.tested) for fold in folds]
    together = calibrate.joined(windows)
    scores = np.concatenate([fold.calibration.scores(one.logits) for fold, one in zip(folds, windows, strict=True)])
    columns = ((number, certain, together.heard[certain, number]) for number, certain in enumerate(together.certain.T))
    return [
        calibrate.reliability(scores[certain, number], heard, calibrate.rare(heard, together.weights[certain]))
        for number, certain, heard in columns
    ]


def reliability_table(curves: Sequence[calibrate.Reliability], labels: Sequence[str]) -> str:
    """Class by class: of the windows whose score lies in a bin, the share (in percent) that is of the class."""
    edges = [f"{edge:g}" for edge in calibrate.BIN_EDGES]
    bins = [f"{low} to {high}" for low, high in pairwise(edges)]
    lines = [f"| class | {' | '.join(bins)} | error |", "|---" * (len(bins) + 2) + "|"]
    for label, curve in zip(labels, curves, strict=True):
        cells = " | ".join("-" if np.isnan(share) else f"{100 * share:.0f}" for share in curve.share)
        lines.append(f"| {label.replace('_', ' ')} | {cells} | {100 * curve.error:.1f} |")
    return "\n".join(lines)


def alarm_table(folds: Sequence[Judged], labels: Sequence[str]) -> str:
    """False alarms an hour and class: street, sounds of no class, clips of other classes; means over the folds."""
    n_minutes, n_classes = street.N_MINUTES, len(labels)
    on_street, on_nothing, clips = (np.zeros(n_classes) for _ in range(3))
    hours_of_others = np.zeros(n_classes)
    for fold in folds:
        scores = fold.calibration.scores(fold.tested.street)
        on_street += sum(false_alarms.n_alarms(minute) for minute in np.split(scores, n_minutes)) / len(folds)
        # Each of these windows is a recording of its own, of one second.
        nothing = fold.calibration.scores(fold.tested.negatives) >= false_alarms.THRESHOLD
        on_nothing += 3600 * nothing.mean(axis=0) / len(folds)
        clips += fold.alarms_in_clips()
        others = len(fold.tested.labels) - np.bincount(fold.tested.labels, minlength=n_classes)
        hours_of_others += others * CLIP_LENGTH_S / 3600
    counted = (on_street, on_nothing, clips / hours_of_others)
    names = (false_alarms.STREET, false_alarms.NOTHING, false_alarms.CLIPS)
    return false_alarms.table(
        {name: dict(zip(labels, column.tolist(), strict=True)) for name, column in zip(names, counted, strict=True)}
    )


def confusion(folds: Sequence[Judged], n_classes: int) -> Integers:
    """The mistakes of the probe on the int8 embedding."""
    labels, predicted = (evaluate.joined([fold.tested for fold in folds], name) for name in ("labels", "probe_int8"))
    return evaluate.confusion(np.asarray(labels, np.int64), np.asarray(predicted, np.int64), n_classes)
