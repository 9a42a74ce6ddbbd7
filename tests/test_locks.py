"""deploy/locks: what a node installs is what pyproject.toml allows, each file with its hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from scripts.lock_files import EXTRAS, TARGETS, Target, locked, required

ROOT = Path(__file__).resolve().parent.parent
LINE = re.compile(r"[a-z0-9-]+==\S+ --hash=sha256:[0-9a-f]{64}")


def versions(target: Target, *groups: str) -> dict[str, str]:
    """The version of each package that these groups install."""
    lines = locked(target.machine, target.python, *groups)
    assert all(LINE.fullmatch(line) for line in lines)
    return dict(line.split(" ")[0].split("==") for line in lines)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_lock_file_has_what_is_required(target: Target) -> None:
    """Every requirement, of the base and of each extra, is there in a version that pyproject.toml allows."""
    assert required(target)["base"]
    for group, requirements in required(target).items():
        there = versions(target, group, "source")
        for requirement in requirements:
            assert requirement.specifier.contains(there[canonicalize_name(requirement.name)]), (group, requirement.name)


def test_an_extra_brings_what_it_needs() -> None:
    """librosa's own requirements are locked with it, and are not installed without it."""
    target = TARGETS[0]
    assert {"librosa", "numba", "llvmlite", "scipy"} <= set(versions(target, "librosa"))
    assert not {"librosa", "numba", "llvmlite", "scipy"} & set(versions(target, "base", "mqtt"))


def test_the_extras_are_those_of_the_package() -> None:
    """No extra of the lock files is unknown to pyproject.toml."""
    with Path(ROOT, "pyproject.toml").open("rb") as file:
        assert set(EXTRAS) <= set(tomllib.load(file)["project"]["optional-dependencies"])


def test_markers_are_judged_for_the_target() -> None:
    """32-bit ARM has tflite-runtime, and every other processor LiteRT, whatever machine writes the files."""
    for target in TARGETS:
        runtime = "tflite-runtime" if target.machine == "armv7l" else "ai-edge-litert"
        names = {requirement.name for requirement in required(target)["base"]}
        assert names & {"tflite-runtime", "ai-edge-litert"} == {runtime}
