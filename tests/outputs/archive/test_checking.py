"""What is wrong with an archive is told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.cli import main
from sonyc_ml.outputs.archive.checking import Check
from sonyc_ml.outputs.archive.choice import choice_of
from sonyc_ml.outputs.archive.store import Folder
from tests.support.archives import DAY, output_at, packed, starts

pyarrow = pytest.importorskip("pyarrow.parquet", reason="Parquet is an extra")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two nodes, an hour of recordings each every five minutes, over midnight."""
    for node in ("a", "b"):
        packed(
            tmp_path / node,
            tmp_path / "root",
            node,
            [output_at(at, whole=True) for at in starts(12, DAY - timedelta(minutes=30), 300)],
        )
    return tmp_path / "root"


def found(root: Path, **asked: Any) -> list[tuple[str, str]]:
    """Kinds and places of what is found."""
    reads_rows = asked.pop("reads_rows", False)
    choice = choice_of(asked.pop("nodes", None), asked.pop("since", None), asked.pop("until", None))
    return [(one.kind, one.where) for one in Check(Folder(root), choice, reads_rows=reads_rows, **asked).findings()]


def test_a_whole_archive_has_nothing_wrong(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Totals are told; status 0."""
    assert found(root, reads_rows=True) == []
    assert main(["check", str(root)]) == 0
    assert "2 nodes, 4 parts" in capsys.readouterr().out
    assert main(["check", str(root), "--json"]) == 0
    totals = json.loads(capsys.readouterr().out)
    assert (totals["n_recordings"], totals["n_windows"], totals["heard_s"]) == (24, 96, 96.0)


def test_gaps(root: Path) -> None:
    """Between recordings, before the first and after the last of a span, and nodes of which nothing is there."""
    assert found(root, gap_s=290) == [("gap", "node=a")] * 11 + [("gap", "node=b")] * 11
    assert found(root, since=DAY - timedelta(days=3), until=DAY + timedelta(hours=1), nodes=["a", "c"]) == [
        ("gap", "node=a"),
        ("gap", "node=a"),
        ("gap", "node=c"),
    ]
    (path,) = root.glob("node=a/date=2026-11-20/*.parquet")
    path.unlink()
    key = path.relative_to(root).as_posix()
    assert found(root, gap_s=1800) == [("table", f"detections/{key}"), ("table", f"levels/{key}")]


def test_doubles_conflicts_and_other_bundles(root: Path, tmp_path: Path) -> None:
    """What readers leave out, and what two bundles made."""
    again = [output_at(at, whole=True) for at in starts(2)]
    packed(
        tmp_path / "doubles",
        root,
        "a",
        [output_at(DAY, whole=True), output_at(DAY + timedelta(seconds=30), whole=True)],
    )
    other = replace(again[0], provenance=replace(again[0].provenance, recording_sha256="77" * 32))
    packed(tmp_path / "conflict", root, "b", [other])
    packed(tmp_path / "bundle", root, "b", [output_at(DAY, whole=True, bundle_sha256="b1" * 32)])
    assert found(root) == [
        ("double", "node=a/date=2026-11-21"),
        ("conflict", "node=b/date=2026-11-21"),
        ("bundle", "node=b/date=2026-11-21"),
    ]
    assert main(["check", str(root)]) == 1
    assert main(["check", str(root), "--ignore", "double,conflict,bundle"]) == 0
    assert main(["check", str(root), "--ignore", "doubles"]) == 2


def test_parts_that_cannot_be_read(root: Path) -> None:
    """Truncated, of no Parquet, with a digit turned, of a later schema, in a wrong folder, without a table."""
    parts = sorted(root.glob("node=*/*/*.parquet"))
    moved = root / "node=c" / "date=2026-11-20" / parts[0].name
    moved.parent.mkdir(parents=True)
    shutil.copy(parts[0], moved)
    parts[0].write_bytes(parts[0].read_bytes()[:-30])
    turned = bytearray(parts[1].read_bytes())
    turned[200] ^= 1
    parts[1].write_bytes(turned)
    table, said = pyarrow.read_table(parts[2]), json.loads(pyarrow.read_metadata(parts[2]).metadata[b"sonyc_ml"])
    text = json.dumps({**said, "format_version": 99})
    pyarrow.write_table(table.replace_schema_metadata({"sonyc_ml": text}), parts[2])
    (root / "levels" / parts[3].relative_to(root)).unlink()
    keys = [path.relative_to(root).as_posix() for path in parts]
    kinds = dict.fromkeys(("levels", "detections"))
    assert sorted(set(found(root, reads_rows=True))) == sorted(
        [
            ("damaged", keys[0]),
            ("damaged", keys[1]),
            ("newer", keys[2]),
            ("table", f"levels/{keys[3]}"),
            *(("table", f"{kind}/{moved.relative_to(root).as_posix()}") for kind in kinds),
        ]
    )
    assert ("damaged", keys[1]) not in found(root)


def test_what_lies_on_another_day(root: Path) -> None:
    """Readers look for it by the folder, and would miss it."""
    (path,) = root.glob("node=a/date=2026-11-20/*.parquet")
    other = root / "node=a" / "date=2026-11-25"
    other.mkdir()
    path.rename(other / path.name)
    assert ("misplaced", f"node=a/date=2026-11-25/{path.name}") in found(root)


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    """Nothing at all is no archive in order."""
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    assert main(["check", str(tmp_path)]) == 2
    assert main(["check", str(tmp_path), "--since", "yesterday"]) == 2
