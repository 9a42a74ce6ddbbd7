"""Sound levels on their way: from a recording, through the model, into every format and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sonyc_ml.batch.job import Job
from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs import parquet
from sonyc_ml.outputs.files import read_output, write_output
from sonyc_ml.outputs.output import Output
from sonyc_ml.sound.levels.result import QUANTITIES, SoundLevels
from sonyc_ml.sound.levels.settings import LevelSettings
from tests.conftest import ROOT
from tests.support.levels import measure, tone

SAMPLE_RATE = 44100
BUNDLE = ROOT / "models" / "quantized_default_int8.tflite"


def same(one: SoundLevels | None, other: SoundLevels | None) -> bool:
    assert one is not None
    assert other is not None
    for entry in dataclasses.fields(SoundLevels):
        first, second = getattr(one, entry.name), getattr(other, entry.name)
        if isinstance(first, np.ndarray):
            assert first.dtype == second.dtype, entry.name
            assert first.shape == second.shape, entry.name
            assert first.tobytes() == second.tobytes(), entry.name
        else:
            assert first == second, entry.name
    return True


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two channels of 3.4 s: noise, and a tone 6 dB louder."""
    noise = np.random.default_rng(1).normal(0, 0.05, round(3.4 * SAMPLE_RATE)).astype(np.float32)
    path = tmp_path_factory.mktemp("levels") / "a.wav"
    soundfile.write(path, np.stack([noise, tone(1000, SAMPLE_RATE, 3.4)], axis=1), SAMPLE_RATE)
    return path


@pytest.fixture(scope="module")
def output(recording: Path) -> Output:
    return load_model(BUNDLE, levels=LevelSettings()).embed_file(recording)


def test_an_embedding_keeps_its_bits(recording: Path, output: Output) -> None:
    """What else is measured changes nothing of what the network says."""
    alone = load_model(BUNDLE).embed_file(recording)
    assert alone.levels is None
    assert output.embedding is not None
    assert alone.embedding is not None
    assert alone.embedding.tobytes() == output.embedding.tobytes()


def test_levels_are_of_one_channel_as_it_was_recorded(recording: Path, output: Output) -> None:
    """Not of the mean of all, and not at the network's rate; which channel it was is recorded."""
    second = load_model(BUNDLE, levels=LevelSettings(channel=1)).embed_file(recording)
    assert output.levels is not None
    assert second.levels is not None
    wanted = measure((np.round(tone(1000, SAMPLE_RATE, 3.4) * 32768) / 32768).astype(np.float32), SAMPLE_RATE)
    assert second.levels["LAeq_total"] == pytest.approx(wanted["LAeq_total"], abs=1e-3)
    assert abs(output.levels["LAeq_total"] - second.levels["LAeq_total"]) > 6
    assert (output.levels.about["channel"], second.levels.about["channel"]) == (0, 1)
    assert load_model(BUNDLE, levels=LevelSettings(), channel=1).embed_file(recording).levels is not None


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_files_hold_levels(tmp_path: Path, output: Output, suffix: str) -> None:
    """What is read is what was written, to the last bit."""
    write_output(output, tmp_path / f"a.{suffix}")
    assert same(output.levels, read_output(tmp_path / f"a.{suffix}").levels)


def test_parquet_holds_levels(tmp_path: Path, output: Output) -> None:
    """In the part itself, and a table has one row per period."""
    pytest.importorskip("pyarrow")
    other = dataclasses.replace(output, provenance=dataclasses.replace(output.provenance, recording="b.wav"))
    waiting = [tmp_path / f"{name}.arrow" for name in "ab"]
    for path, one in zip(waiting, (output, other), strict=True):
        parquet.write_waiting(one, path)
    assert same(output.levels, parquet.read_waiting(waiting[0]).levels)
    parquet.write_part(tmp_path / "part.parquet", waiting)
    for found in parquet.read_part(tmp_path / "part.parquet"):
        assert same(output.levels, found.levels)


def test_levels_alone_need_no_network(tmp_path: Path, recording: Path) -> None:
    """They are an output whose rows are the periods, with everything that says where they come from."""
    settings = LevelSettings(sensitivity_db=120.0, calibrated="2026-11-28T12:00:00Z", calibrator="4231-77")
    model = Job("", {"levels": settings}).load_model()
    output = model.embed_file(recording)
    assert output.timestamps.tolist() == [0, 1, 2, 3]
    assert output.levels is not None
    assert output.levels.measured_s == pytest.approx([1, 1, 1, 0.4], abs=1e-3)
    assert output.levels.reference == "dB re 20 µPa"
    assert output.levels.about["calibrator"] == "4231-77"
    assert json.loads(output.provenance.parameters)["levels"]["sensitivity_db"] == 120
    uncalibrated = Job("", {"levels": LevelSettings()}).load_model().embed_file(recording)
    assert uncalibrated.levels is not None
    assert uncalibrated.levels.reference == "dBFS"
    # A sine that just fits has -3 dBFS, and is 120 dB loud.
    assert output.levels["LAeq_total"] - uncalibrated.levels["LAeq_total"] == pytest.approx(123.01, abs=0.01)
    for suffix in ("npz", "csv"):
        write_output(output, tmp_path / f"a.{suffix}")
        assert same(output.levels, read_output(tmp_path / f"a.{suffix}").levels)


