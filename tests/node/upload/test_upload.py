"""Outputs go to a store of each kind: each once, whole, with its proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stores import StoreHere
from tests.support.uploads import UploadingNode, write_outputs


def test_outputs_reach_the_store_once(tmp_path: Path, store: StoreHere) -> None:
    """Each output is there to the last bit, under a name that says whose and of when; a second turn sends nothing."""
    node = UploadingNode(tmp_path / "node", store, 'pack = "none"')
    paths = write_outputs(node.outputs, 5)
    node.turn()
    objects = store.objects(hidden=True)
    assert sorted(objects.values()) == sorted(path.read_bytes() for path in paths)
    assert all(name.startswith("outputs/node=pole-12/date=2026-11-21/2026") for name in objects)
    node.turn()
    assert store.objects(hidden=True) == objects


@pytest.mark.parametrize("key", ["", 'folder = "upload"'])
def test_a_folder_that_cannot_be_written_is_told(key: str, tmp_path: Path, disk: StoreHere) -> None:
    """With the key that names another one, where it is not set: the service has another user than the daemon."""
    node = UploadingNode(tmp_path / "node", disk, key)
    blocked = tmp_path / "node" / "upload" if key else node.state
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_bytes(b"")
    done = node.run("--once")
    assert done.returncode != 0
    assert str(blocked) in done.stderr
    assert ("upload.folder may name another folder" in done.stderr) == (not key)
    assert "Traceback" not in done.stderr
