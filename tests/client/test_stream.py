"""Streams to a model in another process: each segment is answered as the file of the same samples, whatever happens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sonyc_ml
from sonyc_ml.client import Answer, RemoteModel, Stream, spawn
from sonyc_ml.errors import LostModelError, ProtocolError, RestartedModelWarning
from sonyc_ml.model import Model
from sonyc_ml.sound.live.formats import raw_layout
from tests.conftest import PATIENCE_S
from tests.support.live import cut_at, samples, write_wav

RATE, SEGMENT_S, SEGMENT_LENGTH = 16000, 1.5, 24000
FORMATS = {"int16": "S16_LE", "int24": "S24_3LE", "int32": "S32_LE", "float32": "FLOAT_LE", "float64": "FLOAT64_LE"}


@pytest.fixture(scope="module")
def remote(tiny_bundle: Path) -> Iterator[RemoteModel]:
    with spawn(tiny_bundle) as model:
        yield model


@pytest.fixture(scope="module")
def local(tiny_bundle: Path) -> Model:
    return sonyc_ml.load_model(tiny_bundle)


def check_answers(
    answers: list[Answer], content: bytes, sample_format: str, n_channels: int, local: Model, folder: Path
) -> None:
    """Each segment's outputs are those of the file with its samples."""
    layout = raw_layout(RATE, sample_format, n_channels)
    size = SEGMENT_LENGTH * layout.frame_size
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    assert len(answers) == len(pieces)
    n_before = 0
    for answer, piece in zip(answers, pieces, strict=True):
        n_samples = len(piece) // layout.frame_size
        assert (answer.said["first_sample"], answer.said["n_samples"]) == (n_before, n_samples)
        n_before += n_samples
        expected = local.embed_file(write_wav(folder / "a.wav", piece, layout))
        np.testing.assert_array_equal(answer.outputs["embedding"], expected.embedding)
        np.testing.assert_array_equal(answer.outputs["timestamps"], expected.timestamps)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("n_channels", [1, 2, 7])
def test_the_numbers_are_those_of_files(
    remote: RemoteModel, local: Model, tmp_path: Path, dtype: str, n_channels: int
) -> None:
    """In chunks of any size, of whole frames or not; the last segment is as short as it is."""
    content = samples(FORMATS[dtype], 3 * SEGMENT_LENGTH + 5000, n_channels)
    lengths = np.random.default_rng(n_channels).integers(1, 60_000, 20)
    with remote.stream(RATE, n_channels, dtype, segment_s=SEGMENT_S) as stream:
        answers = [answer for chunk in cut_at(content, lengths) for answer in stream.send(chunk)]
        answers += stream.end()
    check_answers(answers, content, FORMATS[dtype], n_channels, local, tmp_path)
    assert len(remote.get_embedding(np.zeros(8000, np.float32), 8000)) == 1  # it is free again


def test_arrays(remote: RemoteModel, local: Model, tmp_path: Path) -> None:
    """Arrays are the same as their bytes; those of another kind are refused, and cost nothing."""
    content = samples("S16_LE", 2 * SEGMENT_LENGTH, 2)
    frames = np.frombuffer(content, np.int16).reshape(-1, 2)
    with remote.stream(RATE, 2, segment_s=SEGMENT_S) as stream:
        wrong: list[tuple[Any, type[Exception]]] = [
            (frames.astype(np.float32), TypeError),
            (frames[:, :1], ValueError),
            (frames[None], ValueError),
            (5, TypeError),
            ("a", TypeError),
        ]
        for frame, error in wrong:
            with pytest.raises(error):
                stream.send(frame)
        answers = stream.send(frames[:30000]) + stream.send(frames[30000:][:, ::1]) + stream.end()
        assert stream.end() == []
        with pytest.raises(ValueError, match="has ended"):
            stream.send(frames)
    check_answers(answers, content, "S16_LE", 2, local, tmp_path)


def test_one_thing_at_a_time(tiny_bundle: Path) -> None:
    """A call within a stream, or a second one, is refused; one that is left in the middle is no harm."""
    with spawn(tiny_bundle) as model:
        with model.stream(RATE, 1) as stream:
            with pytest.raises(ValueError, match="a stream goes on"):
                model.get_embedding(np.zeros(8000, np.float32), 8000)
            with pytest.raises(ValueError, match="a stream goes on"):
                model.stream(RATE, 1)
            stream.send(bytes(1000))
        assert len(model.get_embedding(np.zeros(8000, np.float32), 8000)) == 1


