"""An archive read back: what is asked for, once, from a folder and from a store elsewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sonyc_ml
from sonyc_ml.cli import main
from sonyc_ml.errors import ConfigError
from sonyc_ml.outputs.archive.choice import choice_of
from sonyc_ml.outputs.archive.compacting import compact
from sonyc_ml.outputs.archive.metadata import description_of, joined, metadata_of
from sonyc_ml.outputs.archive.store import Objects, store_at
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.parquet import DamagedPartError
from tests.conftest import ROOT
from tests.support.archives import DAY, output_at, packed, same, starts, written
from tests.support.buckets import ENVIRONMENT, s3_server

pytest.importorskip("pyarrow", reason="Parquet is an extra")

HOUR = timedelta(hours=1)


@pytest.fixture
def outputs() -> list[Output]:
    """Of two days: twelve recordings an hour apart around midnight."""
    return [output_at(start, whole=True) for start in starts(12, DAY - 6 * HOUR, 3600)]


@pytest.fixture
def root(tmp_path: Path, outputs: list[Output]) -> Path:
    """An archive of two nodes and two days, each day of one in parts of three hours."""
    for node in ("a", "b"):
        for first in range(0, 12, 3):
            packed(tmp_path / f"{node}{first}", tmp_path / "root", node, outputs[first : first + 3])
    return tmp_path / "root"


def names(outputs: Any) -> list[str]:
    """Of recordings, in order."""
    return [output.provenance.recording for output in outputs]


def test_all_of_an_archive(root: Path, outputs: list[Output]) -> None:
    """Every output, node by node and in the order of time, to the last bit; tables beside the parts are no outputs."""
    for one, other in zip(sonyc_ml.iter_outputs(root), [*outputs, *outputs], strict=True):
        assert same(one, other)
    read = sonyc_ml.read_embeddings(root)
    assert read.embedding is not None
    assert read.embedding.tobytes() == np.concatenate([o.embedding for o in (*outputs, *outputs)]).tobytes()
    assert read.scores is not None
    assert read.scores.tobytes() == np.concatenate([o.scores for o in (*outputs, *outputs)]).tobytes()
    assert (read.node[0], read.node[-1], read.labels) == ("a", "b", ("dog", "siren"))
    assert list(read.recording[::4]) == names([*outputs, *outputs])
    assert (read.time == np.concatenate([o.times() for o in (*outputs, *outputs)])).all()
    heard = [
        (*vars_of(one), output.provenance.recording)
        for output in (*outputs, *outputs)
        for one in output.detections or ()
    ]
    assert read.detections is not None
    found = read.detections
    columns = (
        found.class_number,
        found.start_s,
        found.end_s,
        found.score_max,
        found.score_mean,
        found.label,
        found.recording,
    )
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == heard
    assert (found.time == sonyc_ml.read_detections(root).time).all()


def vars_of(one: Any) -> tuple[Any, ...]:
    return one.class_number, one.start_s, one.end_s, float(one.score_max), one.score_mean, one.label


def test_a_span_of_a_node(root: Path, outputs: list[Output], monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that begin in the span, of that node; outputs whole that have one; no part of another day is opened."""
    asked: dict[str, Any] = {"nodes": "b", "since": DAY - HOUR + timedelta(seconds=2), "until": "2026-11-21T01:00:01Z"}
    read = sonyc_ml.read_embeddings(root, **asked)
    assert list(read.recording) == [
        name for name, n in zip(names(outputs[5:8]), (2, 4, 1), strict=True) for _ in range(n)
    ]
    assert set(read.node) == {"b"}
    assert names(sonyc_ml.iter_outputs(root, **asked)) == names(outputs[5:8])
    assert read.detections is not None
    assert read.detections.time.min() >= read.time.min()
    for path in [*root.glob("node=a/*/*.parquet"), *root.glob("*/node=*/*/*.parquet")]:
        path.write_bytes(b"PAR1 of no use")
    assert len(sonyc_ml.read_embeddings(root, **asked)) == 7
    for path in root.glob("node=b/date=2026-11-20/*.parquet"):
        path.write_bytes(b"PAR1 of no use")
    with pytest.raises(DamagedPartError):
        sonyc_ml.read_embeddings(root, **asked)


def test_kinds_that_are_asked_for(root: Path) -> None:
    """Of wide tables only some columns are read."""
    read = sonyc_ml.read_embeddings(root, kinds=["scores"])
    assert (read.embedding, read.detections) == (None, None)
    assert read.scores is not None
    assert len(read.scores) == 96
    assert all(output.embedding is None for output in sonyc_ml.iter_outputs(root, kinds=["scores"]))


def test_a_folder_of_files_is_read_by_the_same_arguments(tmp_path: Path, outputs: list[Output]) -> None:
    """Small outputs beside each other have no partitions, and the same windows of them are read."""
    written(tmp_path, outputs)
    read = sonyc_ml.read_embeddings(
        tmp_path, since=DAY + timedelta(seconds=3), until=np.datetime64("2026-11-21T01:00:02")
    )
    assert list(read.recording) == [names(outputs)[6], *[names(outputs)[7]] * 2]
    assert read.detections is not None
    with pytest.raises(ConfigError, match="of what is asked for"):
        sonyc_ml.read_embeddings(tmp_path, until="2020-01-01")


