"""The nearest windows of a dataset: all that a comparison of everything with everything finds, and nothing twice."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.analysis.search import Example, search
from sonyc_ml.cli import main
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.output import Output
from tests.conftest import ROOT, write_recording
from tests.support.archives import DAY, output_at, packed, starts

pytest.importorskip("pyarrow", reason="Parquet is an extra")


@pytest.fixture
def outputs() -> dict[str, list[Output]]:
    """Of two nodes and two days."""
    days = [start + timedelta(days=day) for day in (0, 1) for start in starts(20)]
    return {
        "a": [output_at(start) for start in days],
        "b": [output_at(start + timedelta(seconds=5), 6) for start in days],
    }


@pytest.fixture
def archive(outputs: dict[str, list[Output]], tmp_path: Path) -> Path:
    """All of them, those of one node in two parts that share outputs."""
    root = tmp_path / "archive"
    packed(tmp_path / "a", root, "a", outputs["a"])
    packed(tmp_path / "b", root, "b", outputs["b"][:25])
    packed(tmp_path / "c", root, "b", outputs["b"][10:])
    return root


def example(outputs: dict[str, list[Output]]) -> Example:
    """A window of one of them, shifted."""
    output = outputs["b"][3]
    assert output.embedding is not None
    return Example("x.wav", output.embedding[2] * 7 + np.float32(0.01), output.provenance)


def compared(outputs: dict[str, list[Output]], wanted: Example) -> list[tuple[float, str, str, float]]:
    """Every window with its cosine, the nearest first."""
    rows = []
    for node, some in outputs.items():
        for output in some:
            assert output.embedding is not None
            cosines = output.embedding @ wanted.embedding / np.linalg.norm(output.embedding, axis=1)
            named = zip(cosines / np.linalg.norm(wanted.embedding), output.timestamps, strict=True)
            rows += [(float(cosine), node, output.provenance.recording, float(start_s)) for cosine, start_s in named]
    return sorted(rows, key=lambda row: -row[0])


def test_the_nearest_of_all_are_found(archive: Path, outputs: dict[str, list[Output]]) -> None:
    """Those that a comparison with every window finds, in their order; outputs that are there twice are one."""
    wanted = example(outputs)
    rows = compared(outputs, wanted)
    for top in (1, 7, 1000):
        found = search(archive, wanted, top=top, apart_s=0)
        assert [match[1:4] for match in found.matches] == [row[1:] for row in rows[:top]]
        np.testing.assert_allclose([match.cosine for match in found.matches], [row[0] for row in rows[:top]], rtol=1e-5)
        assert (found.n_windows, found.n_recordings) == (len(rows), 80)
    nearest = found.matches[0]
    assert (nearest.node, nearest.start_s, nearest.time) == ("b", 2.0, "2026-11-21T00:00:37.000Z")
    assert (archive / nearest.part).is_file()


def test_matches_in_one_recording_are_apart(archive: Path, outputs: dict[str, list[Output]]) -> None:
    """Of windows that overlap the nearest counts; of each recording there is one where they must be far apart."""
    wanted = example(outputs)
    best: dict[tuple[str, str], tuple[float, str, str, float]] = {}
    for row in compared(outputs, wanted):
        best.setdefault(row[1:3], row)
    found = search(archive, wanted, top=1000, apart_s=60)
    assert [match[1:4] for match in found.matches] == [row[1:] for row in best.values()]


def test_nodes_and_times_choose(archive: Path, outputs: dict[str, list[Output]]) -> None:
    """Only windows of these nodes that begin in this time are compared, to the second."""
    until = DAY + timedelta(days=1, seconds=27)
    found = search(
        archive, example(outputs), top=1000, apart_s=0, nodes="b", since=DAY + timedelta(days=1), until=until
    )
    assert (found.n_windows, {match.node for match in found.matches}) == (2 * 6 + 2, {"b"})


def test_what_was_made_in_another_way_is_left_out(
    archive: Path, outputs: dict[str, list[Output]], tmp_path: Path
) -> None:
    """Another bundle is told with its name; where there is nothing else, one sentence says what to do."""
    other = [output_at(start + timedelta(days=5), bundle_sha256="b7" * 32) for start in starts(3)]
    packed(tmp_path / "d", archive, "a", other)
    wanted = example(outputs)
    found = search(archive, wanted, top=3)
    assert (found.n_recordings, sum(found.others.values())) == (80, 3)
    assert "b7b7b7b7b7b7" in next(iter(found.others))
    hop = replace(wanted, made=replace(wanted.made, hop_size_s=0.1, parameters='{"detections": {"threshold": 0.2}}'))
    assert search(archive, hop, top=3).matches == found.matches
    for made in (
        replace(wanted.made, bundle_sha256="c1" * 32),
        replace(wanted.made, window_size_s=0.5),
        replace(wanted.made, parameters='{"channel": 1}'),
    ):
        with pytest.raises(ConfigError, match=r"holds nothing that can be compared with x\.wav: .* Give the bundle"):
            search(archive, replace(wanted, made=made))


def test_the_command_finds_a_recording_by_its_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recording that the example was cut from is the nearest; JSON, csv and text say the same."""
    for i in range(3):
        write_recording(tmp_path / "in" / "pole_1" / f"20261121T12000{i}Z.wav", seconds=3, seed=i)
    model = ["--model", str(ROOT / "models" / "quantized_default_int8.tflite")]
    made = ["embed", str(tmp_path / "in"), *model, "--output", str(tmp_path / "data"), "--format", "parquet"]
    assert main([*made, "--partition", "node,day", "--workers", "1", "--quiet"]) == 0
    asked = ["search", str(tmp_path / "in/pole_1/20261121T120001Z.wav"), str(tmp_path / "data"), *model, "--top", "2"]
    capsys.readouterr()
    assert main([*asked, "--at", "1.5", "--json"]) == 0
    table: dict[str, Any] = json.loads(capsys.readouterr().out)
    nearest = table["matches"][0]
    assert (nearest["recording"], nearest["node"]) == ("pole_1/20261121T120001Z.wav", "pole_1")
    assert nearest["cosine"] == pytest.approx(1, abs=1e-5)
    assert main([*asked, "--at", "1.5", "--csv"]) == 0
    heading, first, *_ = capsys.readouterr().out.splitlines()
    assert heading == "cosine,node,recording,start_s,end_s,time,part"
    assert first.split(",")[1:3] == ["pole_1", "pole_1/20261121T120001Z.wav"]
    assert main([*asked, "--at", "99"]) == 2
    assert "--at 99 is not in" in capsys.readouterr().err
