"""Outputs are removed here after proof alone, by age and by free space, and never before their recordings."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import pytest

from sonyc_ml.node.upload.pruning import Pruner
from tests.support.stores import StoreHere
from tests.support.uploads import DAY, UploadingNode, write_outputs

NONE = 'pack = "none"\nprune = "delete"\n'


def left(node: UploadingNode) -> list[str]:
    return sorted(path.name for path in node.outputs.glob("*.npz"))


def test_nothing_goes_without_proof(tmp_path: Path, disk: StoreHere) -> None:
    """While the store is away all stay; when it has them, they go; what is in the store is whole."""
    node = UploadingNode(tmp_path / "node", disk, NONE)
    contents = sorted(path.read_bytes() for path in write_outputs(node.outputs, 4))
    (tmp_path / "disk").rename(tmp_path / "away")
    node.turn()
    assert len(left(node)) == 4
    (tmp_path / "away").rename(tmp_path / "disk")
    node.turn()
    assert left(node) == []
    assert sorted(disk.objects().values()) == contents


def test_an_output_stays_while_its_recording_is_there(tmp_path: Path, disk: StoreHere) -> None:
    """Retention needs it as its proof; a folder of recordings that is away proves nothing."""
    node = UploadingNode(tmp_path / "node", disk, NONE)
    kept, _ = write_outputs(node.outputs, 2)
    recording = node.recordings / kept.name.removesuffix(".npz")
    recording.write_bytes(bytes(1000))
    os.utime(recording, ns=(int(DAY.timestamp()) * 10**9,) * 2)
    node.recordings.rename(tmp_path / "spool away")
    node.turn()
    assert len(left(node)) == 2
    (tmp_path / "spool away").rename(node.recordings)
    node.turn()
    assert left(node) == [kept.name]
    recording.unlink()
    node.turn()
    assert left(node) == []


def test_by_age_and_by_space(tmp_path: Path, disk: StoreHere) -> None:
    """Not before `prune_after_s`; where the disk is full enough, the oldest until it is empty enough."""
    node = UploadingNode(tmp_path / "node", disk, f"{NONE}prune_after_s = 3600.0")
    write_outputs(node.outputs, 600)
    node.turn()
    assert len(left(node)) == 600
    node.configure(f"{NONE}free_low = 0.2\nfree_high = 0.5")
    with closing(node.uploader()) as uploader:
        free = iter([0.3, 0.1, 0.6])
        places = uploader.places[:1]
        pruner = Pruner(node.config.upload, places, node.recordings, free_space=lambda _folder: next(free))
        assert pruner.prune(uploader.ledger) == 0
        assert pruner.prune(uploader.ledger) == 500
    assert left(node)[0] == "20261121T012320Z.wav.npz"


def test_what_is_removed_before_it_was_sent_is_on_record(
    tmp_path: Path, disk: StoreHere, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted as lost and said; a file that is replaced is sent as it is now."""
    node = UploadingNode(tmp_path / "node", disk, 'pack = "none"')
    gone, replaced = write_outputs(node.outputs, 2)
    (tmp_path / "disk").rename(tmp_path / "away")
    node.turn()
    gone.unlink()
    write_outputs(node.outputs, 2, n_values=9)[0].unlink()
    (tmp_path / "away").rename(tmp_path / "disk")
    for _ in range(3):
        node.turn()
    assert list(disk.objects().values()) == [replaced.read_bytes()]
    with closing(node.uploader()) as uploader:
        facts = uploader.facts()
    assert (facts.lost, facts.waiting) == (2, 0)
    assert gone.name in caplog.text
    assert json.loads((node.state / "upload.json").read_text())["lost"] == 2
