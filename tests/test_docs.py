"""What the documentation says is true: its commands run, its help texts are the program's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sonyc_ml
from sonyc_ml import exporter, maker
from tests import networks
from tests.conftest import PATIENCE_S, ROOT, needs, write_recording

COMMANDS = ROOT / "docs" / "commands.md"
README = ROOT / "README.md"
BUNDLES = ROOT / "docs" / "bundles.md"
LABELS = ROOT / "docs" / "labels.md"
OPERATIONS = ROOT / "docs" / "operations.md"
ARCHIVE = ROOT / "docs" / "archive.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
PICTURES = ROOT / "docs" / "pictures.md"
HELPS: tuple[list[str], ...] = (
    *([], ["watch"], ["embed"], ["info"], ["plot"]),
    *([command] for command in ("status", "explain", "audit", "list", "retry", "reload", "doctor")),
    *([command] for command in ("labels", "compare")),
    *(["features", "export"], ["bundle"]),
    *(["bundle", action] for action in ("make", "trust", "sign", "verify", "info")),
)


def help_of(arguments: list[str]) -> str:
    """The help text of a command, laid out for 100 columns."""
    command = [sys.executable, "-m", "sonyc_ml.cli", *arguments, "--help"]
    environment = os.environ | {"COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def commands_page() -> str:
    """docs/commands.md as it should be; `python -m tests.test_docs` writes it."""
    parts = ["# Commands\n\nWhat `--help` says; a test keeps this page true.\n"]
    for arguments in HELPS:
        name = " ".join(["sonyc-ml", *arguments])
        parts.append(f"\n## `{name}`\n\n```text\n{help_of(arguments)}```\n")
    return "".join(parts)


def blocks(language: str, page: Path = README) -> list[str]:
    """A page's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def run_blocks(scripts: list[str], folder: Path) -> None:
    """Run shell blocks one after another, with the package's commands on the path."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for script in scripts:
        command = ["bash", "-euc", script]
        subprocess.run(command, cwd=folder, check=True, env=environment, capture_output=True, timeout=120)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A check-out as a user sees it: models/, recordings/, the package."""
    (tmp_path / "sonyc_ml").symlink_to(ROOT / "sonyc_ml")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "NAME.tflite").write_bytes(networks.dense((1, 64, 51, 1)))
    write_recording(tmp_path / "recordings" / "a.wav", seconds=2)
    return tmp_path


def test_readme_commands_run(workplace: Path) -> None:
    """Every command of the README works as it stands, in its order, and so does its Python."""
    scripts = [block for block in blocks("bash") if "scripts/" not in block]
    assert len(scripts) == 2
    run_blocks(scripts, workplace)
    run_python(blocks("python"), workplace)
    assert (workplace / "embeddings" / "a.wav.npz").exists()
    assert (workplace / "a.npz").exists()


def test_bundle_commands_run(workplace: Path) -> None:
    """Every command of docs/bundles.md works as it stands, in its order."""
    scripts = blocks("bash", BUNDLES)
    assert len(scripts) == 2
    run_blocks(scripts, workplace)


@needs("sklearn")
def test_labels_commands_run(workplace: Path) -> None:
    """Every command of docs/labels.md works as it stands, in its order, and so does its Python."""
    path = workplace / "models" / "NAME.tflite"
    exporter.export(path.with_suffix(".pkl"))
    maker.make_bundle(path)
    write_recording(workplace / "recordings" / "b.wav", seconds=2, seed=1)
    run_blocks(["sonyc-ml embed recordings/ --model models/NAME.tflite --output embeddings/"], workplace)
    pages = re.findall(r"```(bash|python)\n(.*?)```", LABELS.read_text(), re.DOTALL)
    assert [language for language, _ in pages] == ["python", "bash", "bash", "bash"]
    for language, block in pages:
        script = block if language == "bash" else f"python - <<'END'\n{block}END\n"
        run_blocks([script], workplace)
    assert (workplace / "labels" / "a.wav.txt").exists()


def test_picture_commands_run(workplace: Path) -> None:
    """Every command of docs/pictures.md works as it stands, in its order."""
    pytest.importorskip("matplotlib", reason="pictures are an extra")
    scripts = blocks("bash", PICTURES)
    assert len(scripts) == 1
    run_blocks(scripts, workplace)
    for name in ("a.svg", "embeddings/a.wav.npz.png", "day.pdf"):
        assert (workplace / name).exists()


def test_operations_commands_run(workplace: Path) -> None:
    """Every command of docs/operations.md works as it stands, beside a daemon that runs."""
    (workplace / "recordings" / "bad.wav").write_bytes(b"no sound at all")
    command = [sys.executable, "-m", "sonyc_ml.cli", "watch", "recordings", "--model", "models/NAME.tflite"]
    with (workplace / "log").open("wb") as log:
        daemon = subprocess.Popen([*command, "--output", "embeddings"], cwd=workplace, stderr=log)
    try:
        wait_for(lambda: "quarantined" in (workplace / "log").read_text())
        scripts = blocks("bash", OPERATIONS)
        assert len(scripts) == 1
        run_blocks(scripts, workplace)
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0


@needs("duckdb")
@needs("pyarrow")
def test_archive_commands_run(workplace: Path) -> None:
    """Every command of docs/archive.md works as it stands, and so does its Python; but for stores and clusters."""
    scripts = blocks("bash", ARCHIVE)
    assert len(scripts) == 2
    run_blocks(scripts, workplace)
    run_python(blocks("python", ARCHIVE), workplace)


@needs("pandas")
@needs("pyarrow")
@needs("sklearn")
def test_the_tutorial_works(tmp_path: Path) -> None:
    """Every command and program of the tutorial works, and the node hears what it was taught."""
    (tmp_path / "models").mkdir()
    for path in (ROOT / "models").glob("quantized_default_int8*"):
        shutil.copy(path, tmp_path / "models")
    for i in range(1, 7):
        rng, t = np.random.default_rng(i), np.arange(32000) / 8000
        siren = 0.2 * np.sin(2 * np.pi * (700 * t + 30 * np.sin(2 * np.pi * (1 + i / 5) * t) * 5))
        for name, y in (("siren", siren), ("street", 0 * t)):
            path = tmp_path / "labelled" / name / f"{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, y + rng.normal(0, 0.01 * i, len(t)), 8000)
    text = TUTORIAL.read_text()
    for language, program in re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            run_python([program], tmp_path)
        elif not program.startswith("pip install"):
            run_blocks([program], tmp_path)
    (output,) = sonyc_ml.iter_outputs(tmp_path / "heard")
    assert output.labels == ("siren", "street")
    assert output.scores is not None
    assert output.scores[:, 0].mean() > 0.9


def run_python(programs: list[str], folder: Path) -> None:
    """Run Python blocks one after another, each in a process of its own."""
    for program in programs:
        subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, timeout=120, stdout=subprocess.DEVNULL)


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def test_readme_scripts_exist() -> None:
    """The two commands are there, executable, and free of syntax errors."""
    (block,) = [block for block in blocks("bash") if "scripts/" in block]
    scripts = re.findall(r"^(scripts/\w+)", block, re.MULTILINE)
    assert scripts == ["scripts/run", "scripts/test"]
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK)
        subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_links_lead_somewhere() -> None:
    """Every relative link of the documentation names a file that is there."""
    for page in (README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse lays out its help differently in each Python")
def test_commands_page_is_what_help_says() -> None:
    """docs/commands.md is the help texts; write it anew with `python -m tests.test_docs`."""
    assert COMMANDS.read_text() == commands_page()


if __name__ == "__main__":
    COMMANDS.write_text(commands_page())
