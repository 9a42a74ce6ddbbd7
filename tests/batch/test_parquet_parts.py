"""A Parquet dataset: read by others as one table, given back as it was, and whole after every crash."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonyc_ml.batch import parquet_parts as dataset
from sonyc_ml.batch.events import RecordingEmbedded, RecordingKept
from sonyc_ml.batch.job import Job
from sonyc_ml.batch.partitions import Partition, parse_keys
from sonyc_ml.batch.run import Batch, embed_recordings
from sonyc_ml.batch.sources import Sources
from sonyc_ml.errors import ConfigError, StoreError
from sonyc_ml.outputs import parquet
from sonyc_ml.outputs.output import Output
from sonyc_ml.outputs.reading import iter_outputs, read_embeddings
from sonyc_ml.outputs.rules import DetectionRules
from tests.conftest import write_recording
from tests.support.batches import forget, outputs, run
from tests.support.detections import detected, scored
from tests.support.outputs import output_of

pyarrow = pytest.importorskip("pyarrow", reason="Parquet is an extra")
pytest.importorskip("pyarrow.dataset")

PART = Path("day=2026-11-21") / "part-00000.parquet"


@pytest.fixture
def batch(tmp_path: Path, tiny_bundle: Path) -> Batch:
    """Six recordings of two nodes and two days, as a dataset."""
    for i in range(6):
        name = f"pole {i % 2}/202611{21 + i // 4}T1200{i:02}Z.wav"
        write_recording(tmp_path / "in" / name, seconds=1 + i / 10, seed=i)
    return Batch(Sources([str(tmp_path / "in")]), Job(str(tiny_bundle)), tmp_path / "out", output_format="parquet")


def test_outputs_come_back_as_they_were(tmp_path: Path) -> None:
    """A part gives back every array and every word of provenance, bit for bit; the same outputs make the same bytes."""
    made = [output_of("a.wav", 3), output_of("\udcff.wav", 1, ""), replace(output_of("c.wav", 2))]
    waiting = [tmp_path / f"{i}.arrow" for i in range(3)]
    for output, path in zip(made, waiting, strict=True):
        parquet.write_waiting(output, path)
        assert_same(parquet.read_waiting(path), output)
    parquet.write_part(tmp_path / "part-00000.parquet", waiting)
    for read, output in zip(parquet.read_part(tmp_path / "part-00000.parquet"), made, strict=True):
        assert_same(read, output)
    parquet.write_part(tmp_path / "again.parquet", waiting)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "part-00000.parquet").read_bytes()


def assert_same(a: Output, b: Output) -> None:
    """Two outputs are equal in everything."""
    assert a.provenance == b.provenance
    assert a.labels == b.labels
    for one, two in ((a.timestamps, b.timestamps), (a.embedding, b.embedding), (a.scores, b.scores)):
        np.testing.assert_array_equal(one, two)


def test_another_partition_is_refused(batch: Batch) -> None:
    """A dataset keeps the partition it was begun with; the sentence says which that is."""
    run(batch)
    before = outputs(batch.folder)
    for keys in ((), ("node", "day"), ("node",)):
        with pytest.raises(ConfigError, match=r"is partitioned by day, not by (none|node,day|node): .*--partition day"):
            run(replace(batch, partition=keys))
    assert outputs(batch.folder) == before


def change(batch: Batch, script: str) -> None:
    """Change the ledger as somebody else might have."""
    with closing(sqlite3.connect(batch.folder / ".sonyc-ml" / "batch-parquet.sqlite")) as raw:
        raw.executescript(script)


@pytest.mark.parametrize("place", ["../x", "/{tmp}/x", "day=1/../../x", "sub//x"])
def test_a_ledger_removes_and_writes_nothing_outside(place: str, batch: Batch, tmp_path: Path) -> None:
    """A dataset from elsewhere whose ledger names parts outside it is read anew; what lies outside stays."""
    victim = tmp_path / "x" / "part-00000.parquet"
    victim.parent.mkdir()
    victim.write_bytes(b"mine")
    part = place.replace("{tmp}", str(tmp_path)[1:])
    run(batch)
    before = outputs(batch.folder)
    for path in (f"{part}/part-00000.parquet", f"{part}/../x", f"{part}/part-00000.parquet/.."):
        change(batch, f"INSERT OR REPLACE INTO parts VALUES ('{path}', 4, 0, 1)")
        assert not [event for event in run(batch) if isinstance(event, RecordingEmbedded)]
        assert (outputs(batch.folder), victim.read_bytes()) == (before, b"mine")
    change(batch, f"UPDATE outputs SET path = '', place = '{part}'; UPDATE parts SET is_replaced = 1")
    run(batch)
    assert [path.name for path in tmp_path.rglob("*.parquet") if not path.is_relative_to(batch.folder)] == [victim.name]


@pytest.mark.parametrize(
    "attack",
    [
        "CREATE TRIGGER t AFTER INSERT ON outputs BEGIN DELETE FROM parts; END",
        (
            "DROP TABLE parts; CREATE VIEW parts AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
            "SELECT 'a' AS path, x AS n_bytes, x AS mtime_ns, 1 AS is_replaced FROM n"
        ),
        "UPDATE outputs SET duration_s = 'long'",
    ],
)
def test_a_ledger_that_is_not_ours_is_made_again(attack: str, batch: Batch) -> None:
    """Tables, views and triggers of somebody else's, and texts for numbers, are damage: the outputs know as much."""
    run(batch)
    before = outputs(batch.folder)
    change(batch, attack)
    assert not [event for event in run(batch) if isinstance(event, RecordingEmbedded)]
    assert outputs(batch.folder) == before


