"""Batch embedding: all recordings, each once, whatever the number of workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sonyc_ml import load_model
from sonyc_ml.batch import Embedded, Event, Failed, Task, embed_recordings, find_recordings
from sonyc_ml.errors import ConfigError
from tests.conftest import write_recording


def _embed(folder: Path, output: Path, bundle: Path, workers: int = 1) -> list[Event]:
    return list(embed_recordings(find_recordings([folder]), lambda: load_model(bundle), output, workers=workers))


def test_results_do_not_depend_on_the_workers(tmp_path: Path, tiny_bundle: Path) -> None:
    """One worker and three write the same bytes."""
    for i in range(12):
        write_recording(tmp_path / "in" / f"{i % 3}" / f"{i}.wav", seconds=1 + i / 10, seed=i)
    for workers in (1, 3):
        events = _embed(tmp_path / "in", tmp_path / f"out{workers}", tiny_bundle, workers)
        assert sorted(event.recording for event in events) == sorted(f"{i % 3}/{i}.wav" for i in range(12))
    for path in sorted((tmp_path / "out1").rglob("*.npz")):
        other = tmp_path / "out3" / path.relative_to(tmp_path / "out1")
        with np.load(path, allow_pickle=False) as a, np.load(other, allow_pickle=False) as b:
            assert all((a[name] == b[name]).all() for name in a.files)


def test_one_bad_recording_costs_only_itself(tmp_path: Path, tiny_bundle: Path) -> None:
    """A recording that cannot be read is reported with its reason, the others are embedded."""
    write_recording(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "b.wav").write_bytes(b"no sound at all")
    write_recording(tmp_path / "in" / "c.wav")
    events = _embed(tmp_path / "in", tmp_path / "out", tiny_bundle)
    assert sorted(event.recording for event in events if isinstance(event, Embedded)) == ["a.wav", "c.wav"]
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.recording == "b.wav"
    assert "b.wav: it is not a sound file" in failed.reason


def test_an_event_says_what_was_done(tmp_path: Path, tiny_bundle: Path) -> None:
    """An event carries the output, the windows and the recording's length."""
    write_recording(tmp_path / "in" / "a.wav", seconds=2.5)
    (event,) = _embed(tmp_path / "in", tmp_path / "out", tiny_bundle)
    assert isinstance(event, Embedded)
    assert (event.output, event.n_windows, event.duration_s) == (tmp_path / "out" / "a.wav.npz", 16, 2.5)
    assert event.elapsed_s > 0


def test_a_stopped_batch_ends_its_workers(tmp_path: Path, tiny_bundle: Path) -> None:
    """Whoever stops listening to the events stops the work."""
    for i in range(20):
        write_recording(tmp_path / "in" / f"{i:02}.wav")
    tasks = find_recordings([tmp_path / "in"])
    events = embed_recordings(tasks, lambda: load_model(tiny_bundle), tmp_path / "out", workers=2)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert len(list((tmp_path / "out").iterdir())) < 20


def test_recordings_are_found(tmp_path: Path) -> None:
    """Folders are searched, hidden and other files left alone, single files taken as they are."""
    for name in ("b.wav", "a.flac", "sub/c.WAV", ".hidden.wav", "notes.txt"):
        write_recording(tmp_path / "in" / name) if name.endswith((".wav", ".flac")) else None
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    single = tmp_path / "single.raw"
    single.touch()
    tasks = find_recordings([tmp_path / "in", single])
    assert [task.name for task in tasks] == ["a.flac", "b.wav", "sub/c.WAV", "single.raw"]
    assert tasks[-1] == Task(single, "single.raw")


def test_two_recordings_never_share_an_output(tmp_path: Path) -> None:
    """Where two inputs would overwrite each other's output, nothing is begun."""
    write_recording(tmp_path / "node1" / "a.wav")
    write_recording(tmp_path / "node2" / "a.wav")
    with pytest.raises(ConfigError, match=r"node1/a.wav and .*node2/a.wav would have the same output"):
        find_recordings([tmp_path / "node1", tmp_path / "node2"])
    assert len(find_recordings([tmp_path / "node1", tmp_path / "node1"])) == 1


def test_a_missing_input_is_refused(tmp_path: Path) -> None:
    """An input that is not there is named."""
    with pytest.raises(ConfigError, match=r"nowhere does not exist"):
        find_recordings([tmp_path / "nowhere"])


def test_workers_must_be_some(tmp_path: Path, tiny_bundle: Path) -> None:
    """No workers are a mistake in the call."""
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        _embed(tmp_path, tmp_path / "out", tiny_bundle, workers=0)