def test_levels_that_cannot_be_had_fail_nothing(recording: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The recording is embedded all the same, and output and log say why there are none."""
    output = load_model(BUNDLE, levels=LevelSettings(channel=2)).embed_file(recording)
    assert output.embedding is not None
    assert output.levels is not None
    assert len(output.levels) == 0
    assert "no channel 2" in output.levels.note
    assert "no channel 2" in caplog.text


def test_a_narrow_bandwidth_is_told() -> None:
    """At 8 kHz a weighted level holds no sound above 4 kHz, and says so; at 32 kHz there is nothing to say."""
    levels = measure(tone(1000, 8000, 1.0), 8000)
    assert "sound up to 4000 Hz" in levels.note
    assert "8000 Hz" in levels.note
    assert measure(tone(1000, 32000, 1.0), 32000).note == ""


def test_what_was_clipped_and_what_was_quiet_is_marked() -> None:
    """By the period."""
    samples = tone(1000, SAMPLE_RATE, 4.0, 0.5)
    samples[SAMPLE_RATE + 5 : SAMPLE_RATE + 15] = 1.0
    samples[2 * SAMPLE_RATE :] *= 1e-3
    levels = measure(samples, SAMPLE_RATE, block_length=999, noise_floor_db=-71.0)
    assert levels.n_clipped.tolist() == [0, 10, 0, 0]
    assert levels.near_floor.tolist() == [False, False, False, True]  # a filter forgets nothing at once


def test_a_constant_is_no_sound() -> None:
    """A converter's constant part counts for no level."""
    samples = tone(1000, SAMPLE_RATE, 2.0, 0.01)
    offset, level = measure(samples + np.float32(0.3), SAMPLE_RATE), measure(samples, SAMPLE_RATE)
    for quantity in QUANTITIES:
        if not np.isnan(level[f"{quantity}_total"]):
            assert offset[f"{quantity}_total"] == pytest.approx(level[f"{quantity}_total"], abs=0.2), quantity
    assert np.abs(offset.bands - level.bands)[:, 10:20].max() < 0.5


def test_a_gap_is_not_measured() -> None:
    """A stretch begins at its own time, and a period without sound has no level."""
    from sonyc_ml.sound.levels.meter import Meter

    meter = Meter(8000, LevelSettings(bands="octave"))
    meter.begin(0)
    meter.add(tone(1000, 8000, 1.5))
    meter.begin(8000 * 4)
    meter.add(tone(1000, 8000, 1.0))
    levels = meter.finish()
    assert levels.measured_s == pytest.approx([1, 0.5, 0, 0, 1], abs=2e-3)
    assert np.isnan(levels["LAeq"]).tolist() == [False, False, True, True, False]
    assert levels["LAeq"][[0, 1, 4]] == pytest.approx([-9.03] * 3, abs=0.05)


def test_a_response_is_evened_out() -> None:
    """What a microphone has too much of is taken off, in weighted levels and in bands."""
    response: dict[str, Any] = {"response_hz": (20.0, 1000.0, 20000.0), "response_db": (0.0, 0.0, 10.0)}
    frequency_hz = float(np.sqrt(1000 * 20000))
    plain = measure(tone(frequency_hz, 48000, 3.0), 48000)
    even = measure(tone(frequency_hz, 48000, 3.0), 48000, block_length=1234, **response)
    assert even["LAeq"][1] - plain["LAeq"][1] == pytest.approx(-5, abs=0.1)
    assert even["LZeq"][1] - plain["LZeq"][1] == pytest.approx(-5, abs=0.1)
    assert even.bands[1].max() - plain.bands[1].max() == pytest.approx(-5, abs=0.1)
    flat: dict[str, Any] = {"response_hz": (20.0, 1000.0, 20000.0), "response_db": (0.0, 0.0, 0.0)}
    same_again = measure(tone(1000, 48000, 3.0), 48000, **flat)
    wanted = measure(tone(1000, 48000, 3.0), 48000)
    assert same_again.total == pytest.approx(wanted.total, abs=0.02, nan_ok=True)
