"""The documentation as a site: it can be built, every page is in its menu, and reference pages are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import sonyc_ml
from sonyc_ml.cli import main
from sonyc_ml.outputs.output import Provenance
from tests.conftest import ROOT, write_recording

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built so that any warning ends it: a link or anchor that leads nowhere, a page that is in no menu."""
    for name in ("mkdocs", "mkdocstrings"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_public_name_is_there(site: Path) -> None:
    """With its docstring, by the name that programs import."""
    page = (site / "python.html").read_text()
    for name in set(sonyc_ml.__all__) - {"errors", "AudioModel", "SpecModel", "PCMModel"}:
        assert f'id="sonyc_ml.{name}"' in page, name
    for name in ("AudioModel", "SpecModel", "PCMModel", "errors"):
        assert name in page


def test_every_key_is_there(site: Path) -> None:
    """The configuration's page holds the annotated file, as it is."""
    text = re.sub(r"<[^>]+>", "", (site / "configuration.html").read_text())
    for line in (ROOT / "deploy" / "sonyc-ml.toml").read_text().splitlines():
        key = line.lstrip("# ").partition("=")[0].strip()
        if re.fullmatch(r"\w+", key) and "=" in line:
            assert key in text, key


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    """A reader's browser asks no other server."""
    for page in site.glob("*.html"):
        fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert not fetched, page.name


def test_linked_files_are_copied(site: Path) -> None:
    """Links out of docs/ lead to copies."""
    assert (site / "files" / "deploy" / "sonyc-ml.toml").read_bytes() == (ROOT / "deploy/sonyc-ml.toml").read_bytes()


def members_named() -> set[str]:
    """The members that docs/formats.md explains: the code in the first column of its tables."""
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "formats.md").read_text(), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_formats_page_names_every_member(tmp_path: Path, tiny_bundle: Path) -> None:
    """A real output with all there is, and what is said of a recording, is what the page has."""
    recording = write_recording(tmp_path / "a.wav", seconds=3)
    said = ["--levels", "--model", str(ROOT / "models/quantized_default_int8.tflite"), "--detect", "0.0001", "--quiet"]
    assert main(["embed", str(recording), "--output", str(tmp_path / "out"), *said]) == 0
    with np.load(tmp_path / "out" / "a.wav.npz", allow_pickle=False) as output:
        assert set(output.files) == members_named()
    assert {field.name for field in fields(Provenance)} <= members_named()
