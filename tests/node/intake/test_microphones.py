"""Each source of live sound may have a microphone of its own, which goes into its outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sonyc_ml.errors import ConfigError
from sonyc_ml.model.measuring import LevelMeter
from sonyc_ml.node.config import load_config
from sonyc_ml.node.intake.config import ListenConfig, microphone_table
from sonyc_ml.outputs.files import read_output
from sonyc_ml.sound.levels.microphone_files import read_microphone
from sonyc_ml.sound.levels.result import SoundLevels
from sonyc_ml.sound.levels.settings import LevelSettings
from sonyc_ml.sound.live.cutting import Cutter
from sonyc_ml.sound.live.formats import raw_layout
from sonyc_ml.sound.live.segment import LiveRecording
from tests.conftest import ROOT
from tests.support.live import Clocks, samples

RATE = 8000
CALIBRATION = 'sensitivity_db = 120.0\nchannel = 1\ncalibrated = "2026-11-28"\ncalibrator = "C7"\nmicrophone = "M3"\n'
OTHERS = LevelSettings(sensitivity_db=90.0, calibrated="2020-01-01", microphone="M1", noise_floor_db=30.0)
HEAD = '[levels]\nenabled = true\n[output]\nfolder = "out"\n'


def load(folder: Path, source: str) -> ListenConfig:
    text = f'{HEAD}[[listen.source]]\nname = "street"\nsocket = "a.sock"\n{source}'
    (folder / "c.toml").write_text(text)
    found = load_config(folder / "c.toml", {}).listen
    assert isinstance(found, ListenConfig)
    return found


def levels(settings: LevelSettings, microphone: dict[str, object]) -> SoundLevels:
    cutter = Cutter("street", raw_layout(RATE, "S16_LE", 2), 1.0, microphone=microphone)
    (segment,) = cutter.feed(samples("S16_LE", RATE, 2), Clocks()())
    found = LevelMeter(settings).embed(LiveRecording(segment, "a")).levels
    assert found is not None
    return found


def microphone_of(config: ListenConfig) -> dict[str, object]:
    """What is known of its source's microphone."""
    (source,) = config.source
    return read_microphone(microphone_table(source))


def test_a_source_has_a_calibration_of_its_own(tmp_path: Path) -> None:
    """It stands in place of all that is known of another microphone, and its channel is the one that is measured."""
    (tmp_path / "cal.toml").write_text(CALIBRATION)
    microphone = microphone_of(load(tmp_path, 'calibration = "cal.toml"'))
    own, others = levels(OTHERS, microphone), levels(OTHERS, {})
    assert own.reference == others.reference == "dB re 20 µPa"
    assert {"sensitivity_db": 120.0, "microphone": "M3", "calibrator": "C7", "channel": 1}.items() <= own.about.items()
    assert own.about["calibrated"] == "2026-11-28"
    assert "noise_floor_db" not in own.about
    assert others.about["microphone"] == "M1"
    assert own["LAeq_total"] == pytest.approx(levels(LevelSettings(channel=1), {})["LAeq_total"] + 123.01, abs=0.01)


def test_a_calibration_of_another_channel_measures_nothing(tmp_path: Path) -> None:
    """The levels are none, and say why: they would be wrong."""
    (tmp_path / "cal.toml").write_text(CALIBRATION)
    found = levels(LevelSettings(channel=0), microphone_of(load(tmp_path, 'calibration = "cal.toml"')))
    assert len(found) == 0
    assert "calibration of its source is of 1" in found.note


def test_by_hand_and_what_cannot_be(tmp_path: Path) -> None:
    """Each mistake is one of the configuration, before anything is read."""
    microphone = microphone_of(load(tmp_path, 'sensitivity_db = 110.0\nmicrophone = "M9"'))
    assert levels(LevelSettings(), microphone).about["microphone"] == "M9"
    assert levels(LevelSettings(), microphone_of(load(tmp_path, ""))).reference == "dBFS"
    with pytest.raises(ConfigError, match=r"listen\.source\.sensitivity_db must be a level"):
        load(tmp_path, "sensitivity_db = 1e6")
    with pytest.raises(ConfigError, match="No such file"):
        microphone_of(load(tmp_path, 'calibration = "none.toml"'))


def test_it_goes_into_each_output_of_its_source(tmp_path: Path) -> None:
    """From the configuration of a daemon to the file on the disk."""
    (tmp_path / "c.toml").write_text(
        f'{HEAD}[[listen.source]]\nname = "street"\nstdin = true\nsample_rate = {RATE}\n'
        'sensitivity_db = 111.0\nmicrophone = "M9"\n'
    )
    words = [sys.executable, "-m", "sonyc_ml", "watch", "--config", "c.toml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    content = samples("S16_LE", 2 * RATE, 1)
    subprocess.run(words, input=content, capture_output=True, check=True, cwd=tmp_path, env=environment)
    (path,) = (tmp_path / "out").glob("street_*.npz")
    found = read_output(path).levels
    assert found is not None
    assert {"sensitivity_db": 111.0, "microphone": "M9"}.items() <= found.about.items()
