"""A day of outputs leaves the node as parts of an archive."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.stores import StoreHere
from tests.support.uploads import DAY, UploadingNode, write_outputs

pq = pytest.importorskip("pyarrow.parquet", reason="packing is an extra")


def n_rows(disk: StoreHere) -> int:
    """Rows of all parts."""
    assert disk.folder is not None
    return sum(pq.read_metadata(disk.folder / name).num_rows for name in disk.objects())


def test_a_day_becomes_one_part_and_what_is_late_a_further_one(tmp_path: Path, disk: StoreHere) -> None:
    """The part lies where the archive has it; nothing of it is left on the node; two rows for each output of two."""
    node = UploadingNode(tmp_path / "node", disk, "late_s = 0.0")
    write_outputs(node.outputs, 20)
    write_outputs(node.outputs, 3, DAY + timedelta(days=1))
    node.turn(at_once=False)
    first = disk.objects()
    folders = [name.rpartition("/")[0] for name in sorted(first)]
    assert folders == ["node=pole-12/date=2026-11-21", "node=pole-12/date=2026-11-22"]
    assert n_rows(disk) == 46
    assert [path for path in (node.state / "parts").rglob("*") if path.is_file()] == []
    write_outputs(node.outputs, 1, DAY + timedelta(hours=5))
    node.turn(at_once=False)
    assert len(disk.objects()) == 3
    assert first.items() <= disk.objects().items()
    assert n_rows(disk) == 48


def test_a_day_that_is_not_over_waits(tmp_path: Path, disk: StoreHere) -> None:
    """Until its end and `late_s`, or until somebody asks for it now; a clock set back delays it by a day at most."""
    node = UploadingNode(tmp_path / "node", disk, "late_s = 60.0")
    write_outputs(node.outputs, 2)
    now, ticks = DAY.timestamp() + 86400 + 59, 0.0
    with closing(node.uploader(clock=lambda: now, timer=lambda: ticks)) as uploader:
        uploader.turn()
        assert disk.objects() == {}
        now -= 1e8
        ticks += 86459
        uploader.turn()
        assert disk.objects() == {}
        ticks += 1
        uploader.turn()
        assert len(disk.objects()) == 1


def test_what_cannot_be_packed_is_sent_as_it_is(
    tmp_path: Path, disk: StoreHere, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged output is not left behind, and it is said which."""
    node = UploadingNode(tmp_path / "node", disk)
    good, bad = write_outputs(node.outputs, 2)
    bad.write_bytes(good.read_bytes()[:-400])
    with caplog.at_level(logging.WARNING):
        node.turn()
    assert bad.name in caplog.text
    assert bad.read_bytes() in disk.objects().values()
    assert len(disk.objects()) == 2


def test_a_lost_ledger_sends_nothing_twice(tmp_path: Path, disk: StoreHere) -> None:
    """It is an index: made again, it finds in the store what is there, by its name and its digest."""
    node = UploadingNode(tmp_path / "node", disk)
    write_outputs(node.outputs, 5)
    node.turn()
    objects = disk.objects()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "disk").rglob("*.parquet")}
    for path in node.state.glob("upload.sqlite*"):
        path.write_bytes(b"no ledger")
    node.turn()
    assert disk.objects() == objects
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "disk").rglob("*.parquet")} == written
    with closing(node.uploader()) as uploader:
        assert uploader.facts().waiting == 0


def test_a_part_that_was_removed_is_packed_again(tmp_path: Path, disk: StoreHere) -> None:
    """It holds nothing that the outputs do not."""
    node = UploadingNode(tmp_path / "node", disk)
    write_outputs(node.outputs, 5)
    root = tmp_path / "disk"
    root.rename(tmp_path / "away")
    node.turn()
    (part,) = (path for path in (node.state / "parts").rglob("*.parquet"))
    part.unlink()
    (tmp_path / "away").rename(root)
    for _ in range(2):
        node.turn()
    assert n_rows(disk) == 10
