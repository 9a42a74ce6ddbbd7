"""What hosts and tools read of the project is valid by their own schemas."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sonyc_ml
from tests.conftest import ROOT

SCHEMAS = {
    ".github/workflows/test.yml": "vendor.github-workflows",
    ".github/ISSUE_TEMPLATE/problem.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/wish.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "CITATION.cff": "vendor.citation-file-format",
    "deploy/compose.yaml": "vendor.compose-spec",
    "deploy/compose.microphone.yaml": "vendor.compose-spec",
}


def is_valid(path: Path, schema: str) -> subprocess.CompletedProcess[str]:
    """Whether a file is what a schema says, which comes with check-jsonschema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_it_is_valid(name: str, schema: str) -> None:
    """The schema of whoever reads it accepts the file."""
    done = is_valid(ROOT / name, schema)
    assert done.returncode == 0, done.stdout


def test_what_is_not_valid_is_seen(tmp_path: Path) -> None:
    """The control: a workflow whose job runs nowhere is refused."""
    path = tmp_path / "workflow.yml"
    path.write_text("on: push\njobs: {test: {steps: [{run: scripts/test}]}}\n")
    assert is_valid(path, "vendor.github-workflows").returncode == 1


def test_every_python_is_tested_and_said() -> None:
    """The classifiers, the workflow and the lock files name the same Pythons, and the citation this version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = {text.rpartition(" ")[2] for text in project["classifiers"] if text.startswith("Programming Language")}
    pythons = {f"3.{minor}" for minor in (11, 12, 13, 14)}
    assert said == pythons | {"3", "Only"}
    workflow = (ROOT / ".github/workflows/test.yml").read_text()
    assert all(f'"{python}"' in workflow for python in pythons)
    assert {path.stem.partition("py")[2] for path in (ROOT / "deploy/locks").glob("x86_64-*.txt")} == pythons
    assert f"\nversion: {sonyc_ml.__version__}\n" in (ROOT / "CITATION.cff").read_text()
