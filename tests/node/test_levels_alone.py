"""A node that measures levels alone: its outputs prove that a recording was measured whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import soundfile

from sonyc_ml.model.measuring import LevelMeter
from sonyc_ml.node.retention.proof import covers_recording, is_sound
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.levels.settings import LevelSettings
from tests.support.levels import tone


def measured(folder: Path, duration_s: float) -> Output:
    soundfile.write(folder / "a.wav", tone(1000, 22050, duration_s), 22050)
    return LevelMeter(LevelSettings()).embed_file(folder / "a.wav")


def test_an_output_of_levels_proves_its_recording(tmp_path: Path) -> None:
    """So that retention may remove what was measured; a period that is missing is no proof."""
    for duration_s in (0.4, 1.0, 5.3):
        output = measured(tmp_path, duration_s)
        assert is_sound(output)
        assert covers_recording(output)
    few = dataclasses.replace(output, timestamps=output.timestamps[[0, 3]])
    assert not covers_recording(few)
    assert not is_sound(dataclasses.replace(output, timestamps=np.zeros(0)))
