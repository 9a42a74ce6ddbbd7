"""Outputs of a node into parts of an archive."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path

import pytest

from sonyc_ml.errors import StoreError
from sonyc_ml.outputs.archive.layout import Place, place_in
from sonyc_ml.outputs.archive.metadata import FORMAT_VERSION, NewerPartError
from sonyc_ml.outputs.archive.packing import pack
from tests.support.archives import DAY, files_in, output_at, packed, read_back, same, starts, written

pyarrow = pytest.importorskip("pyarrow", reason="Parquet is an extra")
parquet = pytest.importorskip("sonyc_ml.outputs.parquet")


@pytest.mark.parametrize("suffix", ["npz", "csv"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_part_holds_what_its_outputs_hold(tmp_path: Path, suffix: str, whole: bool) -> None:
    """Every number and every origin, to the last bit, in the order of time; tables beside it where there are any."""
    paths = written(tmp_path / "outputs", [output_at(start, whole=whole) for start in starts(5)], suffix)
    packed = pack(reversed(paths), tmp_path / "root", "pole_12")
    part = packed.parts[0]
    assert [one.kind for one in packed.parts] == (["embeddings", "detections", "levels"] if whole else ["embeddings"])
    assert packed.left_out == ()
    assert (part.n_windows, part.outputs) == (20, tuple(paths))
    assert place_in(part.key) == (Place("pole_12", "2026-11-21"), part.path.name)
    for one, other in zip(parquet.read_part(part.path), read_back(paths), strict=True):
        assert same(one, other)
    for one in packed.parts:
        assert one.path == tmp_path / "root" / one.key
        assert one.n_bytes == one.path.stat().st_size


def test_a_part_is_the_same_whenever_it_is_packed(tmp_path: Path) -> None:
    """Name and bytes depend on what is packed: not on order or place. Other outputs or node: another name."""
    outputs = [output_at(start, whole=True) for start in starts(6)]
    paths = written(tmp_path / "outputs", outputs)
    again = written(tmp_path / "elsewhere", outputs)
    random.Random(0).shuffle(again)
    pack(paths, tmp_path / "one", "pole_12")
    pack(again, tmp_path / "other", "pole_12")
    assert files_in(tmp_path / "one") == files_in(tmp_path / "other") != {}
    (fewer, *_), (elsewhere, *_) = (
        pack(paths[1:], tmp_path / "fewer", "pole_12").parts,
        pack(paths, tmp_path / "node", "pole_13").parts,
    )
    names = {path.name for path in (tmp_path / "one").rglob("*.parquet")}
    assert len({*names, fewer.path.name, elsewhere.path.name}) == 3


def test_days_and_bundles_are_parts_of_their_own(tmp_path: Path) -> None:
    """What begins on another day in UTC, or was made by another bundle, lies in another part."""
    outputs = [output_at(start) for start in starts(4, DAY - timedelta(seconds=20))]
    outputs.append(output_at(DAY + timedelta(hours=1), bundle_sha256="b1" * 32))
    made = packed(tmp_path / "outputs", tmp_path / "root", "pole 1/2", outputs)
    dates = [place[0] for part in made.parts if (place := place_in(part.key))]
    assert dates == [Place("pole 1/2", "2026-11-20"), *[Place("pole 1/2", "2026-11-21")] * 2]
    assert sorted(part.n_windows for part in made.parts) == [4, 8, 8]


def test_what_is_damaged_or_gone_is_left_out_with_its_reason(tmp_path: Path) -> None:
    """The others are packed."""
    damaged, gone, *rest = paths = written(tmp_path, [output_at(start) for start in starts(4)])
    damaged.write_bytes(damaged.read_bytes()[:-100])
    gone.unlink()
    made = pack(paths, tmp_path / "root", "a")
    assert [path for path, _ in made.left_out] == [damaged, gone]
    assert all(path.name in reason for path, reason in made.left_out)
    assert made.parts[0].outputs == tuple(rest)
    assert pack([damaged], tmp_path / "nothing", "a").parts == ()
    assert not (tmp_path / "nothing").exists()


def test_what_changes_meanwhile_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Its name would be of other bytes: nothing is published, and a second call packs what is there then."""
    paths = written(tmp_path / "outputs", [output_at(start) for start in starts(3)])
    n_read = 0

    def change() -> None:
        nonlocal n_read
        n_read += 1
        if n_read == 3:  # all were looked at once
            written(tmp_path / "outputs", [output_at(starts(3)[1], 5, bundle_sha256="c2" * 32)])

    with pytest.raises(StoreError, match="changed while it was packed"):
        pack(paths, tmp_path / "root", "a", progress=change)
    assert files_in(tmp_path / "root") == {}
    assert sum(part.n_windows for part in pack(paths, tmp_path / "root", "a").parts) == 13


def test_a_newer_schema_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """A part of a later version is not read as if it were known."""
    (part,) = packed(tmp_path / "outputs", tmp_path / "root", "a", [output_at(DAY)]).parts
    table = pyarrow.parquet.read_table(part.path)
    said = json.loads(pyarrow.parquet.read_metadata(part.path).metadata[b"sonyc_ml"])
    text = json.dumps({**said, "format_version": FORMAT_VERSION + 1, "recordings": "as nobody knows"})
    pyarrow.parquet.write_table(table.replace_schema_metadata({"sonyc_ml": text}), part.path)
    with pytest.raises(NewerPartError, match=f"version {FORMAT_VERSION + 1} of the schema.*install a newer"):
        list(parquet.read_part(part.path))
