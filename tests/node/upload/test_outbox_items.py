"""What an outbox lists, and what becomes of what is marked; the command is tested as a process elsewhere."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sonyc_ml.errors import ConfigError
from sonyc_ml.node.upload.outbox import Outbox
from tests.support.stores import StoreHere
from tests.support.uploads import DAY, UploadingNode, write_outputs

NAMES = ["20261121T000000Z.wav.npz", "20261121T000010Z.wav.npz", "street/20261121T000000Z.wav.npz"]


@pytest.fixture
def node(tmp_path: Path, disk: StoreHere) -> UploadingNode:
    """With three outputs, one of them in a folder; a day's are packed as soon as it is over."""
    made = UploadingNode(tmp_path / "node", disk, "late_s = 0.0")
    write_outputs(made.outputs, 2)
    write_outputs(made.outputs / "street", 1)
    return made


def listed(outbox: Outbox) -> list[str]:
    outbox.find()
    return sorted(item.name for item in outbox.items())


def test_names_and_paths_are_marked_and_others_are_told(node: UploadingNode) -> None:
    """Relative to the folder, to where one is in it, or whole; what is not in the outbox is refused with a reason."""
    with Outbox(node.config) as outbox:
        assert listed(outbox) == NAMES
        elsewhere = str(node.folder / "elsewhere" / NAMES[0])
        marked = outbox.mark([f"./{NAMES[0]}", str(node.outputs / NAMES[2]), "none.npz", elsewhere])
        assert marked.n == 2
        assert [name for name, _ in marked.refused] == ["none.npz", elsewhere]
        assert listed(outbox) == [NAMES[1]]
        assert outbox.mark([NAMES[0]]).n == 0  # once
    with Outbox(node.config) as outbox:
        assert listed(outbox) == [NAMES[1]]


def test_what_is_gone_or_has_changed_cannot_be_marked(node: UploadingNode) -> None:
    """A program may have sent the state of before."""
    with Outbox(node.config) as outbox:
        outbox.find()
        (node.outputs / NAMES[0]).unlink()
        write_outputs(node.outputs / "street", 1, n_values=9)
        assert [item.name for item in outbox.items()] == [NAMES[1]]
        marked = outbox.mark(NAMES)
        assert (marked.n, [name for name, _ in marked.refused]) == (1, [NAMES[0], NAMES[2]])
        assert listed(outbox) == [NAMES[2]]


def test_parts_are_listed_and_removed_when_they_are_marked(node: UploadingNode) -> None:
    """The outputs of a day that is over are one part, which is only there to be sent; they themselves stay."""
    pytest.importorskip("pyarrow", reason="packing is an extra")
    write_outputs(node.outputs, 2, DAY + timedelta(days=1))
    with Outbox(node.config, packed=True) as outbox:
        outbox.find()
        items = list(outbox.items())
        assert [item.name.rpartition("/")[0] for item in items] == [
            "node=pole-12/date=2026-11-21",
            "node=pole-12/date=2026-11-22",
        ]
        paths = [outbox.folder / item.name for item in items]
        assert [path.stat().st_size for path in paths] == [item.n_bytes for item in items]
        assert outbox.mark([items[0].name]).n == 1
        assert [path.exists() for path in paths] == [False, True]
        assert listed(outbox) == [items[1].name]
    assert len(list(node.outputs.rglob("*.npz"))) == 5
    with Outbox(node.config) as outbox:
        assert all("20261121" not in name for name in listed(outbox))


def test_parts_of_a_node_that_does_not_pack(node: UploadingNode) -> None:
    """There are none, and it says what to set."""
    config = node.configure('pack = "none"')
    with pytest.raises(ConfigError, match=r'--packed needs upload\.pack = "day" or "hour"'):
        Outbox(config, packed=True)


def test_two_do_not_pack_at_once(node: UploadingNode) -> None:
    """The second says so; to list outputs as they are disturbs nobody."""
    pytest.importorskip("pyarrow", reason="packing is an extra")
    with Outbox(node.config, packed=True):
        with pytest.raises(ConfigError):
            Outbox(node.config, packed=True)
        with Outbox(node.config) as outbox:
            outbox.find()
