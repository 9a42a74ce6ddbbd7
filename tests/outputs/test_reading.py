"""Outputs come back as they were written, whatever they were written as."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sonyc_ml
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.files import write_output
from sonyc_ml.outputs.reading import iter_outputs, read_embeddings
from tests.conftest import needs
from tests.support.outputs import output_of


def test_no_window_is_read_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of two files with the same windows, as npz and csv or under two names, the first is read and the other told."""
    output = output_of("a.wav", 3)
    for name in ("a.wav.npz", "a.wav.csv", "copies/a.wav.npz"):
        write_output(output, tmp_path / name)
    other = replace(output, provenance=replace(output.provenance, recording_sha256="ab" * 32))
    write_output(other, tmp_path / "z.wav.npz")
    told: list[str] = []
    assert len(list(iter_outputs(tmp_path, told.append))) == 2
    assert len(told) == 2
    assert all("once more, and is left out" in reason for reason in told)
    assert len(read_embeddings(tmp_path)) == 6
    assert caplog.text.count("is left out") == 2


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_a_folder_is_read_in_order(suffix: str, tmp_path: Path) -> None:
    """Every window of every output comes once, in the order of the paths, with what it is of."""
    outputs = [output_of("a.wav", 2), output_of("sub/b.wav", 3, "")]
    for output in reversed(outputs):
        write_output(output, tmp_path / f"{output.provenance.recording}.{suffix}")
    (tmp_path / "failures.csv").write_text("recording,reason\n")
    (tmp_path / ".sonyc-ml").mkdir()
    write_output(outputs[0], tmp_path / ".sonyc-ml" / "staged.npz")
    read = sonyc_ml.read_embeddings(tmp_path)
    assert len(read) == 5
    assert read.recording.tolist() == ["a.wav"] * 2 + ["sub/b.wav"] * 3
    assert read.labels == ("dog", "siren")
    assert read.embedding is not None
    assert read.scores is not None
    np.testing.assert_array_equal(read.embedding, np.concatenate([output.embedding for output in outputs]))
    np.testing.assert_array_equal(read.scores[2:], outputs[1].scores)
    np.testing.assert_array_equal(read.start_s, [-0.25, 0.25, -0.25, 0.25, 0.75])
    assert [provenance.recording for provenance in read.provenances] == ["a.wav", "sub/b.wav"]
    assert str(read.time[0]) == "2026-11-21T10:59:59.750000"
    assert np.isnat(read.time[2:]).all()


def test_one_output_is_a_folder_of_one(tmp_path: Path) -> None:
    """A file is read as if it lay in a folder alone."""
    write_output(output_of("a.wav", 4), tmp_path / "a.wav.npz")
    assert len(read_embeddings(tmp_path / "a.wav.npz")) == 4


def test_times_are_those_of_the_windows() -> None:
    """A window's time is the recording's with its own place, to the microsecond."""
    output = output_of("a.wav", 3, "2026-11-21T10:00:00.123+00:00")
    assert output.times().tolist()[2].isoformat() == "2026-11-21T10:00:00.873000"


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """No folder, no outputs, a damaged one, and outputs of other widths are each told by name."""
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        list(iter_outputs(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="there are no outputs in"):
        read_embeddings(tmp_path)
    write_output(output_of("a.wav", 2), tmp_path / "a.wav.npz")
    write_output(replace(output_of("b.wav", 2), scores=None, labels=()), tmp_path / "b.wav.npz")
    with pytest.raises(
        ConfigError,
        match=r"a.wav has .* 3 dimensions and scores of 2 classes \(dog, siren\), b.wav has .* no scores",
    ):
        read_embeddings(tmp_path)
    (tmp_path / "b.wav.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"b.wav.npz is no output, or damaged"):
        read_embeddings(tmp_path)


def test_outputs_of_before_are_read(tmp_path: Path) -> None:
    """An output from before its parameters were kept is read, and has none."""
    arrays = output_of("a.wav", 2).arrays()
    del arrays["parameters"]
    np.savez(tmp_path / "a.wav.npz", **arrays)  # type: ignore[arg-type]
    (provenance,) = read_embeddings(tmp_path).provenances
    assert (provenance.recording, provenance.parameters) == ("a.wav", "")


@needs("pyarrow")
def test_damaged_outputs_can_be_left_out(tmp_path: Path) -> None:
    """With somebody to tell, a damaged output costs no other."""
    write_output(output_of("a.wav", 2), tmp_path / "a.wav.npz")
    (tmp_path / "b.wav.npz").write_bytes(b"PK")
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1")
    told: list[str] = []
    assert [output.provenance.recording for output in iter_outputs(tmp_path, told.append)] == ["a.wav"]
    assert [text.split(" is ")[0] for text in told] == [f"{tmp_path}/b.wav.npz", f"{tmp_path}/part-00000.parquet"]
