"""What pages show as a command's output is what it prints, line by line, but for numbers, times and paths."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_S, ROOT, write_recording
from tests.support.shown import printed, shape, shown


@pytest.fixture
def node(tmp_path: Path, sonyc_default: Path) -> Iterator[Path]:
    """A folder with a node that has embedded three recordings and quarantined one."""
    for name in ("a.wav", "b.wav", "20261122T100000Z.wav"):
        write_recording(tmp_path / "recordings" / name, seconds=2)
    (tmp_path / "recordings" / "bad.wav").write_bytes(b"no sound at all" * 10)
    command = [sys.executable, "-m", "sonyc_ml", "watch", "recordings", "--output", "embeddings"]
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen([*command, "--model", str(sonyc_default)], cwd=tmp_path, stderr=log)
    try:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if "3 done, 1 quarantined" in printed(tmp_path, "status", "--output", "embeddings"):
                break
            time.sleep(0.2)
        yield tmp_path
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0


@pytest.fixture
def sonyc_default() -> Path:
    """The default bundle."""
    return ROOT / "models" / "quantized_default_int8.tflite"


def test_status(node: Path) -> None:
    """docs/operations.md: a node that waits."""
    real = {shape(line) for line in printed(node, "status", "--output", "embeddings").splitlines()}
    assert [line for line in shown("operations.md", "state") if shape(line) not in real] == [], real


def test_doctor(tmp_path: Path, sonyc_default: Path) -> None:
    """docs/operations.md: a node whose folder of recordings is missing."""
    tables = {"spool": f'folder = "{tmp_path}/recordings"', "model": f'path = "{sonyc_default}"'}
    tables["output"] = 'folder = "embeddings"'
    (tmp_path / "sonyc-ml.toml").write_text("".join(f"[{name}]\n{text}\n" for name, text in tables.items()))
    (tmp_path / "embeddings").mkdir()
    lines = printed(tmp_path, "doctor", "--config", "sonyc-ml.toml").splitlines()
    checks = {line.split()[1] for line in lines if line and not line.startswith(" ") and len(line.split()) > 1}
    real = {shape(line) for line in lines}
    for line in shown("operations.md", "ok       kernels"):
        words = line.split()
        if words[:2] == ["bad", "spool"] or "to repair: make it" in line or words[1] in {"golden", "kernels"}:
            assert shape(line) in real, (line, real)
        elif words[1] != "checks:" and words[0] != "to":
            assert words[1] in checks, line  # what this machine says of itself differs


def test_what_varies_is_left_out() -> None:
    """Another word is seen, another number is not."""
    assert shape("backlog  3 recordings, 2.8 s ago") == shape("backlog 12 recordings, 40 s ago")
    assert shape("state waiting") != shape("state embedding")
    assert shape("at /tmp/a b") == shape("at /var/x b")
