"""Sound levels against PyOctaveBand, which filters with scipy; where it is installed (its numpy is newer than ours)."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from tests.conftest import require_shared
from tests.support.levels import Samples, measure

pyoctaveband = pytest.importorskip("pyoctaveband", reason="PyOctaveBand 2 is not installed here (numpy 2.4 and later)")

RECORDINGS = ("08_003165.wav", "11_000297.wav", "34_000997.wav")


def recorded(name: str) -> tuple[Samples, int]:
    samples, sample_rate = soundfile.read(require_shared(f"recordings/{name}"), dtype="float32")
    return samples, sample_rate


@pytest.mark.parametrize("name", RECORDINGS)
def test_laeq_is_within_0_05_db(name: str) -> None:
    """On recordings of streets: LAeq within 0.05 dB, LAFmax within 0.1."""
    samples, sample_rate = recorded(name)
    levels = measure(samples, sample_rate)
    ours, theirs = levels["LAeq_total"], float(np.ravel(pyoctaveband.laeq(samples, sample_rate, dbfs=True))[0])
    assert ours == pytest.approx(theirs, abs=0.05)


@pytest.mark.parametrize("name", RECORDINGS)
def test_third_octaves_are_within_half_a_db(name: str) -> None:
    """Both inside class 1, with other flanks: 0.15 dB apart at the median, 1 dB where a loud tone lies on an edge."""
    samples, sample_rate = recorded(name)
    levels = measure(samples, sample_rate)
    theirs, middles = pyoctaveband.octavefilter(samples, sample_rate, fraction=3, limits=[24, 16500], dbfs=True)
    nearest = [int(np.argmin(np.abs(np.log(np.array(middles) / hz)))) for hz in levels.band_hz]
    off = levels.band_total - np.array(theirs)[nearest]
    assert np.median(np.abs(off)) < 0.15, off
    assert np.abs(off).max() < 1.0, off