def test_what_comes_late_or_again_is_there_once(root: Path, tmp_path: Path, outputs: list[Output]) -> None:
    """A repeated upload is the same file; parts that overlap give each output once, and a salvaged one gives way."""
    before = sorted(root.rglob("*.parquet"))
    packed(tmp_path / "again", root, "a", outputs[:3])
    assert sorted(root.rglob("*.parquet")) == before
    packed(tmp_path / "overlapping", root, "a", [*outputs[2:5], output_at(DAY + timedelta(minutes=30), whole=True)])
    read = list(sonyc_ml.iter_outputs(root, nodes="a"))
    assert len(names(read)) == len(set(names(read))) == 13
    longer = output_at(DAY, 9, whole=True)
    packed(tmp_path / "longer", root, "a", [longer])
    found = [
        output for output in sonyc_ml.iter_outputs(root, nodes="a") if output.provenance.recording == names([longer])[0]
    ]
    assert len(found) == 1
    assert same(found[0], longer)
    assert len(sonyc_ml.read_embeddings(root, nodes="a")) == 12 * 4 + 9


def test_a_reader_is_not_disturbed_by_merging(root: Path, outputs: list[Output]) -> None:
    """Parts go away while they are read, and everything comes once all the same."""
    reading = sonyc_ml.iter_outputs(root)
    first = [next(reading) for _ in range(2)]
    assert sum(merged.n_before for merged in compact(store_at(root), choice_of(None, None, None), pytest.fail)) == 8
    assert names([*first, *reading]) == names([*outputs, *outputs])


def test_a_damaged_part_is_told_and_left_out(root: Path, outputs: list[Output]) -> None:
    """With a place for reasons the others are read; without one the first ends the reading."""
    path = next(root.glob("node=a/date=2026-11-20/*.parquet"))
    path.write_bytes(path.read_bytes()[:-50])
    told: list[str] = []
    assert len(list(sonyc_ml.iter_outputs(root, told.append))) == 21
    assert [str(path) in reason for reason in told] == [True]
    with pytest.raises(DamagedPartError, match="damaged"):
        list(sonyc_ml.iter_outputs(root))


def test_metadata_whose_columns_are_not_of_one_length_is_damaged() -> None:
    """What belongs to which recording cannot be told then; half of it would be guessed."""
    outputs = [output_at(start) for start in starts(3, DAY, 3600)]
    metadata = json.loads(joined(map(metadata_of, outputs)))
    description = description_of(json.dumps(metadata), "part")
    assert [made for made, _ in description.recordings] == [output.provenance for output in outputs]
    assert [n for _, n in description.recordings] == [len(output.timestamps) for output in outputs]
    for change in (list[str].pop, lambda column: column.append("more")):
        damaged = json.loads(json.dumps(metadata))
        change(damaged["recordings"]["recording"])
        with pytest.raises(ValueError, match=r"shorter|longer"):
            description_of(json.dumps(damaged), "part")


def test_arrays_can_be_changed_by_whoever_read_them(root: Path) -> None:
    """Also those of one part alone, whose memory was Arrow's."""
    read = sonyc_ml.read_embeddings(root, nodes="a", until=DAY - 3 * HOUR)
    for array in (read.embedding, read.scores, read.start_s, read.time, read.number):
        assert array is not None
        array[:1] = array[1:2]


def test_the_page_about_archives_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands and programs of docs/dataset.md run as they stand."""
    pytest.importorskip("duckdb")
    monkeypatch.chdir(tmp_path)
    for node in ("pole_12", "pole_13"):
        packed(tmp_path / node, tmp_path / "fleet", node, [output_at(at) for at in starts(3, DAY + 7 * HOUR)])
    text = (ROOT / "docs" / "dataset.md").read_text()
    for program in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    commands = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert [main(shlex.split(command)[1:]) for command in commands] == [0, 0]


@pytest.fixture
def _no_thread_leaks() -> None:
    """fsspec keeps a thread for its input and output, and that one another, for as long as the process lives."""


@pytest.fixture
def bucket(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The archive in S3, as moto's server speaks it."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with s3_server() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        import fsspec

        fsspec.filesystem("s3").mkdir("archives")
        fsspec.filesystem("s3").put(f"{root}/", "archives/archive/", recursive=True)
        yield "s3://archives/archive"
        fsspec.filesystem("s3").invalidate_cache()


def test_an_archive_in_a_bucket(
    bucket: str, root: Path, outputs: list[Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers as here; what is not asked for is not fetched; merged there, everything is there once."""
    asked: dict[str, Any] = {"nodes": "b", "since": DAY}
    fetched: list[str] = []
    opened = Objects.open

    def noted(store: Objects, key: str, n_bytes: int) -> Any:
        fetched.append(key)
        return opened(store, key, n_bytes)

    monkeypatch.setattr(Objects, "open", noted)
    read = sonyc_ml.read_embeddings(bucket, **asked)
    assert read.embedding is not None
    assert read.embedding.tobytes() == sonyc_ml.read_embeddings(root, **asked).embedding.tobytes()  # type: ignore[union-attr]
    assert fetched
    assert all(key.startswith("node=b/date=2026-11-2") for key in fetched)
    reading = sonyc_ml.iter_outputs(bucket)
    first = [next(reading)]
    merged = list(compact(store_at(bucket), choice_of(None, None, None), pytest.fail))
    assert [(one.n_before, one.n_after) for one in merged] == [(2, 1)] * 4
    assert names([*first, *reading]) == names([*outputs, *outputs])
    keys = store_at(bucket).files()
    assert len([key for key in keys if key.startswith("node=")]) == 4
    assert len([key for key in keys if key.startswith("levels/")]) == 4
    with pytest.raises(ConfigError, match="there are no outputs"):
        sonyc_ml.read_embeddings("s3://fleet/nowhere")
