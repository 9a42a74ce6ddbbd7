"""Outputs are removed here after proof alone, by age and by free space, and never before their recordings."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sonyc_ml.node.upload.finding import OUTPUT, Place
from sonyc_ml.node.upload.pruning import Pruner
from sonyc_ml.outputs.files import read_output, write_output
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


def sent(node: UploadingNode) -> UploadingNode:
    """A node whose outputs are all in the store, and may go now."""
    node.configure('pack = "none"')
    node.turn()
    node.configure(NONE)
    return node


@pytest.mark.parametrize("name", ["street/a.wav", f"{'a' * 300}.wav"])
def test_an_output_stays_where_nobody_can_tell_of_its_recording(tmp_path: Path, disk: StoreHere, name: str) -> None:
    """A file is where its folder was; or its name is longer than this disk has."""
    node = UploadingNode(tmp_path / "node", disk)
    for path in write_outputs(node.outputs, 2)[:1]:
        output = read_output(path)
        write_output(replace(output, provenance=replace(output.provenance, recording=name)), path)
    (node.recordings / "street").write_bytes(b"no folder")
    sent(node).turn()
    assert left(node) == ["20261121T000000Z.wav.npz"]


def test_what_does_not_say_what_it_is_of_stays(tmp_path: Path, disk: StoreHere) -> None:
    """Whatever lies there under an output's name."""
    node = UploadingNode(tmp_path / "node", disk)
    (node.outputs / "odd.npz").write_bytes(b"no output")
    sent(node).turn()
    assert left(node) == ["odd.npz"]
    assert list(disk.objects().values()) == [b"no output"]


def test_nothing_goes_on_a_guess(tmp_path: Path, disk: StoreHere, caplog: pytest.LogCaptureFixture) -> None:
    """Where a disk does not say how much of it is free; where recordings are, or the outputs themselves, is away."""
    node = UploadingNode(tmp_path / "node", disk)
    write_outputs(node.outputs, 2)
    sent(node).configure(f"{NONE}free_low = 0.5\nfree_high = 0.9")

    def no_answer(_folder: Path) -> float:
        raise OSError(5, "Input/output error")

    with closing(node.uploader()) as uploader:
        ledger, places = uploader.ledger, uploader.places[:1]
        assert Pruner(node.config.upload, places, node.recordings, free_space=no_answer).prune(ledger) == 0
        node.configure(NONE)
        assert Pruner(node.config.upload, places, tmp_path / "none").prune(ledger) == 0
        assert "cannot be looked into, where their recordings may be" in caplog.text
        assert Pruner(node.config.upload, places, node.recordings, is_stopped=lambda: True).prune(ledger) == 0
        away = [Place(OUTPUT, tmp_path / "away" / "out", (".npz",))]
        assert Pruner(node.config.upload, away, node.recordings).prune(ledger) == 0
        assert len(left(node)) == 2
        assert Pruner(node.config.upload, places, None).prune(ledger) == 2
    assert left(node) == []


def test_what_was_removed_by_another_counts_as_gone(tmp_path: Path, disk: StoreHere) -> None:
    """So does one that was replaced, whose successor stays: it has a row of its own."""
    node = UploadingNode(tmp_path / "node", disk)
    gone, replaced = write_outputs(node.outputs, 2)
    sent(node)
    gone.unlink()
    replaced.write_bytes(b"another")
    with closing(node.uploader()) as uploader:
        pruner = Pruner(node.config.upload, uploader.places[:1], node.recordings)
        assert pruner.prune(uploader.ledger) == 2
        assert pruner.prune(uploader.ledger) == 0
    assert left(node) == [replaced.name]
