"""Levels in pictures: over a recording, and over a day."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("matplotlib", reason="pictures are an extra")

from sonyc_ml.analysis.plots import day, recording
from sonyc_ml.analysis.plots.levels import LevelBins
from sonyc_ml.model.measuring import LevelMeter
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.levels.settings import LevelSettings
from tests.support.levels import tone

NAME = "20261129_120000.wav"


@pytest.fixture
def output(tmp_path: Path) -> Output:
    soundfile.write(tmp_path / NAME, tone(1000, 44100, 3.0), 44100)
    return LevelMeter(LevelSettings()).embed_file(tmp_path / NAME)


def test_a_recording_s_picture_has_a_line_and_bands(output: Output) -> None:
    """With what 0 dB is; no network is named where there was none."""
    figure = recording.draw(recording.look_at(output))
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert "LAeq (dBFS)" in labels
    assert "Band (Hz)" in labels
    line = next(axes for axes in figure.axes if axes.get_ylabel() == "LAeq (dBFS)").lines[0]
    assert np.asarray(line.get_ydata())[2] == pytest.approx(-9.03, abs=0.05)
    assert any("Sound levels alone" in text.get_text() for text in figure.texts)


def test_a_day_s_picture_has_them_too(output: Output) -> None:
    """Its bins hold means of energies."""
    view = day.look_at(lambda: [output], UTC)
    assert view.levels is not None
    steps = view.levels.steps_db()
    assert np.nanmax(steps[:, 0]) == pytest.approx(-9.03, abs=0.05)
    assert np.isfinite(steps[:, 0]).sum() == 1
    figure = day.draw(view)
    assert "LAeq (dBFS)" in [axes.get_ylabel() for axes in figure.axes]


def test_levels_of_another_reference_are_left_out(output: Output) -> None:
    """A mean of dBFS and of dB re 20 micropascal means nothing."""
    assert output.levels is not None
    bins = LevelBins(np.array([0.0, 100.0]))
    bins.add(output, 0.0)
    before = bins.steps_db().copy()
    louder = output.levels.values + 100
    made = output.levels.made.replace("dBFS", "dB re 20 µPa")
    levels = output.levels
    other = type(levels)(
        **{**{name: getattr(levels, name) for name in levels.__slots__}, "values": louder, "made": made}
    )
    bins.add(Output(timestamps=output.timestamps, levels=other, provenance=output.provenance), 0.0)
    assert bins.steps_db().tolist() == before.tolist()