def test_a_linked_folder_leads_to_no_other_files(batch: Batch, tmp_path: Path) -> None:
    """Where a folder of a dataset from elsewhere is a link, nothing is written or removed behind it."""
    run(batch)
    victim = tmp_path / "elsewhere" / "part-00000.parquet"
    (batch.folder / "day=2026-11-21").rename(victim.parent)
    (batch.folder / "day=2026-11-21").symlink_to(victim.parent)
    before = victim.read_bytes()
    change(batch, "UPDATE parts SET is_replaced = 1")
    with pytest.raises(StoreError, match="leads out of the dataset by a symbolic link; remove the link"):
        run(batch)
    assert (os.listdir(victim.parent), victim.read_bytes()) == ([victim.name], before)


def test_a_linked_state_folder_is_refused(batch: Batch, tmp_path: Path) -> None:
    """A `.sonyc-ml` that is a link would have what waits in another folder removed."""
    kept = tmp_path / "elsewhere" / "waiting" / "mine.arrow"
    kept.parent.mkdir(parents=True)
    kept.touch()
    batch.folder.mkdir()
    (batch.folder / ".sonyc-ml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a symbolic link"):
        run(batch)
    assert kept.exists()


def test_outputs_without_scores_or_embedding(tmp_path: Path) -> None:
    """What a network does not give is no column."""
    output = replace(output_of("a.wav", 3), scores=None, labels=())
    parquet.write_waiting(output, tmp_path / "a.arrow")
    parquet.write_part(tmp_path / "a.parquet", [tmp_path / "a.arrow"])
    assert pyarrow.parquet.read_schema(tmp_path / "a.parquet").names == ["recording", "start_s", "time", "embedding"]
    (read,) = parquet.read_part(tmp_path / "a.parquet")
    assert_same(read, output)


def test_row_groups_hold_whole_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large a group is, what is read back is the same."""
    made = [output_of(f"{i}.wav", 1 + i) for i in range(5)]
    waiting = [tmp_path / f"{i}.arrow" for i in range(5)]
    for output, path in zip(made, waiting, strict=True):
        parquet.write_waiting(output, path)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 100)
    parquet.write_part(tmp_path / "a.parquet", waiting)
    assert pyarrow.parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups > 1
    for read, output in zip(parquet.read_part(tmp_path / "a.parquet"), made, strict=True):
        assert_same(read, output)


def test_a_long_recording_is_in_several_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No group grows with a recording; what is read back is the same, with what was heard, and so are the bytes."""
    rules = DetectionRules(threshold=0.6)
    scores = np.random.default_rng(3).random((4000, 5), np.float32)
    long = replace(scored("long.wav", scores, tuple("abcde")), embedding=scores[:, :3] - 0.5)
    long = replace(long, detections=detected(long, rules))
    made = [sparse_of(long, slice(0, 3)), long, sparse_of(long, slice(9, 11))]
    waiting = [tmp_path / f"{i}.arrow" for i in range(3)]
    monkeypatch.setattr(parquet, "BATCH_BYTES", 5000)
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 20_000)
    for output, path in zip(made, waiting, strict=True):
        parquet.write_waiting(output, path)
        assert_same(parquet.read_waiting(path), output)
    parquet.write_part(tmp_path / "a.parquet", waiting)
    file = pyarrow.parquet.ParquetFile(tmp_path / "a.parquet")
    rows = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert (len(rows) > 5, max(rows) < 500, sum(rows)) == (True, True, 4005)
    read = list(parquet.read_part(tmp_path / "a.parquet"))
    for one, other in zip(read, made, strict=True):
        assert_same(one, other)
        assert one.detections == other.detections
    parquet.write_part(tmp_path / "again.parquet", waiting)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
    light = parquet.read_waiting(waiting[1], ("start_s", "detections"))
    assert (light.embedding, light.scores, light.detections) == (None, None, long.detections)


