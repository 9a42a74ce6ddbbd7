"""Clips of live sound: only where asked for, never where a class that forbids it might be heard, within bounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonyc_ml.errors import ConfigError
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import ModelConfig
from sonyc_ml.node.intake.config import ClipsConfig
from sonyc_ml.node.intake.keeping.choosing import choose
from sonyc_ml.node.intake.keeping.keeper import DAY_S, SWEEP_S, Keeper
from sonyc_ml.node.running_bundles import LoadedBundle
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.rules import DetectionRules
from sonyc_ml.sound.live.formats import raw_layout
from sonyc_ml.sound.live.segment import LiveSegment
from tests.conftest import ROOT
from tests.support.detections import detected, make_echo, scored
from tests.support.live import START_S

LABELS = ("dog", "voice")
RULES = DetectionRules(threshold=0.5, merge_s=0.0)
CLIPS = ClipsConfig(folder=Path("clips"), never_keep=("voice",))


def output(dog: Sequence[float], voice: Sequence[float], labels: tuple[str, ...] = LABELS, **more: float) -> Output:
    """An output of windows of 1 s."""
    scores = np.array([dog, voice], np.float32).T[:, : len(labels)]
    found = scored("a", scores, labels, **{"window_size_s": 1.0, "hop_s": 1.0, **more})
    return replace(found, detections=detected(found, RULES))


def spans(config: ClipsConfig, *outputs: Output) -> list[tuple[float, float]]:
    return [clip[:2] for clip in choose(config, outputs)]


DOG = [0, 0, 0.9, 0, 0, 0, 0, 0.8, 0, 0]
SILENT = [0.0] * 10


def test_margins_and_clips_that_meet() -> None:
    """A clip ends where the recording does; detections whose margins touch are one."""
    assert spans(CLIPS, output(DOG, SILENT)) == [(1.0, 4.0), (6.0, 9.0)]
    assert spans(replace(CLIPS, before_s=3.0, after_s=3.0), output(DOG, SILENT)) == [(0.0, 10.0)]
    assert spans(replace(CLIPS, classes=("voice",), never_keep=()), output(DOG, SILENT)) == []


@pytest.mark.parametrize("score", [0.1, 1.0, float("nan")])
@pytest.mark.parametrize("window", range(10))
def test_what_forbids_a_clip_always_wins(window: int, score: float) -> None:
    """From a low score on, in any window that meets the clip with its margins; what is no number forbids, too."""
    voice = [score if i == window else 0.05 for i in range(10)]
    kept = spans(CLIPS, output(DOG, voice))
    assert ((1.0, 4.0) in kept) == (window not in (1, 2, 3))
    assert ((6.0, 9.0) in kept) == (window not in (6, 7, 8))


def test_nothing_is_kept_where_nobody_can_say() -> None:
    """Without scores, without the class, with sound between the windows that none has heard; another bundle counts."""
    assert spans(CLIPS, replace(output(DOG, SILENT), scores=None)) == []
    assert spans(CLIPS, output(DOG, SILENT, ("dog",))) == []
    assert spans(CLIPS, output(DOG, SILENT, window_size_s=0.9)) == []
    assert spans(CLIPS, output(DOG, SILENT), output(SILENT, [0.5] * 10)) == []
    assert spans(CLIPS, output(DOG, SILENT, ("dog",)), output(SILENT, SILENT)) == [(1.0, 4.0), (6.0, 9.0)]


@pytest.fixture
def bundle(tmp_path: Path) -> LoadedBundle:
    path = make_echo(tmp_path / "echo.tflite", [*LABELS, *(f"other {i}" for i in range(798))])
    return LoadedBundle(ModelConfig(path), load_model(path), tmp_path)


def test_clips_are_written_and_removed_within_their_bounds(tmp_path: Path, bundle: LoadedBundle) -> None:
    """By age and by space, the oldest first; a file that is none of ours stays."""
    now, config = [START_S], replace(CLIPS, folder=tmp_path / "clips", max_mb=0.1, max_age_days=2.0)
    keeper = Keeper(config, [bundle], lambda: now[0])
    made = output(DOG, SILENT)
    made = replace(made, provenance=replace(made.provenance, bundle="echo"))
    content = np.arange(80_000, dtype="<i2").tobytes()
    segment = LiveSegment("a", raw_layout(8000), bytearray(content), START_S, 80_000)
    first, second = keeper.keep(segment, "a_1", [made])
    assert soundfile.read(first, dtype="int16")[0].tobytes() == content[16_000:64_000]
    assert json.loads(Path(f"{second}.json").read_text())["start_time"] == "2026-11-28T17:00:06+00:00"
    other = first.with_name("other.wav")
    other.write_bytes(bytes(200_000))
    for path, age_s in ((first, 3 * DAY_S), (second, 0.0)):
        os.utime(path, (START_S - age_s,) * 2)
    now[0] += SWEEP_S
    more = keeper.keep(segment, "a_2", [made])
    assert not first.exists()
    assert not Path(f"{first}.json").exists()
    now[0] += SWEEP_S
    keeper.sweep()
    assert second.exists() + sum(path.exists() for path in more) == 2  # of 48 kB each
    assert other.exists()
    assert keeper.keep(segment, "a_3", []) == []  # its output was made before a restart


def test_a_class_that_nobody_has_is_refused(bundle: LoadedBundle) -> None:
    """Else a slip of the pen would keep what must not be kept."""
    with pytest.raises(ConfigError, match="no bundle has a class 'voices'"):
        Keeper(replace(CLIPS, never_keep=("voices",)), [bundle])


def test_a_daemon_keeps_what_it_may(tmp_path: Path, bundle: LoadedBundle) -> None:
    """One detection alone, one with a voice a second later: the first is kept, the other not."""
    y = np.zeros((100, 800), np.float32)
    y[20:25, 0] = y[60:65, 0] = 0.9
    y[70, 1] = 0.15
    (tmp_path / "c.toml").write_text(
        f'[model]\npath = "{bundle.model.bundle.path}"\n[output]\nfolder = "out"\n[detections]\nthreshold = 0.5\n'
        '[listen]\nkeep = "detections"\n[listen.clips]\nfolder = "clips"\nnever_keep = ["voice"]\n'
        '[[listen.source]]\nname = "street"\nstdin = true\nsample_rate = 8000\nsample_format = "FLOAT_LE"\n'
    )
    words = [sys.executable, "-m", "sonyc_ml", "watch", "--config", "c.toml"]
    done = subprocess.run(
        words,
        input=y.tobytes(),
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "clips").glob("*.wav")
    assert path.name.endswith("+1.000s_dog.wav")
    assert soundfile.info(path).frames == 8000 * 2.5
