"""How loud a recording is, and whether its microphone is dead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonyc_ml.model.loading import load_model
from sonyc_ml.outputs.files import read_output, write_output
from sonyc_ml.sound.files import open_recording
from sonyc_ml.sound.levels.microphone import SOFTEST_DBFS, Levels

Floats = npt.NDArray[np.float64]
N_SAMPLES = 80_000
CHANCE = np.random.default_rng(0)
TONE = np.sin(np.arange(N_SAMPLES) * 0.3)
LAST_BIT = CHANCE.integers(-1, 2, N_SAMPLES) / 32768


def levels_of(path: Path, channel: int | None = None) -> Levels:
    with open_recording(path, channel) as recording:
        for _ in recording.blocks():
            pass
        return recording.levels


def write(folder: Path, y: Floats, subtype: str = "PCM_16", kind: str = "WAV") -> Path:
    path = folder / f"recording.{kind.lower()}"
    soundfile.write(path, y, 8000, subtype=subtype, format=kind)
    return path


DEAD = {
    "zeros": np.zeros(N_SAMPLES),
    "constant": np.full(N_SAMPLES, 0.0376),
    "full scale": np.full(N_SAMPLES, 1.0),
    "lower full scale": np.full(N_SAMPLES, -1.0),
    "from end to end": np.where(TONE > 0, 1.0, -1.0),
    "the last bit": LAST_BIT,
    "the last bit on a constant": LAST_BIT + 0.25,
    "a step": np.where(np.arange(N_SAMPLES) < 500, 0.0, 0.3),
}
ALIVE = {
    "tone": TONE * 0.5,
    "a quiet night": CHANCE.normal(0, 2.0 / 32768, N_SAMPLES),
    "a loud road": np.clip(CHANCE.normal(0, 0.6, N_SAMPLES), -1, 1),
    "on a constant": CHANCE.normal(0, 5.0 / 32768, N_SAMPLES) + 0.25,
    "one call in silence": np.where(np.arange(N_SAMPLES) // 8000 == 5, TONE * 0.1, 0.0),
}


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
@pytest.mark.parametrize("name", DEAD)
def test_a_dead_microphone(name: str, kind: str, tmp_path: Path) -> None:
    """Zeros, a constant, the end of the scale, or the converter's last bit alone is no sound."""
    assert levels_of(write(tmp_path, DEAD[name], kind=kind)).is_dead


@pytest.mark.parametrize("name", ALIVE)
def test_a_microphone_that_hears(name: str, tmp_path: Path) -> None:
    """Quiet, loud and clipped sound, and a call in digital silence, are sound."""
    assert not levels_of(write(tmp_path, ALIVE[name])).is_dead


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_clipping_is_seen_in_every_coding(subtype: str, tmp_path: Path) -> None:
    """The share of a sine that goes beyond full scale is that of its samples at the ends of the scale."""
    y = np.clip(TONE * 2, -1, 1)
    share = float((np.abs(TONE * 2) >= 1).mean())
    levels = levels_of(write(tmp_path, y, subtype))
    assert levels.clipped_share == pytest.approx(share, abs=0.06)
    assert levels_of(write(tmp_path, TONE * 0.5, subtype)).clipped_share == 0


@pytest.mark.parametrize("offset", [0.0, 0.3])
@pytest.mark.parametrize("amplitude", [0.6, 0.01])
def test_the_level_is_that_of_the_sound(amplitude: float, offset: float, tmp_path: Path) -> None:
    """A sine has 3 dB less than its amplitude, on a constant or not."""
    levels = levels_of(write(tmp_path, TONE * amplitude + offset, "FLOAT"))
    assert levels.level_dbfs == pytest.approx(20 * np.log10(amplitude) - 3.01, abs=0.02)


def test_a_dead_channel_and_a_live_one(tmp_path: Path) -> None:
    """Of the channel that is read the level is told."""
    path = write(tmp_path, np.stack([TONE * 0.5, np.zeros(N_SAMPLES)], axis=1))
    assert levels_of(path, 1).is_dead
    assert not levels_of(path, 0).is_dead
    assert not levels_of(path).is_dead


def test_blocks_add_up() -> None:
    """The figures do not depend on how a recording is cut into blocks."""
    y = np.clip(CHANCE.normal(0, 0.5, 10_000), -1, 1).astype(np.float32).repeat(2)
    whole, cut = Levels(), Levels()
    whole.add(y[:, None], y)
    for start in range(0, len(y), 777):
        cut.add(y[start : start + 777, None], y[start : start + 777])
    assert (cut.clipped_share, cut.identical_share) == (whole.clipped_share, whole.identical_share)
    assert cut.level_dbfs == pytest.approx(whole.level_dbfs, abs=0.01)
    assert Levels().level_dbfs == SOFTEST_DBFS


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_outputs_hold_the_level(suffix: str, tmp_path: Path, tiny_bundle: Path) -> None:
    """A recording without sound is embedded, and its output says so; another's has its level."""
    model = load_model(tiny_bundle)
    for y, is_dead in ((np.zeros(N_SAMPLES), True), (TONE * 0.5, False)):
        output = model.embed_file(write(tmp_path, y))
        assert len(output.timestamps) > 10
        write_output(output, tmp_path / f"output.{suffix}")
        provenance = read_output(tmp_path / f"output.{suffix}").provenance
        assert provenance == output.provenance
        assert provenance.without_sound == is_dead
        assert provenance.level_dbfs == (SOFTEST_DBFS if is_dead else pytest.approx(-9.03, abs=0.02))