def sparse_of(output: Output, rows: slice) -> Output:
    """A short output with some windows of a long one, in which nothing was heard."""
    assert output.scores is not None
    assert output.embedding is not None
    provenance = replace(output.provenance, recording=f"{rows.start}.wav")
    kinds: dict[str, Any] = {"scores": output.scores[rows], "embedding": output.embedding[rows]}
    return replace(output, timestamps=output.timestamps[rows], detections=(), provenance=provenance, **kinds)


def test_others_read_it_as_one_table(batch: Batch) -> None:
    """DuckDB and Arrow see a row a window, with partitions, times in UTC and embeddings of a fixed width."""
    duckdb = pytest.importorskip("duckdb")
    run(replace(batch, partition=("node", "day")))
    table = pyarrow.dataset.dataset(batch.folder, partitioning="hive", exclude_invalid_files=True).to_table()
    assert table.schema.field("embedding").type == pyarrow.list_(pyarrow.float32(), 5)
    assert table.schema.field("time").type == pyarrow.timestamp("us", "UTC")
    assert set(table["node"].to_pylist()) == {"pole 0", "pole 1"}
    pattern = f"{batch.folder}/**/*.parquet"
    query = (
        f"select day, count(*), count(distinct recording), min(time) from read_parquet('{pattern}') "
        "group by day order by day"
    )
    connection = duckdb.connect()
    rows = connection.sql(f"set timezone = 'UTC'; {query}").fetchall()
    connection.close()
    read = read_embeddings(batch.folder)
    assert [(str(row[0]), row[2]) for row in rows] == [("2026-11-21", 4), ("2026-11-22", 2)]
    assert sum(row[1] for row in rows) == len(read)
    assert rows[0][3].isoformat() == "2026-11-21T12:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "partition"),
    [
        ("none", ""),
        ("day", "day=2026-11-20"),
        ("node", "node=pole %2F1"),
        ("node,day", "node=pole %2F1/day=2026-11-20"),
        ("node,date", "node=pole %2F1/date=2026-11-20"),
    ],
)
def test_partitions(text: str, partition: str) -> None:
    """A day is one in UTC, a node the first folder; what is not known is its own partition."""
    assert (
        Partition(parse_keys(text))("pole %2F1/a.wav", "2026-11-21T00:30:00+01:00").replace("%252F", "%2F") == partition
    )
    assert Partition(("node", "day"))("a.wav", "") == "node=unknown/day=unknown"


@pytest.mark.parametrize(
    ("start_time", "day"),
    [
        ("0001-01-01T00:00:00+14:00", "0001-01-01"),
        ("0001-01-01T00:00:00-12:00", "0001-01-01"),
        ("9999-12-31T23:59:59.500+00:00", "9999-12-31"),
        ("9999-12-31T23:59:59-12:00", "9999-12-31"),
        ("1970-01-01T00:05:54+00:00", "1970-01-01"),
    ],
)
def test_the_ends_of_time(start_time: str, day: str) -> None:
    """The first and the last day that there are have a partition in every zone."""
    assert Partition()("a.wav", start_time) == f"day={day}"


def test_a_batch_with_the_ends_of_time(batch: Batch, tmp_path: Path) -> None:
    """Recordings of the years 1 and 9999, east and west of Greenwich, are embedded with the others."""
    for name in ("00010101_000000.wav", "99991231_235959.wav"):
        write_recording(tmp_path / "in" / name, seconds=1)
    for time_zone in ("Asia/Tokyo", "America/New_York"):
        made = replace(batch, folder=batch.folder / time_zone, job=replace(batch.job, time_zone=time_zone))
        assert len([event for event in run(made) if isinstance(event, RecordingEmbedded)]) == 8
        assert len(list(iter_outputs(made.folder))) == 8


def test_wrong_places() -> None:
    """A partition that there is not is refused."""
    for text in ("week", "day,day", "day,date", ""):
        with pytest.raises(ConfigError, match="--partition takes day, node"):
            parse_keys(text)


