"""``sonyc-ml doctor`` looks after sources of live sound, and after memory that is written to a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sonyc_ml.node.config import load_config
from sonyc_ml.node.doctor.live import of_live, source, swap
from sonyc_ml.node.doctor.machine import BAD, OK, WARN
from sonyc_ml.node.intake.config import SourceConfig


def test_commands_that_are_not_there() -> None:
    """The package that has it is named, where that is known."""
    assert source(SourceConfig("a", command=("/bin/sh", "-c", "true"))).verdict == OK
    missing = source(SourceConfig("a", command=("/nowhere/arecord",)))
    assert (missing.check, missing.verdict, missing.remedy) == ("source a", BAD, "sudo apt-get install alsa-utils")
    assert "whole path" in source(SourceConfig("a", command=("no-such-recorder",))).remedy


def test_sockets_and_ports(tmp_path: Path) -> None:
    """A socket needs a folder that it may be made in."""
    assert source(SourceConfig("a", socket=tmp_path / "a.sock")).verdict == OK
    assert source(SourceConfig("a", socket=Path("/proc/none/a.sock"))).verdict in (BAD, OK)  # root may everything
    assert source(SourceConfig("a", port=5)).verdict == OK


@pytest.mark.parametrize(
    ("line", "word"), [("", OK), ("/dev/zram0 partition 1 0 5\n", OK), ("/swap file 1 0 5\n", WARN)]
)
def test_swap(tmp_path: Path, line: str, word: str) -> None:
    """Swap in compressed memory is memory."""
    (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n" + line)
    assert swap(tmp_path / "swaps").verdict == word


def test_a_node_that_only_listens_needs_no_spool_folder(tmp_path: Path) -> None:
    """Its own is made by the daemon."""
    known: dict[str, Any] = {"output": {"folder": str(tmp_path / "out")}, "model": {"path": "m.tflite"}}
    live: dict[str, Any] = {"listen": {"source": [{"name": "a", "stdin": True}]}}
    config = load_config(None, known | live)
    assert config.has_own_spool
    assert [name for name, _ in of_live(config)] == ["source a", "swap"]
    folder = load_config(None, known | live | {"spool": {"folder": "in"}})
    assert not folder.has_own_spool
    assert of_live(load_config(None, known | {"spool": {"folder": "in"}})) == []
