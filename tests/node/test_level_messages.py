"""Sound levels on their way to a broker: a message for each period."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from sonyc_ml.node.events import OutputPublished, periods_of
from sonyc_ml.node.telemetry.collector import Collector
from sonyc_ml.node.telemetry.exposition import render
from sonyc_ml.node.telemetry.messages import encoded, said_of_outputs
from tests.support.levels import measure, tone
from tests.support.metrics import counted, journal_of, make_config, parse

EVENT = OutputPublished("a.wav", "tiny", Path("a.npz"), "2026-11-29T12:00:00+00:00", 2.5, 1.0, 3, 5000, {})


def test_each_period_is_a_message() -> None:
    """With its time, its reference, its levels, and null for what there is not: JSON has no NaN."""
    assert list(periods_of(EVENT)) == []
    event = replace(EVENT, levels=measure(tone(1000, 48000, 2.5), 48000, sensitivity_db=120.0))
    periods = list(periods_of(event))
    assert [period.start_time[17:19] for period in periods] == ["00", "01", "02"]
    messages = list(said_of_outputs([event]))
    assert [kind for kind, _ in messages] == ["recording", "levels", "levels", "levels"]
    said = json.loads(encoded(messages[2][1]))
    assert (said["recording"], said["reference"], said["measured_s"]) == ("a.wav", "dB re 20 µPa", 1.0)
    assert abs(said["LAeq"] - 114) < 0.05
    assert said["LASmax"] is None
    assert abs(said["bands"]["1000"] - 114) < 0.1


def test_a_time_that_nobody_knows_is_none() -> None:
    """Rather than a wrong one."""
    event = replace(EVENT, start_time="", levels=measure(np.zeros(48000, np.float32), 48000))
    _, (_, said) = said_of_outputs([event])
    assert said["start_time"] is None


def test_metrics_have_the_levels_of_the_last_recording(tmp_path: Path) -> None:
    """By their name and their reference; where nothing is measured there is no such metric."""
    config = make_config(tmp_path)
    loud = replace(EVENT, levels=measure(tone(1000, 48000, 2.5), 48000))
    found: dict[str, tuple[float, str]] = {}
    for event in (EVENT, loud):
        with journal_of(config, counted(event)):
            samples = parse(render(Collector(config.state_folder).families()))
        assert not found
        for (name, labels), number in samples.items():
            if name == "sonyc_ml_sound_level_db":
                found[dict(labels)["quantity"]] = number, dict(labels)["reference"]
    assert found["LAeq"][1] == "dBFS"
    assert "LASmax" not in found  # S has not settled
