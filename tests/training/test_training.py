"""Sounds of no class, calibration and false alarms: what the default bundle's scores are trained and judged with."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scripts/train needs it")
pytest.importorskip("soxr", reason="scripts/train needs it")

from scripts.training import calibrate, false_alarms
from scripts.training.clips import Clip
from scripts.training.sounds import augment, negatives, street

pytestmark = pytest.mark.numeric

SLOPE, OFFSET = 0.5, -2.0


def overconfident(n_windows: int) -> calibrate.Held:
    """Two classes whose true chance is the sigmoid of half their logit less 2."""
    rng = np.random.default_rng(4)
    logits = rng.normal(2, 6, (n_windows, 2)).astype(np.float32)
    heard = rng.random(logits.shape) < 1 / (1 + np.exp(-(SLOPE * logits + OFFSET)))
    return calibrate.Held(logits, heard, np.ones_like(heard), np.ones(n_windows, np.float32))


def test_calibrated_scores_are_chances() -> None:
    """Slope and offset are found again, and of windows in a bin as many are of the class as the score says."""
    windows = overconfident(20_000)
    calibration = calibrate.fitted(windows, share=float(windows.heard.mean()))
    np.testing.assert_allclose(calibration.slopes, SLOPE, rtol=0.1)
    np.testing.assert_allclose(calibration.offsets, OFFSET, rtol=0.1)
    as_it_was = calibrate.Calibration(np.ones(2, np.float32), np.zeros(2, np.float32))
    before, after = (
        calibrate.reliability(one.scores(windows.logits)[:, 0], windows.heard[:, 0], windows.weights)
        for one in (as_it_was, calibration)
    )
    assert after.error < 0.02
    assert before.error > 0.1
    np.testing.assert_allclose(after.share, after.score, rtol=0, atol=0.06)


def test_scores_are_those_of_a_place_where_the_class_is_rare() -> None:
    """A hundredth of the odds before is a hundredth of the odds behind: the offset is lower by its logarithm."""
    windows = overconfident(20_000)
    often = float(windows.heard.mean())
    seldom = 0.01 * often / (1 - often + 0.01 * often)
    usual, rare = (calibrate.fitted(windows, share) for share in (often, seldom))
    np.testing.assert_allclose(rare.slopes, usual.slopes, rtol=0.1)
    np.testing.assert_allclose(rare.offsets - usual.offsets, np.log(0.01), rtol=0.15)
    weights = calibrate.rare(windows.heard[:, 0], windows.weights, seldom)
    np.testing.assert_allclose(
        [weights.sum(), weights[windows.heard[:, 0]].sum()], [20_000, seldom * 20_000], rtol=1e-3
    )


def test_quiet_windows_of_a_clip_are_left_out() -> None:
    """Of a clip's own class a loud window is certain and a silent one too; one between says nothing."""
    logits, labels = np.zeros((4, 2), np.float32), np.array([0, 0, 0, 1])
    windows = calibrate.held(logits, np.array([1, 0.5, 0, 1], np.float32), labels, np.zeros((2, 2), np.float32))
    assert windows.certain[:, 0].tolist() == [True, False, True, True, True, True]
    assert windows.heard[:, 0].tolist() == [True, False, False, False, False, False]
    assert windows.certain[:, 1].all()
    assert windows.weights[4:].sum() == windows.weights[:4].sum()


def test_alarms_are_runs_of_windows() -> None:
    """Windows that follow each other are one alarm; 0.5 itself counts."""
    scores = np.array([[0.5, 0.4], [0.9, 0.6], [0.1, 0.6], [0.7, 0.6]], np.float32)
    assert false_alarms.n_alarms(scores).tolist() == [2, 1]
    assert false_alarms.n_alarms(np.zeros((3, 2), np.float32)).tolist() == [0, 0]


def test_the_street_is_the_same_for_everyone() -> None:
    """Minute by minute the same samples, each scene other than the one before, never beyond full scale."""
    first, again = (list(itertools.islice(street.minutes(), 2)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert len(one) == street.MINUTE
        assert 1e-3 < np.sqrt(np.mean(one**2)) < 0.25
        assert np.abs(one).max() <= 1
    assert not np.array_equal(first[0], first[1])


def test_sounds_of_no_class_are_many_and_finite() -> None:
    """Each is at its level or silent, and no two are the same."""
    rows = negatives.negatives(60, augment.WINDOW_LENGTH, np.random.default_rng(1))
    levels = np.sqrt(np.mean(rows**2, axis=1))
    assert np.isfinite(rows).all()
    assert (np.isclose(levels, 0.1, rtol=1e-3) | (levels < 1e-4)).all()
    assert len(np.unique(rows[levels > 0.01, 100:200], axis=0)) == (levels > 0.01).sum()


def test_windows_say_which_classes_are_heard() -> None:
    """A quarter are of no class; a clip's silent part is of none either, and mixtures have two."""
    y = np.zeros(80_000, np.float32)
    y[:20_000] = np.random.default_rng(0).normal(0, 0.3, 20_000)
    clips = [Clip(f"{label}.ogg", 1, label, y, 16_000, 0.3) for label in (0, 1)]
    labels = augment.make_windows(clips, 80, 2, np.random.default_rng(2)).labels
    assert not labels[:20].any()
    assert 0 <= labels.min() <= labels.max() == 1
    assert {0.0, 1.0, 2.0} <= set(np.ceil(labels[20:]).sum(axis=1).tolist())


def test_presence_falls_with_the_level() -> None:
    """A class is there down to 15 dB below its loudest second, and not from 35 dB on."""
    np.testing.assert_allclose(augment.presence([0, -15, -25, -35, -80]), [1, 1, 0.5, 0, 0])