@pytest.mark.parametrize(
    ("arguments", "name"), [((0, 1), "rate"), ((RATE, 0), "channels"), ((RATE, 1, "int8"), "dtype")]
)
def test_streams_of_no_sound(remote: RemoteModel, arguments: tuple[Any, ...], name: str) -> None:
    """What cannot be is named."""
    with pytest.raises(ValueError, match=name):
        remote.stream(*arguments)
    with pytest.raises(ValueError, match="segment_s"):
        remote.stream(RATE, 1, segment_s=0.0)


def test_a_segment_that_is_refused_is_said_and_the_next_goes_on(remote: RemoteModel) -> None:
    """NaN in one segment raises for that one, when its outputs are asked for."""
    content = np.zeros(3 * SEGMENT_LENGTH, np.float32)
    content[SEGMENT_LENGTH + 5] = np.nan
    with remote.stream(RATE, 1, "float32", segment_s=SEGMENT_S) as stream:
        answers = stream.send(content) + stream.end()
    assert len(answers) == 3
    with pytest.raises(ValueError, match="NaN"):
        _ = answers[1].outputs
    assert answers[1].said["first_sample"] == SEGMENT_LENGTH
    assert len(answers[0].outputs["embedding"]) == len(answers[2].outputs["embedding"]) == 6


def test_a_channel_that_a_stream_does_not_have(tiny_bundle: Path) -> None:
    """It is refused in a sentence; one that it has is read alone."""
    frames = np.random.default_rng(0).normal(0, 0.1, (RATE, 2)).astype(np.float32)
    with spawn(tiny_bundle, channel=1) as model:
        with model.stream(RATE, 1, "float32") as stream:
            (answer,) = stream.send(frames[:, 0].copy()) + stream.end()
        with pytest.raises(ProtocolError, match="there is no channel 1; the stream has 1, counted from 0"):
            _ = answer.outputs
        with model.stream(RATE, 2, "float32", hop_size=np.float64(0.25)) as stream:
            (answer,) = stream.send(frames) + stream.end()
        np.testing.assert_array_equal(
            answer.outputs["embedding"], model.get_embedding(frames[:, 1].copy(), RATE, hop_size=0.25)
        )


def kill(pid: int) -> None:
    """Kill a process, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    end_s = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end_s
        time.sleep(0.001)


def send_all(model: RemoteModel, chunks: list[bytes], victims: set[int]) -> list[Answer]:
    """Send chunks as a stream; before some of them the process is killed."""
    answers: list[Answer] = []
    with model.stream(RATE, 1, segment_s=SEGMENT_S) as stream:
        for i, chunk in enumerate(chunks):
            if i in victims:
                kill(model.pid)
            answers += stream.send(chunk)
        return answers + stream.end()


@pytest.mark.parametrize("when", [0, 1, 3, 5])
def test_a_process_that_dies_costs_a_stream_nothing(tiny_bundle: Path, local: Model, tmp_path: Path, when: int) -> None:
    """What had not been answered is sent to a new process: every segment is answered once, with the right numbers."""
    content = samples("S16_LE", 4 * SEGMENT_LENGTH, 1)
    with (
        spawn(tiny_bundle) as model,
        pytest.warns(RestartedModelWarning, match="SIGKILL while it") as given,
    ):
        answers = send_all(model, cut_at(content, 2 * 16001), {when})
    check_answers(answers, content, "S16_LE", 1, local, tmp_path)
    assert len(given) == 1


@pytest.mark.filterwarnings("ignore::sonyc_ml.errors.RestartedModelWarning")
def test_a_process_that_dies_twice_in_a_segment_is_an_error(tiny_bundle: Path) -> None:
    """The error names the signal and the segment; the model is of use again."""
    with spawn(tiny_bundle) as model:
        with pytest.raises(LostModelError, match=r"SIGKILL while it computed the segment from \d\.\d s .*second"):
            send_all(model, [bytes(2 * 60_000)] + [bytes(200)] * 9, {8, 9})
        assert len(model.get_embedding(np.zeros(8000, np.float32), 8000)) == 1


def send_seconds(stream: Stream, n: int) -> list[Answer]:
    """Send silence."""
    return [answer for _ in range(n) for answer in stream.send(bytes(2 * RATE))]


def test_sending_does_not_wait_for_a_process_that_does(tiny_bundle: Path) -> None:
    """A process that is held up holds nobody up, for a minute of sound; then it counts as hanging."""
    with spawn(tiny_bundle, timeout_s=0.5) as model, model.stream(RATE, 1) as stream:
        os.kill(model.pid, signal.SIGSTOP)
        begin_s = time.monotonic()
        assert send_seconds(stream, 55) == []
        assert time.monotonic() - begin_s < 5.0
        with pytest.raises(LostModelError, match="gave no sign of life"):
            send_seconds(stream, 400)
