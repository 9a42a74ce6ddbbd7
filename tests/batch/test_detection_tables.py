"""A batch that detects: its flags, and the table of detections beside a dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.cli import main
from sonyc_ml.outputs.reading import iter_outputs, read_detections
from tests.support.detections import make_echo, write_scores

pyarrow = pytest.importorskip("pyarrow", reason="Parquet is an extra")
parquet = pytest.importorskip("pyarrow.parquet")

LABELS = ("dog", "siren", "rain", "Turdus merula_Eurasian Blackbird")
Embed = Callable[..., Path]


@pytest.fixture
def embed(tmp_path: Path) -> Embed:
    """Embed six recordings of two days with a bundle whose scores are in them; into a folder."""
    make_echo(tmp_path / "echo.tflite", LABELS)
    for n in range(6):
        scores = np.random.default_rng(n).random((40, 4), np.float32)
        write_scores(tmp_path / "in" / f"202611{21 + n // 3}T1200{n:02}Z.wav", scores)

    def run(*flags: str, folder: str = "out") -> Path:
        arguments = ["embed", tmp_path / "in", "--model", tmp_path / "echo.tflite", "--output", tmp_path / folder]
        assert main([*map(str, arguments), "--format", "parquet", "--quiet", *flags]) == 0
        return tmp_path / folder

    return run


def tables(folder: Path) -> dict[str, bytes]:
    """Every file of the tables beside a dataset, by its path."""
    beside = folder.with_name(f"{folder.name}.detections")
    return {path.relative_to(beside).as_posix(): path.read_bytes() for path in sorted(beside.rglob("*.parquet"))}


def rows(folder: Path) -> list[dict[str, Any]]:
    beside = folder.with_name(f"{folder.name}.detections")
    return [row for path in sorted(beside.rglob("*.parquet")) for row in parquet.ParquetFile(path).read().to_pylist()]


@pytest.mark.parametrize("keep", ["all", "top-k", "none"])
def test_a_dataset_has_a_table_of_detections_beside_it(keep: str, embed: Embed) -> None:
    """With a file for each of its own, one row per detection, and the very detections that its outputs have."""
    folder = embed("--detect", "0.7", "--scores", keep, "--workers", "1")
    assert list(tables(folder)) == [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.parquet"))]
    expected = [(output, one) for output in iter_outputs(folder) for one in output.detections or ()]
    assert len(expected) > 50
    assert [(row["recording"], row["label"], row["start_s"], row["score_mean"]) for row in rows(folder)] == [
        (output.provenance.recording, one.label, one.start_s, one.score_mean) for output, one in expected
    ]
    assert [row["time"].timestamp() for row in rows(folder)] == pytest.approx(
        read_detections(folder).time.astype("datetime64[us]").astype(np.int64) * 1e-6
    )


def test_tables_follow_their_dataset(embed: Embed) -> None:
    """Run again, nothing changes; asked for otherwise, each is replaced; with more workers they are the same bytes."""
    folder = embed("--detect", "0.7", "--workers", "1")
    before = tables(folder)
    assert tables(embed("--detect", "0.7", "--workers", "1")) == before
    assert tables(embed("--detect", "0.7", "--workers", "2", folder="others")) == before
    embed("--detect", "0.9", "--workers", "1")
    assert len(tables(folder)) == 2
    assert {row["score_max"] >= 0.9 for row in rows(folder)} == {True}
    embed("--workers", "1")
    assert tables(folder) == {}


def test_a_dataset_without_detections_has_nothing_beside_it(embed: Embed) -> None:
    """Nor a further column."""
    folder = embed("--workers", "1")
    assert not folder.with_name("out.detections").exists()
    assert "detections" not in parquet.read_schema(next(folder.rglob("*.parquet"))).names


def test_bundle_make_says_it_in_the_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag is a key; what excludes another is refused."""
    path = make_echo(tmp_path / "echo.tflite", LABELS)
    make = ["bundle", "make", str(path), "--input-kind", "pcm", "--target-sr", "8000", "--outputs", "scores=0"]
    make += ["--labels", "dog,siren,rain,bird", "--hop-size", "0.0005"]
    flags = ["--threshold", "0.3,siren=0.8", "--classes", "dog,siren", "--detect-top-k", "2", "--no-merge"]
    flags += ["--min-duration", "0.5", "--cool-down", "2", "--scores", "top-k", "--top-k", "3"]
    assert main([*make, *flags, "--score-dtype", "float16"]) == 0
    said = json.loads(path.with_suffix(".json").read_text())
    assert said["detections"] == {
        "threshold": 0.3,
        "thresholds": {"siren": 0.8},
        "classes": ["dog", "siren"],
        "top_k": 2,
        "merge_s": False,
        "min_duration_s": 0.5,
        "cool_down_s": 2.0,
    }
    assert said["keep"] == {"scores": "top-k", "top_k": 3, "score_dtype": "float16"}
    assert main([*make, "--no-merge", "--merge", "1"]) == 2
    assert "exclude each other" in capsys.readouterr().err