def test_parts_have_a_bound(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is full is closed, and the next one begins."""
    monkeypatch.setattr(dataset, "PART_RECORDINGS", 2)
    run(replace(batch, partition=()))
    parts = sorted(path.name for path in batch.folder.glob("*.parquet"))
    assert parts == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    described = [parquet.read_description(batch.folder / part).recordings for part in parts]
    names = [provenance.recording for part in described for provenance, _ in part]
    assert names == [source.name for source in batch.sources]


# Crashes: the states in which a process that is killed leaves a folder


@pytest.fixture
def before_publishing(batch: Batch) -> Path:
    """A folder in which everything is embedded and waits for its part."""
    stop_after(batch, 6)
    assert not list(batch.folder.rglob("*.parquet"))
    return Path(shutil.copytree(batch.folder, batch.folder.with_name("before")))


def stop_after(batch: Batch, n_recordings: int) -> None:
    """Embed some recordings, and stop before anything is published that is not full."""
    events = embed_recordings(batch)
    assert (
        len(list(islice((event for event in events if isinstance(event, RecordingEmbedded)), n_recordings)))
        == n_recordings
    )
    events.close()


def test_killed_after_a_part_was_published(batch: Batch, before_publishing: Path) -> None:
    """A part that the ledger does not know yet is taken up; nothing is embedded or published twice."""
    run(batch)
    whole = outputs(batch.folder)
    shutil.copytree(batch.folder / PART.parent, before_publishing / PART.parent)
    again = replace(batch, folder=before_publishing)
    assert all(isinstance(event, RecordingKept) for event in run(again)[1:-1])
    assert outputs(before_publishing) == whole


def test_killed_before_what_waited_was_removed(batch: Batch, before_publishing: Path) -> None:
    """Outputs that are in a part already are not published again."""
    run(batch)
    whole = outputs(batch.folder)
    waiting = Path(".sonyc-ml") / "waiting"
    shutil.copytree(before_publishing / waiting, batch.folder / waiting)
    run(batch)
    assert outputs(batch.folder) == whole
    assert not (batch.folder / waiting).exists()


@pytest.mark.parametrize("loses_ledger", [False, True])
def test_killed_before_a_replaced_part_was_removed(loses_ledger: bool, batch: Batch) -> None:
    """The older of two parts with the same recordings goes, whether or not the ledger tells."""
    run(batch)
    old = batch.folder.with_name("old")
    shutil.copytree(batch.folder / PART.parent, old)
    other = replace(batch, job=replace(batch.job, parameters={"hop_size": 0.5}))
    run(other)
    new = outputs(batch.folder)
    shutil.copy2(old / PART.name, batch.folder / PART)
    if loses_ledger:
        forget(batch)
    assert all(isinstance(event, RecordingKept) for event in run(other)[1:-1])
    assert outputs(batch.folder) == new


@pytest.mark.parametrize("loses_ledger", [False, True])
def test_killed_between_embedding_and_the_ledger(loses_ledger: bool, batch: Batch, before_publishing: Path) -> None:
    """Outputs that wait and that the ledger does not know are found; a torn one is embedded again."""
    again = replace(batch, folder=before_publishing)
    if loses_ledger:
        forget(again)
    (torn, *_) = sorted(before_publishing.rglob("*.arrow"))
    torn.write_bytes(torn.read_bytes()[:-100])
    assert [type(event) for event in run(again)[1:-1]].count(RecordingEmbedded) == 1
    run(batch)
    assert outputs(before_publishing) == outputs(batch.folder)


def test_one_changed_recording_leaves_the_others_of_its_part(batch: Batch, tmp_path: Path) -> None:
    """What else is in a part that is replaced is neither lost nor embedded again."""
    run(batch)
    write_recording(tmp_path / "in" / "pole 0" / "20261121T120000Z.wav", seconds=4, seed=50)
    events = run(batch)
    assert [event.recording for event in events if isinstance(event, RecordingEmbedded)] == [
        "pole 0/20261121T120000Z.wav"
    ]
    read = list(iter_outputs(batch.folder))
    assert sorted(output.provenance.recording for output in read) == sorted(source.name for source in batch.sources)
    assert len(run(batch)) == 8
    assert all(isinstance(event, RecordingKept) for event in run(batch)[1:-1])


def test_recordings_of_other_inputs_stay(batch: Batch, tmp_path: Path) -> None:
    """Embedding another folder into the same dataset adds to it."""
    run(batch)
    write_recording(tmp_path / "more" / "pole 9" / "20261121T130000Z.wav")
    run(replace(batch, sources=Sources([str(tmp_path / "more")])))
    assert len(list(iter_outputs(batch.folder))) == 7


def test_damaged_parts_are_told_to_readers(batch: Batch) -> None:
    """A part that is cut, and a table that is none of ours, are refused by name."""
    run(batch)
    path = batch.folder / PART
    content = path.read_bytes()
    path.write_bytes(content[:-50])
    with pytest.raises(ValueError, match=r"part-00000.parquet is no part of a dataset, or damaged"):
        read_embeddings(batch.folder)
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
    with pytest.raises(ValueError, match="no part of a dataset"):
        read_embeddings(path)
    for column in range(4):
        chunk = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content)).metadata.row_group(0).column(column)
        last = chunk.dictionary_page_offset + chunk.total_compressed_size - 3  # of the column's values
        path.write_bytes(content[:last] + bytes([content[last] ^ 0xFF]) + content[last + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            list(iter_outputs(path))
