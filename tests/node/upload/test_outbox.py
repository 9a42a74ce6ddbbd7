"""sonyc-ml outbox: one's own program sends, and what it sent is marked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stores import StoreHere
from tests.support.uploads import UploadingNode, write_outputs


def outbox(node: UploadingNode, *flags: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "sonyc_ml", "outbox", "--config", str(node.path), *flags]
    return subprocess.run(command, capture_output=True, text=True, input=given, check=False, timeout=60)


@pytest.fixture
def node(tmp_path: Path, disk: StoreHere) -> UploadingNode:
    """With three outputs, one of them in a folder."""
    made = UploadingNode(tmp_path / "node", disk)
    write_outputs(made.outputs, 2)
    write_outputs(made.outputs / "street", 1)
    return made


NAMES = ["20261121T000000Z.wav.npz", "20261121T000010Z.wav.npz", "street/20261121T000000Z.wav.npz"]


def test_what_is_marked_is_not_listed_again(node: UploadingNode) -> None:
    """By name, by path, and line by line or by zeros; a name that is not in the outbox is told."""
    assert sorted(outbox(node).stdout.splitlines()) == NAMES
    assert sorted(outbox(node, "-0").stdout.split("\0")) == ["", *NAMES]
    done = outbox(node, "--mark", given=f"{NAMES[0]}\nnone.npz\n")
    assert done.returncode == 1
    assert "not none.npz" in done.stderr
    assert outbox(node, "--mark", "-0", given=f"{node.outputs / NAMES[2]}\0").returncode == 0
    left = json.loads(outbox(node, "--json").stdout)
    assert [item["name"] for item in left["items"]] == [NAMES[1]]
    assert left["folder"] == str(node.outputs)


def test_an_output_that_is_replaced_is_listed_again(node: UploadingNode) -> None:
    """What was marked is one state of a file."""
    outbox(node, "--mark", given="\n".join(NAMES))
    assert outbox(node).stdout == ""
    write_outputs(node.outputs, 1, n_values=9)
    assert outbox(node).stdout.splitlines() == [NAMES[0]]


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("rsync", "rsync -a --files-from=- ./ {}/"),
        ("rclone", "rclone copy --config /dev/null --files-from-raw - ./ {}"),
    ],
)
def test_a_program_of_debians_sends(node: UploadingNode, tmp_path: Path, program: str, command: str) -> None:
    """All of it arrives, and is marked; where the program fails, nothing is."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: scripts/setup-debian {program}")
    failed = outbox(node, "--exec", f"{program} --no-such-flag")
    assert failed.returncode == 1
    assert sorted(outbox(node).stdout.splitlines()) == NAMES
    target = tmp_path / "elsewhere"
    sent = outbox(node, "--exec", command.format(target))
    assert sent.returncode == 0, sent.stderr
    assert [(target / name).read_bytes() for name in NAMES] == [(node.outputs / name).read_bytes() for name in NAMES]
    assert outbox(node).stdout == ""


def test_upload_does_not_send_what_was_marked(node: UploadingNode, disk: StoreHere) -> None:
    """Both keep the same ledger."""
    outbox(node, "--mark", given=NAMES[0])
    node.configure('pack = "none"')
    node.turn()
    assert len(disk.objects()) == 2
