"""Recordings that are embedded while they come have the numbers of those that are embedded as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonyc_ml.base.human import seconds_of
from sonyc_ml.model import Model
from sonyc_ml.model.loading import load_model
from sonyc_ml.node.config import ModelConfig
from sonyc_ml.node.events import WindowHeard
from sonyc_ml.node.intake.ahead import Ahead
from sonyc_ml.node.running_bundles import LoadedBundle
from sonyc_ml.node.worker import WorkStoppedError
from sonyc_ml.sound.live.cutting import Cutter
from sonyc_ml.sound.live.formats import raw_layout
from sonyc_ml.sound.live.segment import LiveRecording, LiveSegment
from sonyc_ml.sound.start_time import StartTimes
from tests.conftest import ROOT, examples
from tests.support.live import Clocks, cut_at, samples

DEFAULT = ROOT / "models" / "quantized_default_int8.tflite"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> LoadedBundle:
    """The default bundle, whose windows overlap and whose sound is resampled."""
    return LoadedBundle(ModelConfig(DEFAULT), load_model(DEFAULT), tmp_path_factory.mktemp("out"))


def embed(bundle: LoadedBundle, content: bytes, rate: int, lengths: list[int], seconds: float) -> Iterator[LiveSegment]:
    """Embed each recording of a stream as it comes, and compare it with the whole."""
    cutter, ahead = Cutter("a", raw_layout(rate, "S24_3LE", 2), seconds), None
    for chunk in cut_at(content, lengths):
        for segment in cutter.feed(chunk, Clocks()()):
            if ahead is not None and ahead.segment is segment:
                output = ahead.finish("a_1")
                assert output is not None
                compare(bundle.model, segment, output.by_kind() | {"timestamps": output.timestamps})
                ahead.drop()
                ahead = None
            yield segment
        if cutter.open is not None:
            ahead = ahead or Ahead(cutter.open, bundle, StartTimes())
            ahead.go_on()
    if ahead is not None:
        ahead.drop()


def compare(model: Model, segment: LiveSegment, arrays: Mapping[str, object]) -> None:
    whole = model.embed(LiveRecording(segment, "a_1"))
    for kind, array in (whole.by_kind() | {"timestamps": whole.timestamps}).items():
        np.testing.assert_array_equal(arrays[kind], array)


@examples(12)
@given(
    st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    st.lists(st.integers(1, 200_000), min_size=1, max_size=4),
    st.sampled_from([1.0, 2.5, 4.0]),
    st.integers(0, 99),
)
def test_numbers_are_those_of_the_whole(
    bundle: LoadedBundle, rate: int, lengths: list[int], seconds: float, seed: int
) -> None:
    """Bit for bit, at every sample rate and length, in chunks of any size."""
    content = samples("S24_3LE", round(2.2 * seconds * rate), 2, seed)
    assert len(list(embed(bundle, content, rate, [n + 4000 for n in lengths], seconds))) == 2


@pytest.mark.parametrize("rate", [8000, 48000])
def test_what_is_heard_is_told_as_it_comes(tmp_path: Path, rate: int) -> None:
    """Each window whose score reaches the threshold, once, when it is there; the output knows the same windows."""
    content, cutter = samples("S16_LE", 5 * rate, 1, seed=3), Cutter("a", raw_layout(rate), 5.0)
    sound = np.frombuffer(content, "<i2").astype(np.float32) / np.float32(1 << 15)
    scores = load_model(DEFAULT).get_outputs(sound, rate)["scores"]
    threshold = float(np.median(scores.max(axis=1)))  # half of the windows, whatever the bundle makes of noise
    model = load_model(DEFAULT, detections={"threshold": threshold})
    bundle = LoadedBundle(ModelConfig(DEFAULT), model, tmp_path)
    ahead, told, n_early = None, list[WindowHeard](), 0
    for chunk in cut_at(content, rate):
        segments = cutter.feed(chunk, Clocks()())
        if cutter.open is not None:
            ahead = ahead or Ahead(cutter.open, bundle, StartTimes(), hears=True)
            ahead.go_on()
            told += ahead.heard()
            n_early = len(told)
    assert ahead is not None
    output = ahead.finish("a_1")
    assert output is not None
    assert output.scores is not None
    told += ahead.heard()
    windows = [i for i, scores in enumerate(output.scores) if scores.max() >= threshold]
    starts_s = [seconds_of(one.start_time) - segments[0].start_s for one in told]
    np.testing.assert_allclose(starts_s, output.timestamps[windows], atol=1e-4)
    assert [max(one.scores.values()) for one in told] == pytest.approx(output.scores[windows].max(axis=1).tolist())
    assert 0 < n_early < len(windows)
    ahead.drop()


def test_one_that_is_over_before_it_has_a_name(bundle: LoadedBundle) -> None:
    """Whoever works ahead may come to the end before the journal knows the recording."""
    cutter = Cutter("a", raw_layout(8000), 2.0)
    cutter.feed(samples("S16_LE", 8000, 1), Clocks()())
    assert cutter.open is not None
    ahead = Ahead(cutter.open, bundle, StartTimes())
    cutter.feed(samples("S16_LE", 8000, 1), Clocks()())
    for _ in range(3):
        ahead.go_on()
    output = ahead.finish("a_1")
    assert output is not None
    assert output.provenance.recording == "a_1"
    ahead.drop()


def test_a_recording_that_ends_early_is_embedded_as_a_whole(bundle: LoadedBundle) -> None:
    """No silence stands for what did not come."""
    clocks, cutter = Clocks(), Cutter("a", raw_layout(8000), 5.0)
    cutter.feed(samples("S16_LE", 16000, 1), clocks.after(2.0))
    assert cutter.open is not None
    ahead = Ahead(cutter.open, bundle, StartTimes())
    ahead.go_on()
    (segment,) = cutter.interrupt(clocks(), "stalled", "")
    assert ahead.finish("a_1") is None
    assert bundle.model.embed(LiveRecording(segment, "a_1")).provenance.salvaged
    ahead.drop()


def test_nobody_waits_for_one_that_is_dropped(bundle: LoadedBundle) -> None:
    """Its thread ends, whether it has begun or not."""
    for is_begun in (False, True):
        cutter = Cutter("a", raw_layout(8000), 5.0)
        cutter.feed(samples("S16_LE", 16000, 1), Clocks()())
        assert cutter.open is not None
        ahead = Ahead(cutter.open, bundle, StartTimes())
        if is_begun:
            ahead.go_on()
        ahead.drop()


def test_whoever_stops_the_work_stops_it_there(bundle: LoadedBundle) -> None:
    """What the progress raises ends the turn of the worker, too."""

    def stop() -> None:
        raise WorkStoppedError

    cutter = Cutter("a", raw_layout(8000), 5.0)
    cutter.feed(samples("S16_LE", 32000, 1), Clocks()())
    assert cutter.open is not None
    ahead = Ahead(cutter.open, bundle, StartTimes(), stop)
    with pytest.raises(WorkStoppedError):
        ahead.go_on()
    ahead.drop()


def test_windows_that_hand_on_a_state_are_not_embedded_ahead(bundle: LoadedBundle) -> None:
    """Two recordings at once would mix their states; samples that do not fill their place are looked at first."""
    segment = LiveSegment("a", raw_layout(8000), bytearray(), 0.0, 1)
    assert Ahead.can_be(segment, bundle)
    segment.layout = raw_layout(8000, "S24_LE")
    assert not Ahead.can_be(segment, bundle)
    assert not Path(bundle.output_folder, "a").exists()
